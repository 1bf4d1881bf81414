"""A ortografia de tudo o que uma pessoa lê, pelo hunspell em português do Brasil e a lista de palavras do projeto."""

import ast
import io
import re
import shutil
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("palavras.txt")
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "GLOSSARIO.md", "dados/LEIAME.md", "benchmarks/README.md"]
PAGES += ["src/local_finetune_api/README.md", "tests/rotulos/LEIAME.md"]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
SOURCES = [*sorted((ROOT / "colab").glob("*.py")), *sorted((ROOT / "src").rglob("*.py"))]
# O que não é português, na ordem em que sai: um padrão mais frouxo não pode começar dentro de um mais exato.
NOT_PROSE = [
    re.compile(pattern, re.DOTALL | re.MULTILINE)
    for pattern in (
        r"```.*?```|``.+?``|`[^`]+`",  # código
        r"\]\([^)\s]+\)|https?://[^\s)]+|\[Read this in English\]",  # destinos de links, endereços e o inglês
        r"<!-- (\w+): início -->.*?<!-- \1: fim -->",  # o que vem de uma rodada: títulos e respostas em inglês
        r"<!--.*?-->|<[a-z/][^>\n]*>|&\w+;|\*+|\{[^{}]*\}",  # HTML, ênfase e espaços a preencher
        r"^\s*python .*?$|pip install .*?$|--[\w-]+|\b[A-Z]{2,}(?=\()",  # comandos e fórmulas
        r"\S*/\S*\.\w+|\S*\w/(?=\s|$|[,.;:])|\b[\w-]+\.\w+\b",  # caminhos e nomes de arquivos
        r"\S*[\w*]+[_=\\@][\w*<…\"]\S*|\S*\d\S*|\b[A-Z]\w+Error\b",  # parâmetros, identificadores, números e erros
    )
]
# O inglês dos prompts e dos dados não tem nenhuma destas palavras nem letra acentuada.
PORTUGUESE = re.compile(r"\b(?:de|da|dos|das|que|com|para|em|na|os|um|uma|ou|por|sem|mais)\b|[áàâãéêíóôõúç]", re.I)


def hunspell(words: set[str]) -> set[str]:
    """As palavras que o dicionário não conhece."""
    command = ["hunspell", "-i", "utf-8", "-d", "pt_BR", "-l"]
    asked = "\n".join(sorted(words))
    return set(subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout.split())


def missing() -> str:
    """Por que a ortografia não pode ser conferida aqui; vazio se pode."""
    if not shutil.which("hunspell"):
        return "falta o hunspell (pacotes hunspell e hunspell-pt-br)"
    found = subprocess.run(["hunspell", "-D"], input="", capture_output=True, text=True, check=False)
    return "" if "pt_BR" in found.stdout + found.stderr else "falta o dicionário pt_BR (pacote hunspell-pt-br)"


def prose(text: str) -> str:
    """O texto sem o que não é português: código, endereços, nomes de arquivos e números."""
    for pattern in NOT_PROSE:
        text = pattern.sub(" ", text)
    return text


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Linha e texto de cada cadeia, com as partes fixas de uma f-string juntas."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            inside |= set(map(id, parts))
            yield node.lineno, " ".join(part.value for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def code_texts(source: str, every_string: bool) -> Iterator[tuple[int, str]]:
    """Comentários e cadeias de um código; com ``every_string``, também as frases sem palavra só do português.

    Os formulários do Colab trazem também opções, que não são frases.
    """
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(?:@param|noqa|type:|fmt:|pragma:)", token.string):
            yield token.start[0], token.string
    for line, text in strings(ast.parse(source)):
        if (PORTUGUESE.search(text) or (every_string and " " in text)) and "(?" not in text:  # expressão regular
            yield line, text


def notebook_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Lugar e texto de cada célula de texto e de cada comentário e cadeia das células de código."""
    for at, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown":
            yield f"{path.name}, célula {at}", cell.source
            continue
        source = re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.MULTILINE)
        for _, text in code_texts(source, every_string=True):
            yield f"{path.name}, célula {at}", text


@cache
def texts() -> list[tuple[str, str]]:
    """Lugar e texto de tudo o que se confere."""
    found = [(page, (ROOT / page).read_text(encoding="utf-8")) for page in PAGES if (ROOT / page).is_file()]
    found += [item for path in NOTEBOOKS for item in notebook_texts(path)]
    for path in SOURCES:
        where = path.relative_to(ROOT)
        found += [(f"{where}:{line}", text) for line, text in code_texts(path.read_text(encoding="utf-8"), False)]
    return found


@cache
def unknown() -> dict[str, str]:
    """Cada palavra fora do dicionário e o primeiro lugar em que ela está: uma só chamada ao hunspell."""
    places: dict[str, str] = {}
    for where, text in texts():
        for word in re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", prose(text)):
            places.setdefault(word, where)
    flagged = hunspell(set(places))
    return {word: next(places[one] for one in places if word in [one, *re.split("['’-]", one)]) for word in flagged}


@cache
def accepted() -> list[str]:
    """Os termos técnicos e os nomes que o projeto aceita."""
    return LIST.read_text(encoding="utf-8").splitlines()


def listed(word: str) -> str:
    """Como a palavra está na lista: tal e qual ou, no começo da frase, sem a maiúscula; vazio se não está."""
    forms = [word, word.lower()] if word == word.capitalize() else [word]
    return next((form for form in forms if form in accepted()), "")


needs_hunspell = pytest.mark.skipif(bool(missing()), reason=missing())


@needs_hunspell
def test_every_word_is_portuguese_or_a_term_of_the_project():
    strange = {word: where for word, where in unknown().items() if not listed(word)}
    assert strange == {}, "corrija a palavra ou, se for termo técnico ou nome, acrescente-a a tests/palavras.txt"


@needs_hunspell
def test_every_word_of_the_list_is_needed_and_a_misspelling_would_be_seen():
    assert set(accepted()) - set(map(listed, unknown())) == set(), "já não são usadas, ou o dicionário as conhece"
    assert hunspell({"treinamento", "treinamneto", "precisao", "precisão"}) == {"treinamneto", "precisao"}


def test_the_list_is_sorted_and_the_texts_are_found():
    assert accepted() == sorted(set(accepted()), key=lambda word: (word.casefold(), word))
    places = {where.split(",")[0].split(":")[0] for where, _ in texts()}
    assert {path.name for path in NOTEBOOKS} | {"README.md", "src/finetune_helpers/prompts.py"} <= places
