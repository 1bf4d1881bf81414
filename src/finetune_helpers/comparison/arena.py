"""Arena: os votos cegos da página contados por par de sistemas, fora da tabela principal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..records import normalise
from ..votes import Vote
from . import significance
from .tally import FIRST, SECOND, TIES


@dataclass(frozen=True)
class Duel:
    """Votos de um par de sistemas; ``rate`` (0 a 1) é a parte do primeiro nos votos decididos, com Wilson de 95 %.

    ``p`` é o do teste de sinal exato e ``holm`` o ajustado sobre os pares; None sem nenhum voto decidido.
    """

    first: str
    second: str
    votes: int
    questions: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    rate: float | None
    low: float | None
    high: float | None
    p: float | None
    holm: float | None = None


def pair(vote: Vote, order: Sequence[str]) -> tuple[str, str]:
    """Os dois sistemas de um voto: os ajustados antes, depois a ordem dada, depois a alfabética."""
    first, second = sorted((vote.system_a, vote.system_b), key=lambda name: _place(name, order))
    return first, second


def _place(system: str, order: Sequence[str]) -> tuple[bool, int, str]:
    return not system.endswith("-tuned"), list(order).index(system) if system in order else len(order), system


def outcome(vote: Vote, first: str) -> str:
    """Quem venceu no par: ``primeiro``, ``segundo`` ou o empate escrito."""
    if vote.choice in ("A", "B"):
        return FIRST if (vote.choice == "A") == (vote.system_a == first) else SECOND
    return vote.choice.replace("_", " ")


def duels(found: Sequence[Vote], order: Sequence[str]) -> list[Duel]:
    """Um resultado por par de sistemas que recebeu votos, na ordem dos sistemas em ``pair``."""
    grouped: dict[tuple[str, str], list[Vote]] = {}
    for vote in found:
        grouped.setdefault(pair(vote, order), []).append(vote)
    sides = sorted(grouped, key=lambda both: [_place(system, order) for system in both])
    counted = [_duel(*both, grouped[both]) for both in sides]
    adjusted = significance.holm([duel.p for duel in counted])
    return [replace(duel, holm=holm) for duel, holm in zip(counted, adjusted, strict=True)]


def _duel(first: str, second: str, cast: list[Vote]) -> Duel:
    results = [outcome(vote, first) for vote in cast]
    wins, losses, ties, both_bad = (results.count(kind) for kind in (FIRST, SECOND, *TIES))
    rate = wins / (wins + losses) if wins + losses else None
    questions = len({normalise(vote.question) for vote in cast})
    interval = significance.wilson(wins, wins + losses)
    p = significance.mcnemar(wins, losses)
    return Duel(first, second, len(cast), questions, wins, losses, ties, both_bad, rate, *interval, p)
