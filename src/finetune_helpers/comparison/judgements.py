"""As contas de quem prefere o quê: pessoas e votos da página passam pelas mesmas poucas funções."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from .. import votes
from ..errors import RunMismatchError
from .blind import ATTENTION, MAIN, REPEAT, Plan, Row, belongs
from .statistics import Estimate, Interval, Preference, alpha, kappa, preference
from .study import Study

FIRST, SECOND = "primeiro", "segundo"
PREFERENCES = ("A", "B", "empate", "ambas ruins")
TIES = PREFERENCES[2:]
GRADES = (1, 2, 3, 4, 5)
PROBLEMS = (
    "nenhum",
    "fato errado",
    "fora do assunto",
    "repetição",
    "vazia",
    "resenha em vez de descrição",
    "idioma errado",
    "incompleta",
)
PREFERENCE = "Preferência"
# O que uma pessoa preenche: a chave em ``Review.rows``, o que a coluna aceita (vazio: qualquer texto) e a largura.
INPUTS: dict[str, tuple[str, tuple, float]] = {
    PREFERENCE: ("preference", PREFERENCES, 12),
    "Correção A": ("correct_a", GRADES, 10),
    "Correção B": ("correct_b", GRADES, 10),
    "Fluência A": ("fluent_a", GRADES, 10),
    "Fluência B": ("fluent_b", GRADES, 10),
    "Problema A": ("problem_a", PROBLEMS, 17),
    "Problema B": ("problem_b", PROBLEMS, 17),
    "Comentário": ("comment", (), 30),
}


@dataclass(frozen=True)
class Judgement:
    """Uma linha mostrada a uma pessoa e o que ela escreveu em ``rating``; ``edited`` se alguém mudou os textos."""

    row: Row
    rating: dict[str, Any]
    reviewer: str = ""
    file: str = ""
    edited: bool = False

    @property
    def outcome(self) -> str:
        """Quem ganhou: ``primeiro``, ``segundo``, o empate escrito, ou vazio sem avaliação."""
        chosen = self.rating["preference"]
        if chosen not in ("A", "B") or self.row.kind == ATTENTION:
            return chosen
        return FIRST if (chosen == "A") == (self.row.left == self.row.first) else SECOND


@dataclass(frozen=True)
class Contest:
    """A preferência entre dois sistemas: a estatística dos pontos por item e a contagem de cada julgamento.

    ``estimate.mean`` são os pontos do primeiro, de 0 a 1, com empate valendo ½.
    """

    first: str
    second: str
    statistic: Preference
    outcomes: dict[str, int]

    @property
    def estimate(self) -> Estimate:
        """Média dos pontos, intervalo e teste; ``n`` são os itens avaliados."""
        return self.statistic.estimate

    def side(self, system: str) -> tuple[Interval, str] | None:
        """Os pontos de um dos dois, com intervalo, e o nome do outro; None fora do par ou sem nada julgado."""
        known = self.estimate
        if not known.n or system not in (self.first, self.second):
            return None
        if system == self.first:
            return known, self.second
        ends = [None if end is None else 1 - end for end in (known.mean, known.high, known.low)]
        return Interval(known.n, known.clusters, *ends), self.first


@dataclass(frozen=True)
class Reviewer:
    """O andamento de uma pessoa, e a parte das repetições iguais e dos itens de controle certos."""

    name: str
    rows: int
    done: int
    repeats_equal: float | None
    attention_right: float | None


@dataclass(frozen=True)
class Review:
    """Uma revisão lida: ``rows`` são dicionários, um por pessoa e linha; ``preference``, uma por contraste.

    ``problems`` são frases com o endereço da célula; ``agreement`` traz pares, igual, kappa, alfa e posição.
    """

    plan: Plan
    judgements: tuple[Judgement, ...]
    problems: tuple[str, ...]

    @property
    def rows(self) -> tuple[dict, ...]:
        """Uma linha por pessoa e linha mostrada, avaliada ou não."""
        return tuple(
            {"reviewer": judgement.reviewer, "file": judgement.file, "edited": judgement.edited}
            | asdict(judgement.row)
            | {"result": judgement.outcome}
            | judgement.rating
            for judgement in self.judgements
        )

    @cached_property
    def main(self) -> list[Judgement]:
        """Os julgamentos que contam: nem repetições, nem controle, nem linhas por avaliar."""
        return [row for row in self.judgements if row.row.kind == MAIN and row.outcome]

    @cached_property
    def preference(self) -> tuple[Contest, ...]:
        """A preferência de cada contraste, na ordem declarada."""
        return tuple(contest(pair, self._outcomes(pair)) for pair in self.plan.contrasts)

    def _outcomes(self, contrast: tuple[str, str]) -> list[tuple[str, str]]:
        return [(row.row.item_id, row.outcome) for row in self.main if row.row.pair[1:] == contrast]

    def points(self, contrast: tuple[str, str]) -> dict[str, float]:
        """Os pontos do primeiro em cada item de um contraste, na média das pessoas."""
        return _item_points(self._outcomes(contrast))

    def of(self, item_id: str) -> list[Judgement]:
        """Os julgamentos principais de um item, já avaliados."""
        return [row for row in self.main if row.row.item_id == item_id]

    def grade(self, system: str) -> float | None:
        """A nota média de correção de um sistema (1 a 5) nas linhas principais; None sem notas."""
        grades = [
            judgement.rating[f"correct_{side}"]
            for judgement in self.judgements
            for side, shown in (("a", judgement.row.left), ("b", judgement.row.right))
            if judgement.row.kind == MAIN and shown == system
        ]
        known = [grade for grade in grades if grade is not None]
        return fmean(known) if known else None

    @property
    def reviewers(self) -> tuple[Reviewer, ...]:
        """O andamento de cada pessoa."""
        return tuple(map(self._person, dict.fromkeys(row.reviewer for row in self.judgements)))

    def _person(self, name: str) -> Reviewer:
        rows = [row for row in self.judgements if row.reviewer == name]
        first = {row.row.pair: row.outcome for row in rows if row.row.kind == MAIN}
        again = [(row.outcome, first.get(row.row.pair)) for row in rows if row.row.kind == REPEAT]
        control = [(row.outcome, row.row.expected) for row in rows if row.row.kind == ATTENTION and row.outcome]
        done = sum(bool(row.outcome) for row in rows)
        return Reviewer(name, len(rows), done, _equal([pair for pair in again if all(pair)]), _equal(control))

    @cached_property
    def agreement(self) -> dict[str, float | int | None]:
        """Concordância nos pares que duas pessoas julgaram e o peso da posição (perto de ½ se ela não pesa)."""
        table: dict[tuple, dict[str, str]] = {}
        for row in self.main:
            table.setdefault(row.row.pair, {})[row.reviewer] = row.outcome
        shared = [seen for seen in table.values() if len(seen) > 1]
        both = [tuple(seen.values())[:2] for seen in shared]
        people, kinds = sorted({person for seen in shared for person in seen}), (FIRST, SECOND, *TIES)
        coded = [[kinds.index(seen[name]) if name in seen else None for seen in shared] for name in people]
        sides = [chosen == "A" for row in self.main if (chosen := row.rating["preference"]) in ("A", "B")]
        return {
            "pares": len(both),
            "igual": _equal(both),
            "kappa": kappa([one for one, _ in both], [two for _, two in both]),
            "alfa": alpha(coded),
            "posição": fmean(sides) if sides else None,
        }


def _equal(pairs: Sequence[tuple]) -> float | None:
    return fmean(one == two for one, two in pairs) if pairs else None


def contest(pair: tuple[str, str], outcomes: Sequence[tuple[str, str]]) -> Contest:
    """A preferência de um contraste, a partir de (item, resultado); um item julgado mais de uma vez vale a média."""
    counts = Counter(outcome for _, outcome in outcomes)
    return Contest(*pair, preference(list(_item_points(outcomes).values())), dict(counts))


def _item_points(outcomes: Sequence[tuple[str, str]]) -> dict[str, float]:
    points: dict[str, list[float]] = {}
    for item, outcome in outcomes:
        points.setdefault(item, []).append({FIRST: 1.0, SECOND: 0.0}.get(outcome, 0.5))
    return {item: fmean(values) for item, values in points.items()}


def refuse_strangers(study: Study, read: Review) -> None:
    """RunMismatchError se as respostas da rodada não são mais as que as pessoas avaliaram."""
    if not belongs(study, read.plan):
        raise RunMismatchError(
            f"A revisão não é das respostas que estão em {study.run}: elas mudaram depois que a revisão foi escrita. "
            "Volte às respostas revisadas, ou escreva e preencha uma revisão nova."
        )


def vote_contests(study: Study) -> list[Contest]:
    """Um duelo por par votado, com cada voto contado uma vez; os dois ajustados e os pares declarados vêm antes."""
    declared, order = study.pairs(), [system.name for system in study.systems]
    cast: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for vote in votes.read(study.run):
        one, two = vote.system_a, vote.system_b
        known = sorted((one, two), key=lambda name: (order.index(name) if name in order else len(order), name))
        pair = next((pair for pair in declared if set(pair) == {one, two}), (known[0], known[1]))
        winner = {"A": one, "B": two}.get(vote.choice)
        outcome = vote.choice.replace("_", " ") if winner is None else FIRST if winner == pair[0] else SECOND
        cast.setdefault(pair, []).append((vote.vote_id, outcome))
    ranked = sorted(cast, key=lambda pair: (declared.index(pair) if pair in declared else len(declared), pair))
    return [contest(pair, cast[pair]) for pair in ranked]
