"""Estatística pareada: intervalos, valores p e o menor efeito que a amostra consegue mostrar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PRIMARY = "preferência humana entre os dois modelos ajustados (empates valem meio ponto)"
RESAMPLES = 2999
FLIPS = 9999
SEED = 20261121
Z, Z_POWER = 1.959963984540054, 0.8416212335729143  # quantis normais de 97,5 % e de 80 %


@dataclass(frozen=True)
class Estimate:
    """Diferença média pareada, intervalo de 95 % e valor p; None onde os dados não permitem calcular ("n/d")."""

    n: int
    clusters: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    test: str


def mean_difference(differences: Sequence[float], clusters: Sequence[str] | None = None) -> Estimate:
    """Média das diferenças com intervalo BCa e p por troca de sinais, ambos por grupo de quase duplicatas."""
    import numpy as np

    totals, sizes = _by_cluster(differences, clusters)
    if not len(totals):
        return Estimate(0, 0, None, None, None, None, "n/d")
    mean = float(totals.sum() / sizes.sum())
    low, high = _bca(totals, sizes)
    p, test = sign_flip(totals)
    return Estimate(int(np.sum(sizes)), len(totals), mean, low, high, p, test)


def _by_cluster(differences: Sequence[float], clusters: Sequence[str] | None):
    """Soma e número de diferenças de cada grupo; sem grupos, cada item é o seu."""
    import numpy as np

    names = list(clusters) if clusters is not None else list(range(len(differences)))
    _, place = np.unique(np.array(names, dtype=str), return_inverse=True)
    weights = np.asarray(differences, dtype=float)
    return np.bincount(place, weights=weights), np.bincount(place).astype(float)


def _bca(totals, sizes) -> tuple[float | None, float | None]:
    """Intervalo BCa de 95 % da média, sorteando grupos; (None, None) com menos de 3 grupos ou sem variação."""
    if len(totals) < 3 or (totals / sizes).std() < 1e-12:
        return None, None
    from scipy import stats

    found = stats.bootstrap(
        (totals, sizes),
        lambda total, size, axis=-1: total.sum(axis) / size.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        method="BCa",
        rng=SEED,
    ).confidence_interval
    return (float(found.low), float(found.high)) if math.isfinite(found.low + found.high) else (None, None)


def sign_flip(totals: Sequence[float]) -> tuple[float | None, str]:
    """Valor p bilateral de trocar ao acaso o sinal de cada diferença: exato até 13 grupos, depois por sorteio.

    Hipótese nula: base e ajustado são intercambiáveis em cada item. Sem diferença nenhuma, "n/d".
    """
    import numpy as np

    sums = np.asarray(totals, dtype=float)
    if not sums.any():
        return None, "n/d"
    exact = len(sums) <= 13
    limit = abs(sums.sum()) * (1 - 1e-9)
    blocks = [_every_sign(len(sums))] if exact else _drawn_signs(len(sums))
    reached = sum(int((np.abs(signs @ sums) >= limit).sum()) for signs in blocks)
    if exact:
        return reached / 2 ** len(sums), "permutação exata"
    return (reached + 1) / (FLIPS + 1), f"permutação ({FLIPS} sorteios)"


def _every_sign(n: int):
    import numpy as np

    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def _drawn_signs(n: int):
    """``FLIPS`` linhas de sinais sorteados, em blocos para não ocupar memória."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    for start in range(0, FLIPS, 1000):
        yield 1.0 - 2.0 * rng.integers(0, 2, (min(1000, FLIPS - start), n), dtype=np.int8)


def learning(heldout: Sequence[dict], clusters: dict[str, str] | None = None) -> Estimate:
    """Prova de aprendizado: queda da perda nos itens de teste (base − ajustado, nats por token), pareada por item."""
    drops = [row["base_loss"] - row["tuned_loss"] for row in heldout]
    return mean_difference(drops, [(clusters or {}).get(row["item_id"]) or row["item_id"] for row in heldout])


def mcnemar(only_first: int, only_second: int) -> float | None:
    """Valor p exato de McNemar pelos pares discordantes; None sem nenhum."""
    from scipy import stats

    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else None


def wilson(successes: float, n: float) -> tuple[float | None, float | None]:
    """Intervalo de Wilson de 95 % para uma proporção; (None, None) sem observações."""
    if n <= 0:
        return None, None
    z, share = Z, successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def effective_n(n: int, mean: float, square: float) -> float | None:
    """O n que dá ao intervalo de Wilson a variância observada de pontos de média ``mean`` e quadrado médio ``square``.

    Com empates, a variância é menor que a de uma proporção e o n efetivo passa do de itens. None se os pontos são
    todos iguais e não são 0 nem 1: não há variância a estimar.
    """
    variance = square - mean * mean
    if variance <= 1e-12:
        return float(n) if mean * (1 - mean) <= 1e-12 else None
    return n * mean * (1 - mean) / variance


def preference_interval(points: Sequence[float]) -> tuple[float | None, float | None]:
    """Intervalo de 95 % da média de pontos 0, ½ e 1 (Wilson com o n efetivo); (None, None) se todos empatam."""
    n = len(points)
    if not n:
        return None, None
    mean = sum(points) / n
    effective = effective_n(n, mean, sum(point * point for point in points) / n)
    return (None, None) if effective is None else wilson(mean * effective, effective)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Valores p ajustados por Holm; os que faltam continuam faltando e não contam."""
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(order):
        highest = max(highest, min(1.0, value * (len(order) - rank)))
        adjusted[place] = highest
    return adjusted


def detectable_rate(n: int) -> float | None:
    """Menor taxa de vitória que ``n`` itens mostram com 80 % de poder e 5 % bilateral; None sem itens.

    Resolve (p − ½)·√n = z/2 + z'·√(p(1 − p)) em p.
    """
    if n < 1:
        return None
    root = Z**2 * n - (n + Z_POWER**2) * (Z**2 - Z_POWER**2)
    return None if root < 0 else min(1.0, 0.5 + (Z * math.sqrt(n) + math.sqrt(root)) / (2 * (n + Z_POWER**2)))


def prediction_powered(human: Sequence[float], judged: Sequence[float], unlabelled: Sequence[float]) -> Estimate:
    """Média humana corrigida pelo juiz em mais itens (PPI++): ``human`` e ``judged`` são dos mesmos itens."""
    import numpy as np

    people, judge, rest = (np.asarray(values, dtype=float) for values in (human, judged, unlabelled))
    n, more = len(people), len(rest)
    if n < 2 or len(judge) != n:
        return Estimate(n, n, None, None, None, None, "n/d")
    spread = judge.var(ddof=1)
    weight = float(np.cov(people, judge)[0, 1] / (spread * (1 + n / more))) if more and spread > 0 else 0.0
    residual = people - weight * judge
    mean = float((weight * rest.mean() if more else 0.0) + residual.mean())
    error = math.sqrt((weight**2 * rest.var(ddof=1) / more if more > 1 else 0.0) + residual.var(ddof=1) / n)
    return Estimate(n, n, mean, mean - 1.96 * error, mean + 1.96 * error, None, f"PPI++ ({n} humanos, {more} do juiz)")
