"""Levar o modelo embora: pesos unidos em 16 bits, GGUF ou o adaptador num repositório privado do Hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MachineError, without_key
from ..runs import need_disk
from .profiles import Profile, model_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BILLION_16_BIT_GB = 2.0


def merge(profile: Profile, adapter: Path, folder: Path) -> Path:
    """Une o adaptador ao modelo base em 16 bits, na CPU, e salva em ``folder`` com o tokenizador.

    A base é a de 16 bits: unir a pesos de 4 bits guardaria o erro da quantização. MachineError se faltar disco.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = model_path(profile).removesuffix("-bnb-4bit")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, device_map={"": "cpu"})
    need_disk(Path(folder).parent, BILLION_16_BIT_GB * model.num_parameters() / 1e9, "o modelo unido em 16 bits")
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(folder)
    return Path(folder)


def gguf(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path, quantization: str = "q4_k_m"
) -> Path:
    """Exporta para GGUF com o Unsloth, que compila o llama.cpp na primeira vez; só com GPU.

    MachineError sem o Unsloth, sem GPU ou sem disco (os pesos em 16 bits e o arquivo final, ao mesmo tempo).
    """
    if not hasattr(model, "save_pretrained_gguf") or model.device.type == "cpu":
        raise MachineError('Exportar para GGUF pede MOTOR = "unsloth" e uma GPU. Sem elas, use EXPORTAR = "16 bits".')
    Path(folder).mkdir(parents=True, exist_ok=True)
    need_disk(Path(folder), 1.5 * BILLION_16_BIT_GB * model.num_parameters() / 1e9, "a exportação para GGUF")
    # O método é do Unsloth.
    model.save_pretrained_gguf(str(folder), tokenizer, quantization_method=quantization)  # type: ignore[operator]
    return Path(folder)


def push(adapter: Path, repository: str, token: str) -> str:
    """Envia o adaptador a um repositório privado do Hub e devolve o endereço.

    MachineError se o Hub recusa ou não responde.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=str(adapter)))
    except Exception as error:  # o Hub deixa passar erros de várias bibliotecas, e a resposta pode repetir a chave
        raise MachineError(
            f"O Hub não recebeu o adaptador ({without_key(str(error), token)[:300]}). Confira a rede, o nome "
            f"{repository} e se a chave HF_TOKEN pode escrever nele, e execute de novo."
        ) from None
