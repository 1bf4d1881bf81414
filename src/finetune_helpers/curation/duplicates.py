"""Quase duplicatas: conteúdos por MinHash-LSH sobre trechos de 5 caracteres, títulos por semelhança de palavras."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH
from rapidfuzz import fuzz, process

from ..records import Example, normalise

JACCARD = 0.7  # conteúdos: parte dos trechos de 5 caracteres em comum, de 0 a 1
TITLE_RATIO = 90  # títulos: semelhança das palavras em ordem alfabética, de 0 a 100
SHINGLE = 5
# 20 faixas de 3: um par com Jaccard 0,7 vira candidato em 99,98 % das vezes; cada candidato é depois conferido.
_BANDS = (20, 3)
_PERMUTATIONS = 60
_COLUMNS = 2**18  # os bits finais de um hash; dois trechos na mesma coluna só aumentam a conta de trechos em comum
_ESTIMATE = 0.45  # quatro desvios abaixo de 0,7: abaixo disto nem vale conferir
_EDITION = re.compile(
    r"[(\[][^)\]]*\b(?:paperback|hardcover|edition|ed\.?|audio|cassette|cd|dvd|vhs|blu-ray|kindle|unabridged)[^)\]]*[)\]]"
)


@dataclass(frozen=True)
class Near:
    """Um par de quase duplicatas: posição em cada lista, o que é parecido (``título`` ou ``conteúdo``) e quanto."""

    left: int
    right: int
    kind: str
    score: float

    @property
    def share(self) -> float:
        """A semelhança de 0 a 1, seja qual for a escala do que se comparou."""
        return self.score / 100 if self.kind == "título" else self.score


def title_key(title: str) -> str:
    """Título para comparar: sem edição entre parênteses, palavras em ordem alfabética."""
    text = normalise(title)
    return " ".join(sorted(re.findall(r"\w+", _EDITION.sub(" ", text)))) or text


def shingles(text: str) -> np.ndarray:
    """Hashes distintos de 64 bits dos trechos de 5 caracteres do texto normalizado, em ordem crescente."""
    codes = np.frombuffer(normalise(text).ljust(SHINGLE).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    mixed, count = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64), len(codes) - SHINGLE + 1
    for offset in range(SHINGLE):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + count]
    return np.unique(mixed ^ (mixed >> np.uint64(31)))


class ContentIndex:
    """Conteúdos já aceitos, para achar um quase igual a outro sem comparar todos com todos."""

    def __init__(self) -> None:
        self._lsh = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
        self._seen: list[np.ndarray] = []
        self._sketches: list[np.ndarray] = []
        self._blank = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)

    def find_or_add(self, content: str) -> tuple[int, float] | None:
        """Posição e Jaccard do conteúdo aceito mais parecido (se ≥ 0,7); se não há, este passa a ser um dos aceitos."""
        found = shingles(content)
        sketch = self._blank.copy()
        sketch.update_batch((found >> np.uint64(32)).tolist())
        likely = (at for at in self._lsh.query(sketch) if self._estimate(sketch, at) >= _ESTIMATE)
        scored = [(_jaccard(found, self._seen[at]), -at) for at in likely]
        if scored and (best := max(scored))[0] >= JACCARD:
            return -best[1], best[0]
        self._lsh.insert(len(self._seen), sketch)
        self._seen.append(found)
        self._sketches.append(sketch.hashvalues)
        return None

    def _estimate(self, sketch: MinHash, at: int) -> float:
        return np.count_nonzero(self._sketches[at] == sketch.hashvalues) / _PERMUTATIONS


def near_title(key: str, keys: Sequence[str]) -> tuple[int, float] | None:
    """Posição e semelhança da chave de ``keys`` mais parecida com ``key``, se chega a ``TITLE_RATIO``."""
    found = process.extractOne(key, keys, scorer=fuzz.ratio, score_cutoff=TITLE_RATIO)
    return (found[2], found[1]) if found else None


def near_pairs(left: Sequence[Example], right: Sequence[Example]) -> list[Near]:
    """Todos os pares de quase duplicatas entre duas listas, comparados um a um: serve de prova do que o LSH fez."""
    return [*_near_titles(left, right), *_near_contents(left, right)]


def clusters(examples: Sequence[Example], pairs: Sequence[Near] | None = None) -> list[str]:
    """O grupo de cada exemplo: a identidade do primeiro exemplo a que ele se liga por quase duplicatas.

    ``pairs`` são as quase duplicatas da lista com ela mesma, se já foram procuradas.
    """
    parent = list(range(len(examples)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    for pair in near_pairs(examples, examples) if pairs is None else pairs:
        first, second = sorted((root(pair.left), root(pair.right)))
        parent[second] = first
    return [examples[root(at)].item_id for at in range(len(examples))]


def _near_titles(left: Sequence[Example], right: Sequence[Example]) -> Iterator[Near]:
    keys = [[title_key(example.title) for example in side] for side in (left, right)]
    scores = process.cdist(*keys, scorer=fuzz.ratio, score_cutoff=TITLE_RATIO, dtype=np.float32)
    for at, other in zip(*np.nonzero(scores), strict=True):
        yield Near(int(at), int(other), "título", round(float(scores[at, other]), 1))


def _near_contents(left: Sequence[Example], right: Sequence[Example]) -> Iterator[Near]:
    ours = [shingles(example.content) for example in left]
    theirs = ours if right is left else [shingles(example.content) for example in right]
    for at, other in _could_be_near(ours, theirs):
        score = _jaccard(ours[at], theirs[other])
        if score >= JACCARD:
            yield Near(at, other, "conteúdo", round(score, 3))


def _could_be_near(left: list[np.ndarray], right: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pares que podem chegar ao limiar, achados pela metade mais rara dos trechos de cada texto da esquerda.

    Com Jaccard ≥ 0,7, no máximo 30 % dos trechos de um texto faltam ao outro; logo, de qualquer metade deles, ao menos
    um quinto do total está no outro. Nenhum par se perde, e os trechos comuns a todos nem são comparados.
    """
    if not left or not right:
        return
    left, right = ([(one & np.uint64(_COLUMNS - 1)).astype(np.int32) for one in side] for side in (left, right))
    frequency = np.bincount(np.concatenate([*left, *right]), minlength=_COLUMNS)
    halves = [one[np.argsort(frequency[one], kind="stable")[: (len(one) + 1) // 2]] for one in left]
    shared = (_matrix(halves) @ _matrix(right).T).tocoo()
    sizes, taken = (np.array([len(one) for one in side]) for side in (left, halves))
    enough = shared.data >= (taken - (1 - JACCARD) * sizes - 1e-6)[shared.row]
    yield from zip(shared.row[enough].tolist(), shared.col[enough].tolist(), strict=True)


def _matrix(columns: list[np.ndarray]):
    from scipy.sparse import csr_matrix

    joined, bounds = np.concatenate(columns), np.cumsum([0, *map(len, columns)])
    return csr_matrix((np.ones(len(joined), np.int32), joined, bounds), shape=(len(columns), _COLUMNS))


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)
