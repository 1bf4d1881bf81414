"""O gerador único e as perdas: limites por linha, fins, trechos inteiros, e o que a queda da perda quer dizer."""

import threading
from types import SimpleNamespace

import pytest

from finetune_helpers import portuguese, prompts
from finetune_helpers.errors import RunMismatchError
from finetune_helpers.records import Example, read_json, write_json


class Scripted:
    """Um modelo que escreve, em cada linha, os tokens combinados, e para como o transformers para."""

    device, training = "cpu", False

    def __init__(self, script: list[list[int]], ends=None):
        self.script, self.asked = script, {}
        self.generation_config = SimpleNamespace(eos_token_id=ends, max_length=512)

    def eval(self):
        return self

    def generate(self, input_ids, **asked):
        import torch

        self.asked = asked | {"input_ids": input_ids, "max_length": self.generation_config.max_length}
        for step in range(asked["max_new_tokens"]):
            column = torch.tensor([[row[min(step, len(row) - 1)]] for row in self.script])
            input_ids = torch.cat([input_ids, column], dim=1)
            if asked["stopping_criteria"][0](input_ids, None).all():
                break
        return input_ids


@pytest.fixture(scope="module")
def measures():
    """O módulo, importado só quando um teste o usa: ele traz o torch."""
    from finetune_helpers.training import measures

    return measures


@pytest.fixture(scope="module")
def tokenizer(toy_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(toy_model)


def written(tokenizer, *texts: str) -> list[list[int]]:
    return [tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in texts]


def test_each_row_has_its_own_limit_and_its_own_end(measures, tokenizer):
    script = written(tokenizer, " one two three four", " five six")
    rows = measures.generate(Scripted(script), tokenizer, ["a", "a longer prompt"], limits=[3, 9])
    assert [(row.text, row.tokens_out, row.finish_reason) for row in rows] == [
        (" one two three", 3, "length"),
        (" five six", 2, "stop"),
    ]
    assert [row.tokens_in for row in rows] == [1, len(tokenizer("a longer prompt")["input_ids"])]
    (script,) = written(tokenizer, " one two")
    reasons = [measures.generate(Scripted([script]), tokenizer, ["a"], limits=[limit]) for limit in (2, 3)]
    assert [row.finish_reason for (row,) in reasons] == ["length", "stop"]


def test_any_declared_end_stops_a_row(measures, tokenizer):
    other = tokenizer(" stop", add_special_tokens=False)["input_ids"][0]
    model = Scripted([[*tokenizer(" one", add_special_tokens=False)["input_ids"], other, other]], ends=[other, 7])
    assert measures.generate(model, tokenizer, ["a"], limits=[9])[0].text == " one"
    assert model.asked["eos_token_id"] == sorted({other, 7, tokenizer.eos_token_id})


def test_streamed_pieces_never_split_a_character_and_add_up_to_the_text(measures, tokenizer):
    pieces: list[tuple[int, str]] = []
    script = written(tokenizer, " sea 🌊 waves", " naïve ☃")
    rows = measures.generate(
        Scripted(script), tokenizer, ["a", "b"], limits=[40, 40], on_text=lambda row, text: pieces.append((row, text))
    )
    for number, row in enumerate(rows):
        assert "".join(text for place, text in pieces if place == number) == row.text
    assert not any("\ufffd" in text for _, text in pieces) and len(pieces) > 4
    assert [row.text for row in rows] == [" sea 🌊 waves", " naïve ☃"]
    cut: list[str] = []
    (row,) = measures.generate(
        Scripted(written(tokenizer, "🌊")), tokenizer, ["a"], limits=[1], on_text=lambda _, text: cut.append(text)
    )
    assert "".join(cut) == row.text and row.finish_reason == "length"


def test_whoever_gives_up_stops_the_batch_at_the_next_step(measures, tokenizer):
    stop, seen = threading.Event(), []

    def listen(row: int, text: str) -> None:
        seen.append(text)
        stop.set()

    script = written(tokenizer, " one two three four five six")
    (row,) = measures.generate(Scripted(script), tokenizer, ["a"], limits=[50], on_text=listen, stop=stop)
    assert row.tokens_out == 2 and len(seen) == 2


def test_a_conversation_keeps_its_own_beginning(measures, tokenizer):
    begun = tokenizer.bos_token + "user"
    assert measures.encode(tokenizer, begun) == tokenizer(begun, add_special_tokens=False)["input_ids"]
    assert measures.encode(tokenizer, "user") == tokenizer("user")["input_ids"]


def test_the_choice_is_greedy_unless_a_temperature_is_given_and_no_length_is_left_to_warn_about(measures, tokenizer):
    model = Scripted(written(tokenizer, " one"))
    measures.generate(model, tokenizer, ["a"], limits=[4])
    greedy = {"do_sample": False, "repetition_penalty": 1.0, "max_length": None}
    assert {key: model.asked[key] for key in greedy} == greedy
    measures.generate(model, tokenizer, ["a"], limits=[4], sampling=measures.Sampling(0.7, 0.9))
    assert (model.asked["do_sample"], model.asked["temperature"], model.asked["top_p"]) == (True, 0.7, 0.9)


def test_the_real_library_says_nothing_about_two_lengths(measures, toy_tuned, caplog):
    import logging

    model, tokenizer = toy_tuned
    model.generation_config.max_length = 512  # como o Unsloth deixa
    logging.getLogger("transformers").propagate = True
    measures.generate(model, tokenizer, ["The sea"], limits=[3])
    assert [record for record in caplog.records if "max_length" in record.getMessage()] == []


def test_a_row_answers_the_same_alone_and_in_a_padded_batch(measures, toy_tuned):
    model, tokenizer = toy_tuned
    texts = ["The sea", "A much longer prompt about old roads and winter light"]
    together = measures.generate(model, tokenizer, texts, limits=[8, 8])
    assert together == [measures.generate(model, tokenizer, [text], limits=[8])[0] for text in texts]


def test_the_base_answers_with_the_adapter_off(measures, toy_tuned):
    model, tokenizer = toy_tuned
    asked = [prompts.question(Example("A Sea Voyage", "x"))]
    tuned, base = (
        measures.answerer(model, tokenizer, "m@1", max_new_tokens=12, adapter=adapter)(asked)[0]
        for adapter in (True, False)
    )
    assert tuned.answer != base.answer and tuned.model_id == "m@1" and tuned.answer == tuned.answer.strip()


def test_the_loss_is_the_mean_over_the_completion_and_its_end(measures, toy_tuned):
    import torch

    model, tokenizer = toy_tuned
    rows = [{"prompt": "Title: sea\n", "completion": "Waves and more waves."}, {"prompt": "T\n", "completion": "Ice."}]
    found = measures.losses(model, tokenizer, rows, max_length=64, batch_size=2)
    for row, item in zip(rows, found, strict=True):
        ids = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        start = len(tokenizer(row["prompt"])["input_ids"])
        labels = ids.clone()
        labels[:, :start] = -100
        with torch.inference_mode():
            expected = model(input_ids=ids, labels=labels).loss.item()
        assert item.loss == pytest.approx(expected, abs=1e-4) and item.tokens == ids.shape[1] - start


ITEMS = [Example("One", "first text"), Example("Two", "second text"), Example("Three", "third")]


def measured(rows):
    """Uma medida de mentira: a perda é maior quando o título não é o do item."""
    from finetune_helpers.training.measures import ItemLoss

    own = {prompts.to_prompt_completion(item)["prompt"]: item.content for item in ITEMS}
    return [ItemLoss(4, 2.0 if own[row["prompt"]] == row["completion"] else 3.0) for row in rows]


def test_each_description_is_measured_under_its_title_and_the_next_ones(measures, tmp_path):
    path = tmp_path / "perdas_base.json"
    rows = measures.item_losses(measured, ITEMS, path, "m@1")
    assert {(row["loss"], row["other_loss"]) for row in rows} == {(2.0, 3.0)}
    assert [row["characters"] for row in rows] == [10, 11, 5]
    assert read_json(path) == {"model_id": "m@1", "rows": rows}
    assert measures.item_losses(None, ITEMS, path, "m@1") == rows, "a segunda vez não mede"
    with pytest.raises(RunMismatchError, match=r"m@1 e.*m@1\+bbb"):
        measures.item_losses(None, ITEMS, path, "m@1+bbb")


def losses(item_id: str, loss: float, other: float) -> dict:
    return {"item_id": item_id, "tokens": 3, "characters": 9, "loss": loss, "other_loss": other}


def test_losses_are_joined_by_item_and_separate_content_from_style(measures):
    base = [losses("a", 4.0, 4.2), losses("b", 5.0, 5.0)]
    tuned = [losses("b", 4.5, 4.6), losses("a", 3.0, 3.6), losses("c", 1.0, 1.0)]
    joined = measures.join(base, tuned)
    pairs = {"base_loss": 5.0, "tuned_loss": 4.5, "base_other_loss": 5.0, "tuned_other_loss": 4.6}
    assert joined[0] == {"item_id": "b", "tokens": 3, "characters": 9} | pairs and len(joined) == 2
    text = portuguese.learnt(joined)
    assert "caiu de 4,50 para 3,75" in text and "menor em 2 de 2 itens" in text
    assert "dos 0,75 de queda, 0,50 são estilo" in text and "0,25 são conteúdo" in text
    assert "não executado" in portuguese.learnt([])


def test_the_report_is_written_once_and_never_for_another_adapter(measures, tmp_path):
    known = {"model_id": "m@1+a", "seconds": {"load": 1.0, "train": 2.0}}
    write_json(tmp_path / "medidas.json", known)
    path = tmp_path / "treino.json"
    first = measures.finish(tmp_path, {"evaluate": 3.0}, [{"item_id": "x"}], path)
    assert first["seconds"] == {"load": 1.0, "train": 2.0, "evaluate": 3.0} and first["heldout"] == [{"item_id": "x"}]
    assert measures.finish(tmp_path, {"evaluate": 99.0}, [], path) == first == read_json(path)
    write_json(tmp_path / "medidas.json", known | {"model_id": "m@1+b"})
    with pytest.raises(RunMismatchError, match=r"m@1\+a.*m@1\+b"):
        measures.finish(tmp_path, {"evaluate": 3.0}, [], path)
