"""O adaptador em disco: pesos, tokenizador, medidas e, por último, o cartão que diz de que modelo e prompt ele é."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import prompts
from ..errors import InputError, RunMismatchError
from ..records import read_json, sha256_file, write_json
from ..storage import storage
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CARD, MEASURES = "cartao.json", "medidas.json"


def save(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    profile: Profile,
    measure: Callable[[Path], dict] | None = None,
) -> Path:
    """Salva adaptador, tokenizador e, por último, o cartão com o modelo base, o prompt e o hash dos pesos.

    ``measure`` recebe a pasta, já com os pesos, e devolve o que o treino custou, que fica em ``medidas.json``.
    """
    folder = Path(folder)
    with storage(folder / "adapter_model.safetensors"):
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    if measure:
        write_json(folder / MEASURES, measure(folder))
    card = {
        "base_model": profile.model,
        "prompt_fingerprint": prompts.fingerprint(),
        "adapter_sha256": sha256_file(folder / "adapter_model.safetensors"),
    }
    write_json(folder / CARD, card)
    return folder


def restore(model: "PreTrainedModel", adapter: Path) -> None:
    """Põe no modelo, que já tem um adaptador novo, os pesos do adaptador salvo."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(Path(adapter) / "adapter_model.safetensors"))


def check_card(adapter: Path, profile: Profile) -> dict:
    """Lê o cartão de um adaptador e recusa (RunMismatchError) o de outro modelo base ou de outro prompt."""
    if not (Path(adapter) / CARD).is_file():
        raise InputError(f"{adapter} não tem um adaptador completo (falta {CARD}). Treine de novo no caderno 02.")
    card = read_json(Path(adapter) / CARD)
    expected = {"base_model": profile.model, "prompt_fingerprint": prompts.fingerprint()}
    for key, value in expected.items():
        if card[key] != value:
            raise RunMismatchError(
                f"O adaptador em {adapter} foi treinado com {key}={card[key]!r} e o pedido é {value!r}. "
                "Use o mesmo modelo e o mesmo prompt do treino, ou treine de novo em outra rodada."
            )
    return card
