"""Regras que apontam respostas defeituosas e fatos específicos sem apoio."""

import gzip
import re
from functools import cache, partial

from ..records import normalise

PROBLEMS = {
    "vazia": "resposta vazia",
    "curta": "menos de 8 palavras",
    "repeticao": "repete os mesmos trechos",
    "eco_titulo": "só repete o título",
    "eco_prompt": "repete a instrução",
    "sobra_modelo": "deixa marcas do formato do prompt",
    "cortada": "cortada pelo limite de tokens",
    "idioma": "não está em inglês",
    "resenha": "fala como quem resenhou o livro",
}
_TEMPLATE = re.compile(r"###|<\||\|>|\[/?INST\]|<<SYS>>|</?s>|^(?:user|assistant|system)\s*:", re.I | re.M)
_PROMPT = re.compile(r"below is an instruction|write the catalogue description|you write product descriptions", re.I)
_REVIEWED = re.compile(
    r"\bI(?:'ve| have)? (?:just )?(?:review(?:ed)?|read|recommend|loved|received) (?:this|the|a) ", re.I
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBERS = {
    "ISBN": re.compile(r"\b(?:97[89][- ]?)?\d{1,5}[- ]?\d{1,7}[- ]?\d{1,7}[- ]?[\dXx]\b"),
    "preço": re.compile(r"[$£€]\s?\d[\d.,]*\d|[$£€]\s?\d"),
    "páginas": re.compile(r"\b(\d[\d,]*)[ -]pages?\b", re.I),
    "edição": re.compile(r"\b(\d+)(?:st|nd|rd|th) edition\b", re.I),
    "ano": re.compile(r"\b(?:1[5-9]|20)\d\d\b"),
}
_NAME = re.compile(r"\b[A-Z][a-zà-ÿ]+(?:(?: [A-Z]\.)* (?:(?:de|da|van|von|of) )?(?:Mc|Mac|O['’])?[A-Z][a-zà-ÿ]+)+")
_OPENERS = frozenset(
    """a an the this these that those in on at with from for by of and but or as it its his her their our your my he she
    they we you i is are was when while after before first new book books author authors""".split()  # noqa: SIM905
)


def words(text: str) -> list[str]:
    """Palavras de um texto, com números, sem pontuação."""
    return _WORD.findall(text)


def problems(answer: str, title: str, finish_reason: str) -> tuple[str, ...]:
    """Chaves de ``PROBLEMS`` que a resposta aciona; a resposta vazia só aciona ``vazia``."""
    tokens = [word.casefold() for word in words(answer)]
    if not tokens:
        return ("vazia",)
    found = {
        "curta": len(tokens) < 8,
        "repeticao": repeats(answer, tokens),
        "eco_titulo": normalise(answer).strip(" .\"'") == normalise(title).strip(" .\"'"),
        "eco_prompt": bool(_PROMPT.search(answer)),
        "sobra_modelo": bool(_TEMPLATE.search(answer)),
        "cortada": finish_reason == "length",
        "idioma": len(tokens) >= 5 and language(answer) != "en",
        "resenha": bool(_REVIEWED.search(answer)),
    }
    return tuple(key for key, happened in found.items() if happened)


def repeats(answer: str, tokens: list[str]) -> bool:
    """Verdadeiro se mais de 30 % das sequências de 4 palavras se repetem ou se o texto comprime mais de 3 vezes."""
    grams = list(zip(*(tokens[start:] for start in range(4)), strict=False))
    repeated = len(grams) >= 8 and 1 - len(set(grams)) / len(grams) > 0.3
    raw = answer.encode("utf-8", "replace")
    return repeated or (len(raw) > 80 and len(raw) / len(gzip.compress(raw)) > 3)


def language(text: str) -> str:
    """Idioma mais provável entre inglês, português e espanhol (``en``, ``pt``, ``es``)."""
    return _identifier().classify(text)[0]


@cache
def _identifier():
    # Sem restringir os idiomas, o py3langid toma português por galego.
    from py3langid import langid

    found = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    found.set_languages(["en", "pt", "es"])
    return found


def unsupported(answer: str, *support: str) -> list[str]:
    """Anos, preços, ISBN, páginas, edições e nomes da resposta que não estão em nenhum texto de ``support``."""
    known = " ".join(support)
    found, rest = [], answer
    for kind, pattern in _NUMBERS.items():
        backed = {_plain(match.group()) for match in pattern.finditer(known)}
        found += [f"{kind}: {m.group()}" for m in pattern.finditer(rest) if _counts(kind, m) and not _backed(m, backed)]
        rest = pattern.sub(partial(_blank, kind), rest)
    vocabulary = {word.casefold() for word in words(known)}
    return found + [f"nome: {name}" for name in names(rest) if not _named(name, vocabulary)]


def _counts(kind: str, match: re.Match) -> bool:
    # Só dez ou treze dígitos fazem um ISBN; o padrão largo casa também com anos e telefones curtos.
    return kind != "ISBN" or len(_plain(match.group())) in (10, 13)


def _blank(kind: str, match: re.Match) -> str:
    return " " if _counts(kind, match) else match.group()


def _plain(text: str) -> str:
    return re.sub(r"[^\dX]", "", text.upper()) or text


def _backed(match: re.Match, known: set[str]) -> bool:
    return _plain(match.group()) in known


def names(text: str) -> list[str]:
    """Sequências de duas ou mais palavras com maiúscula, sem as que só abrem a frase."""
    found = []
    for match in _NAME.finditer(text):
        parts = match.group().split()
        while parts and parts[0].casefold() in _OPENERS:
            parts = parts[1:]
        if len(parts) >= 2:
            found.append(" ".join(parts))
    return list(dict.fromkeys(found))


def _named(name: str, vocabulary: set[str]) -> bool:
    return all(word.casefold() in vocabulary for word in words(name) if len(word) > 2)
