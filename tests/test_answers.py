"""Respostas retomáveis: quedas de todo tipo, nenhuma resposta perdida nem repetida, ordem e lotes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import answers, prompts
from finetune_helpers.answers import Answer
from finetune_helpers.errors import InputError, RunMismatchError
from finetune_helpers.prompts import Question


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
    assert asdict(row) == {
        "item_id": "id000",
        "system": "llama3-base",
        "suite": "teste",
        "prompt_fingerprint": prompts.fingerprint(),
        "answer": "sobre id000",
        "tokens_in": 10,
        "tokens_out": 3,
        "seconds": 0.25,
        "finish_reason": "stop",
        "model_id": "modelo-de-teste",
    }
    assert answers.read(tmp_path / "r" / "respostas.jsonl") == [row]


def test_rows_come_in_the_order_of_the_items(tmp_path):
    items = [*asked(9), *asked(4, "flexibilidade")]
    rows = answers.answer_all(items, "s", reply, tmp_path / "a.jsonl", batch_size=4)
    assert [(row.suite, row.item_id) for row in rows] == [(item.suite, item.item_id) for item in items]
    assert all(row.answer == f"sobre {row.item_id}" for row in rows)


def test_batches_hold_similar_sizes_longest_first(tmp_path):
    batches = []
    answers.answer_all(
        asked(10), "s", lambda batch: batches.append(batch) or reply(batch), tmp_path / "a.jsonl", batch_size=4
    )
    assert [[len(item.input) for item in batch] for batch in batches] == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]


def test_a_finished_file_asks_nothing_and_does_not_change(tmp_path):
    path = tmp_path / "a.jsonl"
    first = answers.answer_all(asked(5), "s", reply, path)
    before = path.read_bytes()
    assert answers.answer_all(asked(5), "s", refuse, path) == first
    assert path.read_bytes() == before


def test_a_question_that_comes_twice_is_answered_once(tmp_path):
    item = asked(3)[2]
    first, second = answers.answer_all([item, item], "s", reply, tmp_path / "a.jsonl")
    assert first == second
    assert len(answers.read(tmp_path / "a.jsonl")) == 1


def test_each_system_and_suite_has_its_own_answers(tmp_path):
    path = tmp_path / "a.jsonl"
    for system in ("llama3-base", "llama3-tuned"):
        answers.answer_all([*asked(2), *asked(2, "flexibilidade")], system, reply, path)
    assert Counter((row.system, row.suite) for row in answers.read(path)) == {
        (system, suite): 2 for system in ("llama3-base", "llama3-tuned") for suite in ("teste", "flexibilidade")
    }


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_an_exception_keeps_what_was_answered(tmp_path, failure):
    path, seen = tmp_path / "a.jsonl", []

    def fail_on_the_third(batch):
        seen.extend(batch)
        if len(seen) > 4:
            raise failure
        return reply(batch)

    with pytest.raises(failure):
        answers.answer_all(asked(9), "s", fail_on_the_third, path, batch_size=2)
    assert [row.item_id for row in answers.read(path)] == [item.item_id for item in seen[:4]]
    rest = []
    answers.answer_all(asked(9), "s", lambda batch: rest.extend(batch) or reply(batch), path, batch_size=2)
    assert sorted(item.item_id for item in seen[:4] + rest) == [item.item_id for item in asked(9)]


@pytest.mark.parametrize("given_back", [reply(asked(1)), reply(asked(3))], ids=["falta uma", "sobra uma"])
def test_a_wrong_number_of_answers_is_not_recorded(tmp_path, given_back):
    with pytest.raises(ValueError, match="zip"):
        answers.answer_all(asked(2), "s", lambda batch: given_back, tmp_path / "a.jsonl")
    assert answers.read(tmp_path / "a.jsonl") == []


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_truncated_last_line_is_answered_again(tmp_path, cut):
    path = tmp_path / "a.jsonl"
    whole = answers.answer_all(asked(4), "s", reply, path, batch_size=1)
    lost = json.loads(path.read_bytes().splitlines()[-1])["item_id"]
    path.write_bytes(path.read_bytes()[:-cut])
    again = []
    rows = answers.answer_all(asked(4), "s", lambda batch: again.extend(batch) or reply(batch), path)
    assert ([item.item_id for item in again], rows) == ([lost], whole)
    assert len(answers.read(path)) == 4


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


MIXTURES = [
    ("llama3-base", "llama3-base", "a@1", "b@1", "outro modelo"),
    ("llama3-base", "llama3-base", "a@1", "a@2", "outra revisão"),
    ("llama3-tuned", "llama3-tuned", "a@1+f0", "a@1+f1", "outro adaptador"),
    ("llama3-base", "llama3-tuned", "a@1", "b@1+f0", "outra base"),
]


@pytest.mark.parametrize("said_first", [True, False], ids=["dito antes", "visto na resposta"])
@pytest.mark.parametrize(
    ("first", "second", "was", "comes"), [row[:4] for row in MIXTURES], ids=[m[4] for m in MIXTURES]
)
def test_two_models_never_share_a_row(tmp_path, first, second, was, comes, said_first):
    path = tmp_path / "a.jsonl"
    answers.answer_all(asked(2), first, by(was), path)
    before = path.read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        answers.answer_all(asked(3), second, refuse if said_first else by(comes), path, model_id=comes * said_first)
    assert f"respostas de {first} escritas por {was}, e agora quem responde é {comes}. Volte" in str(caught.value)
    assert path.read_bytes() == before


def test_base_and_tuned_of_the_same_weights_live_together(tmp_path):
    path = tmp_path / "a.jsonl"
    for system, identity in (("llama3-base", "m@1"), ("llama3-tuned", "m@1+f0"), ("llama3-base", "m@1")):
        answers.answer_all(asked(2), system, by(identity), path, model_id=identity)
    assert [row.model_id for row in answers.read(path)] == ["m@1"] * 2 + ["m@1+f0"] * 2


def test_an_identity_is_taken_apart_as_it_was_made():
    tuned = answers.model_id("unsloth/llama-3-8b", "0123456789abcdef", "fedcba9876543210")
    assert tuned == "unsloth/llama-3-8b@0123456789ab+fedcba987654"
    assert answers.base_of(tuned) == answers.model_id("unsloth/llama-3-8b", "0123456789ab") == tuned.split("+")[0]
    assert answers.model_name(tuned) == "unsloth/llama-3-8b"
    assert answers.base_of("velho + LoRA") == answers.model_name("velho + LoRA") == "velho + LoRA"


def test_a_row_without_a_field_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"answer": "oi"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, linha 1: falta 'tokens_in'\. Apague"):
        answers.read(path)


def test_a_file_that_does_not_exist_has_no_answers(tmp_path):
    assert answers.read(tmp_path / "a.jsonl") == []
    assert list(tmp_path.iterdir()) == []


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
import os, resource, signal, sys, time
from finetune_helpers import answers, records
from finetune_helpers.answers import Answer
from finetune_helpers.prompts import Question

path, asked_path, moment, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
batches = iter(range(10_000))
real_fsync = os.fsync


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def answer(batch):
    with open(asked_path, "a") as file:
        file.writelines(f"{item.item_id}\\n" for item in batch)
    turn = next(batches)
    if moment == "respondendo" and turn == 2:
        die()
    if moment == "devagar":
        time.sleep(0.01)
    return [Answer(f"sobre {item.item_id} é", 10, 3, 0.25, "stop", "modelo") for item in batch]


def fsync(descriptor, turns=iter(range(10_000))):
    if next(turns) == 2:
        die()
    real_fsync(descriptor)


if moment == "antes do disco":
    os.fsync = fsync
if moment.startswith("no byte"):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(moment.split()[-1]),) * 2)
items = [Question(f"id{at:03d}", "Describe.", "x" * (at % 5)) for at in range(n)]
answers.answer_all(items, "s", answer, path, batch_size=2)
"""


def start(folder: Path, moment: str, n: int) -> subprocess.Popen:
    """Começa o processo que responde a ``n`` perguntas."""
    command = [sys.executable, "-c", CHILD, folder / "a.jsonl", folder / "perguntado.txt", moment, str(n)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, n: int) -> None:
    """Termina o que falta e confere que cada pergunta tem uma resposta só e que nada pronto foi perguntado de novo."""
    data = (folder / "a.jsonl").read_bytes() if (folder / "a.jsonl").exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    ready = {json.loads(line)["item_id"] for line in whole.splitlines()}
    before = (folder / "perguntado.txt").read_text().splitlines()
    child = start(folder, "nunca", n)
    assert child.wait(30) == 0, child.stderr.read()
    assert (folder / "a.jsonl").read_bytes().startswith(whole)
    rows = answers.read(folder / "a.jsonl")
    assert sorted(row.item_id for row in rows) == [f"id{at:03d}" for at in range(n)]
    asked_again = (folder / "perguntado.txt").read_text().splitlines()[len(before) :]
    assert sorted(asked_again) == sorted({row.item_id for row in rows} - ready)


@pytest.mark.parametrize("moment", ["respondendo", "antes do disco", "no byte 250", "no byte 1000", "no byte 1235"])
def test_a_killed_process_loses_and_repeats_nothing(tmp_path, moment):
    child = start(tmp_path, moment, 12)
    fatal = signal.SIGXFSZ if moment.startswith("no byte") else signal.SIGKILL
    assert child.wait(30) == -fatal, child.stderr.read()
    finish(tmp_path, 12)


def test_kill_9_at_any_moment_loses_and_repeats_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    # Sobram muitas perguntas: o processo não termina sozinho antes de receber o sinal, nem numa máquina ocupada.
    for lines in (1, 11, 24):
        child, limit = start(tmp_path, "devagar", 200), time.monotonic() + 30
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert child.poll() is None and time.monotonic() < limit, child.stderr.read()
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
    finish(tmp_path, 200)
