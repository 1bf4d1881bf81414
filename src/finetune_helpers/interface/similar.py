"""Os títulos de treino parecidos com uma pergunta e as palavras que uma resposta tem em comum com eles."""

import hashlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from .. import embeddings, progress, prompts
from ..errors import InputError, StorageError
from ..records import Example, atomic_write, normalise

if TYPE_CHECKING:
    import numpy as np

FILE = "titulos_minilm.npz"
RUN = 4
COPIED = "copiado"
TITLES_PER_SECOND = 120  # em dois núcleos, com títulos de 90 caracteres
# Letras e números, com os acentos que vêm soltos: a pontuação e o sublinhado separam palavras.
_WORD = re.compile("(?:[^\\W_][\u0300-\u036f]*)+")
# O tokenizador falha com duas linhas de execução ao mesmo tempo, e dois visitantes não abrem o catálogo duas vezes.
_ONE_AT_A_TIME = RLock()


@dataclass(frozen=True)
class Catalogue:
    """Os produtos de treino de uma rodada e os vetores dos títulos: ``(produtos, 384)``, norma 1."""

    examples: tuple[Example, ...]
    vectors: "np.ndarray"

    @classmethod
    def open(cls, data_folder: Path | str) -> "Catalogue":
        """Lê ``llama/treino.jsonl`` e ``gpt/treino.jsonl``, sem repetição; os vetores ficam em ``titulos_minilm.npz``.

        InputError se a pasta não existe; MachineError se o pacote do MiniLM falta ou foi trocado. Sem arquivos de
        treino, o catálogo é vazio.
        """
        if not Path(data_folder).is_dir():
            raise InputError(f"A pasta {data_folder} não existe. Execute antes o caderno 01 com esta RODADA.")
        examples = tuple(prompts.read_train(Path(data_folder)))
        with _ONE_AT_A_TIME:
            return cls(examples, _vectors([example.title for example in examples], Path(data_folder) / FILE))

    def nearest(self, text: str, k: int = 3) -> list[tuple[Example, float]]:
        """Os ``k`` produtos de título mais próximo do texto, cada um com o seu cosseno (de -1 a 1), do maior ao menor.

        Nenhum para um texto vazio.
        """
        if not self.examples or not text.strip():
            return []
        cosines = self.vectors @ _encode([text])[0]
        return [(self.examples[place], float(cosines[place])) for place in (-cosines).argsort(kind="stable")[:k]]


def _vectors(titles: list[str], path: Path) -> "np.ndarray":
    """Vetores dos títulos, lidos de ``path`` se são destes títulos e deste modelo; senão calculados e guardados."""
    import numpy as np

    key = hashlib.sha256("\x1f".join([embeddings.MODEL_SHA256, *titles]).encode("utf-8", "surrogatepass")).hexdigest()
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as saved:
        if str(saved["key"]) == key:
            return saved["vectors"]
    with progress.waiting("lendo os títulos do catálogo", 5 + len(titles) / TITLES_PER_SECOND):
        vectors = np.asarray(_encode(titles) if titles else np.zeros((0, 384)), dtype=np.float32)
    # Numa pasta só de leitura, os vetores são calculados a cada abertura.
    with suppress(OSError, StorageError), atomic_write(path, "wb") as file:
        np.savez(file, key=np.array(key), vectors=vectors)
    return vectors


@cache
def _model():
    return embeddings.encoder()


def _encode(texts: list[str]) -> "np.ndarray":
    with _ONE_AT_A_TIME:
        return _model()(texts)


def copied_words(answer: str, *sources: str) -> list[tuple[int, int]]:
    """Trechos ``(início, fim)`` da resposta, em caracteres, com 4 ou mais palavras seguidas de uma das fontes.

    Caixa e pontuação não contam.
    """
    known = {gram for text in sources for gram in _grams([word for word, _, _ in _words(text)])}
    words = list(_words(answer))
    copied = set[int]()
    for start, gram in enumerate(_grams([word for word, _, _ in words])):
        if gram in known:
            copied.update(range(start, start + RUN))
    # Um trecho por grupo de palavras vizinhas: começa onde a de antes não é copiada, acaba onde a seguinte não é.
    starts = [words[place][1] for place in sorted(copied) if place - 1 not in copied]
    ends = [words[place][2] for place in sorted(copied) if place + 1 not in copied]
    return list(zip(starts, ends, strict=True))


def highlighted(answer: str, similar: Sequence[Example]) -> list[tuple[str, str | None]]:
    """A resposta em pedaços, marcados ``COPIED`` quando estão num dos títulos parecidos ou na descrição dele."""
    spans = [span for one in similar for span in copied_words(answer, one.content, one.title)]
    cuts = sorted({0, len(answer), *(cut for span in spans for cut in span)})
    return [
        (answer[start:end], COPIED if any(a <= start and end <= b for a, b in spans) else None)
        for start, end in pairwise(cuts)
    ]


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    for found in _WORD.finditer(text):
        yield normalise(found.group()), found.start(), found.end()


def _grams(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(RUN)), strict=False)
