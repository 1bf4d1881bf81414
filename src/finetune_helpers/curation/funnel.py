"""O funil: quantas linhas entram e saem de cada regra, quantas cada uma cortaria sozinha, e dez cortadas por motivo."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..portuguese import number
from .rules import Rule, TokenRule

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
    """Uma linha que segue no funil: ordem no arquivo, título, conteúdo e, depois de contados, os tokens."""

    row: int
    title: str
    content: str
    tokens: int = 0


class Funnel:
    """As contagens em curso e as primeiras linhas cortadas por motivo, em ``examples``."""

    def __init__(self, stages: Sequence[Sequence[Rule | TokenRule]], singles: Sequence[tuple[str, str]]):
        """``stages``: as regras avaliadas juntas, nas mesmas linhas; ``singles``: passos que examinam uma por vez."""
        self._stages = [(rules, Counter[int]()) for rules in stages]
        self._singles = singles
        self._entered, self._dropped = Counter[str](), Counter[str]()
        names = [*(rule.name for rules in stages for rule in rules), *(name for name, _ in singles)]
        self.examples: dict[str, list[dict]] = {name: [] for name in names}

    def sift(self, stage: int, passed: Sequence[int], rows: Sequence[int] | Sequence[Candidate]) -> list[int]:
        """Conta um bloco de linhas num estágio; devolve as posições das que passam por todas as regras dele.

        ``passed`` tem, por linha, o bit de cada regra que a mantém; de ``rows`` saem as linhas mostradas por motivo.
        """
        rules, total = self._stages[stage]
        every, counts = (1 << len(rules)) - 1, Counter(passed)
        total.update(counts)
        rare = {
            mask: name
            for mask in counts.keys() - {every}
            if len(self.examples[name := _reason(rules, mask)]) < KEPT_PER_REASON
        }
        for at, mask in enumerate(passed) if rare else ():
            if mask in rare:
                row = rows[at]
                self._keep(rare[mask], {"row": row} if isinstance(row, int) else asdict(row))
        return [at for at, mask in enumerate(passed) if mask == every]

    def enter(self, name: str) -> None:
        """Uma linha chega a um passo que as examina uma a uma."""
        self._entered[name] += 1

    def drop(self, name: str, row: Candidate, **why: Any) -> None:
        """Uma linha cai num passo que as examina uma a uma, com os detalhes de ``why``."""
        self._dropped[name] += 1
        self._keep(name, {"row": row.row, "title": row.title, "content": row.content, **why})

    def steps(self) -> tuple[Step, ...]:
        """Os passos, na ordem em que valeram."""
        together = [_step(rules, at, total) for rules, total in self._stages for at in range(len(rules))]
        singles = [
            Step(name, says, entered := self._entered[name], entered - (cut := self._dropped[name]), cut, entered)
            for name, says in self._singles
        ]
        return (*together, *singles)

    def _keep(self, name: str, example: dict) -> None:
        if len(self.examples[name]) < KEPT_PER_REASON:
            self.examples[name].append(example)


def _reason(rules: Sequence[Rule | TokenRule], mask: int) -> str:
    """O nome da primeira regra que não mantém a linha."""
    return next(rule.name for at, rule in enumerate(rules) if not mask >> at & 1)


def _step(rules: Sequence[Rule | TokenRule], at: int, total: Counter[int]) -> Step:
    def having(bits: int) -> int:
        return sum(rows for mask, rows in total.items() if mask & bits == bits)

    before, own = (1 << at) - 1, 1 << at
    everyone = total.total()
    return Step(rules[at].name, rules[at].says, having(before), having(before | own), everyone - having(own), everyone)


def as_text(steps: Sequence[Step]) -> str:
    """O funil em linhas de texto, para mensagens e cadernos."""
    return "\n".join(
        f"{step.rule}: entram {number(step.rows_in)}, caem {number(step.dropped)}, ficam {number(step.rows_out)}"
        f" (sozinha cortaria {number(step.alone)} de {number(step.alone_of)})"
        for step in steps
    )


def explained(steps: Sequence[Step]) -> str:
    """Como ler o funil, numa frase com os números desta rodada."""
    # O excedente não é um defeito das linhas: o treino e o teste já estavam completos.
    worst = max((step for step in steps if step.rule != "excedente"), key=lambda step: step.dropped)
    shorter = sum(step.dropped for step in steps if step.rule.endswith("_apos_limpeza"))
    cleaning = f" A limpeza encurtou {number(shorter)}, que só passavam no texto bruto." if shorter else ""
    return (
        f"de {number(steps[0].rows_in)} linhas lidas, {number(steps[-1].rows_out)} foram escolhidas. A regra que mais "
        f"cortou foi {worst.rule} ({worst.says}): {number(worst.dropped)}.{cleaning}"
    )
