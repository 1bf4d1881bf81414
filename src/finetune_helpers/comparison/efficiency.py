"""Eficiência de um treino, a partir de ``treino.json``: tempos, memória, FLOP, energia e ganho por hora."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .study import Study

# Parâmetros dos modelos que o projeto usa, em unidades; pico de FLOP/s em meia precisão e potência máxima (W) das
# placas, das fichas dos fabricantes. Sem a placa ou o modelo na lista, a estimativa é n/d.
PARAMETERS = {"llama-3-8b": 8.03e9, "llama-3.1-8b": 8.03e9, "smollm2-135m": 134.5e6, "gpt-oss-20b": 3.6e9}
CARDS = {"T4": (65e12, 70), "L4": (121e12, 72), "A100": (312e12, 400), "H100": (989e12, 700), "H200": (989e12, 700)}

_SECONDS = ("load", "train", "evaluate")


@dataclass(frozen=True)
class Efficiency:
    """Fatos de um treino; tempos em segundos, memória em GB, energia em kWh; None onde não há medida."""

    model: str
    engine: str
    device: str
    load: float | None
    train: float | None
    evaluate: float | None
    tokens_seen: int | None
    tokens_per_second: float | None
    examples_seen: int | None
    steps: int | None
    trainable_parameters: int | None
    peak_gpu_gb: float | None
    peak_rss_gb: float | None
    gpu_hours: float | None
    billed_tokens: int | None
    flop_share: float | None
    energy_kwh: float | None
    gain_per_hour: float | None

    @property
    def minutes(self) -> float | None:
        """Minutos de treino."""
        return None if self.train is None else self.train / 60


def efficiency(study: Study, arm: str) -> Efficiency | None:
    """Eficiência de um braço; None se ele não tem ``treino.json``."""
    report = study.reports.get(arm)
    if report is None:
        return None
    plain = [key for key in Efficiency.__dataclass_fields__ if key not in ("model", "engine", "device")]
    found: dict[str, Any] = {key: report.get(key) for key in plain}
    found |= {key: (report.get("seconds") or {}).get(key) for key in _SECONDS}
    found |= {key: str(report.get(key) or "n/d") for key in ("model", "engine", "device")}
    hours = (found["train"] or 0) / 3600
    found["flop_share"] = flop_share(found["model"], found["device"], found["tokens_per_second"])
    found["energy_kwh"] = report.get("energy_kwh") or energy(found["device"], hours)
    found["gain_per_hour"] = gain_per_hour(report.get("heldout") or [], hours)
    return Efficiency(**found)


def _card(device: str) -> tuple[float, float] | None:
    return next((facts for card, facts in CARDS.items() if card in device.replace("-", " ").split()), None)


def flop_share(model: str, device: str, tokens_per_second: float | None) -> float | None:
    """Parte do pico da placa: 4 FLOP por parâmetro e token, com os pesos da base congelados; None sem dados."""
    size = next((count for known, count in PARAMETERS.items() if known in model.casefold()), None)
    card = _card(device)
    return None if not (size and card and tokens_per_second) else 4 * size * tokens_per_second / card[0]


def energy(device: str, hours: float) -> float | None:
    """Energia de um treino pela potência máxima da placa: um teto, não uma medida; None sem placa conhecida."""
    card = _card(device)
    return None if card is None else card[1] * hours / 1000


def gain_per_hour(heldout: list[dict], hours: float) -> float | None:
    """Queda média da perda nos itens de teste por hora de treino; None sem perdas ou sem tempo."""
    if not heldout or hours <= 0:
        return None
    return fmean(row["base_loss"] - row["tuned_loss"] for row in heldout) / hours
