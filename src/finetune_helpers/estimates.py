"""Quanto tempo um passo vai levar e quanto vai custar, a partir de ritmos medidos e datados (``ritmos.csv``)."""

import csv
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from . import prices
from .portuguese import date, duration, number, usd
from .records import read_json, read_jsonl, write_json

NOT_MEASURED = "não medido"
FILE = "fases.json"
PHASES = {"load": "carregar", "train": "treinar", "evaluate": "avaliar"}
SHOWN = "três exemplos"


@dataclass(frozen=True)
class Rate:
    """Quantas unidades (``unit``) uma etapa faz por segundo numa máquina, quando isso foi conferido e como."""

    step: str
    machine: str
    unit: str
    per_second: float
    checked_on: str
    basis: str


@cache
def rates() -> dict[tuple[str, str], Rate]:
    """Os ritmos do pacote, por etapa e máquina."""
    text = (resources.files("finetune_helpers") / "ritmos.csv").read_text(encoding="utf-8")
    rows = [_rate(row) for row in csv.DictReader(text.splitlines())]
    return {(row.step, row.machine): row for row in rows}


def _rate(row: dict[str, str]) -> Rate:
    per_second = float(row["per_second"])
    return Rate(row["step"], row["machine"], row["unit"], per_second, row["checked_on"], row["basis"])


@dataclass(frozen=True)
class Phase:
    """Uma fase de um caderno: segundos previstos (None se falta um ritmo) e os ritmos em que a previsão se apoia."""

    name: str
    seconds: float | None
    rates: tuple[Rate, ...] = ()


def phase(name: str, machine: str, amounts: Mapping[str, float | None]) -> Phase:
    """A fase ``name`` de etapas feitas nesta máquina, cada uma com a sua quantidade (None se ninguém a conhece)."""
    known = [(rates().get((step, machine)), amount) for step, amount in amounts.items() if amount != 0]
    if any(rate is None or amount is None for rate, amount in known):
        return Phase(name, None)
    seconds = sum(amount / rate.per_second for rate, amount in known if rate and amount)
    return Phase(name, seconds, tuple(rate for rate, _ in known if rate))


@dataclass(frozen=True)
class Forecast:
    """O tempo e o custo previstos de um caderno, para mostrar antes de começar e comparar no fim."""

    machine: str
    phases: tuple[Phase, ...]
    cost: str

    @property
    def seconds(self) -> float:
        """Soma das fases que têm previsão."""
        return sum(one.seconds or 0.0 for one in self.phases)

    def __str__(self) -> str:
        each = " · ".join(f"{one.name} {_length(one.seconds)}" for one in self.phases)
        bases = dict.fromkeys(f"{rate.basis} ({date(rate.checked_on)})" for one in self.phases for rate in one.rates)
        return "\n".join(
            [
                f"Tempo previsto ({self.machine}): {self._total()}",
                f"  {each}",
                *(f"  base: {basis}" for basis in bases),
                f"Custo previsto: {self.cost}",
            ]
        )

    def _total(self) -> str:
        known = [one.seconds for one in self.phases if one.seconds is not None]
        least = "pelo menos " if len(known) < len(self.phases) else ""
        return least + duration(self.seconds) if self.seconds else NOT_MEASURED

    def summary(self, took: Mapping[str, float], facts: Mapping[str, str]) -> str:
        """O resumo do fim do caderno: por fase, o previsto e o que levou (``took``, em segundos); depois, ``facts``."""
        rows = [(one.name, _length(one.seconds), _length(took.get(one.name))) for one in self.phases]
        total = ("total", self._total(), duration(sum(took.values())))
        wide = 2 + max(len(name) for name in (*facts, *(row[0] for row in rows)))
        lines = [f"{a:<{wide}}{b:>22}{c:>16}" for a, b, c in (("fase", "previsto", "levou"), *rows, total)]
        return "\n".join([*lines, "", *(f"{name:<{wide}}{value}" for name, value in facts.items())])


def gpu_cost(seconds: float, sku: str) -> str:
    """O custo de ``seconds`` segundos da máquina ``sku``, em dólares e, se for do Colab, em unidades."""
    price, unit = prices.find(sku, "gpu_hour"), prices.find("unidade", "compute_unit")
    if not price.usd:
        return f"{usd(0)} ({price.note})"
    spent = price.usd * seconds / 3600
    return f"{usd(spent)}, ou {number(spent / unit.usd, 1)} unidades do Colab ({sku}, {date(price.checked_on)})"


def phases_cost(phases: Sequence[Phase], sku: str) -> str:
    """O custo das fases na máquina ``sku``; por hora, e só o que se sabe, se falta o tempo de alguma."""
    known = [one.seconds for one in phases if one.seconds is not None]
    if len(known) == len(phases):
        return gpu_cost(sum(known), sku)
    least = f"pelo menos {gpu_cost(sum(known), sku)}; " if known else ""
    return f"{least}cada hora, {gpu_cost(3600, sku)}"


def training_summary(output: Path, forecast: Forecast, result: str) -> str:
    """O resumo dos cadernos de treino, lido de ``treino.json`` e ``respostas.jsonl`` da pasta ``output`` do braço."""
    report = read_json(output / "treino.json")
    took = {name: report["seconds"][key] for key, name in PHASES.items()}
    shown = [row["seconds"] for row in read_jsonl(output / "respostas.jsonl") if row["system"].endswith("-fewshot")]
    facts = {
        "memória": _memory(report),
        "custo": _spent(report),
        "feito": files(
            output, "treino.json", "respostas.jsonl", "trabalho.json", "adaptador/adapter_model.safetensors"
        ),
        "resultado": result,
    }
    return forecast.summary(took | ({SHOWN: sum(shown)} if shown else {}), facts)


def _memory(report: Mapping) -> str:
    peaks = {"GB da máquina": report["peak_rss_gb"], "GB da GPU": report["peak_gpu_gb"]}
    return ", ".join(f"{number(peak, 1)} {name}" for name, peak in peaks.items() if peak is not None) or NOT_MEASURED


def _spent(report: Mapping) -> str:
    """O custo do treino: pelos tokens cobrados ou pelas horas da máquina."""
    sku = report["price_sku"]
    if report["gpu_hours"] is not None:
        return gpu_cost(3600 * report["gpu_hours"], sku)
    if report["billed_tokens"] and sku:
        return f"{usd(report['billed_tokens'] * prices.find(sku, 'train').usd / 1e6)} pelo treino; respostas à parte"
    return usd(None)


def peak_rss_gb() -> float:
    """Pico de memória deste processo, em GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3)


def first_time(run: Path, step: str, seconds: Mapping[str, float], made: str) -> tuple[dict[str, float], str]:
    """Os tempos e a memória da vez em que o passo fez ``made`` (a impressão do que foi feito); agora, se é a primeira.

    Executar de novo um passo terminado leva menos, e o resumo deve contar o trabalho, não a repetição.
    """
    path = run / FILE
    known = read_json(path) if path.is_file() else {}
    if known.get(step, {}).get("made") != made:
        took = {name: round(value, 2) for name, value in seconds.items()}
        known[step] = {"made": made, "seconds": took, "peak_rss_gb": peak_rss_gb(), "peak_gpu_gb": None}
        write_json(path, known)
    return known[step]["seconds"], _memory(known[step])


def files(folder: Path, *names: str) -> str:
    """Os arquivos que existem, pelo nome, com o tamanho."""
    found = [folder / name for name in names if (folder / name).is_file()]
    return ", ".join(f"{path.name} ({number(max(1, path.stat().st_size / 1000))} kB)" for path in found)


def _length(seconds: float | None) -> str:
    return NOT_MEASURED if seconds is None else duration(seconds)
