"""A escolha em ordem, sem repetições e sem teste parecido com o treino, e o funil que conta por que cada linha caiu."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..portuguese import number
from ..records import normalise
from .duplicates import near_contents, near_title, shingles, title_key
from .rules import Rule

KEPT_PER_REASON = 10
REPEATS = {
    "duplicata_exata": "nem título nem conteúdo iguais aos de uma linha já escolhida",
    "quase_duplicata": "conteúdo que não repete quase todo o de uma linha já escolhida",
    "perto_do_treino": "linha de teste cujo título não se parece com nenhum do treino",
}
SURPLUS = {"excedente": "linhas que chegaram antes de o treino e o teste estarem completos"}


@dataclass(frozen=True)
class Candidate:
    """Uma linha que segue no funil: ordem no arquivo, título, conteúdo e, depois de contados, os tokens."""

    row: int
    title: str
    content: str
    tokens: int = 0


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


class Funnel:
    """As contagens em curso e as primeiras linhas cortadas por motivo, em ``examples``."""

    def __init__(self, stages: Sequence[Sequence[Rule]], one_by_one: dict[str, str]):
        """``stages``: as regras avaliadas juntas, nas mesmas linhas; ``one_by_one``: os passos da escolha."""
        self._stages = [(rules, Counter[int]()) for rules in stages]
        self._one_by_one, self._offered, self._dropped = one_by_one, 0, Counter[str]()
        self.examples: dict[str, list[dict]] = {rule.name: [] for rules in stages for rule in rules}
        self.examples |= {name: [] for name in one_by_one}

    def sift(self, stage: int, passed: Sequence[int], rows: Sequence[Candidate] | range) -> list[int]:
        """Conta um bloco de linhas num estágio; devolve as posições das que passam por todas as regras dele.

        ``passed`` tem, por linha, o bit de cada regra que a mantém; ``rows``, as linhas ou só a ordem de cada uma.
        """
        rules, total = self._stages[stage]
        every, counts = (1 << len(rules)) - 1, Counter(passed)
        total.update(counts)
        # A lista de quem cai pela primeira regra que não mantém a linha, se ainda lhe falta exemplo.
        lacking = {
            mask: examples
            for mask in counts.keys() - {every}
            if len(examples := self.examples[rules[(~mask & (mask + 1)).bit_length() - 1].name]) < KEPT_PER_REASON
        }
        for at, mask in enumerate(passed) if lacking else ():
            if mask in lacking and len(lacking[mask]) < KEPT_PER_REASON:
                row = rows[at]
                lacking[mask].append({"row": row} if isinstance(row, int) else _shown(row))
        return [at for at, mask in enumerate(passed) if mask == every]

    def offer(self, row: Candidate, reason: str = "", **why: Any) -> None:
        """Conta uma linha que chegou à escolha e, se há ``reason``, caiu num dos passos dela."""
        self._offered += 1
        if reason:
            self._dropped[reason] += 1
            if len(self.examples[reason]) < KEPT_PER_REASON:
                self.examples[reason].append(_shown(row) | why)

    def steps(self) -> tuple[Step, ...]:
        """Os passos, na ordem em que valeram."""
        steps = [_step(rules, at, total) for rules, total in self._stages for at in range(len(rules))]
        left = self._offered
        for name, says in self._one_by_one.items():
            cut = self._dropped[name]
            steps.append(Step(name, says, left, left - cut, cut, left))
            left -= cut
        return tuple(steps)


def _shown(row: Candidate) -> dict:
    return {"row": row.row, "title": row.title, "content": row.content}


def _step(rules: Sequence[Rule], at: int, total: Counter[int]) -> Step:
    def having(bits: int) -> int:
        return sum(rows for mask, rows in total.items() if mask & bits == bits)

    before, own, everyone = (1 << at) - 1, 1 << at, total.total()
    return Step(rules[at].name, rules[at].says, having(before), having(before | own), everyone - having(own), everyone)


def as_text(steps: Sequence[Step]) -> str:
    """O funil em linhas de texto, para mensagens e cadernos."""
    return "\n".join(
        f"{step.rule}: entram {number(step.rows_in)}, caem {number(step.dropped)}, ficam {number(step.rows_out)}"
        f" (sozinha cortaria {number(step.alone)} de {number(step.alone_of)})"
        for step in steps
    )


class Selection:
    """Escolhe, em ordem de chegada, ``n_train`` linhas de treino e depois ``n_test`` de teste."""

    def __init__(self, n_train: int, n_test: int, unique: bool, funnel: Funnel):
        """``unique`` liga a retirada de repetições e o afastamento entre teste e treino."""
        self.n_train, self.n_test, self.unique, self._funnel = n_train, n_test, unique, funnel
        self.train: list[Candidate] = []
        self.test: list[Candidate] = []
        self._train_titles: list[str] = []
        self._exact: dict[str, Candidate] = {}
        # Pela ordem no arquivo, as linhas de conteúdos diferentes entre si e os trechos de cada uma.
        self._distinct: dict[int, Candidate] = {}
        self._shingles: dict[int, np.ndarray] = {}

    @property
    def full(self) -> bool:
        """Se treino e teste já têm o que foi pedido."""
        return len(self.train) == self.n_train and len(self.test) == self.n_test

    def offer(self, rows: Sequence[Candidate]) -> None:
        """Recebe as próximas linhas, em ordem de arquivo; escolhe cada uma ou registra por que não."""
        # Depois de completa a escolha, comparar não mudaria nada e gastaria tempo e memória.
        compared = self.unique and not self.full
        new = {row.row: shingles(row.content) for row in rows} if compared else {}
        alike = self._alike(new)
        for row in rows:
            if self.full:
                self._funnel.offer(row, "excedente")
            elif self.unique and (repeat := self._repeat(row, alike[row.row])):
                reason, like, score = repeat
                self._funnel.offer(row, reason, like_row=like.row, like_title=like.title, score=score)
            elif len(self.train) < self.n_train:
                self._funnel.offer(row)
                self.train.append(row)
                self._train_titles.append(title_key(row.title))
            else:
                self._funnel.offer(row)
                self.test.append(row)
        self._shingles |= {at: new[at] for at in new.keys() & self._distinct.keys()}

    def _alike(self, new: dict[int, np.ndarray]) -> dict[int, list[tuple[float, int]]]:
        """Por linha nova, a semelhança e a ordem, negativa, de cada linha anterior de conteúdo parecido."""
        every = self._shingles | new
        rows, others = list(new), list(every)
        alike = defaultdict[int, list[tuple[float, int]]](list)
        for pair in near_contents(list(new.values()), list(every.values())):
            row, other = rows[pair.left], others[pair.right]
            if other < row:
                alike[row].append((pair.score, -other))
        return alike

    def _repeat(self, row: Candidate, alike: list[tuple[float, int]]) -> tuple[str, Candidate, float] | None:
        """Por que a linha repete outra, qual e quanto (0 a 1); a que não repete conteúdo entra nas distintas."""
        keys = (f"t:{normalise(row.title)}", f"c:{normalise(row.content)}")
        if like := next((self._exact[key] for key in keys if key in self._exact), None):
            return "duplicata_exata", like, 1.0
        self._exact |= dict.fromkeys(keys, row)
        if near := [(score, at) for score, at in alike if -at in self._distinct]:
            score, at = max(near)
            return "quase_duplicata", self._distinct[-at], score
        self._distinct[row.row] = row
        if len(self.train) == self.n_train and (best := near_title(title_key(row.title), self._train_titles)):
            return "perto_do_treino", self.train[best[0]], best[1]
        return None

    def largest_fit(self) -> tuple[int, int]:
        """O maior treino e o maior teste que cabem no escolhido, na proporção pedida; (0, 0) se não há como."""
        rows = [*self.train, *self.test]
        share = self.n_train / (self.n_train + self.n_test)
        keys, total = [title_key(row.title) for row in rows], len(rows)
        while total >= 2:
            n_train = min(max(1, round(total * share)), total - 1)
            free = sum(not (self.unique and near_title(key, keys[:n_train])) for key in keys[n_train:])
            if free >= total - n_train:
                return n_train, total - n_train
            total -= max(1, (total - n_train) - free)
        return 0, 0
