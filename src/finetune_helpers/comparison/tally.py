"""Contas da revisão: preferência por contraste, notas por sistema, concordância, repetições e atenção."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from . import agreement, significance
from .blind import ATTENTION, MAIN, REPEAT, Plan, Row

FIRST, SECOND = "primeiro", "segundo"
TIES = ("empate", "ambas ruins")


@dataclass(frozen=True)
class Rating:
    """O que um revisor escreveu numa linha; vazio ou None onde não avaliou."""

    preference: str = ""
    correct_a: int | None = None
    correct_b: int | None = None
    fluent_a: int | None = None
    fluent_b: int | None = None
    problem_a: str = ""
    problem_b: str = ""
    comment: str = ""


Ratings = dict[str, Rating]


@dataclass(frozen=True)
class Preference:
    """Preferência de um contraste: pares avaliados, média de pontos do primeiro (0–1), intervalo e p do sinal.

    ``square`` é a média dos quadrados dos pontos. ``n`` conta pares, com a média dos revisores; ``wins``, ``ties``,
    ``both_bad`` e ``losses`` contam julgamentos.
    """

    first: str
    second: str
    n: int
    mean: float | None
    square: float | None
    low: float | None
    high: float | None
    p: float | None
    wins: int
    ties: int
    both_bad: int
    losses: int


def outcome(row: Row, preference: str) -> str:
    """Quem ganhou: ``primeiro``, ``segundo``, o empate escrito, ou vazio sem avaliação."""
    if preference in ("A", "B"):
        return FIRST if (preference == "A") == (row.left == row.first) else SECOND
    return preference


def points(result: str) -> float:
    """Pontos do primeiro sistema do contraste: 1, ½ ou 0."""
    return {FIRST: 1.0, SECOND: 0.0}.get(result, 0.5)


def outcomes(plan: Plan, ratings: Ratings) -> dict[str, str]:
    """Resultado de cada linha avaliada, por código."""
    found = {row.code: outcome(row, ratings.get(row.code, Rating()).preference) for row in plan.rows}
    return {code: result for code, result in found.items() if result}


def pair_points(plan: Plan, ratings: Ratings, contrast: tuple[str, str]) -> dict[str, float]:
    """Média de pontos de cada par avaliado de um contraste, sobre os revisores que o viram."""
    found, results = dict[str, list[float]](), outcomes(plan, ratings)
    for row in plan.rows:
        if row.kind == MAIN and (row.first, row.second) == contrast and row.code in results:
            found.setdefault(row.pair, []).append(points(results[row.code]))
    return {pair: fmean(values) for pair, values in found.items()}


def preferences(plan: Plan, ratings: Ratings) -> list[Preference]:
    """Preferência de cada contraste do plano."""
    results = outcomes(plan, ratings)
    return [_preference(plan, ratings, contrast, results) for contrast in plan.contrasts]


def _preference(plan: Plan, ratings: Ratings, contrast: tuple[str, str], results: dict[str, str]) -> Preference:
    values = list(pair_points(plan, ratings, contrast).values())
    low, high = significance.preference_interval(values)
    p = significance.mcnemar(sum(value > 0.5 for value in values), sum(value < 0.5 for value in values))
    mine = [row.code for row in plan.rows if row.kind == MAIN and (row.first, row.second) == contrast]
    counts = [sum(results.get(code) == kind for code in mine) for kind in (FIRST, *TIES, SECOND)]
    mean, square = (fmean(values), fmean([value * value for value in values])) if values else (None, None)
    return Preference(*contrast, len(values), mean, square, low, high, p, *counts)


def mean_note(plan: Plan, ratings: Ratings, system: str, note: str) -> float | None:
    """Nota média de um sistema (``correct`` ou ``fluent``, 1 a 5) nas linhas principais; None sem notas."""
    given = []
    for row in plan.rows:
        rating = ratings.get(row.code, Rating())
        for side, shown in (("a", row.left), ("b", row.right)):
            value = getattr(rating, f"{note}_{side}")
            if row.kind == MAIN and shown == system and value is not None:
                given.append(value)
    return fmean(given) if given else None


def progress(plan: Plan, ratings: Ratings, sheet: int) -> float | None:
    """Parte das linhas de uma folha com preferência; None numa folha sem linhas."""
    rows = plan.sheet(sheet)
    return sum(bool(ratings.get(row.code, Rating()).preference) for row in rows) / len(rows) if rows else None


def repeats_equal(plan: Plan, ratings: Ratings, sheet: int) -> float | None:
    """Parte das linhas repetidas em que o revisor deu o mesmo resultado; None sem nenhuma avaliada duas vezes."""
    results = outcomes(plan, ratings)
    original = {row.pair: results.get(row.code) for row in plan.sheet(sheet) if row.kind == MAIN}
    again = [(results.get(row.code), original[row.pair]) for row in plan.sheet(sheet) if row.kind == REPEAT]
    return agreement.share_equal(*_columns([pair for pair in again if all(pair)]))


def attention_passed(plan: Plan, ratings: Ratings, sheet: int) -> float | None:
    """Parte das linhas de atenção certas entre as avaliadas."""
    asked = [
        (row.expected, ratings.get(row.code, Rating()).preference) for row in plan.sheet(sheet) if row.kind == ATTENTION
    ]
    return agreement.share_equal(*_columns([pair for pair in asked if pair[1]]))


def share_of_a(plan: Plan, ratings: Ratings) -> float | None:
    """Parte dos julgamentos decididos que escolheu a resposta A: perto de 50 % se a posição não pesa."""
    given = [ratings.get(row.code, Rating()).preference for row in plan.rows if row.kind == MAIN]
    decided = [value for value in given if value in ("A", "B")]
    return decided.count("A") / len(decided) if decided else None


def shared_outcomes(plan: Plan, ratings: Ratings) -> list[tuple[str, ...]]:
    """Resultados dos pares que mais de uma folha mostra, na ordem das folhas ("" onde falta)."""
    results, table = outcomes(plan, ratings), dict[str, list[str]]()
    for row in plan.rows:
        if row.kind == MAIN:
            table.setdefault(row.pair, []).append(results.get(row.code, ""))
    return [tuple(found) for found in table.values() if len(found) > 1]


def alpha(plan: Plan, ratings: Ratings) -> float | None:
    """Alfa de Krippendorff (nominal) de todas as folhas sobre os pares em comum."""
    kinds, results = (FIRST, SECOND, *TIES), outcomes(plan, ratings)
    pairs = sorted({row.pair for row in plan.rows if row.kind == MAIN})
    table = {sheet: dict.fromkeys(pairs) for sheet in range(1, plan.reviewers + 1)}
    for row in plan.rows:
        if row.kind == MAIN and row.code in results:
            table[row.sheet][row.pair] = kinds.index(results[row.code])
    return agreement.krippendorff_alpha([list(found.values()) for found in table.values()])


def between_reviewers(plan: Plan, ratings: Ratings) -> tuple[int, float | None, float | None]:
    """Pares julgados pelos dois primeiros revisores que os viram, parte igual e kappa de Cohen."""
    both = [row[:2] for row in shared_outcomes(plan, ratings) if all(row[:2])]
    first, second = _columns(both)
    return len(both), agreement.share_equal(first, second), agreement.cohen(first, second)


def _columns(rows: Sequence[tuple]) -> tuple[list, list]:
    return [row[0] for row in rows], [row[1] for row in rows]
