"""Proximidade além do acaso: os textos que servem de controle e o cosseno de sentido, pelo MiniLM de um pacote.

Proximidade crua engana: cresce com o tamanho, com o estilo e com o eco do título. Por isso cada uma é refeita sem as
palavras do título, com respostas e descrições do mesmo número de palavras, contra a própria descrição e contra as de
outros itens da mesma faixa de tamanho; a diferença é a medida. Uma resposta que não depende do item fica em 0.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from .. import progress
from ..embeddings import encoder
from ..records import read_jsonl, write_jsonl
from . import rules
from .study import REFERENCE, Study, read_study

if TYPE_CHECKING:
    import numpy as np

    Vectors = dict[str, np.ndarray]

FILE = "semelhanca.jsonl"
SWAPS = 4  # descrições de outros itens contra as quais cada resposta é medida
SHORTEST = 20  # palavras: um sistema que quase nada responde não encurta a medida dos outros
PART = 64  # textos codificados por vez


@dataclass(frozen=True)
class Control:
    """O que a medida além do acaso compara: os textos já sem o título e do mesmo número de palavras."""

    answer: str
    own: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Cosines:
    """Cossenos de uma resposta: dos textos inteiros e, no controle, com a própria descrição e com as de outros."""

    whole: float
    own: float
    swapped: float | None


def common_length(study: Study) -> int:
    """Palavras de cada texto no controle: a mediana do sistema que menos escreve, pelo menos ``SHORTEST``."""
    spoken = [
        median(len(row.answer.split()) for row in study.answers[system.name].values())
        for system in study.systems
        if system.role != REFERENCE and system.name in study.answers
    ]
    return max(SHORTEST, int(min(spoken, default=SHORTEST)))


def controls(study: Study) -> dict[tuple[str, str], Control]:
    """O controle de cada resposta, por sistema e item."""
    length, others = common_length(study), swaps(study.items)
    references = {key: shorten(item["content"], length) for key, item in study.items.items()}
    return {
        (name, key): Control(
            shorten(without_title(row.answer, study.items[key]["title"]), length),
            references[key],
            tuple(references[other] for other in others[key]),
        )
        for name, rows in study.answers.items()
        for key, row in rows.items()
        if key in study.items
    }


def swaps(items: dict[str, dict]) -> dict[str, list[str]]:
    """Até ``SWAPS`` itens de outro grupo e da mesma faixa para cada item, todos usados o mesmo número de vezes.

    São rotações da faixa ordenada por grupo, permutações sem ponto fixo: por isso uma resposta constante soma o mesmo
    com as próprias descrições e com as trocadas. Vazio num item sozinho na sua faixa. O resultado vem nessa ordem.
    """
    ranges: dict[str, list[str]] = defaultdict(list)
    for key, item in items.items():
        ranges[item.get("regime", "")].append(key)
    chosen: dict[str, list[str]] = {}
    for keys in ranges.values():
        cluster = {key: items[key].get("cluster") or key for key in keys}
        keys.sort(key=lambda key: (cluster[key], key))
        largest, n = max(Counter(cluster.values()).values()), len(keys)
        # Saltos de pelo menos o maior grupo, dos dois lados, nunca caem no mesmo grupo.
        steps = range(largest, n - largest + 1) or range(1, n)
        for place, key in enumerate(keys):
            chosen[key] = [keys[(place + step) % n] for step in steps[:SWAPS]]
    return chosen


def shorten(text: str, length: int) -> str:
    """As ``length`` primeiras palavras de um texto."""
    return " ".join(text.split()[:length])


def without_title(answer: str, title: str) -> str:
    """A resposta sem as palavras do título; vazia se nada mais dizia."""
    known = {word.casefold() for word in rules.words(title)}
    return " ".join(part for part in answer.split() if {word.casefold() for word in rules.words(part)} - known)


@dataclass(frozen=True)
class Pair:
    """Uma resposta e o que se compara a ela: a descrição inteira e os textos do controle."""

    system: str
    item_id: str
    answer: str
    reference: str
    control: Control

    def marks(self) -> dict[str, str]:
        """Identidade dos textos inteiros e dos do controle, que mudam com o tamanho comum."""
        parts = {"texts": (self.answer, self.reference), "controls": self._controlled()}
        return {
            name: hashlib.sha256("\x1f".join(part).encode("utf-8", "surrogatepass")).hexdigest()[:16]
            for name, part in parts.items()
        }

    def _controlled(self) -> tuple[str, ...]:
        return (self.control.answer, self.control.own, *self.control.others)

    def texts(self) -> set[str]:
        """Os textos a codificar; o controle de uma resposta que só tinha o título não tem nenhum."""
        return {self.answer, self.reference, *(self._controlled() if self.control.answer else ())}

    def measure(self, vectors: "Vectors") -> Cosines:
        """Os três cossenos; uma resposta que só tinha o título não se parece com nada."""

        def cosine(first: str, second: str) -> float:
            return float(vectors[first] @ vectors[second])

        whole, control = cosine(self.answer, self.reference), self.control
        if not control.answer:
            return Cosines(whole, 0.0, 0.0 if control.others else None)
        swapped = [cosine(control.answer, other) for other in control.others]
        return Cosines(whole, cosine(control.answer, control.own), fmean(swapped) if swapped else None)


def measure_similarity(run_folder: Path | str, data_folder: Path | str | None = None) -> Path:
    """Grava ``semelhanca.jsonl`` na rodada, uma linha por resposta; só calcula o que mudou.

    Carrega o torch: 1.000 textos levam cerca de 30 s em dois núcleos. MachineError se o pacote falta ou foi trocado.
    """
    study = read_study(run_folder, data_folder)
    pairs, known = _pairs(study), read(study)
    pending = [pair for pair in pairs if (pair.system, pair.item_id) not in known]
    if pending:
        vectors = encode({text for pair in pending for text in pair.texts()}, encoder())
        known |= {(pair.system, pair.item_id): pair.measure(vectors) for pair in pending}
    rows = []
    for pair in pairs:
        cosines = known[pair.system, pair.item_id]
        measured = {"cosine": cosines.whole, "own": cosines.own, "swapped": cosines.swapped}
        rows.append({"item_id": pair.item_id, "system": pair.system} | pair.marks() | measured)
    return write_jsonl(study.run / FILE, rows)


def read(study: Study) -> dict[tuple[str, str], Cosines]:
    """Cossenos já medidos por (sistema, item) cujos textos não mudaram; vazio se a medida não foi feita."""
    # Sem o controle, a linha é de antes dele: mede-se de novo.
    rows = [row for row in read_jsonl(study.run / FILE, growing=True) if "controls" in row]
    known = {(row["texts"], row["controls"]): Cosines(row["cosine"], row["own"], row["swapped"]) for row in rows}
    marked = {(pair.system, pair.item_id): tuple(pair.marks().values()) for pair in (_pairs(study) if rows else [])}
    return {key: known[marks] for key, marks in marked.items() if marks in known}


def _pairs(study: Study) -> list[Pair]:
    """Um par por resposta com texto a um item do teste."""
    return [
        Pair(system, key, study.answers[system][key].answer, study.items[key]["content"], control)
        for (system, key), control in controls(study).items()
        if study.answers[system][key].answer.strip()
    ]


def encode(texts: Iterable[str], encoder: Callable[[list[str]], "np.ndarray"]) -> "Vectors":
    """O vetor de cada texto distinto."""
    # Por tamanho, para que cada parte tenha pouco padding.
    ordered = sorted(set(texts), key=lambda text: (len(text), text))
    vectors: Vectors = {}
    with progress.bar("medindo a semelhança", "textos", len(ordered)) as bar:
        for start in range(0, len(ordered), PART):
            part = ordered[start : start + PART]
            vectors.update(zip(part, encoder(part), strict=True))
            bar.update(len(part))
    return vectors
