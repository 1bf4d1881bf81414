"""Preços datados (``precos.csv``): a única fonte de dinheiro do projeto."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

from .errors import InputError


@dataclass(frozen=True)
class Price:
    """Preço em dólares de um item (``train``, ``input``, ``output``, ``gpu_hour``…) com fonte e datas.

    Quando começa a valer, quando foi lido, quando a fonte o disse e quando o modelo deixa de responder (vazio: não se
    sabe).
    """

    provider: str
    sku: str
    item: str
    unit: str
    usd: float
    effective_from: str
    checked_on: str
    source_url: str
    source_kind: str
    note: str
    stated_on: str = ""
    ends_on: str = ""

    def age_days(self, today: date) -> int:
        """Dias desde que alguém conferiu este preço."""
        return (today - date.fromisoformat(self.checked_on)).days


@cache
def load() -> tuple[Price, ...]:
    """Todos os preços do pacote."""
    text = (resources.files("finetune_helpers") / "precos.csv").read_text(encoding="utf-8")
    rows: Iterator[dict[str, Any]] = csv.DictReader(text.splitlines())
    return tuple(Price(**(row | {"usd": float(row["usd"])})) for row in rows)


def find(sku: str, item: str) -> Price:
    """Preço em vigor de um item (o mais recente que já vale); InputError se ele não está na tabela."""
    today = date.today().isoformat()
    found = [price for price in load() if (price.sku, price.item) == (sku, item) and price.effective_from <= today]
    if not found:
        raise InputError(f'Não há preço de "{item}" para "{sku}" em precos.csv. Acrescente a linha, com data e fonte.')
    return max(found, key=lambda price: price.effective_from)


def ends_on(sku: str) -> str:
    """O dia (ISO) em que o modelo ``sku`` deixa de responder; vazio se não se sabe de nenhum."""
    return max((price.ends_on for price in load() if price.sku == sku), default="")
