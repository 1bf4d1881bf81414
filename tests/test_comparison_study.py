"""O que a comparação lê de uma rodada, avisa e recusa."""

import pytest
from comparison_run import MODELS, make_run

from finetune_helpers import answers, records
from finetune_helpers.comparison import results, study
from finetune_helpers.errors import InputError, RunMismatchError


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def rewrite(run, arm: str, change) -> None:
    """Troca cada linha de respostas de uma trilha por ``change(linha)``."""
    path = run / arm / "respostas.jsonl"
    records.write_jsonl(path, [change(row) for row in records.read_jsonl(path)])


def test_training_rows_of_both_arms_are_one_example_each_and_give_the_references(run):
    found = study.read_study(run)
    known = {pair.content for pair in found.train}
    assert len(found.train) == len(known) == 40
    for reference in ("ref-copia", "ref-aleatoria"):
        assert {row.answer for row in found.answers[reference].values()} <= known


def test_role_and_model_are_two_things(tmp_path):
    systems = {system.name: system for system in study.read_study(make_run(tmp_path, arms=("llama3",))).systems}
    tuned = systems["llama3-tuned"]
    assert (tuned.label, tuned.role, tuned.model) == ("Trilha LLaMA, ajustado", "ajustado", "Qwen-Pequeno-0.5B")
    assert systems["gpt-tuned"].model == "não executado"
    assert systems["ref-titulo"].role == "referência" and systems["ref-titulo"].model == ""


def test_without_a_report_the_model_is_named_by_its_answers(run):
    (run / "gpt" / "treino.json").unlink()
    assert study.read_study(run).system("gpt-base").model == answers.model_name(MODELS["gpt"])


def test_contrasts_begin_with_the_two_tuned(run):
    own = [("llama3-tuned", "llama3-base"), ("gpt-tuned", "gpt-base")]
    assert study.read_study(run).pairs() == [("llama3-tuned", "gpt-tuned"), *own]


def test_missing_answers_are_named_by_id(run):
    first = next(iter(study.read_study(run).items))
    path = run / "llama3" / "respostas.jsonl"
    kept = [row for row in records.read_jsonl(path) if (row["system"], row["item_id"]) != ("llama3-tuned", first)]
    records.write_jsonl(path, kept)
    assert f"faltam respostas a 1 item: {first}" in study.read_study(run).notices()[0]


def test_another_folder_joins_by_being_dropped_in(run):
    rows = records.read_jsonl(run / "gpt" / "respostas.jsonl")
    other = [row | {"system": "mistral-tuned"} for row in rows if row["system"] == "gpt-tuned"]
    records.write_jsonl(run / "antiga" / "respostas.jsonl", [*other, *rows])
    found = study.read_study(run)
    assert {"mistral-tuned", "antiga/gpt-tuned", "gpt-tuned"} <= set(found.answers)
    assert found.system("gpt-tuned").arm == "gpt" and found.system("antiga/gpt-tuned").arm == "antiga"


@pytest.mark.parametrize(("share", "alarm"), [(0.95, False), (0.975, True)])
def test_equal_tuned_and_base_raise_an_alarm_past_95_percent(tmp_path, share, alarm):
    run = make_run(tmp_path, 40, arms=("llama3",), suite=False, few_shot=False)
    base = [row for row in records.read_jsonl(run / "llama3" / "respostas.jsonl") if row["system"] == "llama3-base"]
    text = {row["item_id"]: row["answer"] for row in base[: round(share * len(base))]}
    rewrite(run, "llama3", lambda row: row | {"answer": text.get(row["item_id"], row["answer"] + row["system"])})
    assert any("adaptador" in notice for notice in study.read_study(run).notices()) is alarm


def test_a_system_that_mixes_two_models_is_refused(run):
    first = records.read_jsonl(run / "gpt" / "respostas.jsonl")[0]
    rewrite(run, "gpt", lambda row: row | ({"model_id": "outro@0123"} if row == first else {}))
    with pytest.raises(RunMismatchError, match=r"gpt-base vêm de dois modelos.*apague"):
        study.read_study(run)


def test_base_and_tuned_of_different_bases_are_refused(run):
    tuned = {"model_id": answers.model_id("outro-modelo", "fedcba9876543210", "cd" * 6)}
    rewrite(run, "llama3", lambda row: row | (tuned if row["system"] == "llama3-tuned" else {}))
    with pytest.raises(RunMismatchError, match=r"llama3-tuned.*outro-modelo@fedcba987654"):
        study.read_study(run)


def test_an_old_run_is_read_with_a_notice(run):
    assert study.read_study(run).notices() == []
    rewrite(run, "llama3", lambda row: row | {"model_id": "embutido"})
    found = study.read_study(run)
    assert "revisão" in found.notices()[0] and found.system("llama3-base").model_id == "embutido"


def test_two_prompts_and_leaks_are_noticed(run, tmp_path):
    rewrite(run, "gpt", lambda row: row | {"prompt_fingerprint": "outro"})
    records.write_json(tmp_path / "dados" / "r1" / "llama" / "curadoria.json", {"leaks": ["a", "b"]})
    leaks, fingerprints = study.read_study(run).notices()
    assert "2 títulos" in leaks and "2 prompts" in fingerprints


def test_prompts_of_another_suite_are_left_out_with_a_notice(tmp_path):
    run = make_run(tmp_path, n=6)
    rewrite(run, "gpt", lambda row: row | ({"item_id": "antigo-01"} if row["suite"] == "flexibilidade" else {}))
    assert "outra versão da suíte" in study.read_study(run).notices()[0]
    assert results.score(run).flexibility_total("gpt-base").n == 0


def test_a_run_without_test_items_says_what_to_do(tmp_path):
    (tmp_path / "resultados" / "r1").mkdir(parents=True)
    with pytest.raises(InputError, match=r"teste\.jsonl"):
        study.read_study(tmp_path / "resultados" / "r1")
