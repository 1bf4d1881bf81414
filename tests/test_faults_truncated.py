"""Uma última linha cortada ao meio em cada JSONL que o projeto lê: continua-se de onde dá, ou uma mensagem só."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finetune_helpers import answers, comparison, curation, gpt, prompts, records
from finetune_helpers.comparison import judge, similarity, study
from finetune_helpers.errors import InputError
from local_finetune_api import store

ROOT = Path(__file__).parents[1]


@pytest.fixture
def work(tmp_path):
    """Uma cópia da rodada publicada, com os seus dados."""
    for name in ("dados", "resultados"):
        shutil.copytree(ROOT / name / "publicada", tmp_path / name / "publicada")
    return tmp_path


def cut(path: Path) -> int:
    """Corta ao meio a última linha e devolve o número dela."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    return len(lines)


def _run(work: Path) -> Path:
    return work / "resultados" / "publicada"


def _estimate(path: Path) -> gpt.Estimate:
    return gpt.estimate(path, "gpt-4o-mini-2024-07-18", 1)


REFUSED = {
    "dados/publicada/llama/treino.jsonl": lambda work: prompts.read_train(work / "dados" / "publicada"),
    "dados/publicada/llama/teste.jsonl": lambda work: curation.check_leaks(work / "dados" / "publicada"),
    "dados/publicada/gpt/treino.jsonl": lambda work: _estimate(work / "dados/publicada/gpt/treino.jsonl"),
    "dados/publicada/gpt/teste.jsonl": lambda work: curation.check_leaks(work / "dados" / "publicada"),
    "dados/publicada/comparacao/teste.jsonl": lambda work: comparison.write_workbook(_run(work)),
    "resultados/publicada/gpt/validacao.jsonl": lambda work: _estimate(_run(work) / "gpt" / "validacao.jsonl"),
}
CONTINUED = {"resultados/publicada/llama3/respostas.jsonl", "resultados/publicada/gpt/respostas.jsonl"}


def test_every_jsonl_of_a_run_is_here(work):
    found = {str(path.relative_to(work)) for path in work.rglob("*.jsonl")}
    assert found == set(REFUSED) | CONTINUED | {"resultados/publicada/semelhanca.jsonl"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_on_is_one_message_with_file_and_line(work, name):
    before = (_run(work) / "comparacao.xlsx").read_bytes()
    number = cut(work / name)
    with pytest.raises(InputError) as caught:
        REFUSED[name](work)
    said = str(caught.value)
    assert Path(name).name in said and f"linha {number}" in said.lower(), said
    assert (_run(work) / "comparacao.xlsx").read_bytes() == before


@pytest.mark.parametrize("name", sorted(CONTINUED))
def test_answers_go_on_without_the_cut_one_and_only_it_is_asked_again(work, name):
    path, asked = work / name, []
    rows = answers.read(path)
    cut(path)
    broken, last = path.read_bytes(), rows[-1]
    assert answers.read(path) == rows[:-1]
    comparison.write_workbook(_run(work))
    found = study.read_study(_run(work))
    assert last.item_id not in (found.answers if last.suite == "teste" else found.flexibility)[last.system]
    assert path.read_bytes() == broken  # quem só lê não mexe: outro caderno pode estar escrevendo
    mine = [row for row in rows if row.system == last.system]
    questions = [prompts.Question(row.item_id, "i", suite=row.suite) for row in mine]

    def reply(batch):
        asked.extend((one.suite, one.item_id) for one in batch)
        return [last for _ in batch]

    again = answers.answer_all(questions, last.system, reply, path)
    assert asked == [(last.suite, last.item_id)]
    assert again == mine and answers.read(path) == rows


def test_the_raw_source_says_the_line(tmp_path):
    source = tmp_path / "catalogo.jsonl"
    source.write_bytes((ROOT / "dados" / "amostra" / "catalogo.jsonl").read_bytes())
    number = cut(source)
    with pytest.raises(InputError, match=f"catalogo.jsonl, linha {number}"):
        curation.curate(source, n_train=5, n_test=2)
    with pytest.warns(UserWarning, match=f"linha {number}"):
        kept = curation.curate(source, n_train=5, n_test=2, damage_limit=1)
    assert len(kept.train) == 5


def test_measured_similarities_are_kept_and_only_the_cut_one_is_measured_again(work, monkeypatch):
    path = _run(work) / "semelhanca.jsonl"
    whole, measured = records.read_jsonl(path), []
    cut(path)

    def encode(texts, encoder):
        measured.extend(texts)
        return {text: np.ones(1) for text in texts}

    monkeypatch.setattr(similarity, "encode", encode)
    monkeypatch.setattr(similarity, "encoder", lambda: None)
    similarity.measure_similarity(_run(work))
    again = records.read_jsonl(path)
    assert 0 < len(measured) < 50
    assert [row for row in again if row["texts"] != whole[-1]["texts"]] == whole[:-1]
    assert again[-1]["texts"] == whole[-1]["texts"] and again[-1]["cosine"] == 1.0


def test_a_judgement_that_was_cut_does_not_count(work):
    found = study.read_study(_run(work))
    path = _run(work) / judge.FILE
    records.write_jsonl(path, [{"key": f"k{n}"} for n in range(3)])
    cut(path)
    assert judge.read(found) == [{"key": "k0"}, {"key": "k1"}]


def test_a_line_that_is_no_vote_stops_the_workbook_with_its_number(work):
    records.write_jsonl(_run(work) / "votos.jsonl", [{"choice": "A"}])
    with pytest.raises(InputError, match=r"votos\.jsonl, linha 1: falta o texto de vote_id"):
        comparison.write_workbook(_run(work))


def test_events_of_the_local_api_go_on_without_the_cut_one(tmp_path):
    job = store.new_id("ftjob")
    for n in range(3):
        store.event(tmp_path, job, f"Evento {n}.")
    path = store.job_folder(tmp_path, job) / "events.jsonl"
    cut(path)
    assert [row["message"] for row in store.events(tmp_path, job)] == ["Evento 1.", "Evento 0."]
    records.drop_truncated_tail(path)
    store.event(tmp_path, job, "Evento novo.")
    assert [row["message"] for row in store.events(tmp_path, job)] == ["Evento novo.", "Evento 1.", "Evento 0."]


def test_a_training_file_cut_before_upload_is_refused_with_the_line(work):
    path = work / "dados" / "publicada" / "gpt" / "treino.jsonl"
    number = cut(path)
    assert [problem.line for problem in gpt.validate(path) if problem.fatal] == [number]


def test_a_run_file_cut_is_one_message(work):
    path = _run(work) / "llama3" / "treino.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"treino\.json não é um JSON válido"):
        comparison.write_workbook(_run(work))
    assert json.loads((_run(work) / "rodada.json").read_text())
