"""Contadores de tokens: o de cada modelo de fundação, sem depender da rede."""

import gzip
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from .errors import InputError, MachineError
from .records import atomic_write
from .runs import cache_folder

O200K_URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
BATCH = 256  # textos contados numa chamada


@dataclass(frozen=True)
class TokenCounter:
    """Conta tokens de uma lista de textos; guarda o nome e a versão do tokenizador para o relatório."""

    name: str
    encoding: Any  # do tiktoken

    def __call__(self, texts: list[str]) -> list[int]:
        batches = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]
        with ThreadPoolExecutor(2) as pool:
            return [count for counts in pool.map(self._counted, batches) for count in counts]

    def _counted(self, texts: list[str]) -> list[int]:
        import numpy as np

        # Numa só chamada, com um token especial entre os textos: uma por texto disputaria a trava do Python.
        mark = min(self.encoding.special_tokens_set)
        try:
            ids = self.encoding.encode_to_numpy(mark.join(texts), allowed_special={mark}, disallowed_special=())
        except UnicodeEncodeError:  # metade solta de um caractere: encode_ordinary a troca, encode_to_numpy não
            return self._one_by_one(texts)
        ends = np.flatnonzero(ids == self.encoding.encode_single_token(mark))
        if len(ends) >= len(texts):  # um dos textos traz a marca
            return self._one_by_one(texts)
        return list((np.diff(ends, prepend=-1, append=len(ids)) - 1).tolist())

    def _one_by_one(self, texts: list[str]) -> list[int]:
        return [len(self.encoding.encode_ordinary(text)) for text in texts]


@cache
def counter(model: str) -> TokenCounter:
    """Contador do modelo ``"llama"`` (tokenizador do LLaMA 3) ou ``"gpt"`` (o200k_base).

    InputError se o nome for outro; MachineError se o pacote do tokenizador não estiver instalado.
    """
    try:
        return {"llama": _llama3, "gpt": _o200k}[model]()
    except KeyError:
        raise InputError(f'Modelo "{model}" desconhecido. Use "llama" ou "gpt".') from None
    except ImportError as error:
        raise MachineError(
            f"Falta o pacote {error.name}. No Colab, execute a primeira célula; fora dele, `make instalar`."
        ) from None


def _llama3() -> TokenCounter:
    from llama_models.llama3.tokenizer import Tokenizer

    return TokenCounter(f"LLaMA 3 (llama-models {metadata.version('llama-models')})", Tokenizer.get_instance().model)


def _o200k() -> TokenCounter:
    import tiktoken

    folder = Path(os.environ.get("TIKTOKEN_CACHE_DIR") or cache_folder() / "tiktoken")
    # O tiktoken a baixaria: o pacote bpe-openai traz a mesma tabela, byte a byte, e este é o nome dela no cache.
    path = folder / hashlib.sha1(O200K_URL.encode()).hexdigest()
    if not path.exists():
        table = resources.files("bpe_openai") / "data" / "o200k_base.tiktoken.gz"
        with atomic_write(path, "wb") as file:
            file.write(gzip.decompress(table.read_bytes()))
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return TokenCounter(f"o200k_base (tiktoken {metadata.version('tiktoken')})", tiktoken.get_encoding("o200k_base"))
