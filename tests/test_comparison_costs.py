"""Custos e eficiência: o mesmo número por duas contas, preços com data e máquinas que não se misturam."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from comparison_run import make_run

from finetune_helpers import prices, records
from finetune_helpers.comparison import costs, study

GPT = "gpt-4o-mini-2024-07-18"


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, n=8, suite=False)


@pytest.fixture
def found(run):
    return study.read_study(run)


def changed(run, arm, **fields):
    path = run / arm / "treino.json"
    records.write_json(path, records.read_json(path) | fields)
    return study.read_study(run)


def test_hosted_training_costs_its_billed_tokens(found):
    spent = costs.training(found, "gpt")
    assert spent.usd == pytest.approx(34500 * 3.00 / 1e6) and str(spent) == "US$ 0,1035 (34.500 tokens)"


def test_machine_training_costs_the_hours_of_every_phase(found):
    spent = costs.training(found, "llama3")
    assert spent.quantity == pytest.approx((13.0 + 72.5 + 8.0) / 3600) and spent.item == "gpu_hour"
    assert spent.usd == pytest.approx(spent.quantity * 0.107)
    assert costs.training(found, "outra") is None


def test_the_own_machine_is_hours_and_not_a_rounded_zero(run):
    found = changed(run, "llama3", price_sku="cpu")
    serving = replace(costs.serving(found, "llama3-tuned"), seconds=1.44)
    assert str(serving) == "0,40 h de CPU por 1.000 respostas; sem cobrança"
    assert str(costs.training(found, "llama3")) == "0,0260 h de CPU; sem cobrança"


def test_an_unknown_price_is_none_and_not_zero(run):
    found = changed(run, "llama3", price_sku="placa-nova")
    assert costs.training(found, "llama3").usd is None
    serving = costs.serving(found, "llama3-base")
    assert serving.usd_per_thousand is None and str(serving).endswith("preço desconhecido")


def test_tuned_and_base_answers_have_their_own_prices(found):
    base, tuned = costs.serving(found, "gpt-base"), costs.serving(found, "gpt-tuned")
    assert (base.output_price.usd, tuned.output_price.usd) == (0.60, 1.20)
    expected = (tuned.tokens_in * 0.30 + tuned.tokens_out * 1.20) / 1000
    assert tuned.usd_per_thousand == pytest.approx(expected)
    assert costs.serving(found, "mistral-base") is None


def test_a_price_of_the_future_is_not_in_force(monkeypatch):
    future = (date.today() + timedelta(days=1)).isoformat()
    rows = tuple(replace(price, effective_from=future) for price in prices.load() if price.sku == "T4")
    monkeypatch.setattr(prices, "load", lambda: rows)
    assert costs.find("T4", "gpu_hour") is None


@pytest.mark.parametrize(
    ("fields", "today", "told"),
    [
        ({"ends_on": "2027-01-14"}, date(2026, 11, 14), []),
        ({"ends_on": "2027-01-14"}, date(2026, 11, 15), ["modelo encerra em 14/01/2027"]),
        ({"ends_on": "2026-11-15"}, date(2026, 11, 15), ["modelo encerrou em 15/11/2026"]),
        ({"checked_on": "2026-10-01"}, date(2026, 11, 15), []),
        ({"checked_on": "2026-09-30"}, date(2026, 11, 15), ["conferir: lido em 30/09/2026"]),
        ({"stated_on": "2025-11-15"}, date(2026, 11, 15), []),
        ({"stated_on": "2025-11-14"}, date(2026, 11, 15), ["conferir: declarado em 14/11/2025"]),
    ],
)
def test_old_prices_and_closing_models_are_warned_about(fields, today, told):
    price = replace(prices.find("T4", "gpu_hour"), checked_on="2026-11-01", stated_on="2026-11-01", ends_on="")
    assert costs.warnings(replace(price, **fields), today) == told


@pytest.mark.parametrize("sku", [GPT, "gpt-4.1-mini-2025-04-14", "gpt-4.1-2025-04-14", "gpt-4o-2024-08-06"])
def test_tunable_models_are_priced_whole(sku):
    assert all(costs.find(sku, item) for item in ("train", "input", "output", "tuned_input", "tuned_output"))
    assert prices.ends_on(sku) == "2027-01-14"


@pytest.mark.parametrize("today", [date(2026, 11, 24), date(2027, 1, 14), date(2027, 1, 15)])
def test_the_default_scenario_outlives_the_closing(today):
    first, *others = costs.hosted(today)
    assert prices.ends_on(first) == "" and (GPT in others) == (today <= date(2027, 1, 14))


def test_efficiency_keeps_the_phases_apart_and_says_what_was_not_measured(found):
    measured = costs.efficiency(found.reports["llama3"])
    assert (measured["load"], measured["train"], measured["evaluate"]) == (13.0, 72.5, 8.0)
    assert measured["minutes"] == pytest.approx(72.5 / 60) and measured["memory_gb"] == 7.5
    drops = [row["base_loss"] - row["tuned_loss"] for row in found.reports["llama3"]["heldout"]]
    assert measured["gain_per_hour"] == pytest.approx(sum(drops) / len(drops) * 3600 / 72.5)
    known = {"peak_rss_gb": 1.8, "heldout": [{"base_loss": 4.0, "tuned_loss": 3.0}]}
    assert costs.efficiency(known) == known | {"minutes": None, "memory_gb": 1.8, "gain_per_hour": None}
