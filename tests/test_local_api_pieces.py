"""As peças da API local que não precisam de servidor nem de modelo."""

from threading import Event

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers.errors import MachineError
from finetune_helpers.local_api import base_models, conversation, store, worker
from finetune_helpers.local_api.decoding import Batch
from finetune_helpers.local_api.settings import Settings


class Letters:
    """Tokenizador em que cada token é uma letra; 0 é o fim."""

    eos_token_id = 0

    def decode(self, ids, **options):
        return "".join(map(chr, ids))


def decode(texts: list[str], rows: list[dict], room: int = 99) -> tuple[list[dict], list[str]]:
    """Alimenta um lote letra a letra, como a geração faz; devolve o resultado e o que foi transmitido."""
    sent = [""] * len(texts)

    def deliver(row: int, text: str) -> None:
        sent[row] += text

    batch = Batch(Letters(), rows, [room] * len(texts), {0}, deliver)
    for step in range(max(map(len, texts)) + 1):
        newest = [[ord(text[step]) if step < len(text) else 0] for text in texts]
        if bool(batch(torch.tensor(newest), None).all()):
            break
    return batch.finished(), sent


alphabet = st.text("abc", max_size=12)
stops = st.lists(st.text("abc", min_size=1, max_size=3), max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(alphabet, stops), min_size=1, max_size=4))
def test_what_is_streamed_is_exactly_the_final_text_cut_at_the_first_stop(given_rows):
    texts = [text for text, _ in given_rows]
    rows = [{"stop": stop, "stream": True} for _, stop in given_rows]
    finished, sent = decode(texts, rows)
    for text, (_, stop), done, streamed in zip(texts, given_rows, finished, sent, strict=True):
        assert done["text"] == streamed
        assert text.startswith(done["text"])
        assert not any(word in done["text"] for word in stop)
        assert done["finish_reason"] == "stop"


def test_a_row_that_reaches_its_limit_ends_with_length():
    (done,), _ = decode(["abcdef"], [{"stop": [], "stream": False}], room=3)
    assert done == {"text": "abc", "tokens_out": 3, "finish_reason": "length"}


def test_half_a_character_is_never_streamed():
    _, sent = decode(["a\ufffd"], [{"stop": [], "stream": True}], room=99)
    assert sent == ["a\ufffd"]
    batch_sent = []
    batch = Batch(Letters(), [{"stop": [], "stream": True}], [9], {0}, lambda row, text: batch_sent.append(text))
    for token in (ord("a"), 0xFFFD):
        batch(torch.tensor([[token]]), None)
    assert batch_sent == ["a"]


def test_a_batch_nobody_waits_for_ends_at_the_next_token():
    stop, rows = Event(), [{"stop": [], "stream": True}] * 2
    batch = Batch(Letters(), rows, [9, 9], {0}, lambda row, text: None, stop)
    assert not batch(torch.tensor([[ord("a")], [ord("b")]]), None).any()
    stop.set()
    assert batch(torch.tensor([[ord("c")], [ord("d")]]), None).all()
    assert [done["text"] for done in batch.finished()] == ["a", "b"]


class Template:
    """Tokenizador com modelo de conversa; ``harmony`` diz se ele tem canais."""

    def __init__(self, harmony: bool):
        self.harmony = harmony

    def get_vocab(self):
        return {"<|channel|>": 1} if self.harmony else {}

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt, **options):
        assert options == ({"reasoning_effort": "low"} if self.harmony else {})
        return "".join(f"[{message['role']}]{message['content']}" for message in messages) + "[assistant]"


def test_a_row_is_made_for_each_answer_the_model_learns():
    messages = [
        {"role": "user", "content": "um"},
        {"role": "assistant", "content": "1", "weight": 0},
        {"role": "user", "content": "dois"},
        {"role": "assistant", "content": "2"},
    ]
    (rows,) = conversation.training_rows(Template(False), [{"messages": messages}])
    assert rows == [{"prompt": "[user]um[assistant]1[user]dois[assistant]", "completion": "2"}]


def test_harmony_models_answer_straight_in_the_final_channel():
    text = conversation.prompt(Template(True), [{"role": "user", "content": "um"}])
    assert text == "[user]um[assistant]<|channel|>final<|message|>"


def test_auto_becomes_the_documented_values():
    chosen = base_models.resolve({"n_epochs": "auto", "batch_size": 2}, examples=48)
    assert chosen == {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0}


@pytest.mark.parametrize(
    ("asked", "micro", "steps"), [(1, 1, 1), (4, 4, 1), (8, 8, 1), (12, 6, 2), (13, 1, 13), (16, 8, 2)]
)
def test_any_batch_size_is_obeyed_with_accumulation(monkeypatch, asked, micro, steps):
    monkeypatch.setattr(base_models, "_source", lambda base: "pasta")
    chosen = {"n_epochs": 1, "batch_size": asked, "learning_rate_multiplier": 2.0}
    profile = base_models.profile(base_models.EMBEDDED, chosen, seed=5)
    assert (profile.batch_size, profile.gradient_accumulation) == (micro, steps)
    assert (profile.learning_rate, profile.seed, profile.epochs) == (2e-3, 5, 1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="só sem GPU")
def test_gpt_oss_without_a_gpu_is_an_instruction():
    with pytest.raises(MachineError, match="GPU com 15 GB"):
        base_models.profile(base_models.GPT_OSS)


def test_local_folders_join_the_catalogue(tmp_path):
    assert list(base_models.catalogue(Settings(tmp_path, "k", (("meu", "pasta"),)))) == [
        "smollm2-135m-instruct",
        "gpt-oss-20b",
        "meu",
    ]


def test_steps_repeated_after_a_resume_appear_once_with_the_last_value(tmp_path):
    (tmp_path / "jobs" / "j").mkdir(parents=True)
    for step, loss in ((1, 3.0), (2, 2.0), (2, 1.5), (3, 1.0)):
        store.event(tmp_path, "j", "", data={"step": step, "train_loss": loss, "train_mean_token_accuracy": 0.5})
    text = worker._metrics_csv(store.events(tmp_path, "j"))
    assert text.splitlines() == ["step,train_loss,train_accuracy", "1,3.0,0.5", "2,1.5,0.5", "3,1.0,0.5"]


@pytest.mark.parametrize("identifier", ["", "..", "file-../../x", "file-" + "a" * 23, "file-" + "٣" * 24, "job.json"])
def test_only_drawn_identifiers_are_looked_up(tmp_path, identifier):
    assert store.file(tmp_path, identifier) is None
