"""Orçamentos dos experimentos: quantos ensaios, em quantas linhas, por quanto tempo, e o que isso custa no máximo."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import estimates
from ..errors import InputError
from ..portuguese import counted, date, duration
from ..records import read_json
from .profiles import LLAMA_3_8B, Profile, choose
from .trials import COMPLETE, Row

SEARCH_SHARE = 0.6  # do tempo, para a busca; o resto é das mudanças, uma por vez, no vencedor
LEAST_SEARCHED = 3  # ensaios de que a busca não abre mão, mesmo que tomem o tempo das mudanças


@dataclass(frozen=True)
class Budget:
    """Limites de uma bateria de ensaios: minutos, ensaios da busca, linhas e épocas de cada um, medidas por ensaio."""

    name: str
    minutes: float
    trials: int
    rows: int
    epochs: float
    evaluations: int
    profile: str = "auto"
    batch_size: int = 0

    @property
    def seconds(self) -> float:
        """O limite de tempo, em segundos."""
        return 60 * self.minutes


BUDGETS = {
    # O lote de 2 dá mais passos com poucas linhas.
    "demonstracao": Budget("demonstracao", 5.0, 3, 8, 1.0, 2, profile="cpu", batch_size=2),
    "cafe": Budget("cafe", 85.0, 6, 192, 1.0, 4),
    "completo": Budget("completo", 8 * 60.0, 20, 1500, 3.0, 6),
}


def budget(name: str, *, minutes: float = 0, trials: int = 0) -> Budget:
    """O orçamento de nome ``name``; zero fica com o valor dele. InputError se o nome não existe."""
    if name not in BUDGETS:
        raise InputError(f'Orçamento "{name}" desconhecido. Use um destes: {", ".join(BUDGETS)}.')
    chosen = BUDGETS[name]
    return replace(chosen, minutes=minutes or chosen.minutes, trials=trials or chosen.trials)


def base_profile(chosen: Budget, name: str = "auto", **changes: Any) -> Profile:
    """O perfil de que todos os ensaios partem; ``demonstracao`` usa o modelo pequeno, com ou sem GPU."""
    found = chosen.profile if name == "auto" else name
    profile = choose(found, epochs=chosen.epochs, batch_size=chosen.batch_size, **changes)
    if not chosen.batch_size:
        return profile
    kept = tuple(reason for reason in profile.reasons if not reason.startswith("lote"))
    return replace(
        profile, reasons=(*kept, f"lote de {profile.batch_size}: mais passos com as poucas linhas de um ensaio")
    )


def expected(rows: list[Row], size: int) -> float | None:
    """Segundos que um ensaio de ``size`` linhas deve levar, pelo último que chegou ao fim; None sem nenhum."""
    done = [row for row in rows if row["state"] == COMPLETE and row["rows"]]
    if not done:
        return None
    last = done[-1]
    return float(last["seconds"] - last["train_seconds"] + last["train_seconds"] / last["rows"] * size)


def presentation(chosen: Budget, profile: Profile, size: int, rows: list[Row], data: Path) -> str:
    """O que vai ser feito, o tempo e o custo, para ler antes de começar."""
    scaled = "" if size == chosen.rows else f" (o orçamento pede {chosen.rows}; são todas as que há)"
    return "\n".join(
        [
            f"Orçamento “{chosen.name}”: até {duration(chosen.seconds)} de ensaios, e para aí.",
            f"  busca: {chosen.trials} ensaios no total, com {size} linhas de treino{scaled}, "
            f"{counted(profile.epochs, 'época')} cada",
            "  depois, uma mudança por vez no vencedor, as mais importantes primeiro, enquanto couber",
            f"  custo máximo: {estimates.gpu_cost(chosen.seconds, profile.price_sku)}",
            f"  tempo de um ensaio: {_time(profile, rows, size, data)}",
        ]
    )


def _time(profile: Profile, rows: list[Row], size: int, data: Path) -> str:
    if measured := expected(rows, size):
        return f"cerca de {duration(measured)}, medido nesta rodada"
    found = _estimate(profile, size, data)
    if found is None or not found.rates:
        return "não medido nesta máquina; o primeiro ensaio o mede, e nenhum começa se não couber no que resta"
    basis = found.rates[-1]
    return f"cerca de {duration(found.seconds or 0)}, estimativa: {basis.basis} ({date(basis.checked_on)})"


def _estimate(profile: Profile, size: int, data: Path) -> estimates.Phase | None:
    """Abrir e treinar um ensaio, pelos ritmos do pacote; None se o modelo é outro ou falta a curadoria."""
    path = data.with_name("curadoria.json")
    if profile.model not in ("embutido", LLAMA_3_8B) or not path.is_file():
        return None
    known = read_json(path)["treino"]
    steps = profile.max_steps * profile.effective_batch
    seen = min(size * profile.epochs, steps) if steps > 0 else size * profile.epochs
    opening = estimates.phase("abrir um ensaio", profile.price_sku, {"abrir um ensaio": 1})
    found = estimates.phase("treinar", profile.price_sku, {"treinar": seen * known["tokens"] / known["linhas"]})
    return replace(found, seconds=(found.seconds or 0) + (opening.seconds or 0))
