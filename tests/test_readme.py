"""Os textos de entrada: tudo o que eles nomeiam existe, e o mapa da casa nomeia tudo o que a casa tem."""

import re
import subprocess
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "src" / "finetune_helpers"
PAGES = ["README.md", "README.en.md", "CONTRIBUTING.md"]
WINGS = sorted(path.parent.name for path in HOUSE.glob("*/__init__.py"))
GROUND = sorted(path.name for path in HOUSE.glob("*.py") if path.name != "__init__.py")
NOTEBOOKS = sorted(path.name for path in (ROOT / "colab").glob("*.ipynb"))
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not re.match(r"\.(?:git$|venv)", path.name)}
# Pastas que só existem depois de uma execução; a rodada publicada e a amostra estão no repositório.
MADE_BY_RUNNING = re.compile(r"[<*…]|^(?:dados|resultados)/(?!publicada|amostra|LEIAME)\w|^\.venv|^\.gpu_site")

every_page = pytest.mark.parametrize("page", PAGES)


@cache
def text(page: str) -> str:
    """O texto de uma página."""
    path = ROOT / page
    assert path.is_file(), f"falta {page}"
    content = path.read_text(encoding="utf-8")
    assert len(content) > 500, f"{page} ainda não foi escrito"
    return content


def spans(page: str) -> list[str]:
    """O que está entre crases, fora dos blocos."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text(page), flags=re.DOTALL))


def links(page: str) -> list[str]:
    """Os destinos dos links e das imagens, em Markdown e em HTML."""
    return re.findall(r"\]\(([^)\s]+)\)", text(page)) + re.findall(r'(?:src|href)="([^"]+)"', text(page))


def ignored(path: str) -> bool:
    """Se o git não leva este caminho, que então não existiria para quem clona."""
    if not (ROOT / ".git").exists():
        return False
    return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0


@every_page
def test_every_path_named_exists(page):
    words = [word.rstrip(".,;") for span in spans(page) for word in span.split()]
    paths = [word for word in words if word.split("/")[0] in TOP and "/" in word]
    promised = [path for path in paths if not MADE_BY_RUNNING.search(path)]
    assert [path for path in promised if not (ROOT / path).exists() or ignored(path)] == []


@every_page
def test_every_folder_of_the_map_exists(page):
    known = {path.name for folder in TOP for path in (ROOT / folder).rglob("*") if path.is_dir()} | TOP
    blocks = "\n".join(re.findall(r"```.*?```", text(page), re.DOTALL))
    assert set(re.findall(r"^[\s│├└─]*([\w.-]+)/(?=\s|$)", blocks, re.MULTILINE)) - known == set()


@every_page
def test_every_code_file_named_exists(page):
    known = {path.name for folder in TOP for path in (ROOT / folder).rglob("*") if path.is_file()}
    known |= {path.name for path in ROOT.iterdir()}
    named = set(re.findall(r"[\w.-]+\.(?:py|ipynb|csv|toml|txt|png|ya?ml)\b", re.sub(r"https?://\S+", "", text(page))))
    assert named - known == set()


@every_page
def test_every_name_of_the_package_exists(page):
    parts = "|".join([*WINGS, *(name.removesuffix(".py") for name in GROUND)])
    files = r"(?:py|csv|jsonl?|ipynb|txt|md|xlsx)$"
    for module, name in re.findall(rf"\b(?:finetune_helpers\.)?({parts})\.([a-z]\w*)", "\n".join(spans(page))):
        if not re.match(files, name):
            assert hasattr(import_module(f"finetune_helpers.{module}"), name), f"{module}.{name} não existe"
    for module in re.findall(r"python -m (finetune_helpers[\w.]*)", text(page)):
        import_module(module)


@every_page
def test_every_make_target_exists(page):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    blocks = "\n".join(re.findall(r"```.*?```", text(page), re.DOTALL) + spans(page))
    assert set(re.findall(r"\bmake ([a-z]+)", blocks)) - set(targets) == set()


@every_page
def test_it_says_how_to_run_everything_at_once(page):
    assert "make demo" in text(page)


@pytest.mark.parametrize("part", ["colab", "dados", "resultados", "imagens", "tests", "benchmarks", "requirements"])
def test_the_map_names_every_folder(part):
    assert f"{part}/" in text("README.md")


def test_the_map_names_every_wing_and_ground_module():
    blocks = "\n".join(re.findall(r"```.*?```", text("README.md"), re.DOTALL))
    assert [name for name in GROUND if name not in blocks] == []
    assert [wing for wing in WINGS if f"{wing}/" not in blocks] == []


def test_every_notebook_is_named():
    assert [name for name in NOTEBOOKS if name not in text("README.md")] == []


def test_every_figure_is_shown():
    figures = [path.relative_to(ROOT).as_posix() for path in (ROOT / "imagens").glob("*.png")]
    assert [figure for figure in figures if figure not in links("README.md")] == []


def test_the_two_languages_name_each_other():
    assert "README.en.md" in links("README.md") and "README.md" in links("README.en.md")


def blocks(page: str) -> list[str]:
    """Os comandos dos blocos ``bash``, sem os comentários."""
    found = re.findall(r"```bash\n(.*?)```", text(page), re.DOTALL)
    return [line.split("  #")[0].strip() for block in found for line in block.splitlines() if line.strip()]


def shape(page: str) -> list[str]:
    """O esqueleto de uma página, em ordem: o nível de cada título e as imagens."""
    found = []
    for line in re.sub(r"```.*?```", "", text(page), flags=re.DOTALL).splitlines():
        if heading := re.match(r"#+(?= )", line):
            found.append(heading[0])
        found += re.findall(r"!\[[^\]]*\]\(([^)]+)\)", line) + re.findall(r'<img src="([^"]+)"', line)
    return found


def test_both_languages_have_the_same_shape():
    assert shape("README.en.md") == shape("README.md")


def test_both_languages_give_the_same_commands():
    assert blocks("README.en.md") == blocks("README.md") != []


def test_both_languages_link_to_the_same_places():
    # A tabela dos resultados só existe em português; a outra página leva a ela.
    only_one = {"README.en.md", "README.md", "README.md#resultados", "#resultados", "#results"}
    assert set(links("README.en.md")) - only_one == set(links("README.md")) - only_one


@every_page
def test_no_machine_path(page):
    assert re.findall(r"/(?:home|root|Users|work|tmp)/\w+", text(page)) == []


def test_the_settings_table_says_what_the_profiles_are():
    from finetune_helpers.portuguese import plain
    from finetune_helpers.training.profiles import BY_NAME

    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Configuração do fine-tuning")[2].partition("## ")[0]
    table = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in section.splitlines()
        if line.startswith("|")
    }
    profiles = [BY_NAME[name] for name in ("cpu", "t4", "l4", "a100")]
    assert table["precisão dos cálculos"] == [one.dtype for one in profiles]
    assert table["lote × acúmulo"] == [f"{one.batch_size} × {one.gradient_accumulation}" for one in profiles]
    assert table["tamanho máximo"] == [str(one.max_length) for one in profiles]
    assert table["taxa de aprendizado"] == [plain(one.learning_rate) for one in profiles]
