"""Defeitos de forma de uma resposta: o que se vê sem saber nada do produto, só pela forma do texto."""

import html
import re
from collections import Counter
from functools import cache

from .specifics import unsupported as unsupported

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_WINDOW = 48  # palavras; nenhuma descrição de treino tem menos de 71 % de palavras distintas nas primeiras 48
_DISTINCT = 0.5
_REPEATED = 0.22  # parte das sequências de três palavras que já tinham aparecido; descrições reais: até 0,21
_NOVEL = 0.3  # palavras distintas menos sequências repetidas, sem distinguir números; descrições reais: acima de 0,39
_VERBS = frozenset(("is", "are", "was", "were", "has", "have"))  # a frase que só diz o título com um verbo já é frase
_RUN = re.compile(r"([^\s*._=-])\1{11,}|(?:\b\d{3,4}\b[,;\s]+){4}")

# Quem fala da tarefa nomeia a descrição, a resposta, o pedido, os exemplos, a si mesmo ou quem pediu.
_TALKS = re.compile(
    r"\b(?:(?:catalog(?:ue)?|product|shop)(?:['’]s)? (?:description|entry|listing|copy)s?"
    r"|(?:description|title|name|details?|summary) (?:of|for|about) (?:the|this|your|a) (?:product|item|book)"
    r"|(?:product|book|item) with (?:this|the (?:same|given|following|above)) title"
    r"|(?:this|that|it|here|below|following|above)(?: (?:is|was)|['’]s|:)? an? (?:[\w,-]+ ){0,6}?"
    r"(?:description|response|answer|continuation|paraphrase|rewrite|prompt|product that)\b"
    r"|(?:this|the|your|my|an?|previous|appropriate) (?:response|prompt|instruction|request|input|query)(?:['’]s)?"
    r" (?:is|was|that|below|above|should|must|provides?|describes?|completes?|contains?|asks?)\b"
    r"|(?:completes?|completed|fulfil\w*|satisf\w+) (?:the|your|this) (?:\w+ )?(?:request|task|action|prompt)"
    r"|(?:this|the|following|above|original|provided|given) description (?:is|was|does|must|will|needs|provides"
    r"|includes|highlights|should|you|captures|suggests|could|can|would|indicates|refers)\b"
    r"|the user (?:is|was|will|has|asks?|asked|provided|wants?|should|can)\b"
    r"|(?:above|given|following|these|previous|other) (?:\w+ )?examples?\b"
    r"|(?:I|we)(?: have|['’]ve| am|['’]m| will|['’]ll| would| can| could|['’]d)?(?: \w+){0,4}"
    r" (?:catalog(?:ue)?|description|title|prompt|request|response|examples?)\b"
    r"|(?:ready|happy|glad|here|available|love|pleased) to (?:help|assist)\b|(?:can|may|could) I (?:help|assist)\b"
    r"|AI (?:model|assistant)|language model\b|I(?:['’]m| am)? (?:sorry|apologi[sz]e|afraid)(?:,| but| I|\.)"
    r"|(?:I|we)(?: am|['’]m)? ?(?:do not|don['’]t|cannot|can['’]t|can not|unable to|not able to)"
    r" (?:have|provide|find|assist|help|write|generate|create|access|complete|fulfil\w*|see any|determine)\b"
    r"|let me know|feel free|please (?:provide|let|specify|give|share|clarify|write|tell)\b|hope this\b"
    r"|if you (?:have|need|want|would like|could) (?:any|more|me|further|provide)\b"
    r"|you(?:['’]ve| have| are|['’]re)? (?:provided|requested|asked|given|asking|looking for|mentioned|described)\b"
    r"|(?:would|do) you (?:like|want|need) (?:me|more|any|help|a|to)\b|(?:to|can) be used (?:as|for) an? description"
    r"|\d+[- ](?:sentences?|words?) (?:long|description|summary)\b|(?:write|rewrite|generate) (?:a|an|the|your|me)"
    r" (?:[\w-]+ ){0,3}(?:description|response|summary|paragraph|sentence|review|blurb|title|article|story)\b)",
    re.I,
)
_OPENS = re.compile(
    r"[\s*#>-]*(?:(?:sure|certainly|of course|absolutely|okay|ok|hello|hi)(?:!|[,.:]? (?:here|I|let|below|this|the))\b"
    r"|(?:thank you|thanks)\b|ladies and gentlemen|the answer (?:to [^.\n]{0,40} )?is\b"
    r"|my (?:favou?rite|son|daughter|wife|husband|kids?|mother|father|review)\b"
    r"|here(?:['’]s| is| are) (?:a|an|the|your|my|some|one)\b[^.!?\n]{0,80}"
    r"(?:description|catalog(?:ue)?|revised|title|response|paragraph|examples?)\b"
    r"|I(?:['’](?:m|ve|d|ll)| (?:am|have|was|had|will|would|can|could|do|did|think|just|bought|love|like|got))\b"
    r"|(?:what|how|which|who|why|where|when|can|could|do|does|is|are)\b[^.!\n]{0,90}\?\s*\Z)",
    re.I,
)
_INSTRUCTION = re.compile(
    r"below is an instruction|write the catalogue description|you write product descriptions|paired with an input"
    r"|answer with the description only|follow the style of these|write a response that|appropriately completes",
    re.I,
)
_LABELS = (
    r"titles?|(?:product |item )?descriptions?"
    r"|(?:product )?(?:name|type|details?|code|id|number|information|features?)|products?|items?|authors?"
    r"|written by|books?|isbn(?:-1[03])?|publishers?|published|publication(?: date)?|release(?:d| date)?|genres?"
    r"|categor(?:y|ies)|subjects?|keywords?|tags?|formats?|binding|prices?|languages?|pages?|page count|editions?"
    r"|series|volumes?|ratings?|reviews?|summary|synopsis|overview|introduction|plot|setting|characters?|themes?"
    r"|answers?|questions?|responses?|outputs?|inputs?|explanations?|examples?|notes?|instructions?|[qa]|colou?rs?"
    r"|sizes?|dimensions?|weight|materials?|brand|condition|barcode|(?:key )?features?|specifications?|sold|ref"
    r"|sku|date|year|duration|director|cast|user|assistant|system|human|context|task|audio|dvd|cd|policies"
)
_LABEL = re.compile(rf"^[\W_]*(?:{_LABELS})(?: \d+)?[*_]*\s?:", re.I | re.M)
_INLINE = re.compile(
    r"\b(?:Title|Description|Author|Genre|Product|Output|Input|Response|Answer|Explanation|ISBN|Publisher|Q|A)s?:\s"
)
_FIELD = re.compile(r"^[\W_]*[A-Z][\w'’/ -]{0,30}:(?=\s|\Z)", re.M)
_MARKS = re.compile(
    r"^\s*#{1,6}(?:\s|\Z)|(?<!\*)\*\*\w[^*\n]*\*\*(?!\*)|<\||\|>|\[/?INST\]|<</?SYS>>|</?s>|```"
    r"|^\s*(?:-{3,}|={3,})\s*$|^(?:[^|\n]+\|){3}|\[(?:insert|your|title|author|name|product|book|description)\b[^\]]*\]",
    re.I | re.M,
)
_BULLET = re.compile(
    r"^\s*(?:[-*•–+►▪●◆✔→★☆✅✨\U0001f300-\U0001faff]|\(?(?:\d{1,2}|[A-Za-z]|[ivxIVX]{1,4})[.)])\s+\S", re.M
)
_NUMBERED = re.compile(r"\A\W*1[.)]\s.*?\s2[.)]\s", re.S)
_CODE = re.compile(
    r"[{}\\�\x00-\x08]|[A-Za-z0-9]_[A-Za-z0-9]|https?://|</?(?:div|span|html|body|br|p|a|img|table|li|ul|script)\b[^>]*>"
    r"|\w\([\w, ]*\):\s*$|=>|=\"|::|[\]\[][\[(]|\b[^\W\d]{30,}\b",
    re.M,
)
_OTHER_SCRIPT = re.compile(r"[\u0400-\u1dff\u2e80-\ua4cf\ua4d0-\ud7ff\uf900-\ufaff]")


def words(text: str) -> list[str]:
    """Palavras de um texto, com números, sem pontuação."""
    return _WORD.findall(text)


def is_cut(answer: str, finish_reason: str) -> bool:
    """Verdadeiro se o limite de tokens cortou a resposta; não é defeito de forma, e é mostrado ao lado deles."""
    return finish_reason == "length" and bool(answer.strip())


def problems(answer: str, title: str) -> tuple[str, ...]:
    """Nomes dos defeitos de forma da resposta; a de menos de três palavras tem um só.

    Cada um está definido em ``tests/rotulos/LEIAME.md``. O corte pelo limite de tokens não é defeito: ver ``is_cut``.
    """
    answer = html.unescape(answer)  # o texto cru do catálogo traz "&#x2019;", que não é palavra
    tokens = [word.casefold() for word in words(answer)]
    if len(tokens) < 3:
        return ("repeticao",) if _RUN.search(answer) else ("vazia",)
    labels = max(len(_INLINE.findall(answer)), len(_FIELD.findall(answer)))
    checks = {
        "repeticao": repeats(answer, tokens),
        "eco_titulo": echoes(answer, title),
        "fala_da_tarefa": _TALKS.search(answer) or _OPENS.match(answer),
        "instrucao": _INSTRUCTION.search(answer),
        "estrutura": _MARKS.search(answer) or _LABEL.search(answer) or labels >= 2,
        "enumeracao": len(_BULLET.findall(answer)) >= 2 or _NUMBERED.search(answer),
        "outra_lingua": foreign(answer),
        "ilegivel": _CODE.search(answer) or _OTHER_SCRIPT.search(answer),
    }
    return tuple(key for key, happened in checks.items() if happened)


def repeats(answer: str, tokens: list[str]) -> bool:
    """Verdadeiro se a resposta anda em círculo: laço exato, lento (poucas palavras novas) ou que só troca o número."""
    if _RUN.search(answer) or _loops(tokens):
        return True
    masked = ["#" if token.isdigit() else token for token in tokens]
    for start in range(0, max(1, len(tokens) - _WINDOW + 8), 8):
        window = masked[start : start + _WINDOW]
        if len(window) < 16:
            continue
        grams = list(zip(window, window[1:], window[2:], strict=False))
        repeated = 1 - len(set(grams)) / len(grams)
        if repeated > _REPEATED:
            return True
        distinct = len(set(tokens[start : start + _WINDOW])) / len(window)
        if len(window) >= 24 and (distinct < _DISTINCT or len(set(window)) / len(window) - repeated < _NOVEL):
            return True
    return False


def _loops(tokens: list[str]) -> bool:
    # O laço que mal começou antes do corte: a mesma palavra ou par quatro vezes, três ou mais três, oito ou mais duas.
    for size in range(1, 25):
        times = 4 if size < 3 else 3 if size < 8 else 2
        matched = 0
        for first, second in zip(tokens, tokens[size:], strict=False):
            matched = matched + 1 if first == second else 0
            if matched >= size * (times - 1):
                return True
    return False


def echoes(answer: str, title: str) -> bool:
    """Verdadeiro se a resposta, ou seu primeiro parágrafo, traz quase só palavras do título."""
    paragraphs = [words(part) for part in answer.split("\n") if words(part)]
    known = Counter(word.casefold() for word in words(title))
    for block in ([word for part in paragraphs for word in part], paragraphs[0]):
        new = Counter(word.casefold() for word in block) - known
        if len(block) >= 3 and new.total() <= min(len(block) // 4, 1 + len(block) // 10) and not _VERBS & new.keys():
            return True
    return False


def foreign(answer: str) -> bool:
    """Verdadeiro se a resposta está em português, em espanhol ou em outro alfabeto."""
    letters = sum(letter.isalpha() for letter in answer)
    if len(_OTHER_SCRIPT.findall(answer)) > 0.2 * letters:
        return True
    # Um título em português não faz portuguesa a frase que o cita: contam as palavras sem maiúscula.
    plain = [word for word in words(answer) if word.islower()]
    return len(plain) >= 6 and _identifier().classify(" ".join(plain))[0] != "en"


@cache
def _identifier():
    # Só inglês, português e espanhol: sem restringir os idiomas, o py3langid toma português por galego.
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    identifier.set_languages(["en", "pt", "es"])
    return identifier
