"""O menor efeito que uma amostra mostra com 80 % de poder e 5 % bilateral, pelo próprio teste."""

from collections.abc import Callable
from functools import cache

ALPHA, POWER = 0.05, 0.8


@cache
def detectable_effect(n: int) -> float:
    """Menor diferença média, em desvios padrão, que o teste t pareado mostra em ``n`` grupos."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER))


def detectable_rate(n: int) -> float | None:
    """Menor taxa de vitória que o teste exato do sinal mostra em ``n`` pares, com 80 % de poder; None se nenhuma."""
    from scipy import stats

    most = stats.binom.isf(ALPHA / 2, n, 0.5)  # mais vitórias que estas dão p ≤ 0,05 no teste bilateral
    return _smallest(lambda chance: float(stats.binom.sf(most, n, chance)), 0.5) if n else None


def detectable_share(n: int, opposite: float = 0.0) -> float | None:
    """Menor diferença de taxas pareadas que o McNemar exato mostra em ``n`` itens, com 80 % de poder.

    ``opposite`` é a parte dos itens que muda na direção contrária: em 0, o caso mais favorável.
    """
    import numpy as np
    from scipy import stats

    discordant = np.arange(n + 1)
    most = stats.binom.isf(ALPHA / 2, discordant, 0.5)

    def power(difference: float) -> float:
        moved = min(1.0, 2 * opposite + difference)
        chance = (opposite + difference) / moved if moved else 0.5
        seen = stats.binom.pmf(discordant, n, moved)
        return float((seen * stats.binom.sf(most, discordant, min(1.0, chance))).sum())

    return _smallest(power, 0.0, max(0.0, 1 - 2 * opposite)) if n else None


def _smallest(power: Callable[[float], float], low: float, high: float = 1.0) -> float | None:
    from scipy.optimize import brentq

    return float(brentq(lambda value: power(value) - POWER, low, high)) if power(high) >= POWER else None
