"""Limpeza do texto do catálogo: entidades HTML, espaços, caracteres de controle e caudas editoriais com nome.

Nada aqui apaga acento, apóstrofo ou pontuação do texto; só sai, inteira, uma cauda reconhecida por um padrão.
"""

import html
import re
from html.entities import html5

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# C0 e C1 (menos os que str.split já trata como espaço), largura zero, hífen opcional e metades soltas de UTF-16.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\ud800-\udfff]")
# Só quando a palavra seguinte é uma destas a fronteira colada é certa ("ASP.Net" e "Amazon.Com" não são frases).
_OPENERS = (
    "A|About|All|Also|Although|An|And|As|At|But|By|Copyright|During|Each|Features|For|From|He|Her|Here|His|How|I|If|In|"
    "Includes|Including|It|Its|More|Not|Now|Of|On|One|Or|Our|She|Since|So|Some|That|The|Their|Then|There|These|They|"
    "This|Those|Though|Through|To|Today|Using|We|What|When|Where|While|Who|With|You|Your"
)
_GLUED = re.compile(rf"[.!?](?<=[a-z]{{3}}[.!?])(?=(?:{_OPENERS}) [a-z])")
_OWNED = (
    r"(?:[12][0-9]{3},?\s?)?(?:by\s)?(?:(?:Reed|Cahners) Business Information|American Library Association|PWxyz|"
    r"Kirkus Associates|Pearson Education|School Library Journal|AudioFile)"
    r"(?:,? (?:a division of Reed Elsevier )?(?:Inc|LLC)\.?)?(?:,? [Ii]nc\.)?\.?(?:\s*All [Rr]ights [Rr]eserved\b\.?)?"
)


# De cada cauda, pelo nome: um trecho que ela sempre tem, para procurar depressa, e o padrão que a reconhece inteira.
TAILS = {
    "outra_edicao": (
        "This text refers to",
        re.compile(
            r"-{2,}\s?This text refers to (?:the|an?)\s?(?:alternate|out of print or unavailable)?\s?"
            r"[A-Za-z0-9 ,'()/:&-]{0,50}?\s?edition(?: of this title)?(?:\.|(?=\s|$))"
        ),
    ),
    "direitos_com_simbolo": (" Copyright", re.compile(rf"(?:©|\(c\)) Copyright {_OWNED}")),
    "direitos_de_resenha": ("Copyright", re.compile(rf"Copyright\s?(?:©|\(c\))?\s?{_OWNED}")),
    "direitos_de_revista": (
        "Library Journals LLC",
        re.compile(
            r"(?:\([cC]\)|©)\s?Copyright [12][0-9]{3}\.\s+Library Journals LLC, "
            r"a wholly owned subsidiary of Media Source, Inc\.(?:\s+No redistribution permitted\.?)?"
        ),
    ),
    "material_protegido": (
        "Copyrighted",
        re.compile(r"(?:\([cC]\)|©)\s?Copyrighted [Mm]aterial\.(?:\s+All [Rr]ights [Rr]eserved\.)?"),
    ),
}


def clean(text: str) -> str:
    """Texto limpo; limpar de novo não muda nada.

    Entidades HTML são decodificadas até não restar nenhuma (as codificadas duas vezes também), espaços viram um só,
    caracteres de controle saem (os de 0x80 a 0x9F são lidos como Windows-1252) e as caudas de ``TAILS`` são retiradas.
    """
    while (cleaned := _clean_once(text)) != text:
        text = cleaned
    return text


def _clean_once(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(_decode_entity, text)
    if not text.isprintable():
        text = " ".join(_INVISIBLE.sub(_replace_invisible, text).split())
    for trigger, pattern in TAILS.values():
        if trigger in text:
            text = pattern.sub(" ", text)
    if "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join(text.split())
    # Quase nenhum texto a tem, e procurar custa um terço menos do que uma troca que nada troca.
    return _GLUED.sub(r"\g<0> ", text) if _GLUED.search(text) else text


def _decode_entity(match: re.Match[str]) -> str:
    # html.unescape aceita prefixos (`&notit;` viraria `¬it;`); só nomes inteiros da tabela são decodificados.
    entity = match.group()
    return html.unescape(entity) if entity[1] == "#" else html5.get(entity[1:], entity)


def _replace_invisible(match: re.Match[str]) -> str:
    char = match.group()
    if "\x80" <= char <= "\x9f":
        return char.encode("latin-1").decode("cp1252", "ignore")
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    return " " if char < " " or char == "\x7f" else ""
