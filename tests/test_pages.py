"""As páginas do projeto: tudo o que elas nomeiam existe, e a estrutura do README é a listagem das pastas."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import yaml

from finetune_helpers import __version__

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
NAMES = ["README.md", "README.en.md", "CHANGELOG.md", "CONTRIBUTING.md", "GLOSSARIO.md", "dados/LEIAME.md"]
NAMES += ["resultados/LEIAME.md", "benchmarks/README.md", "src/local_finetune_api/README.md"]
PAGES = [ROOT / name for name in NAMES]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
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
# Pastas que só existem depois de uma execução; a rodada publicada e a amostra estão no repositório.
MADE_BY_RUNNING = re.compile(r"[<*…]|^(?:dados|resultados)/(?!publicada|amostra|LEIAME)\w|^\.venv|^\.gpu_site")


@cache
def text(path: Path) -> str:
    """O texto de uma página ou o das células de texto de um caderno."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """O texto sem os blocos de código."""
    return re.sub(r"^```.*?^```", "", text(path), flags=re.DOTALL | re.MULTILINE)


def blocks(path: Path) -> str:
    """Os blocos de código de uma página."""
    return "\n".join(re.findall(r"^```.*?^```", text(path), re.DOTALL | re.MULTILINE))


def links(path: Path) -> list[str]:
    """O destino de cada link e de cada imagem."""
    return [next(filter(None, groups)) for groups in LINK.findall(re.sub(r"`[^`\n]+`", "", prose(path)))]


def anchors(path: Path) -> set[str]:
    """As âncoras que o GitHub dá aos títulos de uma página; um título repetido ganha um número."""
    slugs: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(path), re.MULTILINE):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        slugs.append(f"{slug}-{slugs.count(slug)}" if slug in slugs else slug)
    return set(slugs) | set(re.findall(r"\b(?:id|name)=\"([^\"]+)\"", text(path)))


@cache
def tracked() -> set[str]:
    """O que quem clona recebe: os arquivos do git e as pastas deles."""
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files = done.stdout.split("\n")
    return {str(parent) for name in files for parent in [Path(name), *Path(name).parents]}


def test_every_link_inside_the_repository_leads_somewhere():
    lost = []
    for path, link in ((page, link) for page in [*PAGES, *NOTEBOOKS] for link in links(page)):
        if not re.match(r"[a-z][\w+.-]*:", link):
            name, _, anchor = unquote(link).partition("#")
            target = (path.parent / name).resolve() if name else path
            there = str(target.relative_to(ROOT)) in tracked() and (not anchor or anchor in anchors(target))
            lost += [] if there else [f"{path.name}: {link}"]
    assert lost == []


def test_every_address_of_the_project_is_its_own_and_exists():
    wrong = []
    for path in [*PAGES, *NOTEBOOKS]:
        bare = [address.rstrip(".,;:") for address in BARE.findall(prose(path))]
        for address in [link for link in links(path) if re.match(r"[a-z][\w+.-]*:", link)] + bare:
            good = address.startswith("https://") or "127.0.0.1" in address
            if OWNER_AND_NAME.split("/")[1] in address and "shields.io" not in address:
                match = OWN.fullmatch(address)
                good &= bool(match) and match["at"] in (None, "main", f"v{__version__}")
                good &= bool(match) and (not match["path"] or unquote(match["path"]) in tracked())
            wrong += [] if good else [f"{path.name}: {address}"]
    assert wrong == []


def test_every_path_and_command_named_exists():
    top, names = {name.split("/")[0] for name in tracked()}, {Path(name).name for name in tracked()}
    wrong = {}
    for path in PAGES:
        spans = re.findall(r"`([^`\n]+)`", prose(path))
        words = [word.rstrip(".,;") for span in spans for word in span.split()]
        paths = {
            word for word in words if word.split("/")[0] in top and "/" in word and not MADE_BY_RUNNING.search(word)
        }
        missing = {word for word in paths if word.rstrip("/") not in tracked()}
        written = re.sub(r"https?://\S+", "", prose(path) + blocks(path))
        missing |= set(re.findall(r"[\w.-]+\.(?:py|ipynb|toml|png|ya?ml)\b", written)) - names
        missing |= set(re.findall(r"\bmake ([a-z-]+)", blocks(path) + "\n".join(spans))) - TARGETS
        wrong |= {path.name: missing} if missing else {}
    assert wrong == {}


def test_each_badge_opens_the_notebook_of_its_row():
    for line in text(ROOT / "README.md").splitlines():
        if line.startswith("|") and "colab.research.google.com" in line:
            opened = re.findall(r"google\.com/github/[\w.-]+/[\w.-]+/blob/main/(colab/[\w.-]+)", line)
            assert opened and opened == re.findall(r"\((colab/[\w.-]+\.ipynb)\)", line)[:1], line


def test_the_structure_in_the_readme_is_the_listing():
    map_ = blocks(ROOT / "README.md")
    modules = sorted((SOURCE / "finetune_helpers").glob("*.py"))
    wings = sorted(path.parent for path in (SOURCE / "finetune_helpers").glob("*/__init__.py"))
    named = [path.name.removesuffix(".py") for path in modules if path.stem != "__init__"]
    named += [module.stem for wing in [*wings, SOURCE / "local_finetune_api"] for module in wing.glob("[a-z]*.py")]
    assert [name for name in sorted(set(named)) if not re.search(rf"\b{name}\b", map_)] == []
    folders = ["colab", "dados", "resultados", "imagens", "tests", "benchmarks", "requirements", "local_finetune_api"]
    assert [name for name in [*folders, *(wing.name for wing in wings)] if f"{name}/" not in map_] == []


def test_the_readme_shows_every_notebook_and_figure_and_is_short():
    readme, glossary = ROOT / "README.md", ROOT / "GLOSSARIO.md"
    assert [path.name for path in NOTEBOOKS if path.name not in text(readme)] == []
    inside = [(page, link) for page in PAGES for link in links(page) if "://" not in link]
    shown = {str((page.parent / link).resolve().relative_to(ROOT)) for page, link in inside}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "imagens").glob("*.png")} - shown == set()
    assert len(text(readme).splitlines()) < 200
    assert "README.en.md" in links(readme) and "README.md" in links(ROOT / "README.en.md")
    assert 15 <= len(re.findall(r"^## (.+)$", text(glossary), re.MULTILINE)) <= 25
    assert [path.name for path in NOTEBOOKS if "GLOSSARIO.md#" not in text(path)] == []


def test_the_guide_fits_on_a_page_and_names_every_command():
    guide = text(ROOT / "CONTRIBUTING.md")
    wanted = set(
        ["instalar", "demo", "test", "lint", "falhas", "colab", "mutantes", "atualizar", "publicar", "roda", "endereco"]
    )
    assert len(guide.splitlines()) <= 90 and wanted <= TARGETS
    assert {name for name in wanted if f"make {name}" not in guide} == set()


# Automação ------------------------------------------------------------------------------------------------------------

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def loaded(path: Path) -> dict:
    """Um arquivo de automação; o YAML 1.1 lê a chave ``on`` como verdadeiro."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content | {"on": content[True]} if True in content else content


def test_a_workflow_asks_for_little_ends_and_calls_what_exists():
    minimum = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    for path in WORKFLOWS:
        workflow = loaded(path)
        assert workflow["permissions"]["contents"] == "read", path
        assert all(0 < job["timeout-minutes"] <= 90 for job in workflow["jobs"].values()), path
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        uses = [step["uses"] for step in steps if "uses" in step]
        assert [one for one in uses if not re.fullmatch(r"actions/[\w-]+@v\d+", one)] == []
        assert set(re.findall(r"\bmake ([a-z-]+)", "\n".join(step.get("run", "") for step in steps))) <= TARGETS
        versions = {step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")}
        assert {f">={version}" for version in versions} == {minimum}
        assert not re.findall(r"secrets\.\w+", path.read_text(encoding="utf-8"))


def test_every_change_runs_all_that_ci_runs_side_by_side():
    jobs = loaded(ROOT / ".github" / "workflows" / "testes.yml")["jobs"]
    ran = {name: "\n".join(step.get("run", "") for step in job["steps"]) for name, job in jobs.items()}
    asked = set(re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE))
    assert asked <= set(re.findall(r"\bmake ([a-z-]+)", "\n".join(ran.values())))
    assert len(jobs) >= 4
    for tool in ("libreoffice-calc", "hunspell-pt-br", "chromium"):
        assert any(tool in text and "sudo apt-get install" in text for text in ran.values()), tool


def test_every_exception_to_the_types_has_its_code_and_its_reason():
    bare = []
    for path in SOURCE.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            reason = re.search(r"ignore\[[\w-]+\]  # \w", line) or lines[number - 2].lstrip().startswith("# ")
            untold = "type: ignore" in line and not (re.search(r"# type: ignore\[[\w-]+\]", line) and reason)
            uncovered = "pragma: no cover" in line and "só com GPU" not in line
            bare += [f"{path.name}:{number}"] if untold or uncovered else []
    assert bare == []
