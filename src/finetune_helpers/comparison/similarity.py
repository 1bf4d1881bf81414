"""Semelhança de sentido: cosseno entre a resposta e a descrição do catálogo, pelo MiniLM de um pacote conferido."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import progress
from ..embeddings import encoder
from ..records import read_jsonl, write_jsonl
from .study import Study, read_study

if TYPE_CHECKING:
    import numpy as np

FILE = "semelhanca.jsonl"
PART = 64  # textos por vez


def measure_similarity(run_folder: Path | str, data_folder: Path | str | None = None) -> Path:
    """Grava ``semelhanca.jsonl`` na rodada: ``item_id, system, texts, cosine``; só calcula o que mudou.

    Carrega o torch: 1.000 textos levam cerca de 30 s em dois núcleos. MachineError se o pacote falta ou foi trocado.
    """
    study = read_study(run_folder, data_folder)
    known = {row["texts"]: row["cosine"] for row in _rows(study, growing=True)}
    pairs = {fingerprint: texts for _, _, fingerprint, texts in _pairs(study)}
    pending = {fingerprint: texts for fingerprint, texts in pairs.items() if fingerprint not in known}
    if pending:
        known |= cosines(pending, encoder())
    rows = (_row(item, system, mark, known[mark]) for item, system, mark, _ in _pairs(study))
    return write_jsonl(study.run / FILE, rows)


def read(study: Study) -> dict[tuple[str, str], float]:
    """Cossenos já medidos por (sistema, item) cujos textos não mudaram; vazio se a medida não foi feita."""
    known = {row["texts"]: row["cosine"] for row in _rows(study)}
    return {(system, item): known[mark] for item, system, mark, _ in _pairs(study) if mark in known}


def _row(item: str, system: str, mark: str, cosine: float) -> dict:
    return {"item_id": item, "system": system, "texts": mark, "cosine": cosine}


def _rows(study: Study, *, growing: bool = False) -> list[dict]:
    path = study.run / FILE
    return read_jsonl(path, growing=growing) if path.is_file() else []


def _pairs(study: Study) -> list[tuple[str, str, str, tuple[str, str]]]:
    found = []
    for system, rows in study.answers.items():
        for key, row in rows.items():
            if key in study.items and row["answer"].strip():
                texts = (row["answer"], study.items[key]["content"])
                mark = hashlib.sha256("\x1f".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
                found.append((key, system, mark, texts))
    return found


def cosines(pairs: dict[str, tuple[str, str]], encode: Callable[[list[str]], "np.ndarray"]) -> dict[str, float]:
    """Cosseno de cada par de textos; cada texto distinto é codificado uma só vez."""
    # Por tamanho, para que cada parte tenha pouco preenchimento.
    texts = sorted({text for pair in pairs.values() for text in pair}, key=lambda text: (len(text), text))
    vectors: dict[str, np.ndarray] = {}
    with progress.bar("medindo a semelhança", "textos", len(texts)) as bar:
        for start in range(0, len(texts), PART):
            part = texts[start : start + PART]
            vectors.update(zip(part, encode(part), strict=True))
            bar.update(len(part))
    return {mark: float(vectors[a] @ vectors[b]) for mark, (a, b) in pairs.items()}
