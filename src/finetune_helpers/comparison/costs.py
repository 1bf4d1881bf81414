"""Custo de treinar e de responder, a partir do que foi medido e de ``precos.csv``."""

import re
from dataclasses import dataclass
from datetime import date
from statistics import fmean

from .. import prices
from ..prices import Price
from .study import Study

STALE_DAYS = 45
CLOSING_DAYS = 60
UTILISATION = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
ITEMS = {
    "train": "treino",
    "input": "entrada, base",
    "output": "saída, base",
    "tuned_input": "entrada, ajustado",
    "tuned_output": "saída, ajustado",
    "gpu_hour": "hora de máquina",
    "compute_unit": "unidade de computação",
}
KINDS = {"first_party": "do fornecedor", "third_party": "de terceiros", "measured": "medida"}
_CLOSES = re.compile(r"encerra em (\d{2})/(\d{2})/(\d{4})")


@dataclass(frozen=True)
class Training:
    """O que um treino cobra: ``item`` é ``train`` (``quantity`` em tokens) ou ``gpu_hour`` (em horas)."""

    arm: str
    sku: str
    item: str
    quantity: float
    price: Price | None

    @property
    def usd(self) -> float | None:
        """Dólares do treino; None sem preço."""
        return None if self.price is None else self.quantity * self.price.usd / per_unit(self.price)


@dataclass(frozen=True)
class Serving:
    """O que um sistema gasta por resposta, em média, e os preços que se aplicam (None onde não há)."""

    system: str
    sku: str
    tokens_in: float
    tokens_out: float
    seconds: float
    input_price: Price | None
    output_price: Price | None
    hour_price: Price | None

    @property
    def usd_per_thousand(self) -> float | None:
        """Dólares por 1.000 respostas: por tokens onde o modelo é hospedado, por tempo onde é próprio."""
        if self.input_price and self.output_price:
            return 1000 * (self.tokens_in * self.input_price.usd + self.tokens_out * self.output_price.usd) / 1e6
        return None if self.hour_price is None else 1000 * self.seconds / 3600 * self.hour_price.usd


def per_unit(price: Price) -> float:
    """Quantas unidades o preço cobre: um milhão nos preços por ``1M tokens``, uma nos outros."""
    return 1e6 if price.unit == "1M tokens" else 1.0


def find(sku: str, item: str) -> Price | None:
    """Preço mais recente ou None, se a tabela não o tem."""
    known = [price for price in prices.load() if price.sku == sku and price.item == item]
    return prices.find(sku, item) if known else None


def key(price: Price) -> str:
    """Chave de uma linha da folha Preços: não muda quando alguém edita o valor ou ordena a folha."""
    return f"{price.sku}|{price.item}|{price.effective_from}"


def closes_on(price: Price) -> date | None:
    """Dia em que o modelo deixa de responder, se a nota do preço o diz."""
    found = _CLOSES.search(price.note)
    return date(*map(int, reversed(found.groups()))) if found else None


def warnings(price: Price, today: date) -> list[str]:
    """Avisos sobre um preço: conferido há mais de 45 dias, ou modelo que encerra em até 60."""
    found, closing = [], closes_on(price)
    if price.age_days(today) > STALE_DAYS:
        found.append("conferir: preço antigo")
    if closing and (closing - today).days <= CLOSING_DAYS:
        found.append("modelo encerra em breve" if closing > today else "modelo encerrado")
    return found


def trainings(study: Study) -> list[Training]:
    """Custo de cada treino que existe na rodada."""
    found = []
    for arm, report in study.reports.items():
        sku = report.get("price_sku") or ""
        billed = report.get("billed_tokens")
        item = "train" if billed and find(sku, "train") else "gpu_hour"
        quantity = float((billed if item == "train" else report.get("gpu_hours")) or 0.0)
        found.append(Training(arm, sku, item, quantity, find(sku, item)))
    return found


def serving(study: Study, system: str) -> Serving | None:
    """Custo de responder com um sistema; None se ele não respondeu."""
    rows = list(study.answers.get(system, {}).values())
    if not rows:
        return None
    sku = study.reports.get(study.arms.get(system, ""), {}).get("price_sku") or ""
    tuned = "tuned_" if system.endswith("-tuned") else ""
    tokens_in, tokens_out, seconds = (
        fmean(row[key] or 0 for row in rows) for key in ("tokens_in", "tokens_out", "seconds")
    )
    input_price, output_price = find(sku, f"{tuned}input"), find(sku, f"{tuned}output")
    return Serving(system, sku, tokens_in, tokens_out, seconds, input_price, output_price, find(sku, "gpu_hour"))


def self_hosted(seconds: float, hour_usd: float, utilisation: float) -> float:
    """Dólares por 1.000 respostas numa GPU paga por hora e ocupada ``utilisation`` do tempo (0 a 1)."""
    return 1000 * seconds / 3600 * hour_usd / utilisation


def break_even(seconds: float, hour_usd: float, api_per_thousand: float) -> float | None:
    """Ocupação em que a GPU própria custa o mesmo que a API; acima de 1, a API é sempre mais barata."""
    return self_hosted(seconds, hour_usd, 1.0) / api_per_thousand if api_per_thousand > 0 else None
