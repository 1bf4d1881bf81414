"""Exportar o modelo: pesos unidos em 16 bits, GGUF ou o adaptador num repositório privado do Hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MachineError, without_key
from ..portuguese import number
from ..runs import need_disk
from . import bases
from .profiles import LLAMA_3_8B, Profile, memory_gb

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BYTES_16_BIT = 2.0
LLAMA_3_8B_PARAMETERS = 8_030_261_248


def check(kind: str, profile: Profile) -> None:
    """MachineError se esta máquina não pode exportar ``kind`` ("16 bits" ou "gguf"); vale antes do treino."""
    if kind == "gguf" and (profile.engine != "unsloth" or profile.device == "cpu"):
        raise MachineError(
            "Exportar para GGUF pede `engine` = unsloth e uma GPU. Sem elas, use `export` = 16 bits, se houver memória."
        )
    if kind == "16 bits":
        base = bases.resolve(profile)
        if memory_gb() < weights_gb(base):
            raise MachineError(
                f"Unir {base.name} em 16 bits pede {number(weights_gb(base))} GB de memória e esta máquina tem "
                f"{number(memory_gb(), 1)}. Use no Colab um ambiente com mais RAM (*Ambiente de execução → Alterar o "
                "tipo de ambiente de execução → RAM alta*) ou deixe `export` em nada: o adaptador basta para responder."
            )


def weights_gb(base: bases.Base) -> float:
    """GB dos pesos de um modelo base em 16 bits."""
    # O repositório em 4 bits do LLaMA 3 8B não diz quantos parâmetros tem.
    parameters = base.parameters or (LLAMA_3_8B_PARAMETERS if base.name == LLAMA_3_8B else 0)
    return BYTES_16_BIT * parameters / 1e9


def merge(profile: Profile, adapter: Path, folder: Path) -> Path:
    """Une o adaptador ao modelo base em 16 bits, na CPU, e salva em ``folder`` com o tokenizador.

    A base é a de 16 bits: unir a pesos de 4 bits traria o erro da quantização. MachineError, antes de carregar nada,
    se não há memória ou disco.
    """
    check("16 bits", profile)
    base = bases.resolve(profile)
    whole = base.load_from().removesuffix("-bnb-4bit").removesuffix("-unsloth")
    folder.mkdir(parents=True, exist_ok=True)
    # Os pesos de 16 bits são baixados inteiros, e o resultado tem o mesmo tamanho.
    copies = 2 if base.commit else 1
    need_disk(folder, copies * weights_gb(base), f"o modelo unido em 16 bits de {base.name}, com o que é baixado,")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.bfloat16, device_map={"": "cpu"})
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(folder)
    return folder


def gguf(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path, profile: Profile) -> Path:
    """Exporta para GGUF (q4_k_m) com o Unsloth, que compila o llama.cpp na primeira vez; só com GPU.

    Devolve a pasta em que o Unsloth escreve: ao lado da pedida, com ``_gguf`` no nome. MachineError sem o Unsloth, sem
    GPU ou sem disco (os pesos de 16 bits, baixados e unidos, e o arquivo final, ao mesmo tempo).
    """
    check("gguf", profile)
    folder.mkdir(parents=True, exist_ok=True)
    size = BYTES_16_BIT * model.num_parameters() / 1e9
    need_disk(folder, 2.5 * size, "a exportação para GGUF, com os pesos de 16 bits que são baixados,")
    model.save_pretrained_gguf(str(folder), tokenizer, quantization_method="q4_k_m")  # type: ignore[operator]  # é do Unsloth
    return Path(f"{folder}_gguf")


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
            f"{repository} em `hub_repository` e se a chave HF_TOKEN (em Secrets, no painel da chave) pode escrever "
            "nele, e execute de novo."
        ) from None
