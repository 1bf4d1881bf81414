"""Todos os links das páginas e dos cadernos: arquivos, imagens, âncoras, distintivos e o endereço do projeto."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from finetune_helpers import __version__

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["README.md", "README.en.md", "CHANGELOG.md", "CONTRIBUTING.md", "dados/LEIAME.md", "benchmarks/README.md"]
PAGES = [ROOT / name for name in NAMES if (ROOT / name).is_file()]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
LINK = re.compile(
    r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE
)
BARE = re.compile(r"(?<![(\w\"/<])https?://[^\s)>\"`|]+")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
OWNER_AND_NAME = urlsplit(PROJECT).path.strip("/")
OWN = re.compile(
    rf"https://(?:github\.com|colab\.research\.google\.com/github|raw\.githubusercontent\.com)/{OWNER_AND_NAME}"
    r"(?:\.git)?(?:/(?:(?:blob|tree|raw)/)?(?P<at>[^/]+)(?:/(?P<path>[^#?]*))?)?(?:[#?].*)?"
)

everywhere = pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))


@cache
def text(path: Path) -> str:
    """O texto de uma página ou o das células de texto de um caderno, sem os blocos de código."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        content = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        content = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", content, flags=re.DOTALL | re.MULTILINE)


def links(path: Path) -> list[str]:
    """O destino de cada link e de cada imagem."""
    return [next(filter(None, found)) for found in LINK.findall(re.sub(r"`[^`\n]+`", "", text(path)))]


def external(path: Path) -> list[str]:
    """Os endereços da rede, em links ou soltos no texto."""
    bare = [address.rstrip(".,;:") for address in BARE.findall(text(path))]
    return [link for link in links(path) if re.match(r"[a-z][\w+.-]*:", link)] + bare


def local(path: Path) -> list[tuple[Path, str]]:
    """Arquivo e âncora de cada link que fica no repositório."""
    targets = [unquote(link).partition("#") for link in links(path) if not re.match(r"[a-z][\w+.-]*:", link)]
    return [((path.parent / name).resolve() if name else path, anchor) for name, _, anchor in targets]


def anchors(path: Path) -> set[str]:
    """As âncoras que o GitHub dá aos títulos de uma página; um título repetido ganha um número."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text(path), re.MULTILINE):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found) | set(re.findall(r"\b(?:id|name)=\"([^\"]+)\"", text(path)))


def in_the_repository(path: Path) -> bool:
    """Se quem clona recebe este arquivo ou pasta: existe e o git não o ignora."""
    if not path.exists() or not path.is_relative_to(ROOT):
        return False
    if not (ROOT / ".git").exists():
        return True
    return subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=ROOT, check=False).returncode == 1


@everywhere
def test_every_local_link_leads_to_a_file_of_the_repository(path):
    assert [str(target) for target, _ in local(path) if not in_the_repository(target)] == []


@everywhere
def test_every_anchor_is_a_heading(path):
    asked = [(target, anchor) for target, anchor in local(path) if anchor and target.suffix in (".md", ".ipynb")]
    assert [f"{target.name}#{anchor}" for target, anchor in asked if anchor not in anchors(target)] == []


@everywhere
def test_every_address_is_well_formed(path):
    def good(address: str) -> bool:
        parts = urlsplit(address)
        named = bool(re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)) and not parts.username
        return (parts.scheme == "https" and named) or parts.hostname in ("127.0.0.1", "localhost")

    assert [address for address in external(path) if not good(address)] == []


@everywhere
def test_every_address_of_the_project_exists_at_this_version(path):
    for address in external(path):
        if OWNER_AND_NAME.split("/")[1] in address and "shields.io" not in address:
            found = OWN.fullmatch(address)
            assert found, f"{address} não é do repositório {PROJECT}"
            assert found["at"] in (None, "main", f"v{__version__}"), f"{address}: nem main nem v{__version__}"
            assert in_the_repository(ROOT / unquote(found["path"] or "")), f"{address}: o arquivo não existe"


@pytest.mark.parametrize("page", ["README.md", "README.en.md"])
def test_each_row_of_notebooks_opens_its_own_notebook(page):
    for line in text(ROOT / page).splitlines():
        if line.startswith("|") and "colab.research.google.com" in line:
            opened = re.findall(r"google\.com/github/[\w.-]+/[\w.-]+/blob/main/(colab/[\w.-]+)", line)
            named = re.findall(r"\((colab/[\w.-]+\.ipynb)\)", line)
            assert opened and opened == named[:1], f"o distintivo abre {opened} na linha de {named}"


def test_the_links_are_found():
    assert len(links(ROOT / "README.md")) > 15
    assert all(any("colab-badge.svg" in link for link in links(path)) for path in NOTEBOOKS)


def test_an_anchor_is_written_as_github_writes_it(tmp_path):
    page = tmp_path / "pagina.md"
    page.write_text(
        "# Começar: já\n\n## O que é `isto`?\n\n## Igual\n\n## Igual\n\n```\n# não é título\n```\n", "utf-8"
    )
    assert anchors(page) == {"começar-já", "o-que-é-isto", "igual", "igual-1"}
