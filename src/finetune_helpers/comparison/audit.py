"""Auditoria do juiz automático contra as pessoas: concordância, ordem, tamanho; e a estimativa que junta os dois."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from . import agreement, significance, tally
from .blind import MAIN, Plan
from .significance import Estimate
from .tally import Ratings

MIN_KAPPA, MAX_FLIPS, MIN_HUMAN = 0.4, 0.25, 30


@dataclass(frozen=True)
class Audit:
    """O juiz num contraste: pontos do primeiro (0–1), e o que decide se ele pode ser usado.

    ``flips``: parte dos pares em que trocar a ordem trocou o vencedor; ``unparsed``: parte das respostas sem veredicto;
    ``length_controlled``: taxa de vitória com respostas do mesmo tamanho; ``combined``: PPI++ com as notas humanas.
    """

    first: str
    second: str
    n: int
    mean: float | None
    length_controlled: float | None
    humans: int
    kappa: float | None
    flips: float | None
    unparsed: float | None
    combined: Estimate

    @property
    def passed(self) -> bool:
        """Verdadeiro se o juiz pode aparecer ao lado das pessoas."""
        if self.kappa is None or self.flips is None:
            return False
        return self.kappa >= MIN_KAPPA and self.flips <= MAX_FLIPS and self.humans >= MIN_HUMAN


def audits(rows: Sequence[dict], plan: Plan, ratings: Ratings) -> list[Audit]:
    """Uma auditoria por contraste julgado; lista vazia se o juiz não foi executado."""
    contrasts = dict.fromkeys((row["first"], row["second"]) for row in rows)
    return [
        _audit([row for row in rows if (row["first"], row["second"]) == pair], pair, plan, ratings)
        for pair in contrasts
    ]


def _audit(rows: list[dict], contrast: tuple[str, str], plan: Plan, ratings: Ratings) -> Audit:
    orders: dict[str, dict[bool, float]] = {}
    for row in rows:
        if row["winner"]:
            orders.setdefault(row["item_id"], {})[row["left"] == row["first"]] = _points(row)
    both = {key: found for key, found in orders.items() if len(found) == 2}
    # Vence só quem ganha nas duas ordens; o resto é empate.
    judged = {key: found[True] if found[True] == found[False] else 0.5 for key, found in both.items()}
    flips = fmean(abs(found[True] - found[False]) == 1 for found in both.values()) if both else None
    human = _human(plan, ratings, contrast)
    shared = [key for key in human if key in judged]
    kappa = agreement.cohen([_side(human[key]) for key in shared], [_side(judged[key]) for key in shared])
    combined = significance.prediction_powered(
        [human[key] for key in shared],
        [judged[key] for key in shared],
        [value for key, value in judged.items() if key not in human],
    )
    unparsed = fmean(not row["winner"] for row in rows)
    mean = fmean(judged.values()) if judged else None
    return Audit(
        *contrast, len(judged), mean, _same_length(rows, judged), len(shared), kappa, flips, unparsed, combined
    )


def _points(row: dict) -> float:
    if row["winner"] not in ("A", "B"):
        return 0.5
    return float((row["winner"] == "A") == (row["left"] == row["first"]))


def _side(points: float) -> int:
    return (points > 0.5) - (points < 0.5)


def _human(plan: Plan, ratings: Ratings, contrast: tuple[str, str]) -> dict[str, float]:
    items = {row.pair: row.item_id for row in plan.rows if row.kind == MAIN}
    return {items[pair]: points for pair, points in tally.pair_points(plan, ratings, contrast).items()}


def _same_length(rows: list[dict], judged: dict[str, float]) -> float | None:
    """Taxa de vitória do primeiro se as duas respostas tivessem o mesmo tamanho.

    Regressão logística dos pontos sobre tanh da diferença de tamanho padronizada (AlpacaEval 2, arXiv 2404.04475).
    """
    import numpy as np

    gaps = {row["item_id"]: row["words_a"] - row["words_b"] for row in rows if row["left"] == row["first"]}
    keys = [key for key in judged if key in gaps]
    sizes, wins = np.array([gaps[key] for key in keys], float), np.array([judged[key] for key in keys], float)
    if len(keys) < 10 or sizes.std() == 0 or not 0 < wins.mean() < 1:
        return None
    design = np.column_stack([np.ones(len(keys)), np.tanh(sizes / sizes.std())])
    weights = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        # Um pouco de regularização mantém finito o caso em que o tamanho separa tudo.
        slope = design.T @ (wins - chance) - 1e-3 * weights
        weights = weights + np.linalg.solve((design.T * (chance * (1 - chance))) @ design + 1e-3 * np.eye(2), slope)
    return float(1 / (1 + np.exp(-weights[0])))
