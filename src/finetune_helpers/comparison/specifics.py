"""Fatos específicos que a resposta inventa: números, datas, nomes e títulos que nada no produto apoia."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from rapidfuzz import fuzz, process

_NUMERALS = re.findall(
    r"\S+",
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""",
)
_ORDINALS = re.findall(
    r"\S+",
    """zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first""",
)
_SPELLED = re.compile(
    rf"(?<![\w-])(?:({'|'.join(_NUMERALS[20:])})(?:[- ]({'|'.join(_NUMERALS[1:10])}))?"
    rf"|({'|'.join(_NUMERALS[1:20])}))\b",
    re.I,
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)? (?:of )?)?(?:{_MONTHS})(?: \d{{1,2}}(?:st|nd|rd|th)?\b)?(?:,? (?:of )?\d{{4}})?\b"
)
_CENTURY = re.compile(rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)|({'|'.join(reversed(_ORDINALS))}))[- ]centur(?:y|ies)\b", re.I)
_DECADE = re.compile(r"(?<![\w.,])(\d{2,4})['’]?s\b")
_ISBN = re.compile(r"(?<![\d-])(?:97[89][- ]?)?\d{1,5}[- ]?\d{1,7}[- ]?\d{1,7}[- ]?[\dX]\b")
_NUMBER = re.compile(r"(?<![\w.,/])[$£€]?\s?\d+(?:[.,/:x]\d+)*(?:st|nd|rd|th|[a-z]{1,2})?\b")
_MARKER = re.compile(r"^\s*\(?\d{1,2}[.)](?=\s)", re.M)
# "the two parts" retoma o que já se sabe; "two children" afirma uma quantidade.
_DEFINITE = "".join(
    rf"(?<!\b{word} )" for word in ("the", "first", "last", "these", "those", "other", "his", "her", "their")
)
_COUNT = re.compile(rf"{_DEFINITE}(?i:{_SPELLED.pattern})[- ](?:\w+[- ])?(?:[a-z]+s|children|men|women|people|feet)\b")

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CAPITAL = r"(?:(?:[A-Z]\.\s?)+|(?:Mrs?|Ms|Dr|St|Sir|Lord|Lady)\. |)[^\W\d_a-zß-ÿ][\w'’]*(?:-\w+)*"
_JOIN = r"(?: | (?:of|of the|de|da|do|du|del|di|la|le|von|van|der|den|el|al|bin|ibn|&|at) )"
_RUN = re.compile(rf"(?<![\w'’-]){_CAPITAL}(?:{_JOIN}{_CAPITAL})*")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{3,90})[\"”]")
_START = re.compile(r"(?:^|[.!?:\n\"“”(*•]|--|[.!?]['’])\s*\Z")
_LABEL = re.compile(r"^[\W_]*[A-Z][\w ]{0,24}:\s*", re.M)
_SPLIT = re.compile(r"\bby\b|[;()/\[\]|]|\s[-–]\s|:")
# Palavras que abrem frases e as de capa e catálogo: com maiúscula, não são nome de ninguém.
_GENERIC = frozenset(Path(__file__).with_name("palavras.txt").read_text("utf-8").split())
_PEOPLE = re.compile(
    r".{3,}(?:ican|[ei]an|ish|ese)s?|(?:germ|rom|purit|tibet)ans?|french|greeks?|dutch|welsh|scots|swiss|czech|arab(?:ic)?"
    r"|hindu|jews?|catholics?|norse|gothic|romantic|biblical|medieval|renaissance|islamic|(?:ea|we)stern|(?:nor|sou)thern"
)


def unsupported(answer: str, title: str, reference: str) -> list[str]:
    """Fatos específicos distintos da resposta que nem o título nem a referência apoiam, como estão escritos nela.

    São anos, séculos, datas, quantidades, preços, ISBN, nomes de pessoas, lugares e editoras, e títulos entre aspas.
    Repetir um ano é inventar um só. É um limite inferior: a palavra que sozinha abre uma frase não se distingue de uma
    comum, adjetivos de origem ("Venetian") não contam, e o que a referência apoia pode estar fora de lugar.
    """
    known = f"{title}\n{reference}"
    invented, rest = _numbers(answer, known)
    vocabulary = {_plain(word) for word in _WORD.findall(known)}
    vocabulary |= {word.removesuffix("s") for word in vocabulary} | {f"{word}s" for word in vocabulary}
    ordinary = {word for word in _WORD.findall(answer) if word.islower()}
    for name, is_heading in _names(rest):
        capitals = [word for word in _WORD.findall(name) if word[0].isupper() and _plain(word) not in _GENERIC]
        strange = [word for word in capitals if not (_plain(word) in ordinary or _is_known(_plain(word), vocabulary))]
        if len(capitals) == 1 and _PEOPLE.fullmatch(capitals[0].casefold()):
            continue
        # Num título ecoado com uma palavra estragada, a maior parte ainda é conhecida.
        if len(strange) > (0.4 * len(capitals) if is_heading else 0) or _apart(capitals, known):
            invented.setdefault(_plain(name), name)
    return [text for key, text in invented.items() if not _inside_another(key, invented)]


def _numbers(answer: str, known: str) -> tuple[dict[str, str], str]:
    """Os números sem apoio, por valor, e a resposta sem nenhum número."""
    values = _values(known)
    years = {int(value) for value in values if value.isdigit() and len(value) in (3, 4)}
    dates = [set(_date(match).split()) for match in _DATE.finditer(known)]
    centuries = {_century(match) for match in _CENTURY.finditer(known)} | {f"c{year // 100 + 1}" for year in years}
    decades = {match.group(1) for match in _DECADE.finditer(known)} | {
        str(year // span * span) for year in years for span in (10, 100)
    }
    invented: dict[str, str] = {}
    rest = _MARKER.sub(" ", answer)

    def take(pattern: re.Pattern, key: Callable[[re.Match], str], supported: Callable[[str, re.Match], bool]) -> None:
        nonlocal rest
        for match in pattern.finditer(rest):
            value = key(match)
            if value and not supported(value, match):
                invented.setdefault(value, match.group().strip())
        rest = pattern.sub(lambda match: " ; " if key(match) else match.group(), rest)

    take(_ISBN, _isbn, lambda value, _: value in re.sub(r"[- ]", "", known))
    take(_DATE, _date, lambda value, _: any(set(value.split()) <= date for date in dates))
    take(_CENTURY, _century, lambda value, _: value in centuries)
    take(_DECADE, lambda match: f"{match.group(1)}s", lambda value, _: value[:-1] in decades)
    end = len(rest.rstrip())
    # O corte por tokens deixa pedaços de número no fim: "and died in 19".
    take(_NUMBER, _value, lambda value, match: value in values or (match.end() >= end and len(value) < 4))
    take(_COUNT, _count, lambda value, _: value in values)
    return invented, rest


def _isbn(match: re.Match) -> str:
    digits = re.sub(r"[- ]", "", match.group())
    return digits if len(digits) in (10, 13) else ""


def _date(match: re.Match) -> str:
    text = match.group().casefold()
    return " ".join(re.findall(r"\w+", text)) if re.search(r"\d", text) else ""


def _century(match: re.Match) -> str:
    number, spelled = match.groups()
    return f"c{int(number) if number else _ORDINALS.index(spelled.casefold())}"


def _value(match: re.Match) -> str:
    return re.sub(r"[^\d./:x]", "", match.group())


def _count(match: re.Match) -> str:
    tens, unit, small = (_NUMERALS.index(part.casefold()) if part else 0 for part in match.groups()[-3:])
    value = small or (tens - 18) * 10 + unit
    return str(value) if value > 1 else ""


def _values(known: str) -> set[str]:
    written = {_value(match) for match in _NUMBER.finditer(known)} | set(re.findall(r"\d+", known))
    ordinal = {str(_ORDINALS.index(word)) for word in re.findall(r"[\w-]+", known.casefold()) if word in _ORDINALS}
    return written | {_count(match) for match in _SPELLED.finditer(known)} | ordinal | {"1"}


def _names(text: str) -> Iterator[tuple[str, bool]]:
    """Nomes e títulos do texto, cada um com a indicação de que veio de uma linha ou aspas em maiúsculas de título."""
    for quoted in _QUOTED.finditer(text):
        if _is_heading(quoted.group(1)):
            yield quoted.group(1).strip(" ,.;"), True
    text = _QUOTED.sub(lambda match: f" ; {'' if _is_heading(match.group(1)) else match.group(1)} ; ", text)
    for line in text.split("\n"):
        value = _LABEL.sub("", line)
        if _is_heading(value) or (value != line and len(value.split()) < 4):  # "Publisher: HarperCollins"
            yield from ((part.strip(" ,.;-*#_'\""), True) for part in _SPLIT.split(value) if re.search(r"[A-Z]", part))
        else:
            yield from ((name, False) for name in _runs(value))


def _is_heading(line: str) -> bool:
    longer = [word for word in _WORD.findall(line) if len(word) > 3]
    return len(longer) >= 2 and sum(word[0].isupper() for word in longer) > 0.7 * len(longer)


def _runs(line: str) -> Iterator[str]:
    """Sequências de palavras com maiúscula, sem a palavra que só abre a frase."""
    for match in _RUN.finditer(line):
        name = re.sub(r"['’]s?$", "", match.group().strip())
        if _START.search(line[: match.start()]):
            first, _, others = name.partition(" ")
            if first.casefold() in _GENERIC or not others:
                name = re.sub(r"^(?:of|the|de|la|at) ", "", others)
        unfinished = match.end() == len(line.rstrip()) and " " not in name
        if name and not unfinished:
            yield name


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.replace("’", "'")).encode("ascii", "ignore").decode()
    return re.sub(r"'s?\b", "", folded.casefold()).strip()


def _is_known(word: str, vocabulary: set[str]) -> bool:
    if len(word) < 3 or word in vocabulary:
        return True
    # Um nome do título com uma letra trocada é eco estragado, e "Sicily" está em "Sicilian": nenhum é invenção.
    near = process.extractOne(word, [other for other in vocabulary if other.startswith(word[0])], scorer=fuzz.ratio)
    return len(word) >= 5 and near is not None and (near[1] >= 85 or (len(word) > 5 and near[0][:5] == word[:5]))


def _apart(capitals: list[str], known: str) -> bool:
    """Verdadeiro se um nome de duas palavras junta duas que o produto só traz longe uma da outra: outra pessoa."""
    if len(capitals) != 2 or any(_PEOPLE.fullmatch(word.casefold()) for word in capitals):
        return False
    places = [_plain(word) for word in _WORD.findall(known)]
    first, second = ([at for at, word in enumerate(places) if word == _plain(name)] for name in capitals)
    return bool(first and second) and min(abs(before - after) for before in first for after in second) > 6


def _inside_another(key: str, invented: dict[str, str]) -> bool:
    # O sobrenome de um nome já contado, ou o começo dele, cortado no fim da resposta.
    if key[:1].isdigit():
        return False
    return any(key != other and (set(key.split()) < set(other.split()) or other.startswith(key)) for other in invented)
