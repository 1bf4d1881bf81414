"""Os padrões dos cadernos: o que cada um precisa ter e o que nenhum pode ter, com a lista de quem falta."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from inspect import signature
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import papermill

from finetune_helpers import curation, prices
from finetune_helpers.curation import rules
from finetune_helpers.gpt.providers import PROVIDERS
from finetune_helpers.training import profiles

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
TRAINERS = ("02", "05")
BADGE = (
    r"\[!\[Abrir no Colab\]\(https://colab\.research\.google\.com/assets/colab-badge\.svg\)\]"
    r"\(https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/main/([\w./-]+)\)"
)
ABSOLUTE = re.compile(r"^(?:/(?!/)\w|~|[A-Za-z]:[\\/]|file:)")
FORM = re.compile(r'#\s*@param\s+(?:\{type:"(?P<kind>\w+)"[^}]*\}|(?P<options>\[.*?\])(?:\s*\{.*\})?)\s*$')
KINDS = {"string": (str,), "integer": (int,), "number": (int, float), "slider": (int, float), "boolean": (bool,)}
MAGIC = re.compile(r"^\s*[%!]")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
REPOSITORY = PROJECT.removeprefix("https://github.com/")  # dono/nome


@cache
def read(path: Path) -> nbformat.NotebookNode:
    """O caderno, lido uma vez."""
    return nbformat.read(path, as_version=4)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    """As células de um tipo (``code`` ou ``markdown``), em ordem."""
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def parsed(cell: nbformat.NotebookNode) -> ast.Module:
    """A árvore de uma célula, com as linhas mágicas trocadas por ``pass``."""
    lines = [re.sub(r"[%!].*", "pass", line) if MAGIC.match(line) else line for line in cell.source.splitlines()]
    return ast.parse("\n".join(lines))


def nodes(path: Path, first: int = 0) -> list[ast.AST]:
    """Todos os nós das células de código, a partir da célula ``first``."""
    return [node for cell in cells(path, "code")[first:] for node in ast.walk(parsed(cell))]


def filled(cell: nbformat.NotebookNode) -> list[str]:
    """As linhas que não estão em branco."""
    return [line for line in cell.source.splitlines() if line.strip()]


def parameters(path: Path) -> dict[str, object]:
    """Nome e valor de cada parâmetro do caderno."""
    tree = parsed(cells(path, "code")[1])
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)}


def offenders(law: Callable[[Path], object]) -> dict[str, object]:
    """O que cada caderno tem contra uma lei, pelo nome; vazio se nenhum tem."""
    return {path.stem: wrong for path in NOTEBOOKS if (wrong := law(path))}


def test_the_notebooks_are_numbered_from_one():
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{at:02d}_" for at in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) == 6


def test_they_are_valid_and_hold_no_output():
    def wrong(path):
        nbformat.validate(read(path))
        ids = {cell.id for cell in read(path).cells}
        stored = [cell.id for cell in cells(path, "code") if cell.outputs or cell.execution_count is not None]
        return stored or len(ids) < len(read(path).cells) or not read(path).metadata.colab.private_outputs

    assert offenders(wrong) == {}


def test_the_first_cell_presents_it():
    def wrong(path):
        first = read(path).cells[0]
        rows = ("Entra", "Sai", "Máquina", "Tempo", "Custo")
        missing = [row for row in rows if not re.search(rf"^\| {row} \| \S.* \|$", first.source, re.MULTILINE)]
        if first.cell_type != "markdown" or not re.match(rf"# {int(path.name[:2])}\. \S", first.source):
            missing.append("título")
        if re.findall(BADGE, first.source.split("\n\n")[1]) != [(REPOSITORY, f"colab/{path.name}")]:
            missing.append("distintivo")
        titles = [line for cell in cells(path, "markdown") for line in cell.source.splitlines() if line[:2] == "# "]
        return missing + titles[1:]

    assert offenders(wrong) == {}


def test_the_first_code_cell_is_the_same_in_all_but_for_who_trains():
    sources = {path.name[:2]: cells(path, "code")[0].source for path in NOTEBOOKS}
    light = next(source for number, source in sources.items() if number not in TRAINERS)
    heavy = light.replace('"{colab.pins()}"', '"{colab.pins()}" -r "{colab.pins(\'treino\')}"')
    assert sources == {number: heavy if number in TRAINERS else light for number in sources}


def test_the_first_code_cell_imports_nothing_heavy():
    listing = "; print(*{name.split('.')[0] for name in sys.modules if name[0] != '_'})"
    code = f"import sys{listing}\n{ast.unparse(parsed(cells(NOTEBOOKS[0], 'code')[0]))}\npass{listing}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, *_, after = (set(line.split()) for line in done.stdout.splitlines())
    assert after - before - set(sys.stdlib_module_names) == {"finetune_helpers"}


def test_only_the_first_code_cell_has_magics_and_only_the_second_has_parameters():
    def wrong(path):
        tagged = [at for at, cell in enumerate(cells(path, "code")) if "parameters" in cell.metadata.get("tags", [])]
        return [cell.id for cell in cells(path, "code")[1:] if any(map(MAGIC.match, filled(cell)))] or tagged != [1]

    assert offenders(wrong) == {}


def test_parameters_are_literals_each_in_a_form_and_explained_right_above():
    def wrong(path):
        cell, bad = cells(path, "code")[1], []
        lines = cell.source.splitlines()
        for node in parsed(cell).body:
            name, value = node.targets[0].id, ast.literal_eval(node.value)
            form = FORM.search(lines[node.end_lineno - 1])
            good = form and (
                value in json.loads(form["options"]) if form["options"] else type(value) in KINDS[form["kind"]]
            )
            bad += [] if name.isupper() and good else [name]
        # Um comentário serve a um parâmetro, ou a dois que se leem juntos.
        kinds = "".join("#" if re.match(r"# (?!@)\S", line) else "=" if "=" in line else "" for line in lines)
        groups = [at for at, group in enumerate(re.findall(r"#*=+", kinds), 1) if not re.fullmatch(r"#={1,2}", group)]
        seen = {name: ast.literal_eval(one["default"]) for name, one in papermill.inspect_notebook(path).items()}
        return bad + groups + ([] if seen == parameters(path) else ["o papermill vê outros"])

    assert offenders(wrong) == {}


def test_every_parameter_is_used_and_the_run_and_the_drive_have_the_same_value_in_all():
    def unused(path):
        return set(parameters(path)) - {node.id for node in nodes(path, 2) if isinstance(node, ast.Name)}

    assert offenders(unused) == {}
    assert len({parameters(path)["RODADA"] for path in NOTEBOOKS}) == 1
    assert {parameters(path)["USAR_DRIVE"] for path in NOTEBOOKS} == {True}


def test_it_is_a_story_of_short_cells():
    def wrong(path):
        sizes = [len(filled(cell)) for cell in cells(path, "code")]
        bad = [f"célula longa: {at}" for at, size in enumerate(sizes) if size > (25 if at == 1 else 20)]
        bad += [f"vazia: {cell.id}" for cell in read(path).cells if not cell.source.strip()]
        bad += [f"mediana {median(sizes)}"] if median(sizes) > 6 else []
        bad += ["menos texto que código"] if len(cells(path, "markdown")) < len(cells(path, "code")) else []
        # Afirmação, célula, evidência: mais de duas células de código seguidas já são um programa sem história.
        return bad + (["três de código"] if "ccc" in "".join(cell.cell_type[0] for cell in read(path).cells) else [])

    assert offenders(wrong) == {}


def test_nothing_is_defined_and_nothing_is_dead():
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)

    def wrong(path):
        dead = [n for n in nodes(path) if isinstance(n, ast.If | ast.While) and isinstance(n.test, ast.Constant)]
        return [ast.unparse(node) for node in dead + [n for n in nodes(path) if isinstance(n, defined)]]

    assert offenders(wrong) == {}


def test_no_absolute_path_and_nothing_of_colab():
    def wrong(path):
        texts = [n.value for n in nodes(path) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        raw = path.read_text(encoding="utf-8")
        bad = [text for text in texts if ABSOLUTE.match(text)]
        bad += re.findall(r"/content\b|/home/|/Users/|/root\b|/tmp\b", raw)
        imports = [ast.unparse(n) for n in nodes(path, 1) if isinstance(n, ast.Import | ast.ImportFrom)]
        return bad + [one for one in imports if "google" in one]

    assert offenders(wrong) == {}


def test_the_last_text_names_the_next_notebook():
    missing = [a.stem for a, b in pairwise(NOTEBOOKS) if f"[{b.name}]({b.name})" not in cells(a, "markdown")[-1].source]
    assert missing == []


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
MONTHS = "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro".split()  # noqa: SIM905
NUMBERS = [
    r"(?m)^# \d+\. ",  # o título do caderno
    r"\b0\d(?:_\w+\.ipynb)?(?= e 0\d\b|[\s,.;:)]|$)",  # outro caderno
    r"AmazonTitles-1\.3MM|LLaMA 3(?:\.\d)?(?: \d+B)?|SmolLM2-135M|135 milhões|gpt-oss-20b|GPT-4\w*",  # nomes e tamanhos
    r"\b(?:T4|L4|A100|H100)\b|\b(?:4|8|16|32) bits\b|\b2 núcleos\b|1,89 GB",  # máquinas, formatos e o arquivo oficial
    rf"\b\d{{1,2}} de (?:{'|'.join(MONTHS)}) de 20\d\d\b",  # datas, conferidas à parte
    r"(?m)^\| (?:Tempo|Custo) \|.*$",  # estimativas do alto do caderno, que o README repete
    r"\b95 %|de -1 a 1",  # o nível de todos os intervalos e a escala do cosseno
    *(rf"{number}\b\s*{unit}" for number, unit in THRESHOLDS.values()),
]


def test_numbers_in_the_text_are_printed_by_code():
    def loose(path):
        numbers = []
        for at, cell in enumerate(read(path).cells):
            if cell.cell_type == "markdown":
                text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`\n]+`", " ", cell.source))
                for allowed in NUMBERS:
                    text = re.sub(allowed, " ", text)
                numbers += [f"célula {at}: {bare.strip()!r}" for bare in re.findall(r"\S*\d\S*(?: \S+)?", text)]
        return numbers

    assert offenders(loose) == {}, "imprima o número numa célula de código, ou ligue-o ao código em NUMBERS"


def test_dates_in_the_text_are_the_ones_of_the_code():
    known = {date.fromisoformat(price.ends_on) for price in prices.load() if price.ends_on}
    known |= {one.checked_on for one in PROVIDERS.values()}
    known |= {t.create_until + timedelta(1) for one in PROVIDERS.values() for t in one.models if t.create_until}
    written = {f"{day.day} de {MONTHS[day.month - 1]} de {day.year}" for day in known}
    pattern = rf"\b\d{{1,2}}\s+de\s+(?:{'|'.join(MONTHS)})\s+de\s+20\d\d\b"

    def strange(path):
        text = "\n".join(cell.source for cell in cells(path, "markdown"))
        return {" ".join(said.split()) for said in re.findall(pattern, text)} - written

    assert offenders(strange) == {}


def test_what_it_writes_goes_to_the_folders_of_the_run():
    # Toda pasta sai de uma destas: a raiz de trabalho, dados/<rodada>, resultados/<rodada> e imagens/.
    roots = {"ROOT", "data", "output", "run", "images", "adapter", "path", "bench"}

    def strange(path):
        joined = [n for n in nodes(path, 2) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div)]
        text = [n for n in joined if isinstance(n.right, ast.Constant | ast.Name)]
        starts = {ast.unparse(n.left).split(" / ")[0] for n in text if not isinstance(n.left, ast.Constant)}
        opened = [ast.unparse(n) for n in nodes(path) if isinstance(n, ast.Call) and ast.unparse(n.func) == "open"]
        return {start for start in starts if start.split(".")[0] not in roots} or opened

    assert offenders(strange) == {}, f"faça os caminhos a partir de {', '.join(sorted(roots))}"


def test_what_the_reader_came_to_see_is_in_02():
    code = [parsed(cell) for cell in cells(ROOT / "colab" / "02_treino_llama3.ipynb", "code")]
    calls = [ast.unparse(node.func) for tree in code for node in ast.walk(tree) if isinstance(node, ast.Call)]
    shown = {"FastLanguageModel.from_pretrained", "FastLanguageModel.get_peft_model", "SFTConfig", "SFTTrainer"}
    assert shown <= set(calls)
    assert calls.index("training.choose") < calls.index("training.describe")
    # O unsloth vem antes do que ele muda.
    order = [node.module.split(".")[0] for tree in code for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert order.index("unsloth") < min(order.index(name) for name in ("trl", "datasets"))
