"""Eficiência e custo: o que o treino gastou e o que responder gasta, medidos; os preços são de ``precos.csv``."""

from dataclasses import dataclass
from datetime import date, timedelta
from statistics import fmean
from typing import Any

from .. import portuguese, prices
from ..errors import InputError
from ..portuguese import number
from ..prices import Price
from .study import Study

CHECK_DAYS, STATED_DAYS, CLOSING_DAYS = 45, 365, 60
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


def efficiency(report: dict[str, Any]) -> dict[str, Any]:
    """Os fatos de um ``treino.json`` e os que se tiram dele; sem medida, um fato falta ou é None.

    As fases ``load``, ``train`` e ``evaluate`` vêm em segundos, a memória em GB. ``minutes`` são os minutos de passos
    de treino, com as medidas de validação que ele faz; ``memory_gb``, o pico da GPU ou, sem GPU, da memória do
    processo; ``gain_per_hour``, a queda da perda de teste (nats por token) por hora de passos de treino.
    """
    phases = report.get("seconds") or {}
    train, gpu = phases.get("train"), report.get("peak_gpu_gb")
    drops = [row["base_loss"] - row["tuned_loss"] for row in report.get("heldout") or []]
    return {
        **report,
        **phases,
        "minutes": None if train is None else train / 60,
        "memory_gb": report.get("peak_rss_gb") if gpu is None else gpu,
        "gain_per_hour": fmean(drops) / (train / 3600) if drops and train else None,
    }


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

    def __str__(self) -> str:
        if self.item == "gpu_hour":
            return machine_time(self.quantity, self.sku, self.usd)
        return f"{portuguese.usd(self.usd, 4)} ({number(self.quantity)} tokens)"


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
        return None if self.hour_price is None else self.hours_per_thousand * self.hour_price.usd

    @property
    def hours_per_thousand(self) -> float:
        """Horas de máquina de 1.000 respostas, uma depois da outra."""
        return 1000 * self.seconds / 3600

    def __str__(self) -> str:
        if self.input_price and self.output_price:
            return f"{portuguese.usd(self.usd_per_thousand, 4)} por 1.000 respostas"
        place, _, charge = machine_time(self.hours_per_thousand, self.sku, self.usd_per_thousand).partition("; ")
        return f"{place} por 1.000 respostas; {charge}"


def machine_time(hours: float, sku: str, usd: float | None) -> str:
    """``0,40 h de CPU; sem cobrança``: zero é o preço da própria máquina, não um arredondamento."""
    charge = "sem cobrança" if usd == 0 else portuguese.usd(usd, 4)
    digits = 2 if hours >= 0.1 else 4
    return f"{number(hours, digits)} h de {'CPU' if sku == 'cpu' else sku or 'máquina'}; {charge}"


def per_unit(price: Price) -> float:
    """Quantas unidades o preço cobre: um milhão nos preços por ``1M tokens``, uma nos outros."""
    return 1e6 if price.unit == "1M tokens" else 1.0


def find(sku: str, item: str) -> Price | None:
    """O preço em vigor; None se a tabela não o tem ou se ele só vale a partir de uma data futura."""
    try:
        return prices.find(sku, item)
    except InputError:
        return None


def key(price: Price) -> str:
    """Chave de um preço: não muda quando alguém edita o valor ou ordena a tabela."""
    return f"{price.sku}|{price.item}|{price.effective_from}"


def warnings(price: Price, today: date) -> list[str]:
    """Avisos sobre um preço: lido há mais de 45 dias, dito há mais de um ano, ou modelo que encerra em até 60 dias."""
    told = []
    if price.age_days(today) > CHECK_DAYS:
        told.append(f"conferir: lido em {portuguese.date(price.checked_on)}")
    if price.stated_on and (today - date.fromisoformat(price.stated_on)).days > STATED_DAYS:
        told.append(f"conferir: declarado em {portuguese.date(price.stated_on)}")
    if price.ends_on and (date.fromisoformat(price.ends_on) - today).days <= CLOSING_DAYS:
        verb = "encerra" if date.fromisoformat(price.ends_on) > today else "encerrou"
        told.append(f"modelo {verb} em {portuguese.date(price.ends_on)}")
    return told


def training(study: Study, arm: str) -> Training | None:
    """O que o treino de uma trilha cobra: tokens de um serviço ou as horas de todas as fases; None sem treino."""
    report = study.reports.get(arm)
    if report is None:
        return None
    sku, billed, phases = report.get("price_sku") or "", report.get("billed_tokens"), report.get("seconds") or {}
    hours = sum(value or 0.0 for value in phases.values()) / 3600 or report.get("gpu_hours") or 0.0
    item = "train" if billed and find(sku, "train") else "gpu_hour"
    return Training(arm, sku, item, float((billed if item == "train" else hours) or 0), find(sku, item))


def serving(study: Study, system: str) -> Serving | None:
    """Custo de responder com um sistema; None se ele não respondeu."""
    rows = study.answers.get(system, {}).values()
    if not rows:
        return None
    who = study.system(system)
    sku = study.reports.get(who.arm, {}).get("price_sku") or ""
    prefix = "tuned_" if who.role == "ajustado" else ""
    return Serving(
        system,
        sku,
        tokens_in=fmean(row.tokens_in for row in rows),
        tokens_out=fmean(row.tokens_out for row in rows),
        seconds=fmean(row.seconds for row in rows),
        input_price=find(sku, f"{prefix}input"),
        output_price=find(sku, f"{prefix}output"),
        hour_price=find(sku, "gpu_hour"),
    )


def hosted(today: date) -> list[str]:
    """Modelos hospedados com preço de entrada e de saída em vigor, os que respondem por mais tempo primeiro.

    O primeiro é o do cenário padrão: ainda responde daqui a um ano.
    """
    later = (today + timedelta(days=365)).isoformat()
    ends = {price.sku: prices.ends_on(price.sku) or later for price in prices.load() if price.item == "input"}
    priced = [sku for sku in ends if find(sku, "input") and find(sku, "output") and ends[sku] >= today.isoformat()]
    return sorted(priced, key=lambda sku: ends[sku] < later)
