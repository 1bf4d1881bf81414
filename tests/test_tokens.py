"""Contadores de tokens: contas conhecidas, conferidas com o tiktoken, e nenhuma rede."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune_helpers import tokens
from finetune_helpers.errors import InputError, MachineError

KNOWN = {
    "": (0, 0),
    "hello world": (2, 2),
    "The author of this book lives in Lisbon.": (9, 9),
    "Descrição do catálogo: edição ilustrada.": (13, 8),
    "😀": (2, 1),
    "<|endoftext|><|begin_of_text|>": (13, 13),
}
TEXTS = st.lists(st.text(max_size=40), max_size=7)


@pytest.mark.parametrize(("at", "model"), [(0, "llama"), (1, "gpt")])
def test_known_counts(at, model):
    assert dict(zip(KNOWN, tokens.counter(model)(list(KNOWN)), strict=True)) == {
        text: counts[at] for text, counts in KNOWN.items()
    }


@pytest.mark.parametrize("model", ["llama", "gpt"])
@settings(max_examples=100, deadline=None)
@given(texts=TEXTS)
@example(texts=["um", "dois textos", "três", "", "quatro " * 50])
@example(texts=["<|endoftext|>", "<|eot_id|>", "\n\n\n  \t", "1234567890"])
@example(texts=["antes <|endofprompt|> depois", "<|begin_of_text|>", "<|begin_of_text", "|>"])
@example(texts=["dois textos", ""] * tokens.BATCH)
def test_counts_are_those_of_the_whole_encoding_in_order(model, texts):
    counter = tokens.counter(model)
    assert counter(texts) == [len(counter.encoding.encode_ordinary(text)) for text in texts]


@pytest.mark.parametrize("model", ["llama", "gpt"])
def test_half_of_a_character_is_counted_as_its_replacement(model):
    broken, whole = ["a\ud800b", "\udfff", "x" * 50, "\ud83d\ude00"], ["a\ufffdb", "\ufffd", "x" * 50, "😀"]
    assert tokens.counter(model)(broken) == tokens.counter(model)(whole)


def test_the_names_go_to_the_report_and_another_model_is_refused():
    assert tokens.counter("llama").name.startswith("LLaMA 3 (llama-models ")
    assert tokens.counter("gpt").name == f"o200k_base (tiktoken {tiktoken.__version__})"
    with pytest.raises(InputError, match=r'Modelo "bert" desconhecido\. Use "llama" ou "gpt"'):
        tokens.counter("bert")


@pytest.mark.parametrize(("model", "package"), [("llama", "llama_models"), ("gpt", "tiktoken"), ("gpt", "bpe_openai")])
def test_a_missing_package_is_named(monkeypatch, tmp_path, model, package):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    # Primeiro posta, depois tirada: assim o pytest a devolve como estava, mesmo se o contador a mudar.
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match=f"Falta o pacote {package}.*`make instalar`"):
        tokens.counter.__wrapped__(model)


OFFLINE = """
import socket

def refuse(*_, **__):
    raise AssertionError("a contagem abriu a rede")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from finetune_helpers import tokens
print(tokens.counter("llama")(["hello world"]), tokens.counter("gpt")(["hello world"]))
"""


@pytest.mark.parametrize("chosen_folder", [False, True], ids=["pasta do projeto", "pasta que a pessoa escolheu"])
def test_counting_uses_no_network(tmp_path, chosen_folder):
    environment = {key: value for key, value in os.environ.items() if key != "TIKTOKEN_CACHE_DIR"}
    environment |= {"FINETUNE_CACHE": str(tmp_path / "cache")}
    environment |= {"TIKTOKEN_CACHE_DIR": str(tmp_path / "tiktoken")} if chosen_folder else {}
    ran = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, timeout=300)
    assert (ran.stdout.strip(), ran.returncode) == ("[2] [2]", 0), ran.stderr[-600:]
    assert not [path for path in Path(tmp_path).rglob("*.parcial")]


# O começo de texto ---------------------------------------------------------------------------------------------------

BEGIN, END = "<|begin_of_text|>", "<|eot_id|>"
TURN = "<|start_header_id|>{{ message.role }}<|end_header_id|> {{ message.content }}<|eot_id|>"
LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}" + TURN + "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|> {% endif %}"
)


@pytest.fixture(scope="module")
def like_llama3():
    """Um tokenizador que põe o começo de texto sozinho, com um formato de conversa que também o escreve."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = [BEGIN, END, "<|start_header_id|>", "<|end_header_id|>"]
    words = {word: at for at, word in enumerate([*special, "?", "user", "assistant", "hello", "there"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 0)])
    named = {"bos_token": BEGIN, "eos_token": END, "additional_special_tokens": special[2:]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=LLAMA3_TEMPLATE, **named)


def test_the_begin_of_text_is_written_once_in_counting_answering_and_measuring(like_llama3):
    from finetune_helpers.training import measures
    from local_finetune_api import base_models

    said = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "there"}]
    [row] = base_models.turns(like_llama3, said)
    assert like_llama3("hello")["input_ids"].count(0) == 1 and row["prompt"].startswith(BEGIN)
    asked = measures.encode(like_llama3, row["prompt"])
    whole = measures.encode(like_llama3, row["prompt"] + row["completion"] + END)
    assert asked[0] == 0 and asked.count(0) == whole.count(0) == 1 and whole[: len(asked)] == asked
    assert len(whole) == base_models.tokens_of(like_llama3, row)
    # Um texto sem formato de conversa, como o da trilha LLaMA, recebe o seu.
    assert measures.encode(like_llama3, "hello there") == [0, 7, 8]


def test_the_begin_of_text_is_learned_once(like_llama3, monkeypatch, tmp_path):
    from finetune_helpers import training
    from local_finetune_api import base_models, reporting, worker

    learned = []

    def trainer(model, tokenizer, profile, rows, folder, callbacks):
        learned.extend(like_llama3(row["prompt"] + row["completion"])["input_ids"] for row in rows[0])
        raise StopIteration

    monkeypatch.setattr(training, "load", lambda profile: (None, like_llama3), raising=False)
    monkeypatch.setattr(training, "add_adapter", lambda model, profile: model, raising=False)
    monkeypatch.setattr(training, "trainer", trainer, raising=False)
    monkeypatch.setattr(reporting, "Reporting", lambda *parts: None)
    said = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "there"}]
    asked = {"examples": [{"messages": said}], "validation": [], "folder": tmp_path, "seconds": {}}
    asked |= {"fits": lambda *row: True, "warn": lambda *rows: None}
    profile, base = SimpleNamespace(save_minutes=1.0), base_models.BaseModel("minúsculo", "x")
    with pytest.raises(StopIteration):
        worker.train(SimpleNamespace(**asked, profile=profile, base=base))
    assert [row.count(0) for row in learned] == [1] and learned[0][0] == 0
