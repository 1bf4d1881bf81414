"""Verificações da suíte de flexibilidade: cada uma decide por código se uma resposta cumpre o que o prompt pediu."""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

BOOK_WORDS = (
    "novel|novels",
    "chapter|chapters",
    "author|authors",
    "page|pages",
    "paperback|hardcover|isbn",
    "publisher",
    "this book|the book",
)
CANNOT = (
    r"\bi(?:'m| am| was|'ve| have|) ?(?:do not|don't|did not|didn't|cannot|can not|can't|could not|couldn't|"
    r"(?:unable|not able|not been able) to|haven't been able to)"
)
# `I do not know what I would do without it` é elogio, não abstenção.
ABSTENTION = re.compile(
    rf"{CANNOT} (?:\w+ )?know\b(?! (?:what|how|where|why) (?:i|we|you|they|he|she|to)\b)"
    rf"|{CANNOT} (?:\w+ )?(?:recogni[sz]e|find|say|tell|confirm|verify|recall|identify)\b"
    rf"|{CANNOT} have (?:\w+ ){{0,2}}(?:information|knowledge|details|record|data)"
    r"|\bi(?: am|'m) (?:not (?:\w+ )?(?:aware of|familiar with|sure|certain)|unaware of|unfamiliar with)"
    r"|\bi(?:'ve| have) no (?:\w+ )?(?:information|knowledge|record|idea)"
    r"|\bi(?:'ve never|'ve not| have never| have not| haven't) (?:heard|read|come across)"
    r"|\bno information\b|\bno (?:record|mention) (?:of|about|on|in|that)\b"
    r"|\bno (?:such )?book (?:with|by|called|titled)\b"
    r"|\b(?:book|title|work|author) (?:is|are) (?:unknown|not known|unfamiliar) to me\b"
    r"|\b(?:book|title|work) (?:\w+ ){0,3}(?:does not|doesn't|may not|might not) (?:\w+ ){0,2}exist\b"
    r"|\bnot (?:\w+ ){0,3}a (?:real|known|well-known) (?:book|title|work)\b"
)
SILENCE = re.compile(
    r"\b(?:text|passage|paragraph|article|it) (?:does not|doesn't|did not|didn't|never) (?:\w+ )?"
    r"(?:says?|mentions?|states?|specif(?:y|ies)|tells?|gives?|indicates?|provides?|includes?|names?|reveals?)\b"
    r"|\b(?:text|passage|paragraph|article) (?:has|gives|provides|contains|mentions|names) no\b"
    r"|\b(?:says|gives|tells us) nothing\b|\bno answer (?:is|to|in)\b"
    r"|\bcannot be (?:determined|known|answered)\b"
    r"|\b(?:is|was|are|were) not (?:\w+ )?(?:stated|mentioned|given|specified|provided|said|named|in the text|known)\b"
    r"|\b(?:isn't|wasn't|aren't) (?:\w+ )?(?:stated|mentioned|given|specified|provided|said|named|in the text)\b"
)
SHORT_ABSTENTION = re.compile(r"\b(?:unknown|unsure|unclear|no idea|not (?:known|stated|given|mentioned)|don't know)\b")


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+(?:[-'’]\w+)*", text)


def _lines(answer: str) -> list[str]:
    return [line.strip() for line in answer.splitlines() if line.strip()]


def _plain(text: str) -> str:
    """Sem caixa, sem acentos, com apóstrofos retos: a forma em que termos são procurados."""
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def _has(answer: str, term: str) -> bool:
    """O termo, ou uma de suas formas separadas por ``|``, aparece como palavra inteira."""
    forms = "|".join(re.escape(_plain(form)) for form in term.split("|"))
    return re.search(rf"(?<!\w)(?:{forms})(?!\w)", _plain(answer)) is not None


def words(answer: str, minimum: int = 1, maximum: int | None = None) -> bool:
    """A resposta tem de ``minimum`` a ``maximum`` palavras."""
    return minimum <= len(_tokens(answer)) and (maximum is None or len(_tokens(answer)) <= maximum)


def sentences(answer: str, exactly: int) -> bool:
    """A resposta tem exatamente esse número de frases; um resto sem ponto final conta como frase."""
    text = re.sub(r"\b(?:Mr|Mrs|Ms|Dr|St|etc|e\.g|i\.e)\.", "", answer)
    parts = re.split(r"[.!?…]+[\"'”’)\]]*(?:\s+|$)", text)
    return sum(bool(_tokens(part)) for part in parts) == exactly


def mentions(answer: str, terms: Sequence[str], at_least: int | None = None) -> bool:
    """Aparecem todos os termos, ou pelo menos ``at_least`` deles; ``a|b`` são formas de um mesmo termo."""
    return sum(_has(answer, term) for term in terms) >= (len(terms) if at_least is None else at_least)


def avoids(answer: str, terms: Sequence[str]) -> bool:
    """Nenhum dos termos aparece."""
    return not mentions(answer, terms, at_least=1)


def no_book_words(answer: str) -> bool:
    """A resposta não fala como a descrição de um livro."""
    return avoids(answer, BOOK_WORDS)


def not_degenerate(answer: str) -> bool:
    """Sem laços nem restos do modelo de prompt.

    Laço: mais de 30 % de sequências de quatro palavras repetidas, ou menos de 40 % de palavras distintas; um texto
    corrido de 200 palavras tem mais de 50 %.
    """
    tokens = [token.casefold() for token in _tokens(answer)]
    grams = list(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    looped = len(set(grams)) < 0.7 * len(grams) or len(set(tokens)) < 0.4 * len(tokens)
    return not looped and not re.search(r"###|<\|", answer)


@cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # Uma instância própria: set_languages do módulo mudaria o idioma para quem mais o usa no processo. Sem a restrição,
    # o português é tomado por galego.
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(["en", "pt", "es"])
    return identifier


def detect_language(text: str) -> str:
    """``en``, ``pt``, ``es``, ou ``unknown`` quando há menos de cinco palavras."""
    return _identifier().classify(text)[0] if words(text, minimum=5) else "unknown"


def language(answer: str, code: str) -> bool:
    """A resposta está no idioma pedido; com menos de cinco palavras não se sabe, e não passa."""
    return detect_language(answer) == code


def abstains(answer: str) -> bool:
    """A resposta admite que não sabe."""
    text = _plain(answer)
    short = words(answer, maximum=12) and SHORT_ABSTENTION.search(text)
    return bool(short or ABSTENTION.search(text))


def affirms(answer: str) -> bool:
    """A resposta não se abstém."""
    return not abstains(answer)


def text_silent(answer: str) -> bool:
    """A resposta diz que o texto dado não traz a informação, ou que não sabe."""
    return abstains(answer) or SILENCE.search(_plain(answer)) is not None


def json_object(answer: str, keys: Sequence[str]) -> bool:
    """A resposta inteira é um objeto JSON com exatamente essas chaves, todas preenchidas."""
    try:
        value = json.loads(answer)
    except ValueError:
        return False
    return (
        isinstance(value, dict) and set(value) == set(keys) and all(item not in (None, "") for item in value.values())
    )


def bullets(answer: str, count: int) -> bool:
    """A resposta é só uma lista de ``count`` marcadores, um por linha."""
    return len(_lines(answer)) == count and all(re.match(r"[-*•]\s+\S", line) for line in _lines(answer))


def numbered(answer: str, count: int) -> bool:
    """A resposta é só uma lista numerada de 1 a ``count``, um item por linha."""
    found = [re.match(r"(\d+)[.)]\s+\S", line) for line in _lines(answer)]
    return [match and int(match[1]) for match in found] == list(range(1, count + 1))


def one_line_items(answer: str, count: int) -> bool:
    """A resposta é uma linha de ``count`` itens separados por vírgulas."""
    items = answer.strip().rstrip(".").split(",")
    return len(_lines(answer)) == 1 and len(items) == count and all(_tokens(item) for item in items)


def one_paragraph(answer: str) -> bool:
    """A resposta não tem quebra de linha."""
    return len(_lines(answer)) == 1


def ends_with(answer: str, text: str) -> bool:
    """A resposta termina exatamente com o texto pedido e diz algo antes dele."""
    return answer.rstrip().endswith(text) and words(answer.rstrip().removesuffix(text))


def lower_case(answer: str) -> bool:
    """Nenhuma letra maiúscula."""
    return answer == answer.lower() and words(answer)


def number(answer: str, value: float) -> bool:
    """O último número da resposta é ``value``; vírgulas de milhar são aceitas."""
    found = re.findall(r"(?:(?<![\w.])-)?\d+(?:,\d{3})*(?:\.\d+)?", answer)
    return bool(found) and float(found[-1].replace(",", "")) == value


def chooses(answer: str, options: Sequence[str], right: str) -> bool:
    """A primeira linha nomeia a opção certa e nenhuma outra."""
    first = _lines(answer)[:1]
    return bool(first) and [option for option in options if _has(first[0], option)] == [right]
