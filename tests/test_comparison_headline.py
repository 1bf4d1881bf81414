"""Uma rodada pontuada: contrastes, o que o título explica, esquecimento, conclusões e a tabela dos critérios."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from comparison_run import make_run

from finetune_helpers import comparison, records
from finetune_helpers.comparison import criteria, flexibility, judgements, results
from finetune_helpers.portuguese import NOT_RUN


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return results.score(make_run(tmp_path_factory.mktemp("rodada")))


@pytest.fixture
def run(scored, tmp_path):
    shutil.copytree(scored.study.run.parents[1], tmp_path, dirs_exist_ok=True)
    return tmp_path / "resultados" / "r1"


def headline(run, **options):
    return {row["Sistema"]: row for row in criteria.headline(run, **options)}


def test_every_system_has_the_criteria(scored):
    rows = headline(scored)
    assert len(rows) == 9 and all(list(row) == list(criteria.COLUMNS) for row in rows.values())
    tuned, base = rows["Trilha LLaMA, ajustado"], rows["Trilha GPT, base"]
    assert tuned["Modelo"] == "Qwen-Pequeno-0.5B" and "min" in tuned["Eficiência no treinamento"]
    assert tuned["Precisão"].startswith("ainda sem revisão; chrF++ além do acaso")
    assert "defeito" not in tuned["Precisão"] and "cortadas" in tuned["Forma"]
    assert "treino: " in tuned["Custo operacional"] and "treino: " not in base["Custo operacional"]
    assert f"de {2 * len(flexibility.FAMILIES)} prompts" in base["Flexibilidade"]
    assert rows["Título repetido"]["Modelo"] == rows["Título repetido"]["Flexibilidade"] == "—"


@pytest.mark.parametrize(
    ("label", "precision"),
    [
        ("Trilha LLaMA, ajustado", "preferida em 75 % [60; 86] de 40 pares contra Trilha GPT"),
        ("Trilha GPT, ajustado", "preferida em 25 % [14; 40] de 40 pares contra Trilha LLaMA"),
        ("Trilha GPT, base", "ainda sem revisão"),
    ],
)
def test_human_preference_opens_precision_on_both_sides(scored, label, precision):
    cast = [(f"item {at}", "primeiro" if at < 30 else "segundo") for at in range(40)]
    review = SimpleNamespace(preference=[judgements.contest(("llama3-tuned", "gpt-tuned"), cast)])
    assert headline(scored, review=review)[label]["Precisão"].startswith(precision)


def test_what_did_not_run_says_so_and_has_no_digit(tmp_path):
    row = headline(make_run(tmp_path, n=4, arms=("llama3",), suite=False))["Trilha GPT, ajustado"]
    assert {row[column] for column in criteria.COLUMNS[1:]} == {NOT_RUN}


def test_a_run_without_training_report_still_compares(run):
    (run / "llama3" / "treino.json").unlink()
    untrained = results.score(run)
    assert headline(untrained)["Trilha LLaMA, ajustado"]["Eficiência no treinamento"] == NOT_RUN
    assert untrained.learning("llama3").n == 0


def test_losses_of_different_models_are_never_contrasted(scored):
    assert scored.contrast("llama3-tuned", "gpt-tuned", "loss") is None
    assert scored.contrast("llama3-tuned", "gpt-tuned", "bits") is not None
    assert scored.contrast("llama3-tuned", "llama3-base", "loss").estimate.high < 0


def test_contrasts_carry_holm_the_better_side_and_what_the_sample_can_show(scored):
    loss = scored.contrast("llama3-tuned", "llama3-base", "loss")
    assert loss.better == "llama3-tuned" and loss.estimate.p <= loss.holm <= 0.05
    assert abs(loss.estimate.mean) > loss.detectable > 0 and loss.estimate.clusters == 21
    assert {one.metric.key for one in scored.contrasts}.isdisjoint(("chrf", "chrf_swapped", "cut"))


def test_what_the_title_explains_is_the_drop_that_another_title_does_not_give(run):
    report = records.read_json(run / "llama3" / "treino.json")
    for place, row in enumerate(report["heldout"]):
        row |= {"base_loss": 4.0, "tuned_loss": 3.5, "base_other_loss": 4.1, "tuned_other_loss": 3.7 + place / 1000}
    records.write_json(run / "llama3" / "treino.json", report)
    changed = results.score(run)
    learnt = changed.title_learning("llama3")
    assert learnt.own.mean == pytest.approx(0.5)
    assert learnt.style.mean == pytest.approx(learnt.own.mean - learnt.content.mean)
    assert learnt.content.low == pytest.approx(0.1, abs=0.02) and learnt.content.n == 24
    assert changed.title_learning("gpt") is None
    assert "0,11 dela vem do título" in changed.conclusions()[0]


def test_conclusions_are_computed_from_the_run(scored):
    learnt, compared = scored.conclusions()
    assert learnt.startswith("Trilha LLaMA: a perda de teste caiu em 24 de 24 itens (em média, 0,")
    assert compared == "Nenhuma diferença entre os dois ajustados é demonstrável com 24 itens."


def test_a_demonstrable_difference_is_named_with_its_side(run):
    items = results.read_study(run).items
    for arm, text in (("gpt", lambda key: ""), ("llama3", lambda key: items[key]["content"])):
        path = run / arm / "respostas.jsonl"
        rows = records.read_jsonl(path)
        changed = [row | {"answer": text(row["item_id"])} if row["suite"] == "teste" else row for row in rows]
        records.write_jsonl(path, changed)
    told = results.score(run).conclusions()[-1]
    assert told.startswith("Entre os dois ajustados, 24 itens demonstram diferença em: chrF++ além do acaso, maior em")
    assert told.endswith("ROUGE-L além do acaso, maior em Trilha LLaMA, ajustado.")


def test_shares_and_forgetting_respect_the_groups(scored):
    defects = scored.mean("llama3-tuned", "defective")
    assert defects.n == 24 and defects.low < defects.mean < defects.high
    assert defects.mean == sum(bool(row.defects) for row in scored.rows["llama3-tuned"].values()) / 24
    assert scored.flexibility_total("gpt-base").n == sum(one.n for one in scored.flexibility("gpt-base").values())
    assert scored.flexibility_total("gpt-fewshot").n == 0 and scored.flexibility("gpt-fewshot") == {}
    for change in scored.forgetting():
        assert change.tuned_passed - change.base_passed == change.gained - change.lost
        assert change.estimate.mean == pytest.approx((change.gained - change.lost) / change.estimate.n)
        assert change.estimate.n == 2 * len(flexibility.FORGETTING_FAMILIES)


def test_importing_the_wing_loads_nothing_heavy():
    heavy = "{'openpyxl', 'scipy', 'matplotlib', 'torch', 'pandas', 'sacrebleu', 'openai', 'numpy', 'statsmodels'}"
    modules = ", ".join(
        f"finetune_helpers.comparison.{name}" for name in ("results", "criteria", "judge", "similarity")
    )
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]" and set(comparison.__all__) <= set(dir(comparison))
