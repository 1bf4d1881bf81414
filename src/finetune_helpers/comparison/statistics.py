"""Estatística pareada, de scipy, statsmodels e krippendorff: intervalos, valores p e o menor efeito visível."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from . import power
from .power import ALPHA

RESAMPLES, FLIPS = 2999, 9999
SEED = 20261121


@dataclass(frozen=True)
class Interval:
    """Uma média e o seu intervalo de 95 %; ``n`` observações em ``clusters`` grupos; None onde não se calcula."""

    n: int
    clusters: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Estimate(Interval):
    """Diferença média pareada, com o valor p e o nome do teste.

    ``floor`` é o menor p que a reamostragem mostra (None num teste exato): escreva ``portuguese.p_value(p, floor)``.
    """

    p: float | None
    test: str
    floor: float | None = None


@dataclass(frozen=True)
class Preference:
    """Pontos do primeiro de dois sistemas (1, ½ ou 0 por par), dados por pessoas, pelo juiz ou pela página.

    ``detectable`` é a menor taxa de vitória que tantos pares mostram.
    """

    estimate: Estimate
    detectable: float | None


def mean(values: Sequence[float], clusters: Sequence[str] | None = None) -> Interval:
    """Média com intervalo t de erro padrão por grupo (Miller, arXiv 2411.00640); sem limites com menos de 3 grupos."""
    if not len(values):
        return Interval(0, 0, None, None, None)
    groups = len(set(clusters or range(len(values))))
    fit = _fitted(values, clusters) if groups > 2 else None
    ends = fit.conf_int(ALPHA)[0].tolist() if fit and fit.bse[0] > 1e-12 else (None, None)
    return Interval(len(values), groups, fmean(values), *ends)


def rate(points: Sequence[float], clusters: Sequence[str] | None = None) -> Interval:
    """Taxa de pontos entre 0 e 1 com o intervalo de Wilson do n efetivo, o que dá a variância observada por grupo.

    Sem grupos nem empates é o de Wilson. Grupos diminuem o n efetivo e empates o aumentam; sem variação a medir, ele é
    o número de grupos. (None, None) se todos os pontos são o mesmo empate.
    """
    if not len(points):
        return Interval(0, 0, None, None, None)
    n, groups, centre = len(points), len(set(clusters or range(len(points)))), fmean(points)
    spread = float(_fitted(points, clusters).bse[0]) ** 2 if groups > 1 else 0.0
    if groups == n:
        spread *= (n - 1) / n  # a variância de uma proporção
    low = high = None
    if spread >= 1e-12:
        effective = centre * (1 - centre) / spread
        low, high = _wilson(centre * effective, effective)
    elif min(centre, 1 - centre) < 1e-12:
        low, high = _wilson(centre * groups, groups)
    return Interval(n, groups, centre, low, high)


def mean_difference(differences: Sequence[float], clusters: Sequence[str] | None = None) -> Estimate:
    """Média das diferenças com intervalo BCa e p por troca de sinais, ambos por grupo de quase duplicatas."""
    if not len(differences):
        return Estimate(0, 0, None, None, None, None, "sem itens em comum")
    totals, sizes = _by_cluster(differences, clusters)
    low, high = _bca(totals, sizes)
    return Estimate(len(differences), len(totals), fmean(differences), low, high, *sign_flip(totals))


def learning(rows: Sequence[Mapping[str, Any]], clusters: Mapping[str, str] | None = None) -> Estimate:
    """Prova de aprendizado: queda da perda de teste (``base_loss`` − ``tuned_loss``, nats por token) por item.

    ``clusters`` dá o grupo de quase duplicatas de um ``item_id``.
    """
    drops = [row["base_loss"] - row["tuned_loss"] for row in rows]
    return mean_difference(drops, [(clusters or {}).get(row["item_id"]) or row["item_id"] for row in rows])


def paired_share(first: Sequence[bool], second: Sequence[bool], clusters: Sequence[str] | None = None) -> Estimate:
    """Diferença de duas taxas nos mesmos itens (primeira − segunda), com intervalo e p que concordam.

    McNemar exato e o intervalo pareado de Newcombe (método 10; Statistics in Medicine 17, 1998, 2635–2650), alargado
    até o do teste exato nas poucas tabelas em que os dois discordam. Com grupos de quase duplicatas, os dois são os de
    ``mean_difference``.
    """
    differences = [float(bool(a)) - float(bool(b)) for a, b in zip(first, second, strict=True)]
    n = len(differences)
    if not n or (clusters is not None and len(set(clusters)) < n):
        return mean_difference(differences, clusters)
    gained, lost = differences.count(1.0), differences.count(-1.0)
    both = sum(bool(a) and bool(b) for a, b in zip(first, second, strict=True))
    p = mcnemar(gained, lost)
    low, high = _agreeing(_newcombe(both, gained, lost, n), _discordant(gained, lost, n), p, 0.0)
    return Estimate(n, n, (gained - lost) / n, low, high, p, "McNemar exato")


def preference(points: Sequence[float]) -> Preference:
    """Preferência pelos pontos do primeiro em cada par: teste exato do sinal e intervalo de Wilson, que concordam."""
    wins, losses = sum(point > 0.5 for point in points), sum(point < 0.5 for point in points)
    interval, n, p = rate(points), len(points), mcnemar(wins, losses)
    low, high = interval.low, interval.high
    if low is not None and high is not None:
        down, up = _discordant(wins, losses, n)
        low, high = _agreeing((low, high), (0.5 + down / 2, 0.5 + up / 2), p, 0.5)
    return Preference(Estimate(n, n, interval.mean, low, high, p, "sinal, exato"), power.detectable_rate(n))


def sign_flip(totals: Sequence[float]) -> tuple[float | None, str, float | None]:
    """Valor p bilateral de trocar ao acaso o sinal de cada diferença, o teste e o piso do p (None se exato).

    Exato até 13 grupos, depois por sorteio; p é None sem nenhuma diferença. Hipótese nula: os dois sistemas são
    intercambiáveis em cada item.
    """
    import numpy as np
    from scipy import stats

    values = np.asarray(totals, dtype=float)
    if not np.abs(values).any():
        return None, "sem diferenças", None
    if len(values) == 1:
        return 1.0, "permutação exata", None  # o scipy pede pelo menos dois grupos
    if 2 ** len(values) <= FLIPS:
        exact = stats.permutation_test((values,), _magnitude, permutation_type="samples", alternative="greater")
        return float(exact.pvalue), "permutação exata", None
    rng = np.random.default_rng(SEED)
    drawn = stats.monte_carlo_test(
        values,
        lambda size: values * rng.choice((-1.0, 1.0), size),
        _magnitude,
        n_resamples=FLIPS,
        batch=1000,
        alternative="greater",
    )
    return float(drawn.pvalue), f"permutação ({FLIPS} sorteios)", 1 / (FLIPS + 1)


def _magnitude(values, axis=-1):
    # Arredondar faz do empate um empate: a ordem das somas muda a última casa.
    return abs(values.sum(axis)).round(10)


def mcnemar(only_first: int, only_second: int) -> float | None:
    """Valor p exato de McNemar pelos pares discordantes; None sem nenhum."""
    from statsmodels.stats.contingency_tables import mcnemar as exact

    if not only_first + only_second:
        return None
    return float(exact([[0, only_first], [only_second, 0]], exact=True).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Valores p ajustados por Holm; os que faltam continuam faltando e não contam."""
    from statsmodels.stats.multitest import multipletests

    known = [value for value in values if value is not None]
    adjusted = iter(multipletests(known, method="holm")[1].tolist() if known else [])
    return [None if value is None else next(adjusted) for value in values]


def kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Kappa de Cohen de duas listas de categorias; None sem pares ou quando só uma categoria foi usada."""
    from statsmodels.stats.inter_rater import cohens_kappa, to_table

    names = sorted({*first, *second})
    if len(names) < 2:
        return None
    table, _ = to_table([(names.index(a), names.index(b)) for a, b in zip(first, second, strict=True)], len(names))
    return float(cohens_kappa(table, return_results=False))


def alpha(ratings: Sequence[Sequence[float | None]]) -> float | None:
    """Alfa nominal de Krippendorff; uma linha por revisor, uma coluna por item, None onde não avaliou.

    None quando faltam avaliações em comum ou só há uma categoria.
    """
    import krippendorff
    import numpy as np

    table = np.array([[np.nan if value is None else value for value in row] for row in ratings], dtype=float)
    if table.ndim != 2 or len(table) < 2:
        return None
    shared = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    if len(np.unique(shared[~np.isnan(shared)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=shared, level_of_measurement="nominal"))


def detectable_mean(differences: Sequence[float], clusters: Sequence[str] | None = None) -> float | None:
    """Menor diferença média que o teste t pareado mostra com esta dispersão e estes grupos, com 80 % de poder."""
    import numpy as np

    totals, sizes = _by_cluster(differences, clusters)
    spread = float(np.std(totals / sizes, ddof=1)) if len(totals) > 2 else 0.0
    return power.detectable_effect(len(totals)) * spread if spread >= 1e-12 else None


def _fitted(values: Sequence[float], clusters: Sequence[str] | None):
    """A regressão em que só há a média, com erro padrão por grupo."""
    import numpy as np
    from statsmodels.regression.linear_model import OLS

    known = {"groups": _places(len(values), clusters)}
    return OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds=known, use_t=True)


def _by_cluster(values: Sequence[float], clusters: Sequence[str] | None) -> tuple[Any, Any]:
    """Soma e número de valores de cada grupo."""
    import numpy as np

    place = _places(len(values), clusters)
    return np.bincount(place, weights=np.asarray(values, dtype=float)), np.bincount(place).astype(float)


def _places(n: int, clusters: Sequence[str] | None):
    """O número do grupo de cada valor; sem grupos, cada valor é o seu."""
    import numpy as np

    return np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]


def _bca(totals, sizes) -> tuple[float | None, float | None]:
    """Intervalo BCa de 95 % da média, sorteando grupos; (None, None) com menos de 3 grupos ou sem variação."""
    if len(totals) < 3 or (totals / sizes).std() < 1e-12:
        return None, None
    from scipy import stats

    interval = stats.bootstrap(
        (totals, sizes),
        lambda total, size, axis=-1: total.sum(axis) / size.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        method="BCa",
        rng=SEED,
    ).confidence_interval
    return (float(interval.low), float(interval.high)) if math.isfinite(interval.low + interval.high) else (None, None)


def _agreeing(
    interval: tuple[float, float], exact: tuple[float, float], p: float | None, null: float
) -> tuple[float, float]:
    """O intervalo, alargado até o do teste exato se ele exclui o que o teste não rejeita."""
    if interval[0] <= null <= interval[1] or (p is not None and p <= ALPHA):
        return interval
    return min(interval[0], exact[0]), max(interval[1], exact[1])


def _newcombe(both: int, gained: int, lost: int, n: int) -> tuple[float, float]:
    neither, first, second = n - both - gained - lost, (both + gained) / n, (both + lost) / n
    (l1, u1), (l2, u2) = _wilson(both + gained, n), _wilson(both + lost, n)
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    cross = both * neither - gained * lost
    # A correção de continuidade só reduz uma correlação positiva, nunca além de zero.
    phi = (max(cross - n / 2, 0) if cross > 0 else cross) / math.sqrt(margins) if margins else 0.0
    down, up = (first - l1, u2 - second), (u1 - first, second - l2)
    reach = [math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b)) for a, b in (down, up)]
    return first - second - reach[0], first - second + reach[1]


def _discordant(gained: int, lost: int, n: int) -> tuple[float, float]:
    """O intervalo de Clopper–Pearson dos pares discordantes, levado à diferença de taxas."""
    from statsmodels.stats.proportion import proportion_confint

    if not gained + lost:
        return 0.0, 0.0
    low, high = proportion_confint(gained, gained + lost, ALPHA, method="beta")
    return (2 * low - 1) * (gained + lost) / n, (2 * high - 1) * (gained + lost) / n


def _wilson(successes: float, n: float) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, n, ALPHA, method="wilson")
    return float(low), float(high)
