"""O que muda quando as palavras do projeto são lidas de outro modo, com os números dos dados à mão."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import tokens
from .reading import Reader
from .rules import (
    BORDER,
    CONTENT_OVER,
    KEYWORDS,
    TITLE_OVER,
    complete,
    content_over,
    count_pairs,
    title_over,
    with_keyword,
)
from .sources import open_source

_READINGS = {
    "ou": {},
    "e": {"every": True},
    "palavra inteira": {"whole_word": True},
}


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
    variants = {name: with_keyword(KEYWORDS, **options) for name, options in _READINGS.items()}
    kept, above = dict.fromkeys(variants, 0), 0
    for columns in Reader(open_source(source), damage_limit):
        titles, contents = _long_enough(columns.titles, columns.contents)
        masks = {name: rule.keeps(titles, contents) for name, rule in variants.items()}
        kept = {name: kept[name] + sum(mask) for name, mask in masks.items()}
        survivors = [
            [text for text, keep in zip(texts, masks["ou"], strict=True) if keep] for texts in (titles, contents)
        ]
        above += sum(count > BORDER for count in count_pairs(counter, *survivors))
    return _answers(kept, above, model)


def _long_enough(titles: list[str], contents: list[str]) -> tuple[list[str], list[str]]:
    masks = [rule.keeps(titles, contents) for rule in (complete(), title_over(TITLE_OVER), content_over(CONTENT_OVER))]
    kept = [at for at, keeps in enumerate(zip(*masks, strict=True)) if all(keeps)]
    return [titles[at] for at in kept], [contents[at] for at in kept]


def _answers(kept: dict[str, int], above: int, model: str) -> list[Alternative]:
    words = " {} ".join(f'"{word}"' for word in KEYWORDS)
    long_is_ours = model == "llama"
    return [
        Alternative("palavras-chave", words.format("ou"), True, kept["ou"]),
        Alternative("palavras-chave", words.format("e"), False, kept["e"]),
        Alternative("o que é conter a palavra", "como pedaço de palavra", True, kept["ou"]),
        Alternative("o que é conter a palavra", "palavra inteira", False, kept["palavra inteira"]),
        Alternative(f"tokens ({model})", f"{BORDER + 1} ou mais", long_is_ours, above),
        Alternative(f"tokens ({model})", f"até {BORDER}", not long_is_ours, kept["ou"] - above),
    ]
