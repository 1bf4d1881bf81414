"""Pontos de retomada: qual é o último que foi salvo por inteiro."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


def last_complete(folder: Path | str, *, unfinished: bool = False) -> Path | None:
    """O ponto de retomada mais avançado que está inteiro em ``folder``, ou None.

    ``unfinished`` pula o do último passo: retomar dali daria um passo a mais. O Trainer escreve
    ``trainer_state.json`` por último: um ponto vale quando esse arquivo é legível e o adaptador e o otimizador não
    estão vazios.
    """
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.split("-")[-1].isdigit()]
    found.sort(key=lambda path: int(path.name.split("-")[-1]), reverse=True)
    whole = (path for path in found if is_complete(path))
    return next((path for path in whole if not (unfinished and _is_last(path))), None)


def _is_last(checkpoint: Path) -> bool:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return state["global_step"] >= state.get("max_steps", state["global_step"] + 1)


def is_complete(checkpoint: Path) -> bool:
    """Diz se um ponto de retomada foi salvo por inteiro."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return "global_step" in state and _weights_readable(checkpoint) and _not_empty(checkpoint / "optimizer.pt")


def _weights_readable(checkpoint: Path) -> bool:
    """O cabeçalho do safetensors diz o tamanho do arquivo; um arquivo cortado não bate com ele."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint / "adapter_model.safetensors", framework="numpy") as weights:
            return len(list(weights.keys())) > 0
    except (OSError, SafetensorError):
        return False


def _not_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def train_or_resume(trainer: "SFTTrainer", adapter: Path) -> bool:
    """Treina do começo, retoma do último ponto inteiro ou reconhece que já terminou; diz se treinou agora.

    ``adapter`` é a pasta do adaptador final: se o cartão dele existe, o treino acabou e só os pesos são recarregados.
    StorageError se o disco enche ou a pasta some.
    """
    from ..storage import storage
    from .adapters import CARD, restore

    if (Path(adapter) / CARD).is_file():
        restore(cast("PreTrainedModel", trainer.model), adapter)
        return False
    with storage(Path(str(trainer.args.output_dir)) / "ponto de retomada"):
        trainer.train(resume_from_checkpoint=_resume_point(str(trainer.args.output_dir)))
    return True


def _resume_point(folder: str) -> str | None:
    found = last_complete(folder, unfinished=True)
    return str(found) if found else None
