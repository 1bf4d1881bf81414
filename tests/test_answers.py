"""Respostas retomáveis: quedas de todo tipo, nenhuma resposta perdida nem repetida, ordem e lotes."""

import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import answers, prompts
from finetune_helpers.answers import Answer
from finetune_helpers.errors import InputError, RunMismatchError
from finetune_helpers.prompts import Question
from finetune_helpers.records import write_json


def asked(n: int, suite: str = "teste") -> list[Question]:
    """``n`` perguntas, todas de tamanho diferente, fora da ordem de tamanho."""
    return [Question(f"id{at:03d}", prompts.INSTRUCTION, "x" * (at * 7 % n), suite) for at in range(n)]


def reply(batch: list[Question]) -> list[Answer]:
    """Responde a um lote: cada resposta cita a sua pergunta."""
    return [Answer(f"sobre {item.item_id}", 10, 3, 0.25, "stop", "modelo-de-teste") for item in batch]


def refuse(batch: list[Question]) -> list[Answer]:
    """Um modelo que ninguém pode chamar."""
    raise AssertionError(f"perguntou de novo: {batch}")


def test_a_row_says_all_the_comparison_needs(tmp_path):
    [row] = answers.answer_all(asked(1), "llama3-base", reply, tmp_path / "r" / "respostas.jsonl")
    given = Answer("sobre id000", 10, 3, 0.25, "stop", "modelo-de-teste")
    identity = {"item_id": "id000", "system": "llama3-base", "suite": "teste"}
    assert row == replace(given, **identity, prompt_fingerprint=prompts.fingerprint())
    assert answers.read(tmp_path / "r" / "respostas.jsonl") == [row]


def test_rows_come_in_the_order_of_the_items_and_batches_hold_similar_sizes_longest_first(tmp_path):
    items, batches = [*asked(10), *asked(4, "flexibilidade")], []
    rows = answers.answer_all(
        items, "s", lambda batch: batches.append(batch) or reply(batch), tmp_path / "a", batch_size=4
    )
    assert [(row.suite, row.item_id) for row in rows] == [(item.suite, item.item_id) for item in items]
    assert all(row.answer == f"sobre {row.item_id}" for row in rows)
    sizes = [[len(item.input) for item in batch] for batch in batches]
    assert sizes == [[3, 2, 1, 0], [9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]


def test_a_finished_file_asks_nothing_and_a_repeated_question_is_answered_once(tmp_path):
    path, item = tmp_path / "a.jsonl", asked(3)[2]
    first, second = answers.answer_all([item, item], "s", reply, path)
    before = path.read_bytes()
    assert first == second and before.count(b"\n") == 1
    assert answers.answer_all([item], "s", refuse, path) == [first]
    assert path.read_bytes() == before


def test_the_bar_counts_the_questions_and_starts_at_the_known_answers(tmp_path, bars):
    for count in (2, 5, 5):
        answers.answer_all(asked(count), "base", reply, tmp_path / "a.jsonl")
    # A barra de um arquivo completo só apareceria depois de um segundo.
    assert bars == [
        ("respondendo (base)", "respostas", total, {"initial": known, "delay": delay})
        for total, known, delay in [(2, 0, 0.0), (5, 2, 0.0), (5, 5, 1.0)]
    ]


@pytest.mark.parametrize("given_back", [reply(asked(1)), reply(asked(3))], ids=["falta uma", "sobra uma"])
def test_a_wrong_number_of_answers_is_not_recorded(tmp_path, given_back):
    with pytest.raises(ValueError, match="zip"):
        answers.answer_all(asked(2), "s", lambda batch: given_back, tmp_path / "a.jsonl")
    assert answers.read(tmp_path / "a.jsonl") == []


def test_answers_to_another_prompt_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "a.jsonl"
    answers.answer_all(asked(2), "llama3-base", reply, path)
    before = path.read_bytes()
    monkeypatch.setattr(prompts, "SYSTEM", "Answer in verse.")
    with pytest.raises(RunMismatchError) as caught:
        answers.answer_all(asked(3), "llama3-base", refuse, path)
    assert str(caught.value) == (
        f"{path} tem respostas de llama3-base a outro prompt. "
        "Apague o arquivo para responder de novo ou use outra rodada (`run`)."
    )
    assert path.read_bytes() == before


def by(identity: str):
    """Um modelo que responde com essa identidade."""
    return lambda batch: [replace(row, model_id=identity) for row in reply(batch)]


@pytest.mark.parametrize("said_first", [True, False], ids=["dito antes", "visto na resposta"])
@pytest.mark.parametrize(
    ("first", "second", "was", "comes"),
    [
        ("llama3-base", "llama3-base", "a@1", "b@1"),
        ("llama3-base", "llama3-base", "a@1", "a@2"),
        ("llama3-tuned", "llama3-tuned", "a@1+f0", "a@1+f1"),
        ("llama3-base", "llama3-tuned", "a@1", "b@1+f0"),
    ],
    ids=["outro modelo", "outra revisão", "outro adaptador", "outra base"],
)
def test_two_models_never_share_a_row(tmp_path, first, second, was, comes, said_first):
    path = tmp_path / "a.jsonl"
    answers.answer_all(asked(2), first, by(was), path)
    before = path.read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        answers.answer_all(asked(3), second, refuse if said_first else by(comes), path, model_id=comes * said_first)
    assert str(caught.value) == (
        f"{path} tem respostas de {first} escritas por {was}, e agora quem responde é {comes}. Volte à máquina e aos "
        "parâmetros de antes, ou use outra rodada (`run`); para responder tudo de novo com este modelo, apague o "
        "arquivo."
    )
    assert path.read_bytes() == before


def test_base_and_tuned_of_the_same_weights_live_together_each_suite_with_its_answers(tmp_path):
    path, items = tmp_path / "a.jsonl", [*asked(2), *asked(2, "flexibilidade")]
    for system, identity in (("llama3-base", "m@1"), ("llama3-tuned", "m@1+f0"), ("llama3-base", "m@1")):
        answers.answer_all(items, system, by(identity), path, model_id=identity)
    seen = Counter((row.system, row.suite, row.model_id) for row in answers.read(path))
    pairs = (("llama3-base", "m@1"), ("llama3-tuned", "m@1+f0"))
    assert seen == {(system, suite, name): 2 for system, name in pairs for suite in ("teste", "flexibilidade")}


def test_an_identity_is_taken_apart_as_it_was_made():
    tuned = answers.model_id("unsloth/llama-3-8b", "0123456789abcdef", "fedcba9876543210")
    assert tuned == "unsloth/llama-3-8b@0123456789ab+fedcba987654"
    assert answers.base_of(tuned) == answers.model_id("unsloth/llama-3-8b", "0123456789ab") == tuned.split("+")[0]
    assert answers.model_name(tuned) == "unsloth/llama-3-8b"
    assert answers.model_name("dono@casa/modelo@1+f0") == "dono@casa/modelo"
    assert answers.model_id("modelo hospedado", "") == "modelo hospedado"
    assert answers.base_of("velho + LoRA") == answers.model_name("velho + LoRA") == "velho + LoRA"


def test_a_row_without_a_field_is_named_and_a_missing_file_has_no_answers(tmp_path):
    assert answers.read(tmp_path / "a.jsonl") == [] == list(tmp_path.iterdir())
    (tmp_path / "a.jsonl").write_text('{"answer": "oi"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, linha 1: falta 'tokens_in'\. Apague"):
        answers.read(tmp_path / "a.jsonl")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=4))
def test_whatever_the_falls_each_question_has_one_answer(n, batch_size, falls):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        for batches_before_the_fall, bytes_lost in falls:
            before = len(answers.read(path))
            turns = iter([reply] * batches_before_the_fall)
            try:
                answers.answer_all(asked(n), "s", lambda batch, it=turns: next(it)(batch), path, batch_size=batch_size)
            except StopIteration:
                # Um lote de que uma queda levou uma parte só responde ao que falta dele.
                added = len(answers.read(path)) - before
                assert batches_before_the_fall <= added <= batches_before_the_fall * batch_size
            if path.exists():
                data = path.read_bytes()
                path.write_bytes(data[: max(0, len(data) - bytes_lost)])
        rows = answers.answer_all(asked(n), "s", reply, path, batch_size=batch_size)
        assert [row.item_id for row in rows] == [item.item_id for item in asked(n)]
        assert sorted(row.item_id for row in answers.read(path)) == [row.item_id for row in rows]


# Um processo de verdade, que morre por SIGKILL (ou pelo limite de tamanho de arquivo, no meio de uma linha).
CHILD = """
import os, resource, signal, sys
from finetune_helpers import answers
from finetune_helpers.prompts import Question
from finetune_helpers.records import write_json

path, asked_path, moment = sys.argv[1:]
batches, flushes, real_fsync = iter(range(10_000)), iter(range(10_000)), os.fsync


def die(when):
    if moment == when:
        os.kill(os.getpid(), signal.SIGKILL)


def answer(batch):
    with open(asked_path, "a") as file:
        file.writelines(f"{item.item_id}\\n" for item in batch)
    if next(batches) == 2:
        die("respondendo")
    return [answers.Answer(f"sobre {item.item_id} é", 10, 3, 0.25, "stop", "modelo") for item in batch]


def fsync(descriptor):
    if next(flushes) == 2:
        die("antes do disco")
    real_fsync(descriptor)


os.fsync = fsync
if moment.startswith("no byte"):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(moment.split()[-1]),) * 2)
items = [Question(f"id{at:03d}", "Describe.", "x" * (at % 5)) for at in range(12)]
answers.answer_all(items, "s", answer, path, batch_size=2)
"""


def executed(folder: Path, moment: str) -> subprocess.CompletedProcess:
    """O processo que responde a doze perguntas, já terminado."""
    command = [sys.executable, "-c", CHILD, folder / "a.jsonl", folder / "perguntado.txt", moment]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_both_arms_answer_up_to_the_same_length_unless_another_is_asked(tmp_path):
    assert answers.token_limit(tmp_path) == 256
    write_json(tmp_path / "llama3" / "treino.json", {"profile": {"max_new_tokens": 48}})
    assert (answers.token_limit(tmp_path), answers.token_limit(tmp_path, 160)) == (48, 160)


@pytest.mark.parametrize("moment", ["respondendo", "antes do disco", "no byte 250", "no byte 1000", "no byte 1235"])
def test_a_killed_process_loses_and_repeats_nothing(tmp_path, moment):
    path, log = tmp_path / "a.jsonl", tmp_path / "perguntado.txt"
    killed = executed(tmp_path, moment)
    assert killed.returncode == -(signal.SIGXFSZ if moment.startswith("no byte") else signal.SIGKILL), killed.stderr
    data, before = path.read_bytes() if path.exists() else b"", log.read_text()
    whole = data[: data.rfind(b"\n") + 1]
    ready = {json.loads(line)["item_id"] for line in whole.splitlines()}
    finished = executed(tmp_path, "nunca")
    assert finished.returncode == 0, finished.stderr
    assert path.read_bytes().startswith(whole)
    every = [f"id{at:03d}" for at in range(12)]
    assert sorted(row.item_id for row in answers.read(path)) == every
    assert sorted(log.read_text().removeprefix(before).splitlines()) == sorted(set(every) - ready)
