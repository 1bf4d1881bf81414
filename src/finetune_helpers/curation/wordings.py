"""Outras interpretações do enunciado: quantas linhas cada uma manteria, com os números dos dados à mão."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import tokens
from .reading import Reader, reading
from .rules import BORDER, COMPLETE, CONTENT_OVER, KEYWORDS, TITLE_OVER, content_over, title_over, with_keyword

_SIZES = (COMPLETE, title_over(TITLE_OVER), content_over(CONTENT_OVER))
_EITHER = with_keyword(KEYWORDS)
_BOTH = with_keyword(KEYWORDS, every=True)
_WHOLE = with_keyword(KEYWORDS, whole_word=True)
_BATCH = 1024  # linhas


@dataclass(frozen=True)
class Alternative:
    """Uma leitura do texto do projeto: a pergunta, a leitura, se é a adotada e quantas linhas ela mantém."""

    question: str
    reading: str
    adopted: bool
    rows: int


def alternatives(
    source: str | Path,
    *,
    model: str = "llama",
    token_counter: Callable[[list[str]], list[int]] | None = None,
    damage_limit: int = 0,
) -> list[Alternative]:
    """Linhas que cada leitura mantém na fonte inteira, no texto bruto, com as regras de tamanho já aplicadas.

    Três perguntas: "ou" ou "e" entre as palavras-chave; pedaço de palavra ou palavra inteira; 257 tokens ou mais, ou
    até 256, com o tokenizador de ``model``.
    """
    counter = token_counter or tokens.counter(model)
    either, both, whole, above = reading(source, damage_limit, partial(_count, counter))
    words, long_is_ours = " {} ".join(f'"{word}"' for word in KEYWORDS), model == "llama"
    return [
        Alternative("palavras-chave", words.format("ou"), True, either),
        Alternative("palavras-chave", words.format("e"), False, both),
        Alternative("o que é conter a palavra", "como pedaço de palavra", True, either),
        Alternative("o que é conter a palavra", "palavra inteira", False, whole),
        Alternative(f"tokens ({model})", f"{BORDER + 1} ou mais", long_is_ours, above),
        Alternative(f"tokens ({model})", f"até {BORDER}", not long_is_ours, either - above),
    ]


def _count(counter: Callable[[list[str]], list[int]], reader: Reader) -> tuple[int, int, int, int]:
    """Linhas com uma das palavras, com as duas, com uma inteira, e as que, com uma, passam da fronteira de tokens."""
    either = both = whole = above = 0
    waiting: list[tuple[str, str]] = []
    # Quem tem as duas palavras, ou uma inteira, tem uma: basta ver os textos de quem passa pelas quatro primeiras.
    for block in reader.blocks((*_SIZES, _EITHER, _BOTH, _WHOLE), emit=len(_SIZES) + 1):
        passing = [(passed, title, content) for passed, title, content in block if title is not None]
        either += len(passing)
        both += sum(passed >> 4 & 1 for passed, _, _ in passing)
        whole += sum(passed >> 5 & 1 for passed, _, _ in passing)
        waiting += [(title, content or "") for _, title, content in passing if title]
        if len(waiting) >= _BATCH or reader.complete:
            above += _above(counter, waiting)
            waiting = []
    return either, both, whole, above + _above(counter, waiting)


def _above(counter: Callable[[list[str]], list[int]], rows: list[tuple[str, str]]) -> int:
    counts = counter([title for title, _ in rows] + [content for _, content in rows])
    return sum(sum(counts[at :: len(rows)]) > BORDER for at in range(len(rows)))
