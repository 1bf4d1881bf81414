"""Divisão em treino e teste: ordem do arquivo, sem repetições e sem teste parecido com o treino."""

from collections.abc import Sequence

from ..records import Example, normalise
from .duplicates import ContentIndex, near_title, title_key
from .funnel import Candidate, Funnel
from .rules import BORDER

REPEATS = (
    ("duplicata_exata", "nem título nem conteúdo iguais aos de uma linha já escolhida"),
    ("quase_duplicata", "conteúdo que não repete quase todo o de uma linha já escolhida"),
    ("perto_do_treino", "linha de teste cujo título não se parece com nenhum do treino"),
)
SURPLUS = ("excedente", "linhas que chegaram antes de o treino e o teste estarem completos")


class Selection:
    """Escolhe, em ordem de chegada, ``n_train`` linhas de treino e depois ``n_test`` de teste."""

    def __init__(self, n_train: int, n_test: int, unique: bool, funnel: Funnel):
        """``unique`` liga a retirada de repetições e o afastamento entre teste e treino."""
        self.n_train, self.n_test, self.unique, self._funnel = n_train, n_test, unique, funnel
        self.train: list[Candidate] = []
        self.test: list[Candidate] = []
        self._exact: dict[str, Candidate] = {}
        self._contents = ContentIndex()
        self._accepted: list[Candidate] = []
        self._train_titles: list[str] = []

    @property
    def full(self) -> bool:
        """Se treino e teste já têm o que foi pedido."""
        return len(self.train) == self.n_train and len(self.test) == self.n_test

    def offer(self, row: Candidate) -> None:
        """Recebe a próxima linha, em ordem de arquivo, e a escolhe ou registra por que não."""
        self._funnel.enter(SURPLUS[0])
        if self.full:
            # Comparar estas linhas com as escolhidas não mudaria nada e gastaria tempo e memória.
            self._funnel.drop(SURPLUS[0], row)
        elif self.unique and self._excluded(row):
            return
        elif len(self.train) < self.n_train:
            self.train.append(row)
            self._train_titles.append(title_key(row.title))
        else:
            self.test.append(row)

    def _excluded(self, row: Candidate) -> bool:
        checks = (self._exact_repeat, self._near_repeat, self._near_train)
        for (name, _), check in zip(REPEATS, checks, strict=True):
            self._funnel.enter(name)
            if found := check(row):
                like, score = found
                self._funnel.drop(name, row, like_row=like.row, like_title=like.title, score=score)
                return True
        return False

    def _exact_repeat(self, row: Candidate) -> tuple[Candidate, float] | None:
        keys = (f"t:{normalise(row.title)}", f"c:{normalise(row.content)}")
        found = next((self._exact[key] for key in keys if key in self._exact), None)
        if found is None:
            self._exact.update(dict.fromkeys(keys, row))
        return (found, 1.0) if found else None

    def _near_repeat(self, row: Candidate) -> tuple[Candidate, float] | None:
        found = self._contents.find_or_add(row.content)
        if found is None:
            self._accepted.append(row)
            return None
        return self._accepted[found[0]], round(found[1], 3)

    def _near_train(self, row: Candidate) -> tuple[Candidate, float] | None:
        if len(self.train) < self.n_train:
            return None
        found = near_title(title_key(row.title), self._train_titles)
        return (self.train[found[0]], round(found[1] / 100, 3)) if found else None


def largest_fit(selection: Selection) -> tuple[int, int]:
    """O maior treino e o maior teste que cabem no que foi escolhido, na proporção pedida; (0, 0) se não há como."""
    rows = [*selection.train, *selection.test]
    share = selection.n_train / (selection.n_train + selection.n_test)
    keys, total = [title_key(row.title) for row in rows], len(rows)
    while total >= 2:
        n_train = min(max(1, round(total * share)), total - 1)
        free = sum(not (selection.unique and near_title(key, keys[:n_train])) for key in keys[n_train:])
        if free >= total - n_train:
            return n_train, total - n_train
        total -= max(1, (total - n_train) - free)
    return 0, 0


def examples(rows: Sequence[Candidate], groups: Sequence[str]) -> list[Example]:
    """As linhas escolhidas como exemplos, com o regime (pelos tokens) e o grupo de quase duplicatas de cada uma."""
    return [
        Example(row.title, row.content, "longo" if row.tokens > BORDER else "curto", group)
        for row, group in zip(rows, groups, strict=True)
    ]
