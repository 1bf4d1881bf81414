"""A lei dos cadernos: o que todo caderno de ``colab/`` precisa ter e o que nenhum pode ter."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from datetime import timedelta
from functools import cache
from inspect import signature
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import papermill
import pytest

from finetune_helpers import __version__, curation
from finetune_helpers.curation import rules
from finetune_helpers.gpt.providers import PROVIDERS
from finetune_helpers.training import profiles

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


def addresses_of_the_project() -> dict[str, str]:
    """O que o pyproject diz de onde o projeto mora."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]


def addresses() -> dict[str, set[str]]:
    """Os repositórios que cada caderno e o pyproject nomeiam."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in NOTEBOOKS}
    texts["pyproject.toml"] = " ".join(addresses_of_the_project().values())
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
    magics = [line for line in filled(cells(NOTEBOOKS[0], "code")[0]) if MAGIC.match(line)]
    assert magics and all(re.match(r"    %pip install -q --no-deps (-r )?\"\{", line) for line in magics)
    tree = parsed(cells(NOTEBOOKS[0], "code")[0])
    guards = {"'google.colab' in sys.modules", "colab.in_colab()"}
    inside = [
        node for one in tree.body if isinstance(one, ast.If) and ast.unparse(one.test) in guards for node in one.body
    ]
    assert sum(isinstance(node, ast.Pass) for node in inside) == len(magics)


def test_the_drive_is_mounted_only_for_who_asks():
    tree = parsed(cells(NOTEBOOKS[0], "code")[0])
    asked = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "ORIGEM" in ast.unparse(node.test)]
    assert [ast.unparse(node.test) for node in asked] == ["ORIGEM.startswith('drive/')"]
    assert ast.unparse(tree).count("drive.mount") == ast.unparse(asked[0]).count("drive.mount") == 1
    assert [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)] == [""]


@every_notebook
def test_only_the_first_code_cell_has_magics(path):
    magics = [line for cell in cells(path, "code")[1:] for line in cell.source.splitlines() if MAGIC.match(line)]
    assert magics == []


def test_it_installs_this_version():
    source = cells(NOTEBOOKS[0], "code")[0].source
    assert re.findall(r"git\+(\S+?)@v([\w.]+)\"", source) == [(addresses_of_the_project()["Repository"], __version__)]
    assert re.findall(r"finetune_helpers-([\w.]+)-\*\.whl", source) == [__version__]


def test_the_check_of_the_kernel_comes_right_after_the_installation():
    assert filled(cells(NOTEBOOKS[0], "code")[0])[-1] == "colab.fresh_kernel_check()"


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
def test_every_parameter_is_explained_right_above(path):
    # Um comentário serve a um parâmetro, ou a dois que se leem juntos.
    lines = [line.strip() for line in cells(path, "code")[1].source.splitlines()]
    kinds = "".join("#" if re.match(r"# (?!@)\S", line) else "=" if "=" in line else "" for line in lines)
    groups = re.findall(r"#*=+", kinds)
    bad = [at for at, group in enumerate(groups, 1) if not re.fullmatch(r"#={1,2}", group)]
    assert bad == [], (
        f"no grupo {bad[:1]} falta uma linha de comentário acima do parâmetro, ou ela serve a mais de dois"
    )


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
        for cell in cells(path, "code")[1:]
        for node in ast.walk(parsed(cell))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    assert not any(str(name).startswith("google") for name in imported)


@pytest.mark.parametrize(("path", "following"), list(pairwise(NOTEBOOKS)), ids=lambda path: path.stem)
def test_the_last_text_names_the_next_notebook(path, following):
    assert f"[{following.name}]({following.name})" in cells(path, "markdown")[-1].source


# O que o texto de um caderno pode dizer em números. Os limiares vêm do código; medidas são impressas por células.
THRESHOLDS = {
    "títulos": (str(rules.TITLE_OVER), "caracteres"),
    "conteúdos": (str(rules.CONTENT_OVER), ""),
    "LLaMA": (str(rules.BORDER + 1), "(?:tokens )?ou mais"),
    "GPT": (f"até {rules.BORDER}", ""),
    "treino": (str(signature(curation.curate).parameters["n_train"].default), "(?:linhas|exemplos)"),
    "teste": (str(signature(curation.curate).parameters["n_test"].default), "de\\s+teste"),
    "LoRA": (f"r = {profiles.BY_NAME['t4'].lora_r}", ""),
}
MONTH_NAMES = "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"
MONTHS = MONTH_NAMES.split()
NUMBERS = [
    r"(?m)^# \d+\. ",  # o título do caderno
    r"\b0\d(?:_\w+\.ipynb)?(?= e 0\d\b|[\s,.;:)]|$)",  # outro caderno
    r"AmazonTitles-1\.3MM|LLaMA 3(?:\.\d)?(?: \d+B)?|SmolLM2-135M|135 milhões|gpt-oss-20b|GPT-4\w*",  # nomes e tamanhos
    r"\b(?:T4|L4|A100)\b|\b(?:4|8|16|32) bits\b|\b2 núcleos\b|1,89 GB",  # máquinas, formatos e o arquivo oficial
    rf"\b\d{{1,2}} de (?:{'|'.join(MONTHS)}) de 20\d\d\b",  # datas, conferidas à parte
    r"(?m)^\| (?:Tempo|Custo) \|.*$",  # estimativas do alto do caderno, que o README repete
    r"\b95 %|de -1 a 1",  # o nível de todos os intervalos e a escala do cosseno
    *(rf"{number}\b\s*{unit}" for number, unit in THRESHOLDS.values()),
]


@every_notebook
def test_numbers_in_the_text_are_printed_by_code(path):
    loose = []
    for at, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown":
            text = re.sub(r"\]\([^)]*\)|`[^`\n]+`", " ", cell.source)
            for allowed in NUMBERS:
                text = re.sub(allowed, " ", text)
            loose += [f"célula {at}: {found.strip()!r}" for found in re.findall(r"\S*\d\S*(?: \S+)?", text)]
    assert loose == [], "imprima o número numa célula de código, ou ligue-o ao código em NUMBERS"


@every_notebook
def test_dates_in_the_text_are_the_ones_of_the_code(path):
    known = {value for one in PROVIDERS.values() for tuned in one.models for value in (tuned.answers_until,)}
    known |= {one.checked_on for one in PROVIDERS.values()}
    known |= {
        tuned.create_until + timedelta(1) for one in PROVIDERS.values() for tuned in one.models if tuned.create_until
    }
    written = {f"{day.day} de {MONTHS[day.month - 1]} de {day.year}" for day in filter(None, known)}
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    dates = re.findall(rf"\b\d{{1,2}}\s+de\s+(?:{'|'.join(MONTHS)})\s+de\s+20\d\d\b", text)
    assert {" ".join(found.split()) for found in dates} - written == set()


def test_the_profile_is_chosen_and_shown():
    code = "\n".join(cell.source for cell in cells(ROOT / "colab" / "02_treino_llama3.ipynb", "code"))
    assert code.index("profile = training.choose(PERFIL") < code.index("print(training.describe(profile))")


@every_notebook
def test_what_it_writes_goes_to_the_folders_of_the_run(path):
    # Toda pasta sai de uma destas: a raiz de trabalho, dados/<rodada>, resultados/<rodada> e imagens/.
    roots = {"ROOT", "data", "output", "run", "images", "adapter", "path"}
    nodes = [node for cell in cells(path, "code")[2:] for node in ast.walk(parsed(cell))]
    joined = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    text = [node for node in joined if isinstance(node.right, ast.Constant | ast.Name)]
    starts = {ast.unparse(node.left).split(" / ")[0] for node in text if not isinstance(node.left, ast.Constant)}
    strange = {start for start in starts if start.split(".")[0] not in roots}
    assert strange == set(), f"faça os caminhos a partir de {', '.join(sorted(roots))}"
    opened = [ast.unparse(node) for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "open"]
    assert opened == [], "um caderno grava pelas funções do pacote, que não deixam arquivo pela metade"


def test_what_the_reader_came_to_see_is_in_02():
    code = [parsed(cell) for cell in cells(ROOT / "colab" / "02_treino_llama3.ipynb", "code")]
    calls = {ast.unparse(node.func) for tree in code for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {"FastLanguageModel.from_pretrained", "FastLanguageModel.get_peft_model", "SFTConfig", "SFTTrainer"} <= calls


def test_unsloth_comes_before_what_it_changes():
    code = [parsed(cell) for cell in cells(ROOT / "colab" / "02_treino_llama3.ipynb", "code")]
    order = [node.module.split(".")[0] for tree in code for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert order.index("unsloth") < min(order.index(name) for name in ("trl", "datasets"))
