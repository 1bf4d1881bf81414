"""Semelhança de sentido: cosseno entre a resposta e descrições do catálogo, pelo MiniLM de um pacote conferido."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from .. import progress
from ..embeddings import encoder
from ..records import read_jsonl, write_jsonl
from .controls import Control, controls
from .metrics import Cosines
from .study import Study, read_study

if TYPE_CHECKING:
    import numpy as np

    Vectors = dict[str, np.ndarray]

FILE = "semelhanca.jsonl"
PART = 64  # textos por vez


@dataclass(frozen=True)
class Pair:
    """Uma resposta e o que se compara a ela: a descrição inteira e os textos do controle."""

    system: str
    item_id: str
    answer: str
    reference: str
    control: Control

    @property
    def whole(self) -> str:
        """Identidade dos textos inteiros."""
        return _mark(self.answer, self.reference)

    @property
    def controlled(self) -> str:
        """Identidade dos textos do controle, que mudam com o tamanho comum."""
        return _mark(self.control.answer, self.control.own, *self.control.others)

    def texts(self) -> set[str]:
        """Os textos a codificar; o controle de uma resposta que só tinha o título não tem nenhum."""
        controlled = {self.control.answer, self.control.own, *self.control.others} if self.control.answer else set()
        return {self.answer, self.reference} | controlled

    def measure(self, vectors: "Vectors") -> Cosines:
        """Os três cossenos; uma resposta que só tinha o título não se parece com nada."""
        whole = _cosine(vectors, self.answer, self.reference)
        if not self.control.answer:
            return Cosines(whole, 0.0, 0.0 if self.control.others else None)
        own, *swapped = (
            _cosine(vectors, self.control.answer, text) for text in (self.control.own, *self.control.others)
        )
        return Cosines(whole, own, fmean(swapped) if swapped else None)


def measure_similarity(run_folder: Path | str, data_folder: Path | str | None = None) -> Path:
    """Grava ``semelhanca.jsonl`` na rodada, uma linha por resposta; só calcula o que mudou.

    Carrega o torch: 1.000 textos levam cerca de 30 s em dois núcleos. MachineError se o pacote falta ou foi trocado.
    """
    study = read_study(run_folder, data_folder)
    pairs, known = _pairs(study), read(study)
    pending = [pair for pair in pairs if (pair.system, pair.item_id) not in known or _uncontrolled(pair, known)]
    if pending:
        vectors = encode({text for pair in pending for text in pair.texts()}, encoder())
        known |= {(pair.system, pair.item_id): pair.measure(vectors) for pair in pending}
    return write_jsonl(study.run / FILE, (_row(pair, known[pair.system, pair.item_id]) for pair in pairs))


def _uncontrolled(pair: Pair, known: dict[tuple[str, str], Cosines]) -> bool:
    return known[pair.system, pair.item_id].own is None


def _row(pair: Pair, measured: Cosines) -> dict:
    row = {"item_id": pair.item_id, "system": pair.system, "texts": pair.whole, "cosine": measured.whole}
    return row | {"controls": pair.controlled, "own": measured.own, "swapped": measured.swapped}


def read(study: Study) -> dict[tuple[str, str], Cosines]:
    """Cossenos já medidos por (sistema, item) cujos textos não mudaram; vazio se a medida não foi feita."""
    path = study.run / FILE
    rows = read_jsonl(path, growing=True) if path.is_file() else []
    whole = {row["texts"]: row["cosine"] for row in rows}
    controlled = {row["controls"]: (row["own"], row["swapped"]) for row in rows if "controls" in row}
    return {
        (pair.system, pair.item_id): Cosines(whole[pair.whole], *controlled.get(pair.controlled, (None, None)))
        for pair in (_pairs(study) if rows else [])
        if pair.whole in whole
    }


def _pairs(study: Study) -> list[Pair]:
    """Um par por resposta com texto a um item do teste."""
    return [
        Pair(system, key, study.answers[system][key].answer, study.items[key]["content"], control)
        for (system, key), control in controls(study).items()
        if study.answers[system][key].answer.strip()
    ]


def _mark(*texts: str) -> str:
    return hashlib.sha256("\x1f".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


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


def _cosine(vectors: "Vectors", first: str, second: str) -> float:
    return float(vectors[first] @ vectors[second])
