"""Quanto tempo um caderno vai levar e quanto levou: a última vez nesta máquina ou um ritmo datado (``ritmos.csv``)."""

import csv
import resource
from collections.abc import Mapping
from datetime import date as Day
from functools import cache
from importlib import resources
from pathlib import Path

from . import prices
from .portuguese import NOT_MEASURED, date, duration, number, usd
from .records import read_json, write_json

PHASES = {"load": "carregar", "train": "treinar", "evaluate": "avaliar"}
STATE = "rodada.json"


@cache
def rates() -> dict[tuple[str, str], dict[str, str]]:
    """As linhas de ``ritmos.csv``, por caderno e máquina: quantas unidades por segundo, quando e como se mediu."""
    text = (resources.files("finetune_helpers") / "ritmos.csv").read_text(encoding="utf-8")
    return {(row["step"], row["machine"]): row for row in csv.DictReader(text.splitlines())}


def before(run: Path, step: str, machine: str, units: float, cost: str = "nenhum") -> str:
    """O tempo e o custo previstos de um caderno, com a base da previsão, para mostrar antes de começar.

    ``units``: linhas lidas (01), tokens de treino por época mais os pedidos (02 e 03), respostas (04) ou ensaios (05).
    """
    seconds, basis = expected(run, step, machine, units)
    shown = f"cerca de {duration(seconds)} ({basis})" if seconds is not None else f"{NOT_MEASURED} ({machine})"
    return f"Tempo previsto: {shown}\nCusto previsto: {cost}"


def expected(run: Path, step: str, machine: str, units: float) -> tuple[float | None, str]:
    """Segundos previstos (None se ninguém mediu) e de onde vem a previsão."""
    if last := _last(Path(run), step, machine):
        return units / last["units"] * last["seconds"], f"pela última vez nesta máquina, em {date(last['day'])}"
    if rate := rates().get((step, machine)):
        return units / float(rate["per_second"]), f"{rate['basis']}, {date(rate['checked_on'])}"
    return None, NOT_MEASURED


def after(run: Path, step: str, work: tuple[str, float], seconds: Mapping[str, float], facts: Mapping[str, str]) -> str:
    """O resumo do fim de um caderno: as fases com o tempo real, o total e ``facts``.

    ``work`` traz a máquina e as unidades feitas. O tempo é salvo em ``rodada.json`` na primeira vez: o resumo conta o
    trabalho, não a repetição.
    """
    state = read_json(Path(run) / STATE)
    passed = state["passos"][step]
    if passed.get("tempo", {}).get("units") != work[1]:
        times = {name: round(value, 2) for name, value in seconds.items()}
        total = {"machine": work[0], "units": work[1], "seconds": round(sum(times.values()), 2)}
        passed["tempo"] = total | {"phases": times, "day": f"{Day.today()}", "peak_rss_gb": peak_rss_gb()}
        write_json(Path(run) / STATE, state)
    taken = passed["tempo"]
    rows = {PHASES.get(name, name): duration(value) for name, value in taken["phases"].items()}
    rows |= {"tempo total": duration(taken["seconds"]), "memória": f"pico de {number(taken['peak_rss_gb'], 1)} GB"}
    rows |= facts
    wide = 2 + max(map(len, rows))
    return "\n".join(f"{name:<{wide}}{value}" for name, value in rows.items())


def gpu_cost(seconds: float, sku: str) -> str:
    """O custo de ``seconds`` segundos da máquina ``sku``, em dólares e em unidades do Colab; local, sem cobrança."""
    if not any(price.sku == sku and price.item == "gpu_hour" for price in prices.load()):
        return "sem preço"
    price, unit = prices.find(sku, "gpu_hour"), prices.find("unidade", "compute_unit")
    if not price.usd:
        return f"{number(seconds / 3600, 2)} h de máquina própria; sem cobrança"
    spent = price.usd * seconds / 3600
    stated = date(price.stated_on or price.checked_on)
    return f"{usd(spent)}, ou {number(spent / unit.usd, 1)} unidades do Colab ({sku}, preço de {stated})"


def peak_rss_gb() -> float:
    """Pico de memória deste processo, em GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3)


def files(folder: Path, *names: str) -> str:
    """Os arquivos que existem, pelo nome, com o tamanho."""
    paths = [folder / name for name in names if (folder / name).is_file()]
    return ", ".join(f"{path.name} ({number(max(1, path.stat().st_size / 1000))} kB)" for path in paths)


def _last(run: Path, step: str, machine: str) -> dict | None:
    # Nesta rodada ou, na falta dela, na vizinha mais recente.
    runs = {path.parent: read_json(path)["passos"].get(step, {}).get("tempo") for path in run.parent.glob(f"*/{STATE}")}
    times = [
        (folder == run, taken["day"], taken)
        for folder, taken in runs.items()
        if taken and taken["machine"] == machine and taken["units"] and taken["seconds"]
    ]
    return max(times, key=lambda time: time[:2])[2] if times else None
