"""Quase duplicatas: conteúdos por trechos de 5 caracteres em comum, títulos por semelhança de palavras."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz, process
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from ..records import Example, normalise

JACCARD = 0.7  # conteúdos: parte dos trechos de 5 caracteres em comum, de 0 a 1
TITLE_RATIO = 90  # títulos: semelhança das palavras em ordem alfabética, de 0 a 100
SHINGLE = 5
_COLUMNS = 2**18  # os bits finais de um hash; dois trechos na mesma coluna só aumentam a conta de trechos em comum
_EDITION = re.compile(
    r"[(\[][^)\]]*\b(?:paperback|hardcover|edition|ed\.?|audio|cassette|cd|dvd|vhs|blu-ray|kindle|unabridged)[^)\]]*[)\]]"
)


@dataclass(frozen=True)
class Near:
    """Um par de quase duplicatas: posição em cada lista, o que se parece (título ou conteúdo) e quanto (0 a 1)."""

    left: int
    right: int
    kind: str
    score: float


def title_key(title: str) -> str:
    """Título para comparar: sem edição entre parênteses, palavras em ordem alfabética."""
    text = normalise(title)
    return " ".join(sorted(re.findall(r"\w+", _EDITION.sub(" ", text)))) or text


def near_title(key: str, keys: Sequence[str]) -> tuple[int, float] | None:
    """Posição e semelhança (0 a 1) da chave de ``keys`` mais parecida com ``key``, se chega a ``TITLE_RATIO``."""
    best = process.extractOne(key, keys, scorer=fuzz.ratio, score_cutoff=TITLE_RATIO)
    return (best[2], round(best[1] / 100, 3)) if best else None


def near_pairs(left: Sequence[Example], right: Sequence[Example]) -> list[Near]:
    """Todos os pares de quase duplicatas entre duas listas, comparadas uma com a outra por inteiro."""
    keys = [[title_key(example.title) for example in side] for side in (left, right)]
    scores = process.cdist(*keys, scorer=fuzz.ratio, score_cutoff=TITLE_RATIO, dtype=np.float32, workers=-1)
    titles = [
        Near(int(at), int(other), "título", round(float(scores[at, other]) / 100, 3))
        for at, other in zip(*np.nonzero(scores), strict=True)
    ]
    ours = [shingles(example.content) for example in left]
    theirs = ours if right is left else [shingles(example.content) for example in right]
    return titles + list(near_contents(ours, theirs))


def clusters(examples: Sequence[Example], pairs: Sequence[Near] | None = None) -> list[str]:
    """O grupo de cada exemplo: a identidade do primeiro exemplo a que ele se liga por quase duplicatas.

    ``pairs`` são as quase duplicatas da lista com ela mesma, se já foram procuradas.
    """
    pairs = near_pairs(examples, examples) if pairs is None else pairs
    ends = ([pair.left for pair in pairs], [pair.right for pair in pairs])
    graph = csr_matrix((np.ones(len(pairs)), ends), shape=(len(examples), len(examples)))
    groups = connected_components(graph, directed=False)[1].tolist()
    first: dict[int, str] = {}
    for group, example in zip(groups, examples, strict=True):
        first.setdefault(group, example.item_id)
    return [first[group] for group in groups]


def shingles(text: str) -> np.ndarray:
    """Hashes distintos de 64 bits dos trechos de 5 caracteres do texto normalizado, em ordem crescente."""
    codes = np.frombuffer(normalise(text).ljust(SHINGLE).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    count = len(codes) - SHINGLE + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(SHINGLE):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + count]
    return np.unique(mixed ^ (mixed >> np.uint64(31)))


def near_contents(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> Iterator[Near]:
    """Os pares de conteúdos, dados pelos seus ``shingles``, com Jaccard de ``JACCARD`` ou mais.

    Os candidatos saem da metade mais rara dos trechos de cada texto da esquerda. Com Jaccard ≥ 0,7, no máximo 30 % dos
    trechos de um texto faltam ao outro; logo, de qualquer metade deles, ao menos um quinto do total está no outro.
    Nenhum par se perde, e os trechos comuns a todos nem são comparados.
    """
    if not left or not right:
        return
    rows, columns = ([(one & np.uint64(_COLUMNS - 1)).astype(np.int32) for one in side] for side in (left, right))
    frequency = np.bincount(np.concatenate(rows + columns), minlength=_COLUMNS)
    halves = [row[np.argsort(frequency[row], kind="stable")[: (len(row) + 1) // 2]] for row in rows]
    shared = (_matrix(halves) @ _matrix(columns).T).tocoo()
    sizes, taken = (np.array([len(one) for one in side]) for side in (rows, halves))
    enough = shared.data >= (taken - (1 - JACCARD) * sizes - 1e-6)[shared.row]
    for at, other in zip(shared.row[enough].tolist(), shared.col[enough].tolist(), strict=True):
        common = len(np.intersect1d(left[at], right[other], assume_unique=True))
        jaccard = common / (len(left[at]) + len(right[other]) - common)
        if jaccard >= JACCARD:
            yield Near(at, other, "conteúdo", round(jaccard, 3))


def _matrix(columns: list[np.ndarray]) -> csr_matrix:
    joined, bounds = np.concatenate(columns), np.cumsum([0, *map(len, columns)])
    return csr_matrix((np.ones(len(joined), np.int32), joined, bounds), shape=(len(columns), _COLUMNS))
