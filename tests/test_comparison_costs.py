"""Custos: o mesmo número por duas contas, avisos de preço e o ponto de equilíbrio."""

from dataclasses import replace
from datetime import date

import pytest
from test_comparison_study import make_run

from finetune_helpers import prices, records
from finetune_helpers.comparison import costs, efficiency, study


@pytest.fixture
def found(tmp_path):
    return study.read_study(make_run(tmp_path, n=8))


def test_hosted_training_costs_its_billed_tokens(found):
    spent = {training.arm: training for training in costs.trainings(found)}
    assert spent["gpt"].usd == pytest.approx(34500 * 3.00 / 1e6) and spent["gpt"].item == "train"


def test_local_training_costs_its_hours(found):
    spent = {training.arm: training for training in costs.trainings(found)}
    assert spent["llama3"].usd == pytest.approx(0.026 * 0.107)


def test_an_unknown_price_is_none_and_not_zero(tmp_path):
    run = make_run(tmp_path, n=4)
    report = records.read_json(run / "llama3" / "treino.json") | {"price_sku": "placa-nova"}
    records.write_json(run / "llama3" / "treino.json", report)
    changed = study.read_study(run)
    assert [training.usd for training in costs.trainings(changed) if training.arm == "llama3"] == [None]
    assert costs.serving(changed, "llama3-base").usd_per_thousand is None


def test_tuned_and_base_answers_have_their_own_prices(found):
    base, tuned = costs.serving(found, "gpt-base"), costs.serving(found, "gpt-tuned")
    assert (base.output_price.usd, tuned.output_price.usd) == (0.60, 1.20)


def test_old_prices_and_closing_models_are_warned_about():
    price = prices.find("gpt-4o-mini-2024-07-18", "train")
    assert costs.warnings(price, date(2026, 11, 21)) == ["modelo encerra em breve"]
    assert costs.warnings(price, date(2027, 2, 1)) == ["conferir: preço antigo", "modelo encerrado"]
    assert costs.warnings(replace(price, note=""), date(2026, 12, 1)) == []


def test_break_even_is_where_both_cost_the_same():
    share = costs.break_even(2.0, 0.107, 0.258)
    assert costs.self_hosted(2.0, 0.107, share) == pytest.approx(0.258)
    assert costs.break_even(2.0, 0.107, 0.0) is None


def test_keys_of_the_price_table_are_unique():
    keys = [costs.key(price) for price in prices.load()]
    assert len(keys) == len(set(keys))


def test_flop_share_and_energy_only_for_known_cards(found):
    known, hosted = efficiency.efficiency(found, "llama3"), efficiency.efficiency(found, "gpt")
    assert known.flop_share == pytest.approx(4 * 8.03e9 * 158.6 / 65e12)
    assert known.energy_kwh == pytest.approx(70 * 72.5 / 3600 / 1000)
    assert hosted.flop_share is None and hosted.energy_kwh is None and efficiency.efficiency(found, "outro") is None
