"""As previsões: ritmos datados, o que não se sabe dito como tal, custo, e o resumo que não muda na segunda vez."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_helpers import comparison, curation, estimates, gpt, prices, training
from finetune_helpers.errors import InputError
from finetune_helpers.estimates import Forecast, Phase, phase
from finetune_helpers.training.profiles import BY_NAME

ROOT = Path(__file__).resolve().parents[1]
DATA, RUN = ROOT / "dados" / "publicada", ROOT / "resultados" / "publicada"


def test_every_rate_is_dated_explained_and_positive():
    for (step, machine), rate in estimates.rates().items():
        assert rate.per_second > 0 and rate.unit and rate.basis, f"{step}, {machine}"
        assert date(2026, 11, 1) <= date.fromisoformat(rate.checked_on) <= date.today()


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_a_phase_adds_its_steps(tokens, items):
    found = phase("avaliar", "cpu", {"responder": tokens, "medir a perda": items})
    known = estimates.rates()
    expected = tokens / known["responder", "cpu"].per_second + items / known["medir a perda", "cpu"].per_second
    assert found.seconds == pytest.approx(expected)


@pytest.mark.parametrize(
    ("machine", "amounts"),
    [("L4", {"treinar": 10}), ("cpu", {"curar": None}), ("cpu", {"treinar": 10, "etapa que ninguém mediu": 1})],
    ids=["máquina sem ritmo", "quantidade desconhecida", "uma das etapas"],
)
def test_what_is_unknown_is_not_estimated(machine, amounts):
    found = phase("fase", machine, amounts)
    assert found.seconds is None
    assert "não medido" in str(Forecast(machine, (found,), "custo"))


def test_a_step_with_nothing_to_do_needs_no_rate():
    assert phase("carregar", "openai", {"carregar": 0}).seconds == 0


def test_a_missing_phase_makes_the_total_a_floor():
    text = str(Forecast("T4", (Phase("treinar", 90.0), Phase("avaliar", None)), "custo"))
    assert "pelo menos 1 min 30 s" in text and "avaliar não medido" in text


def test_cost_is_the_price_of_the_hours_in_dollars_and_units():
    hour = prices.find("T4", "gpu_hour").usd
    assert estimates.gpu_cost(3600, "cpu").startswith("US$ 0,00")
    assert f"US$ {hour:.2f}".replace(".", ",") in estimates.gpu_cost(3600, "T4")
    units = f"{10 * hour / prices.find('unidade', 'compute_unit').usd:.1f}".replace(".", ",")
    assert f"{units} unidades do Colab" in estimates.gpu_cost(36_000, "T4")
    unknown = estimates.phases_cost([Phase("treinar", None)], "L4")
    assert unknown.startswith("cada hora, US$") and "pelo menos" not in unknown


def test_the_published_run_is_foreseen_within_a_quarter():
    # Os ritmos de CPU vêm de rodadas como esta: se o código ou a tabela mudar sem o outro, a previsão se afasta.
    forecasts = {
        "llama3": training.forecast(BY_NAME["cpu"], DATA, questions=48, examples=True),
        "gpt": gpt.forecast(DATA, "local", n_epochs=1, questions=48, answer_tokens=64, examples=True),
    }
    for arm, forecast in forecasts.items():
        report = json.loads((RUN / arm / "treino.json").read_text(encoding="utf-8"))
        took = sum(report["seconds"][key] for key in estimates.PHASES)
        assert sum(one.seconds for one in forecast.phases[:3]) == pytest.approx(took, rel=0.25), arm


def test_fewer_steps_take_less_time():
    whole, short = (
        training.forecast(replace(BY_NAME["cpu"], max_steps=steps), DATA, questions=48) for steps in (-1, 3)
    )
    assert short.seconds < whole.seconds


def test_another_model_is_not_foreseen():
    found = training.forecast(replace(BY_NAME["cpu"], model="pasta/de/outro"), DATA, questions=48)
    assert [one.seconds for one in found.phases] == [None, None, None]


def test_a_paid_provider_is_priced_before_it_is_called():
    found = gpt.forecast(DATA, "openai", n_epochs=3, questions=48, answer_tokens=64)
    assert "US$" in found.cost and "conferidos em" in found.cost
    with pytest.raises(InputError, match="PROVEDOR"):
        gpt.forecast(DATA, "ninguém", questions=1, answer_tokens=1)


@pytest.mark.parametrize(("source", "known"), [("amostra", True), ("oficial", True), ("https://example.org/x", False)])
def test_a_source_still_on_the_network_is_not_foreseen(source, known):
    found = curation.forecast(source, n_train=56, n_test=16)
    assert (found.phases[0].seconds is not None) is known


def test_the_official_file_takes_longer_when_read_whole():
    early, whole = (curation.forecast("oficial", n_train=1500, n_test=500, full_scan=scan) for scan in (False, True))
    assert early.seconds < whole.seconds


def test_the_training_summary_says_what_the_files_say():
    forecast = training.forecast(BY_NAME["cpu"], DATA, questions=48, examples=True)
    text = estimates.training_summary(RUN / "llama3", forecast, "a perda caiu")
    assert "treinar" in text and "2 min 0 s" in text and "3,8 GB da máquina" in text
    assert "treino.json" in text and "a perda caiu" in text and "três exemplos" in text


def test_a_service_is_paid_by_the_token(tmp_path):
    report = json.loads((RUN / "gpt" / "treino.json").read_text(encoding="utf-8"))
    report |= {"gpu_hours": None, "billed_tokens": 1_000_000, "price_sku": "gpt-4o-mini-2024-07-18"}
    report |= {"peak_rss_gb": None}
    (tmp_path / "treino.json").write_text(json.dumps(report), encoding="utf-8")
    (tmp_path / "respostas.jsonl").write_text("", encoding="utf-8")
    text = estimates.training_summary(tmp_path, Forecast("openai", (), ""), "")
    assert "US$ 3,00 pelo treino" in text and "não medido" in text


def test_the_first_time_stays_until_something_else_is_made(tmp_path):
    first = estimates.first_time(tmp_path, "01_curadoria", {"curar": 9.0}, "a")
    assert first == estimates.first_time(tmp_path, "01_curadoria", {"curar": 0.1}, "a")
    assert first[0] == {"curar": 9.0} and first[1].endswith("GB da máquina")
    estimates.first_time(tmp_path, "04_comparacao", {"planilha": 5.0}, "x")
    assert estimates.first_time(tmp_path, "01_curadoria", {"curar": 7.0}, "b")[0] == {"curar": 7.0}


def test_the_comparison_summary_names_what_ran(tmp_path):
    forecast = comparison.forecast(RUN, similarity=False, judge_cap_usd=2.0)
    assert forecast.phases[0].seconds == 0 and forecast.cost == "até US$ 2,00 do juiz"
    rows = [{"Sistema": "GPT, base", "Precisão": "com defeito 1,0 %"}, {"Sistema": "X", "Precisão": "não executado"}]
    text = comparison.summary(tmp_path, forecast, {"planilha": 4.0}, rows)
    assert "GPT, base" in text and "não executado" not in text
    assert text == comparison.summary(tmp_path, forecast, {"planilha": 0.4}, rows)
