"""As previsões: a última vez nesta máquina, um ritmo datado ou "não medido"; o resumo não muda na segunda vez."""

from datetime import date

import pytest

from finetune_helpers import estimates, prices, runs
from finetune_helpers.records import read_json, write_json

STEP = "02_treino_llama3"


@pytest.fixture
def run(tmp_path):
    """Uma rodada aberta no passo 02."""
    yield runs.open_run(tmp_path / "resultados" / "turma", STEP, {})
    runs.close_run(tmp_path / "resultados" / "turma")


def test_every_rate_is_dated_explained_and_positive():
    for key, rate in estimates.rates().items():
        assert float(rate["per_second"]) > 0 and rate["unit"] and rate["basis"], key
        assert date(2026, 11, 1) <= date.fromisoformat(rate["checked_on"]) <= date.today(), key


def test_the_first_time_uses_the_published_rate(run):
    rate = estimates.rates()[STEP, "t4"]
    assert estimates.expected(run, STEP, "t4", 100 * float(rate["per_second"]))[0] == pytest.approx(100)
    text = estimates.before(run, STEP, "t4", 100 * float(rate["per_second"]), "nenhum")
    assert text.startswith("Tempo previsto: cerca de 1 min 40 s (") and rate["basis"] in text
    assert text.endswith("Custo previsto: nenhum")


def test_what_nobody_measured_is_said(run):
    assert estimates.before(run, STEP, "h100", 10) == "Tempo previsto: não medido (h100)\nCusto previsto: nenhum"
    state = read_json(run / "rodada.json")
    write_json(run / "rodada.json", state | {"passos": state["passos"] | {"05": {}}})
    assert estimates.expected(run, "05", "cpu", 1.0) == (None, "não medido")


def test_the_last_time_counts_more_than_the_published_rate(run):
    estimates.after(run, STEP, ("cpu", 200.0), {"load": 10.0, "train": 40.0}, {})
    seconds, basis = estimates.expected(run, STEP, "cpu", 400.0)
    assert seconds == pytest.approx(100) and basis == f"pela última vez nesta máquina, em {date.today():%d/%m/%Y}"
    assert estimates.expected(run, STEP, "t4", 124.0)[0] == pytest.approx(1)  # outra máquina, outro tempo


def test_a_sibling_run_serves_until_this_one_has_its_own(run):
    other = runs.open_run(run.parent / "outra", STEP, {})
    estimates.after(other, STEP, ("cpu", 100.0), {"train": 50.0}, {})
    runs.close_run(other)
    assert estimates.expected(run, STEP, "cpu", 100.0)[0] == pytest.approx(50)
    estimates.after(run, STEP, ("cpu", 100.0), {"train": 70.0}, {})
    assert estimates.expected(run, STEP, "cpu", 100.0)[0] == pytest.approx(70)


def test_the_summary_of_a_repeated_step_tells_the_work_not_the_repetition(run):
    first = estimates.after(run, STEP, ("cpu", 200.0), {"load": 3.0, "train": 62.0}, {"feito": "treino.json"})
    assert first.splitlines()[:3] == ["carregar     3 s", "treinar      1 min 2 s", "tempo total  1 min 5 s"]
    assert first.splitlines()[-1] == "feito        treino.json"
    assert estimates.after(run, STEP, ("cpu", 200.0), {"load": 0.1, "train": 0.0}, {"feito": "treino.json"}) == first
    assert "tempo total  7 s" in estimates.after(run, STEP, ("cpu", 20.0), {"load": 7.0}, {})


def test_cost_is_the_price_of_the_hours_in_dollars_and_units():
    hour, unit = prices.find("T4", "gpu_hour").usd, prices.find("unidade", "compute_unit").usd
    assert f"US$ {10 * hour:.2f}".replace(".", ",") in estimates.gpu_cost(36_000, "T4")
    assert f"{10 * hour / unit:.1f} unidades do Colab".replace(".", ",") in estimates.gpu_cost(36_000, "T4")
    assert estimates.gpu_cost(1800, "cpu") == "0,50 h de máquina própria; sem cobrança"
    assert estimates.gpu_cost(1800, "RTX 4090") == "sem preço"


def test_only_the_files_that_exist_are_listed(tmp_path):
    (tmp_path / "treino.json").write_bytes(b"x" * 2500)
    assert estimates.files(tmp_path, "treino.json", "respostas.jsonl") == "treino.json (2 kB)"
