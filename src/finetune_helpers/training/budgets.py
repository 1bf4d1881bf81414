"""Os orçamentos do caderno 05: quantos ensaios, em quantas linhas e por quanto tempo."""

from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from .profiles import Profile, choose


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
        raise InputError(f'Orçamento "{name}" desconhecido. Em `budget`, use um destes: {", ".join(BUDGETS)}.')
    chosen = BUDGETS[name]
    return replace(chosen, minutes=minutes or chosen.minutes, trials=trials or chosen.trials)


def base_profile(chosen: Budget, name: str = "auto", **changes: Any) -> Profile:
    """O perfil de que todos os ensaios partem; ``demonstracao`` usa o modelo pequeno na CPU, com ou sem GPU."""
    profile = choose(
        chosen.profile if name == "auto" else name, epochs=chosen.epochs, batch_size=chosen.batch_size, **changes
    )
    few = (f"lote de {profile.batch_size}: mais passos com as poucas linhas de um ensaio",)
    return replace(profile, reasons=profile.reasons + (few if chosen.batch_size else ()))
