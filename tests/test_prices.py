"""Preços: a tabela é datada, tem fonte e nunca dá duas respostas."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, timedelta

import pytest

from finetune_helpers import prices
from finetune_helpers.errors import InputError

ROWS = prices.load()


def test_every_price_has_a_value_dates_and_a_source():
    def wrong(price: prices.Price) -> bool:
        dated = date.fromisoformat(price.effective_from) <= date.fromisoformat(price.checked_on)
        sourced = price.source_url.startswith("https://") or price.source_kind == "measured"
        known = price.source_kind in {"first_party", "third_party", "measured"}
        return not (price.usd >= 0 and price.unit and price.provider and dated and sourced and known)

    assert len(ROWS) > 20 and [price for price in ROWS if wrong(price)] == []


def test_no_price_is_listed_twice_and_a_sku_belongs_to_one_provider():
    # find procura só por sku e item: dois provedores com o mesmo nome fariam uma conta com o preço do outro.
    repeated, providers = Counter((price.sku, price.item, price.effective_from) for price in ROWS), defaultdict(set)
    for price in ROWS:
        providers[price.sku].add(price.provider)
    assert [key for key, times in repeated.items() if times > 1] == []
    assert {sku: names for sku, names in providers.items() if len(names) > 1} == {}


def test_the_most_recent_price_already_in_force_wins(monkeypatch):
    today = date.today()
    old, now, future = (
        replace(ROWS[0], sku="m", item="train", effective_from=str(day), ends_on=ends)
        for day, ends in ((date(2024, 12, 31), ""), (today, "2027-01-14"), (today + timedelta(1), ""))
    )
    monkeypatch.setattr(prices, "load", lambda: (now, old, future))
    assert prices.find("m", "train") is now
    assert (prices.ends_on("m"), prices.ends_on("n")) == ("2027-01-14", "")


def test_a_missing_price_is_an_instruction():
    with pytest.raises(InputError, match=r'Não há preço de "train" para "gpt-9" em precos\.csv\. Acrescente'):
        prices.find("gpt-9", "train")
