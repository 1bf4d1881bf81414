"""Preços: a tabela é datada, tem fonte e nunca dá duas respostas."""

from collections import Counter, defaultdict
from dataclasses import fields, replace
from datetime import date
from importlib import resources

import pytest

from finetune_helpers import prices
from finetune_helpers.errors import InputError

ROWS = prices.load()


def name(price):
    return f"{price.sku}-{price.item}-{price.effective_from}"


def test_the_columns_are_the_fields():
    header = (resources.files("finetune_helpers") / "precos.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",") == [field.name for field in fields(prices.Price)]


@pytest.mark.parametrize("price", ROWS, ids=name)
def test_every_price_has_a_value_dates_and_a_source(price):
    assert price.usd >= 0 and price.unit and price.provider
    assert date.fromisoformat(price.effective_from) <= date.fromisoformat(price.checked_on)
    assert price.source_kind in {"first_party", "third_party", "measured"}
    assert price.source_url.startswith("https://") or price.source_kind == "measured"


def test_no_price_is_listed_twice():
    repeated = Counter((price.sku, price.item, price.effective_from) for price in ROWS)
    assert [key for key, times in repeated.items() if times > 1] == []


def test_a_sku_belongs_to_one_provider():
    # find procura só por sku e item: dois provedores com o mesmo nome fariam uma conta com o preço do outro.
    providers = defaultdict(set)
    for price in ROWS:
        providers[price.sku].add(price.provider)
    assert {sku: found for sku, found in providers.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    ("sku", "train", "tuned_input", "tuned_output"),
    [
        ("gpt-4o-mini-2024-07-18", 3, 0.3, 1.2),
        ("gpt-4.1-mini-2025-04-14", 5, 0.8, 3.2),
        ("gpt-4.1-2025-04-14", 25, 3, 12),
    ],
)
def test_published_prices(sku, train, tuned_input, tuned_output):
    found = [prices.find(sku, item) for item in ("train", "tuned_input", "tuned_output")]
    assert [price.usd for price in found] == [train, tuned_input, tuned_output]
    assert {price.unit for price in found} == {"1M tokens"}


def test_the_most_recent_price_wins(monkeypatch):
    old = replace(ROWS[0], sku="m", item="train", usd=1.0, effective_from="2024-12-31")
    new = replace(old, usd=2.0, effective_from="2026-01-01")
    monkeypatch.setattr(prices, "load", lambda: (new, old))
    assert prices.find("m", "train") is new


def test_a_missing_price_is_an_instruction():
    with pytest.raises(InputError, match=r'Não há preço de "train" para "gpt-9" em precos\.csv\. Acrescente'):
        prices.find("gpt-9", "train")


def test_the_age_of_a_price():
    price = replace(ROWS[0], checked_on="2026-11-21")
    assert price.age_days(date(2026, 12, 1)) == 10
