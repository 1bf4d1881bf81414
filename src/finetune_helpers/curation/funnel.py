"""O funil: quantas linhas entram e saem de cada regra, quantas cada uma cortaria sozinha, e dez cortadas por motivo."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..portuguese import number

KEPT_PER_REASON = 10


@dataclass(frozen=True)
class Step:
    """Um passo: ``alone`` linhas cairiam só por esta regra, entre as ``alone_of`` em que ela foi avaliada."""

    rule: str
    says: str
    rows_in: int
    rows_out: int
    alone: int
    alone_of: int

    @property
    def dropped(self) -> int:
        """Linhas que caíram neste passo."""
        return self.rows_in - self.rows_out


@dataclass(frozen=True)
class Candidate:
    """Uma linha que segue no funil: número no arquivo, título, conteúdo e, depois de contados, os tokens."""

    line: int
    title: str
    content: str
    tokens: int = 0


@dataclass
class _Count:
    says: str
    rows_in: int = 0
    dropped: int = 0
    alone: int = 0
    alone_of: int = 0


class Tally:
    """Contagens em curso, bloco a bloco, e as dez primeiras linhas cortadas por motivo."""

    def __init__(self, rules: Iterable[tuple[str, str]]):
        """``rules``: nome e frase de cada passo, na ordem do funil."""
        self._counts = {name: _Count(says) for name, says in rules}
        self.examples: dict[str, list[dict]] = {name: [] for name in self._counts}

    def sift(
        self, names: Sequence[str], masks: Sequence[list[bool]], size: int, row: Callable[[int], Candidate]
    ) -> list[int]:
        """Posições, entre as ``size`` linhas de um bloco, das que passam por todas as regras; conta as que caem."""
        kept = list(range(size))
        for name, mask in zip(names, masks, strict=True):
            count, entering = self._counts[name], kept
            kept = [at for at in entering if mask[at]]
            count.rows_in += len(entering)
            count.dropped += len(entering) - len(kept)
            count.alone += mask.count(False)
            count.alone_of += len(mask)
            free = KEPT_PER_REASON - len(self.examples[name])
            for at in islice((at for at in entering if not mask[at]), free):
                self._keep_example(name, row(at), {})
        return kept

    def enter(self, name: str) -> None:
        """Uma linha chega a um passo que as examina uma a uma."""
        self._counts[name].rows_in += 1
        self._counts[name].alone_of += 1

    def drop(self, name: str, row: Candidate, **why: Any) -> None:
        """Uma linha cai num passo que as examina uma a uma, com os detalhes de ``why``."""
        self._counts[name].dropped += 1
        self._counts[name].alone += 1
        self._keep_example(name, row, why)

    def _keep_example(self, name: str, row: Candidate, why: dict) -> None:
        if len(self.examples[name]) < KEPT_PER_REASON:
            self.examples[name].append({"line": row.line, "title": row.title, "content": row.content, **why})

    def add(self, other: "Tally") -> None:
        """Soma as contagens de um bloco que veio depois."""
        for name, count in other._counts.items():
            mine = self._counts[name]
            for field in ("rows_in", "dropped", "alone", "alone_of"):
                setattr(mine, field, getattr(mine, field) + getattr(count, field))
            free = KEPT_PER_REASON - len(self.examples[name])
            self.examples[name] += other.examples[name][:free]

    def steps(self) -> tuple[Step, ...]:
        """Os passos do funil, na ordem em que as regras valeram."""
        return tuple(
            Step(name, one.says, one.rows_in, one.rows_in - one.dropped, one.alone, one.alone_of)
            for name, one in self._counts.items()
        )


def as_text(steps: Sequence[Step]) -> str:
    """O funil em linhas de texto, para mensagens e cadernos."""
    return "\n".join(
        f"{step.rule}: entram {number(step.rows_in)}, caem {number(step.dropped)}, ficam {number(step.rows_out)}"
        f" (sozinha cortaria {number(step.alone)} de {number(step.alone_of)})"
        for step in steps
    )
