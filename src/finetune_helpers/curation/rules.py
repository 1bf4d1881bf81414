"""Regras da curadoria: valores que dizem, linha a linha, quem fica e por quê.

A mesma função de uma regra serve um bloco, uma linha e um quadro do pandas (``frames``); por isso os resultados são
idênticos.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..errors import InputError
from ..records import normalise

Texts = Sequence[str]
KEYWORDS = ("copyright", "author")
TITLE_OVER = 40
CONTENT_OVER = 400
BORDER = 256  # o conjunto do GPT vai até aqui; o do LLaMA começa logo acima


@dataclass(frozen=True)
class Rule:
    """Uma regra: o motivo de quem cai, a frase que a explica e a função (títulos, conteúdos) -> quem fica."""

    name: str
    says: str
    keeps: Callable[[Texts, Texts], list[bool]]


@dataclass(frozen=True)
class TokenRule:
    """Regra sobre tokens(título) + tokens(conteúdo): fica quem está entre ``least`` e ``most``, com as pontas."""

    name: str
    says: str
    counter: Callable[[list[str]], list[int]]
    least: int = 0
    most: int | None = None

    def keeps(self, titles: Texts, contents: Texts) -> list[bool]:
        """Quem fica, contando os tokens de cada título e de cada conteúdo."""
        return self.keeps_counts(count_pairs(self.counter, titles, contents))

    def keeps_counts(self, counts: Sequence[int]) -> list[bool]:
        """Quem fica, dadas as somas já contadas."""
        return [self.least <= count and (self.most is None or count <= self.most) for count in counts]


@dataclass(frozen=True)
class Plan:
    """As regras na ordem em que valem: no texto bruto, no texto limpo, nos tokens e, no fim, contra repetições."""

    mode: str
    raw: tuple[Rule, ...]
    cleaned: tuple[Rule, ...]
    tokens: tuple[TokenRule, ...]
    cleans: bool = False
    unique: bool = False

    @property
    def rules(self) -> tuple[Rule | TokenRule, ...]:
        """Todas as regras, em ordem."""
        return (*self.raw, *self.cleaned, *self.tokens)

    def without(self, *names: str) -> "Plan":
        """O mesmo plano com as regras ``names`` desligadas; InputError se um nome não existe."""
        known = [rule.name for rule in self.rules]
        if unknown := [name for name in names if name not in known]:
            raise InputError(f'Não há regra "{unknown[0]}" neste plano. As regras são: {", ".join(known)}.')
        parts = ("raw", "cleaned", "tokens")
        kept: dict[str, Any]
        kept = {part: tuple(rule for rule in getattr(self, part) if rule.name not in names) for part in parts}
        return replace(self, **kept)


def plan(model: str, mode: str, counter: Callable[[list[str]], list[int]]) -> Plan:
    """As regras do projeto para o modelo (``"llama"`` ou ``"gpt"``) e o modo (``"recomendada"`` ou ``"original"``).

    InputError se o modelo ou o modo for outro.
    """
    if mode not in ("recomendada", "original"):
        raise InputError(f'Modo "{mode}" desconhecido. Use "recomendada" ou "original".')
    if model not in ("llama", "gpt"):
        raise InputError(f'Modelo "{model}" desconhecido. Use "llama" ou "gpt".')
    raw = (complete(), title_over(TITLE_OVER), content_over(CONTENT_OVER), with_keyword(KEYWORDS))
    tokens = (tokens_from(BORDER + 1, counter) if model == "llama" else tokens_up_to(BORDER, counter),)
    if mode == "original":
        return Plan(mode, raw, (), tokens)
    again = (title_over(TITLE_OVER, "_apos_limpeza"), content_over(CONTENT_OVER, "_apos_limpeza"))
    screened = (raw[0], not_the_title(), *raw[1:])
    return Plan(mode, screened, again, tokens, cleans=True, unique=True)


def complete() -> Rule:
    """``incompleto``: título ou conteúdo nulo, em branco ou ausente."""
    return Rule(
        "incompleto",
        "título e conteúdo preenchidos",
        lambda titles, contents: [
            bool(title and content) and not (title.isspace() or content.isspace())
            for title, content in zip(titles, contents, strict=True)
        ],
    )


def title_over(limit: int, suffix: str = "") -> Rule:
    """``titulo_curto``: o título precisa de mais de ``limit`` caracteres."""
    return Rule(
        f"titulo_curto{suffix}",
        f"título com mais de {limit} caracteres",
        lambda titles, contents: [len(title) > limit for title in titles],
    )


def content_over(limit: int, suffix: str = "") -> Rule:
    """``conteudo_curto``: o conteúdo precisa de mais de ``limit`` caracteres."""
    return Rule(
        f"conteudo_curto{suffix}",
        f"conteúdo com mais de {limit} caracteres",
        lambda titles, contents: [len(content) > limit for content in contents],
    )


def not_the_title() -> Rule:
    """``conteudo_igual_ao_titulo``: o conteúdo repete o título, sem contar caixa e espaços.

    Um conteúdo mais de duas vezes maior que o título é tido por diferente sem comparar.
    """
    return Rule(
        "conteudo_igual_ao_titulo",
        "conteúdo diferente do título",
        lambda titles, contents: [
            len(content) > 2 * len(title) or not content or normalise(title) != normalise(content)
            for title, content in zip(titles, contents, strict=True)
        ],
    )


def with_keyword(words: Sequence[str], *, whole_word: bool = False, every: bool = False) -> Rule:
    """``sem_palavra_chave``: uma das palavras (todas, com ``every``) no título ou no conteúdo, sem contar caixa.

    A palavra vale como pedaço de outra ("authority" contém "author"), a menos que ``whole_word``.
    """
    joined = (" e " if every else " ou ").join(f'"{word}"' for word in words)
    how = "palavra inteira" if whole_word else "como pedaço de palavra"
    return Rule(
        "sem_palavra_chave", f"{joined} no título ou no conteúdo ({how})", _keyword_test(words, whole_word, every)
    )


def _keyword_test(words: Sequence[str], whole_word: bool, every: bool) -> Callable[[Texts, Texts], list[bool]]:
    lowered, combine = [word.lower() for word in words], all if every else any
    if not whole_word and not every:
        return partial(_contain_any, lowered)
    found = [re.compile(rf"(?<!\w){re.escape(word)}(?!\w)" if whole_word else re.escape(word)) for word in lowered]
    return lambda titles, contents: [
        combine(pattern.search(text) for pattern in found)
        for text in (f"{title}\n{content}".lower() for title, content in zip(titles, contents, strict=True))
    ]


def _contain_any(words: list[str], titles: Texts, contents: Texts) -> list[bool]:
    """O caso comum corre em todas as linhas do arquivo: laços simples custam a metade de ``any()`` e de expressões."""
    kept = [False] * len(titles)
    for at, content in enumerate(contents):
        text = content.lower()
        for word in words:
            if word in text:
                kept[at] = True
                break
        else:
            text = titles[at].lower()
            for word in words:
                if word in text:
                    kept[at] = True
    return kept


def tokens_from(least: int, counter: Callable[[list[str]], list[int]]) -> TokenRule:
    """``poucos_tokens``: título e conteúdo somam ao menos ``least`` tokens."""
    return TokenRule("poucos_tokens", f"título + conteúdo com {least} tokens ou mais", counter, least=least)


def tokens_up_to(most: int, counter: Callable[[list[str]], list[int]]) -> TokenRule:
    """``muitos_tokens``: título e conteúdo somam no máximo ``most`` tokens."""
    return TokenRule("muitos_tokens", f"título + conteúdo com até {most} tokens", counter, most=most)


def count_pairs(counter: Callable[[list[str]], list[int]], titles: Texts, contents: Texts) -> list[int]:
    """tokens(título) + tokens(conteúdo) de cada linha, numa só chamada ao contador."""
    counts = counter([*titles, *contents])
    return [first + second for first, second in zip(counts[: len(titles)], counts[len(titles) :], strict=True)]
