"""Fatos específicos que a resposta inventa: números, datas, nomes e títulos que o produto não apoia; um limite inferior."""

import re
import unicodedata
from collections.abc import Iterator

from rapidfuzz import fuzz, process

_UNITS = dict(
    zip(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
        " nineteen".split(),
        range(1, 20),
        strict=True,
    )
)
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
_ORDINALS = dict(
    zip(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
        " sixteenth seventeenth eighteenth nineteenth twentieth".split(),
        range(1, 21),
        strict=True,
    )
) | {"twenty-first": 21}
_SPELLED = re.compile(rf"\b(?:({'|'.join(_TENS)})(?:[- ]({'|'.join(list(_UNITS)[:9])}))?|({'|'.join(_UNITS)}))\b", re.I)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)? (?:of )?)?(?:{_MONTHS})(?: \d{{1,2}}(?:st|nd|rd|th)?\b)?(?:,? (?:of )?\d{{4}})?\b"
)
_CENTURY = re.compile(
    rf"\b(?:(\d{{1,2}})(?:st|nd|rd|th)|({'|'.join(sorted(_ORDINALS, key=len, reverse=True))}))[- ]centur(?:y|ies)\b", re.I
)
_DECADE = re.compile(r"(?<![\w.,])(\d{2,4})['’]?s\b")
_ISBN = re.compile(r"(?<![\d-])(?:97[89][- ]?)?\d{1,5}[- ]?\d{1,7}[- ]?\d{1,7}[- ]?[\dX]\b")
_NUMBER = re.compile(r"(?<![\w.,/])[$£€]?\s?\d+(?:[.,/:x]\d+)*(?:st|nd|rd|th|[a-z]{1,2})?\b")
_MARKER = re.compile(r"^\s*\(?\d{1,2}[.)](?=\s)", re.M)
# "the two parts" retoma o que já se sabe; "two children" afirma uma quantidade.
_COUNT = re.compile(
    rf"\b(?<!\bthe )(?<!\bfirst )(?<!\blast )(?<!\bthese )(?<!\bthose )(?<!\bother )(?<!\bhis )(?<!\bher )(?<!\btheir )"
    rf"(?:{_SPELLED.pattern})[- ](?:\w+[- ])?(?:[a-z]+s|children|men|women|people|feet)\b"
)

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CAPITAL = r"(?:(?:[A-Z]\.\s?)+|(?:Mrs?|Ms|Dr|St|Sir|Lord|Lady)\. |)[^\W\d_a-zß-ÿ][\w'’]*(?:-\w+)*"
_JOIN = r"(?: | (?:of|of the|de|da|do|du|del|di|la|le|von|van|der|den|el|al|bin|ibn|&|at) )"
_RUN = re.compile(rf"(?<![\w'’-]){_CAPITAL}(?:{_JOIN}{_CAPITAL})*")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{3,90})[\"”]")
_START = re.compile(r"(?:^|[.!?:\n\"“”(*•]|--|[.!?]['’])\s*\Z")
_LABEL = re.compile(r"^[\W_]*[A-Z][\w ]{0,24}:\s*", re.M)
_SPLIT = re.compile(r"\bby\b|[()/\[\]|]|\s-\s|\s–\s|:")
_GENERIC = frozenset(
    """a an the i i'm i've i'd i'll this that these those it its in on at to from for with by of and but or nor as if so is are was were
    be he she they we you my his her their our your what who when where why how which there here not no yes all some each every
    one two three four five six seven eight nine ten first second third last next new old great other both many most more while
    after before since during although though because also only just even then now once until upon into over under about with
    without between through within despite however please thank sure certainly hello ladies gentlemen
    paperback paperbound softcover softback hardcover hardback hardbook hardbound clothbound cloth bound pocket sturdy trade large
    print edition editions version volume volumes vol vols book books novel novels chapter chapters part parts act acts series
    title titles description descriptions author authors product products audio cd dvd lp vhs pdf isbn ebook text texts reader
    readers reader's student students introduction preface postscript appendix notes note output outputs input inputs example
    examples explanation response responses answer question key features publisher published publishing publication release
    released date table contents index story stories tale tales poem poems song songs play essay essays collection complete
    unabridged abridged illustrated annotated classic classics reprint facsimile set catalogue catalog genre language format
    price pages page number item type cover size color colour material brand english copyright summary review rating plot
    characters character life history works work letter letters world god lord mr mrs ms dr sir lady miss king queen
    emperor prince princess captain doctor father mother saint""".split()
)
_PEOPLES = frozenset(
    """french german greek dutch irish welsh scots swiss czech chinese latin roman arab arabic hindu jew jews jewish catholic catholics
    norse danish finnish polish english british spanish swedish turkish gothic romantic victorian edwardian puritan christian
    american americans muslim islamic biblical medieval renaissance western eastern northern southern""".split()
)
_PEOPLE_END = re.compile(r"(?:[a-z]{3}ian|[a-z]{3}ean|[a-z]{3}ish|[a-z]{3}ese|[a-z]{3}ans?|[a-z]{3}ians)$")


def unsupported(answer: str, title: str, reference: str) -> list[str]:
    """Fatos específicos distintos da resposta que nem o título nem a referência apoiam, como estão escritos nela.

    São anos, séculos, datas, quantidades, preços, ISBN, nomes de pessoas, lugares e editoras, e títulos entre aspas. Quem
    repete um ano dez vezes inventou um. É um limite inferior: o que abre uma frase com uma só palavra não se distingue de
    uma palavra comum, adjetivos de origem ("Venetian") não contam, e o que a referência apoia pode estar fora de lugar.
    """
    known = f"{title}\n{reference}"
    invented, rest = _numbers(answer, known)
    vocabulary = _vocabulary(known)
    ordinary = {word for word in _WORD.findall(f"{known} {answer}") if word.islower()}
    for name in _names(rest):
        strange = [word for word in _WORD.findall(name) if not _is_known(word, vocabulary, ordinary)]
        if strange and not (len(name.split()) == 1 and _is_people(name)):
            invented[_plain(name)] = name
    return [text for key, text in invented.items() if not _inside_another(key, invented)]


def _numbers(answer: str, known: str) -> tuple[dict[str, str], str]:
    """Os números sem apoio, por valor, e a resposta sem nenhum número."""
    values = _values(known)
    years = {int(value) for value in values if value.isdigit() and len(value) in (3, 4)}
    dates = [set(re.findall(r"\w+", match.group().casefold())) for match in _DATE.finditer(known)]
    invented: dict[str, str] = {}
    rest = _MARKER.sub(" ", answer)

    def take(pattern: re.Pattern, key, supported) -> None:
        nonlocal rest
        for match in pattern.finditer(rest):
            value = key(match)
            if value and not supported(value, match):
                invented.setdefault(value, match.group().strip())
        rest = pattern.sub(lambda match: " ; " if key(match) else match.group(), rest)

    take(_ISBN, _isbn, lambda value, match: value in re.sub(r"[- ]", "", known))
    take(_DATE, _date, lambda value, match: any(set(value.split()) <= date for date in dates))
    centuries = {_century(match) for match in _CENTURY.finditer(known)} | {f"c{year // 100 + 1}" for year in years}
    take(_CENTURY, _century, lambda value, match: value in centuries)
    decades = {match.group(1) for match in _DECADE.finditer(known)} | {f"{year // 10 * 10}" for year in years}
    take(_DECADE, lambda match: f"{match.group(1)}s", lambda value, match: value[:-1] in decades)
    end = len(rest.rstrip())
    take(
        _NUMBER,
        lambda match: _value(match.group()),
        # O corte por tokens deixa pedaços de número no fim: "and died in 19".
        lambda value, match: value in values or (match.end() >= end and len(value) < 4),
    )
    take(_COUNT, _count, lambda value, match: value in values)
    return invented, rest


def _isbn(match: re.Match) -> str:
    digits = re.sub(r"[- ]", "", match.group())
    return digits if len(digits) in (10, 13) else ""


def _date(match: re.Match) -> str:
    text = match.group().casefold()
    return " ".join(re.findall(r"\w+", text)) if re.search(r"\d", text) else ""


def _century(match: re.Match) -> str:
    number, spelled = match.groups()
    return f"c{int(number) if number else _ORDINALS[spelled.casefold()]}"


def _count(match: re.Match) -> str:
    spelled = _SPELLED.search(match.group())
    value = _spelled_value(spelled) if spelled else 1
    return str(value) if value > 1 else ""


def _spelled_value(match: re.Match) -> int:
    tens, unit, small = (part.casefold() if part else "" for part in match.groups())
    return _UNITS[small] if small else _TENS[tens] + _UNITS.get(unit, 0)


def _value(text: str) -> str:
    return re.sub(r"[^\d./:x]|\.$", "", text).replace(",", "")


def _values(known: str) -> set[str]:
    written = {_value(match.group()) for match in _NUMBER.finditer(known)} | set(re.findall(r"\d+", known))
    spelled = {str(_spelled_value(match)) for match in _SPELLED.finditer(known)}
    ordinal = {str(_ORDINALS[word]) for word in re.findall(r"[\w-]+", known.casefold()) if word in _ORDINALS}
    return written | spelled | ordinal


def _names(text: str) -> Iterator[str]:
    for quoted in _QUOTED.finditer(text):
        if _is_heading(quoted.group(1)) and " " in quoted.group(1).strip():
            yield quoted.group(1).strip(" ,.;")
    text = _QUOTED.sub(lambda match: f" ; {'' if _is_heading(match.group(1)) else match.group(1)} ; ", text)
    for line in text.split("\n"):
        line = _LABEL.sub("", line)
        if _is_heading(line):
            yield from (part.strip(" ,.;-*#_'\"") for part in _SPLIT.split(line) if re.search(r"[A-Z]", part))
        else:
            yield from _runs(line)


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


def _is_heading(line: str) -> bool:
    """Verdadeiro se a linha está em maiúsculas de título."""
    longer = [word for word in _WORD.findall(line) if len(word) > 3]
    return len(longer) >= 2 and sum(word[0].isupper() for word in longer) > 0.7 * len(longer)


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"['’]s?\b", "", folded.casefold()).strip()


def _vocabulary(known: str) -> set[str]:
    base = {_plain(word) for word in _WORD.findall(known)}
    return base | {word.removesuffix("s") for word in base} | {f"{word}s" for word in base}


def _is_known(word: str, vocabulary: set[str], ordinary: set[str]) -> bool:
    plain = _plain(word)
    if len(plain) < 3 or plain in _GENERIC or plain in vocabulary or plain in ordinary or not word[0].isupper():
        return True
    # Um nome do título com uma letra trocada é eco defeituoso, não invenção.
    return len(plain) >= 5 and process.extractOne(plain, vocabulary, scorer=fuzz.ratio, score_cutoff=75) is not None


def _is_people(name: str) -> bool:
    return name.casefold() in _PEOPLES or bool(_PEOPLE_END.search(name.casefold()))


def _inside_another(key: str, invented: dict[str, str]) -> bool:
    words = set(key.split())
    return any(key != other and words < set(other.split()) for other in invented)
