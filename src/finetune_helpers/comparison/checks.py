"""As formas fechadas em que a suíte de flexibilidade pergunta; cada uma decide por código se a resposta está certa.

Há uma só leitura: vale a resposta inteira, e não uma palavra dela. O que vem antes ou depois do valor pedido reprova,
porque toda pergunta pede o valor e nada mais. Perdoa-se a embalagem que não muda o que foi dito: caixa, espaços, aspas,
negrito, cerca de código, ponto final, um rótulo (``The answer is``) e a unidade que a pergunta cita. Um modelo que não
sabe parar abre outro turno (``### Instruction:``, ``<|``), e a resposta acaba ali.
"""

import itertools
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import date

TURN = re.compile(
    r"<\||</s>|#{2,}\s*(?:instruction|input|question|task|example|user|human"
    r"|instru[cç][aã]o|pergunta|exemplo|instrucci[oó]n|pregunta|ejemplo)\b",
    re.IGNORECASE,
)
LABEL = re.compile(
    r"(?:#+\s*)?[*_]*(?:(?:the|my|a|o|la|el)\s)?(?:(?:final|correct|right)\s)?"
    r"(?:answer|response|option|choice|letter|year|number|name|author|day|date|time|genre|department|translation|summary"
    r"|resposta|letra|ano|número|nome|dia|data|hora|tradução|respuesta|año|nombre|día|fecha)"
    r"(?:\s(?:final|certa|correta|correcta))?(?:[*_]*\s*:|\s(?:is|é|es)\b\s*:?)[*_]*\s*",
    re.IGNORECASE,
)
FENCE = re.compile(r"(```|~~~)[\w-]*\s*\n(.*?)\s*\1", re.DOTALL)
MARKDOWN = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
WRAPPING = " \t\n\"'.,;:!¡()[]«»*_`=>"
STRAIGHT = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "\u200b": "", "\ufeff": ""}
)
PARTICLES = re.compile(
    r"(?:(?:in|at|on|by|for|from|with|em|por|de|con|en|para)\s+)?"
    r"(?:(?:the|a|an|its|her|his|o|os|as|um|uma|na|nas|do|da|dos|das|el|la|los|las|un|una)\s+)?(?=\S)"
)
LETTER = re.compile(r"(?:(?:option|letter|choice|opcao|alternativa|letra|opcion) )?([a-z])(?: ?[).:,-]+ ?(.+))?")
NUMBER = r"-?(?:\d{1,3}(?:[ ,.]\d{3})+|\d+)(?:[.,]\d{1,2})?"
CLOCK = re.compile(
    r"(?:(?:at|by|until|(?:ate )?as|ate|a las?|hasta las?) )?(\d{1,2}) ?[:.h] ?(\d{2})(?::00)?"
    r" ?(?:min|h|hs|horas|hours)?\.? ?(?:([ap])\.? ?m)?"
)
MONTHS = re.compile(
    "(jan(?:uary|eiro)?|enero)|(feb(?:ruary|rero)?|fev(?:ereiro)?)|(mar(?:ch|co|zo)?)|(apr(?:il)?|abr(?:il)?)"
    "|(may|maio|mayo)|(june?|jun[hi]o)|(july?|jul[hi]o)|(aug(?:ust)?|ago(?:sto)?)|(sept?(?:ember|iembre)?|set(?:embro)?)"
    "|(oct(?:ober|ubre)?|out(?:ubro)?)|(nov(?:ember|embro|iembre)?)|(dec(?:ember)?|dez(?:embro)?|dic(?:iembre)?)"
)
NUMERALS = {"two": "2", "four": "4", "ten": "10", "eleven": "11", "forty": "40"}
DATE_WORDS = frozenset(("of", "the", "de", "del", "on", "em", "el", "st", "nd", "rd", "th"))
NEGATION = re.compile(
    r"\b(?:not(?! (?:only|just)\b)|no|never|nobody|none|neither|nor|without|false|untrue|instead|\w+n't)\b"
)


def own_turn(answer: str) -> str:
    """O que o modelo disse até abrir outro turno, sem o rótulo e sem a cerca de código que o embrulham."""
    text = TURN.split(unicodedata.normalize("NFKC", answer).translate(STRAIGHT), maxsplit=1)[0].strip()
    text = text[label.end() :] if (label := LABEL.match(text)) else text
    return fenced[2] if (fenced := FENCE.fullmatch(text)) else text


def _bare(text: str) -> str:
    return " ".join(MARKDOWN.sub("", text).split()).strip(WRAPPING)


def plain(text: str) -> str:
    """A forma em que valores são comparados: sem markdown, pontuação de fora, caixa nem acentos."""
    decomposed = unicodedata.normalize("NFKD", _bare(text.translate(STRAIGHT)))
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def _core(text: str) -> str:
    """Um trecho sem a preposição e o artigo que o abrem: ``in the market`` e ``market`` são a mesma resposta."""
    return PARTICLES.sub("", plain(text), count=1)


def says(answer: str, values: Sequence[str]) -> bool:
    """A resposta inteira é um dos valores: um trecho do texto, um nome ou uma palavra."""
    return _core(own_turn(answer)) in {_core(value) for value in values}


def abstains(answer: str, wording: str) -> bool:
    """A resposta inteira é a abstenção combinada."""
    return plain(own_turn(answer)) == plain(wording)


def text(answer: str, value: str) -> bool:
    """A resposta inteira é este texto, letra por letra, maiúsculas e acentos inclusive."""
    return _bare(own_turn(answer)) == _bare(value)


def letter(answer: str, right: str, option: str) -> bool:
    """A resposta é a letra certa, sozinha ou com o texto da própria opção."""
    match = LETTER.fullmatch(plain(own_turn(answer)))
    return match is not None and match[1] == right.casefold() and plain(match[2] or option) == plain(option)


def number(answer: str, value: float, units: Sequence[str] = ()) -> bool:
    """A resposta é o número em algarismos, com ou sem separador de milhar e com ou sem uma das unidades."""
    unit = "|".join(re.escape(plain(word)) for word in units)
    match = re.fullmatch(rf"(?:{unit})?\s*({NUMBER})\s*(?:{unit})?", plain(own_turn(answer)))
    digits = re.sub(r"[ ,.](?=\d{3}(?!\d))", "", match[1]) if match else "nan"
    return float(digits.replace(",", ".")) == value


def time(answer: str, value: str) -> bool:
    """A resposta é a hora ``HH:MM``; valem 21:40, 21.40, 21h40 e 9:40 pm."""
    if (match := CLOCK.fullmatch(plain(own_turn(answer)))) is None:
        return False
    hour, minute, half = int(match[1]), match[2], match[3]
    hour = hour % 12 + 12 * (half == "p") if half and hour <= 12 else hour
    return f"{hour:02d}:{minute}" == value


def day(answer: str, value: str) -> bool:
    """A resposta é a data ``AAAA-MM-DD``, em algarismos ou por extenso, em qualquer ordem que não a torne outra."""
    asked, given = date.fromisoformat(value), plain(own_turn(answer))
    spoken = [token for token in re.findall(r"[a-z]+|\d{1,4}", given) if token not in DATE_WORDS]
    named = [(MONTHS.fullmatch(token), token) for token in spoken]
    parts = [month.lastindex if month else int(token) if token.isdigit() else token for month, token in named]
    d, m, y = asked.day, asked.month, asked.year
    return re.fullmatch(r"[\w\s,./-]+", given) is not None and parts in ([d, m, y], [m, d, y], [y, m, d])


def fields(answer: str, value: dict) -> bool:
    """A resposta inteira é o objeto JSON pedido, com cada chave uma vez e valores do tipo certo (``a|b``: formas)."""
    try:
        return _same(json.loads(own_turn(answer), object_pairs_hook=_distinct), value)
    except (ValueError, RecursionError):
        return False


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("chave repetida")
    return dict(pairs)


def _same(given: object, asked: object) -> bool:
    if isinstance(asked, dict) and isinstance(given, dict):
        return set(given) == set(asked) and all(_same(given[key], asked[key]) for key in asked)
    if isinstance(asked, list) and isinstance(given, list):
        return len(given) == len(asked) and all(map(_same, given, asked))
    if isinstance(asked, str) and isinstance(given, str):
        return says(given, asked.split("|"))
    return given == asked and isinstance(given, bool) == isinstance(asked, bool)


def listing(answer: str, marker: str, items: Sequence[str], ordered: bool = False) -> bool:
    """A resposta é só a lista: estes itens (``a|b``: formas), uma vez cada, com o marcador ``-``, ``1.`` ou ``,``."""
    given = own_turn(answer)
    lines = [line for line in (given.split(",") if marker == "," else given.splitlines()) if line.strip()]
    pattern = {"-": r"()\s*-\s+(.+)", "1.": r"\s*(\d{1,3})[.)]\s+(.+)", ",": "()(.+)"}[marker]
    matches = [match for line in lines if (match := re.fullmatch(pattern, line))]
    forms = [{_core(form) for form in item.split("|")} for item in items]
    places = [place for match in matches for place, form in enumerate(forms) if _core(match[2]) in form]
    counted = marker != "1." or [match[1] for match in matches] == [str(n + 1) for n in range(len(forms))]
    return counted and len(lines) == len(forms) and (places if ordered else sorted(places)) == list(range(len(forms)))


def sentence(answer: str, start: str, most: int) -> bool:
    """A resposta é uma frase completa, de até ``most`` palavras, que começa como pedido e não anda em círculos."""
    given = own_turn(answer).strip("\"'*_ ")
    words, opening = (re.findall(r"[\w'-]+", plain(part)) for part in (given, start))
    begun = words[: len(opening)] == opening
    triples = list(zip(words, words[1:], words[2:], strict=False))
    ended = re.fullmatch(r"[^\n?]*[.!]", given) and not re.search(r"[.!?]\W+\w", given)
    doubled = any(first == second for first, second in itertools.pairwise(words))
    looped = doubled or len(set(triples)) < len(triples) or len(set(words)) < 0.65 * len(words)
    return bool(ended) and not looped and len(words) <= most and begun


def facts(answer: str, patterns: Sequence[str]) -> bool:
    """A frase traz cada fato pedido; cada padrão é uma expressão regular sobre o texto sem caixa nem acentos."""
    return all(re.search(rf"(?<!\w)(?:{pattern})(?!\w)", plain(own_turn(answer))) for pattern in patterns)


def avoids(answer: str, terms: Sequence[str]) -> bool:
    """A frase não traz os fatos vedados nem nega coisa alguma."""
    given = plain(own_turn(answer))
    return not NEGATION.search(given) and not facts(answer, ["|".join(re.escape(plain(term)) for term in terms)])


def own_words(answer: str, source: str, longest: int) -> bool:
    """A frase é do texto sem ser cópia dele.

    Nenhum trecho copiado passa de ``longest`` palavras; todo número vem do texto, e metade das palavras de quatro
    letras ou mais, comparadas pelas cinco primeiras.
    """
    given, known = (re.findall(r"\w+", plain(words)) for words in (own_turn(answer), source))
    runs = {tuple(known[n : n + longest + 1]) for n in range(len(known) - longest)}
    copied = any(tuple(given[n : n + longest + 1]) in runs for n in range(len(given) - longest))
    stems = {word[:5] for word in known}
    content = [word[:5] in stems for word in given if len(word) > 3]
    strange = {word for word in given if word.isdigit()} - {NUMERALS.get(word, word) for word in known}
    return not copied and not strange and sum(content) >= 0.5 * len(content)
