"""A lei dos cadernos: o que todo caderno de ``colab/`` precisa ter e o que nenhum pode ter."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import papermill
import pytest

from finetune_helpers import __version__

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
BADGE = (
    r"\[!\[Abrir no Colab\]\(https://colab\.research\.google\.com/assets/colab-badge\.svg\)\]"
    r"\(https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/main/([\w./-]+)\)"
)
REPOSITORY = re.compile(r"(?:github\.com|raw\.githubusercontent\.com|google\.com/github)/([\w.-]+/[\w-]+)")
KEY = re.compile(r"\b(?:sk-[\w-]{16,}|hf_\w{16,}|AIza[\w-]{20,}|gh[pousr]_\w{20,}|xox[bp]-[\w-]{10,}|AKIA\w{12,})")
ABSOLUTE = re.compile(r"^(?:/(?!/)\w|~|[A-Za-z]:[\\/]|file:)")
FORM = re.compile(r'#\s*@param\s+(?:\{type:"(?P<kind>\w+)"[^}]*\}|(?P<options>\[.*?\])(?:\s*\{.*\})?)\s*$')
KINDS = {"string": (str,), "integer": (int,), "number": (int, float), "slider": (int, float), "boolean": (bool,)}
MAGIC = re.compile(r"^\s*[%!]")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@cache
def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    """As células de um tipo (``code`` ou ``markdown``), em ordem."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def parsed(cell: nbformat.NotebookNode) -> ast.Module:
    """A árvore de uma célula, com as linhas mágicas trocadas por ``pass``."""
    lines = [re.sub(r"[%!].*", "pass", line) if MAGIC.match(line) else line for line in cell.source.splitlines()]
    return ast.parse("\n".join(lines))


def filled(cell: nbformat.NotebookNode) -> list[str]:
    """As linhas que não estão em branco."""
    return [line for line in cell.source.splitlines() if line.strip()]


def parameters(path: Path) -> dict[str, object]:
    """Nome e valor de cada parâmetro do caderno."""
    tree = parsed(cells(path, "code")[1])
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)}


def test_the_notebooks_are_numbered_from_one():
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{at:02d}_" for at in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 4


@every_notebook
def test_it_is_a_valid_notebook(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert len(set(ids)) == len(ids)


@every_notebook
def test_it_has_no_stored_output(path):
    notebook = nbformat.read(path, as_version=4)
    assert [cell.id for cell in cells(path, "code") if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.colab.private_outputs is True


@every_notebook
def test_the_first_cell_presents_it(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {int(path.name[:2])}\. \S", first.source)
    assert re.findall(BADGE, first.source.split("\n\n")[1]) == [(repository(), f"colab/{path.name}")]
    for row in ("Entra", "Sai", "Máquina", "Tempo", "Custo"):
        assert re.search(rf"^\| {row} \| \S.* \|$", first.source, re.MULTILINE), f'falta a linha "{row}" na tabela'


@every_notebook
def test_it_has_one_title(path):
    titles = [line for cell in cells(path, "markdown") for line in cell.source.splitlines() if line.startswith("# ")]
    assert len(titles) == 1


def addresses() -> dict[str, set[str]]:
    """Os repositórios que cada caderno e o pyproject nomeiam."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = {path.name: path.read_text(encoding="utf-8") for path in NOTEBOOKS}
    texts["pyproject.toml"] = " ".join(project.get("urls", {}).values())
    return {name: {found.removesuffix(".git") for found in REPOSITORY.findall(text)} for name, text in texts.items()}


def repository() -> str:
    """O único endereço do projeto: o do primeiro distintivo."""
    return re.findall(BADGE, cells(NOTEBOOKS[0], "markdown")[0].source)[0][0]


def test_one_repository_everywhere():
    assert set().union(*addresses().values()) == {repository()}


@pytest.mark.parametrize("page", ["README.md", "README.en.md", "CHANGELOG.md"])
def test_the_pages_open_the_same_repository_in_colab(page):
    opened = re.findall(r"google\.com/github/([\w.-]+/[\w.-]+)/blob/main/([\w./-]+)", (ROOT / page).read_text("utf-8"))
    assert set(opened) <= {(repository(), f"colab/{path.name}") for path in NOTEBOOKS}


@every_notebook
def test_the_first_code_cell_is_the_same_in_all(path):
    assert cells(path, "code")[0].source == cells(NOTEBOOKS[0], "code")[0].source


def test_it_installs_only_in_colab():
    source = cells(NOTEBOOKS[0], "code")[0].source
    guard = source.index('if "google.colab" in sys.modules:\n')
    lines = source[guard:].splitlines()[1:]
    installs = [line for line in lines if "pip" in line]
    assert installs and all(line.startswith("    %pip install -q ") for line in installs)
    assert lines[: len(installs)] == installs and not MAGIC.search(source[:guard])


@every_notebook
def test_only_the_first_code_cell_has_magics(path):
    magics = [line for cell in cells(path, "code")[1:] for line in cell.source.splitlines() if MAGIC.match(line)]
    assert magics == []


def test_it_installs_this_version():
    source = cells(NOTEBOOKS[0], "code")[0].source
    tags = re.findall(rf"{re.escape(repository())}(?:\.git)?[@/]v([\w.]+?)(?=[/\s]|$)", source)
    assert tags and set(tags) == {__version__}


def test_every_file_it_installs_from_exists():
    source = "".join(cell.source for path in NOTEBOOKS for cell in cells(path, "code"))
    files = re.findall(r"raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/v[\w.]+/(\S+)", source)
    assert {name for name in files if not (ROOT / name).is_file()} == set()


def test_the_first_code_cell_imports_nothing_heavy():
    code = ast.unparse(parsed(cells(NOTEBOOKS[0], "code")[0]))
    code += "\nprint(*{name.split('.')[0] for name in sys.modules if name[0] != '_'})"
    bare = [sys.executable, "-c", "import sys; print(*{name.split('.')[0] for name in sys.modules if name[0] != '_'})"]
    before, after = (
        set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
        for command in (bare, [sys.executable, "-c", code])
    )
    assert after - before - set(sys.stdlib_module_names) == {"finetune_helpers"}


@every_notebook
def test_the_second_code_cell_is_the_only_parameters_cell(path):
    tagged = [at for at, cell in enumerate(cells(path, "code")) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [1]


@every_notebook
def test_parameters_are_literals_each_explained(path):
    cell = cells(path, "code")[1]
    lines = cell.source.splitlines()
    assert all(isinstance(node, ast.Assign) and len(node.targets) == 1 for node in parsed(cell).body)
    for node in parsed(cell).body:
        name, value = node.targets[0].id, ast.literal_eval(node.value)
        assert name.isupper(), f"{name}: parâmetros têm nome em maiúsculas"
        form = FORM.search(lines[node.end_lineno - 1])
        assert form, f"{name}: falta o @param"
        if form["options"]:
            assert value in json.loads(form["options"]), f"{name}: o valor não está entre as opções"
        else:
            assert type(value) in KINDS[form["kind"]], f"{name}: o valor não é {form['kind']}"


@every_notebook
def test_papermill_sees_the_same_parameters(path):
    seen = papermill.inspect_notebook(path)
    assert {name: ast.literal_eval(one["default"]) for name, one in seen.items()} == parameters(path)


@every_notebook
def test_every_parameter_is_used(path):
    used = {
        node.id for cell in cells(path, "code")[2:] for node in ast.walk(parsed(cell)) if isinstance(node, ast.Name)
    }
    assert set(parameters(path)) - used == set()


def test_the_run_has_the_same_name_in_all():
    assert len({parameters(path)["RODADA"] for path in NOTEBOOKS}) == 1


@every_notebook
def test_there_is_at_least_as_much_text_as_code(path):
    assert len(cells(path, "markdown")) >= len(cells(path, "code"))


@every_notebook
def test_cells_are_short(path):
    sizes = [len(filled(cell)) for cell in cells(path, "code")]
    assert median(sizes) <= 6
    assert {at: size for at, size in enumerate(sizes) if size > (25 if at == 1 else 20)} == {}


@every_notebook
def test_no_cell_is_empty(path):
    assert [cell.id for cell in nbformat.read(path, as_version=4).cells if not cell.source.strip()] == []


@every_notebook
def test_every_code_cell_has_a_text_before_it_or_continues_one(path):
    # Afirmação, célula, evidência: mais de duas células de código seguidas já são um programa sem história.
    kinds = "".join(cell.cell_type[0] for cell in nbformat.read(path, as_version=4).cells)
    assert "ccc" not in kinds


@every_notebook
def test_nothing_is_defined_and_nothing_is_dead(path):
    nodes = [node for cell in cells(path, "code") for node in ast.walk(parsed(cell))]
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert [ast.unparse(node) for node in nodes if isinstance(node, defined)] == []
    dead = [node for node in nodes if isinstance(node, ast.If | ast.While) and isinstance(node.test, ast.Constant)]
    assert [ast.unparse(node.test) for node in dead] == []


@every_notebook
def test_no_absolute_path_and_no_key(path):
    nodes = [node for cell in cells(path, "code") for node in ast.walk(parsed(cell))]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if ABSOLUTE.match(text)] == []
    raw = path.read_text(encoding="utf-8")
    assert KEY.findall(raw) == []
    assert re.findall(r"/content\b|/home/|/Users/|/root\b|/tmp\b", raw) == []


@every_notebook
def test_no_notebook_touches_colab_by_itself(path):
    imported = {
        name
        for cell in cells(path, "code")
        for node in ast.walk(parsed(cell))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    assert not any(str(name).startswith("google") for name in imported)


@pytest.mark.parametrize(("path", "following"), list(pairwise(NOTEBOOKS)), ids=lambda path: path.stem)
def test_the_last_text_names_the_next_notebook(path, following):
    assert f"[{following.name}]({following.name})" in cells(path, "markdown")[-1].source


@every_notebook
def test_local_links_resolve(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in targets if not (path.parent / target.split("#")[0]).is_file()] == []


def test_what_the_reader_came_to_see_is_in_02():
    code = [parsed(cell) for cell in cells(ROOT / "colab" / "02_treino_llama3.ipynb", "code")]
    calls = {ast.unparse(node.func) for tree in code for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {"FastLanguageModel.from_pretrained", "FastLanguageModel.get_peft_model", "SFTConfig", "SFTTrainer"} <= calls


def test_unsloth_comes_before_what_it_changes():
    code = [parsed(cell) for cell in cells(ROOT / "colab" / "02_treino_llama3.ipynb", "code")]
    order = [node.module.split(".")[0] for tree in code for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert order.index("unsloth") < min(order.index(name) for name in ("trl", "datasets"))
