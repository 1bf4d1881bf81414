"""A estrutura do código: quem importa quem, o que não se carrega à toa e os padrões, com a lista de quem falta."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finetune_helpers.errors import NOTEBOOK_NAMES

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
GROUND = {path.stem for path in (SOURCE / "finetune_helpers").glob("*.py")} - {"__init__"}
WINGS = sorted(path.parent.name for path in (SOURCE / "finetune_helpers").glob("*/__init__.py"))
API = "local_finetune_api"
# A página usa o que a rodada tem, seja de que parte for; nenhuma parte usa a página.
ALLOWED = {
    API: {"training", "gpt.validation"},
    "interface": {"training", "gpt", API, "comparison"},
}
MOST_LINES = 320
DRAWERS = {"utils", "util", "common", "helpers", "manager", "misc", "registry", "factory", "base"}
# Um nome em maiúsculas com sublinhado é uma variável de ambiente ou um segredo; argumentos vão entre crases.
ENVIRONMENT = {"FINETUNE_CACHE", "FINETUNE_PASTA", "HF_TOKEN", "HF_HOME", "LOCAL_API_KEY", "OPENAI_API_KEY"}
ENVIRONMENT |= {"USAR_DRIVE", "AZURE_OPENAI_API_KEY", "NEBIUS_API_KEY", "JUIZ_API_KEY"}


def named(path: Path) -> str:
    """O nome com que um módulo é importado: ``finetune_helpers.gpt.job``."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


NAMES = {named(path): path for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    """A árvore de um módulo."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, skipped: set[ast.AST] | None = None) -> Iterator[str]:
    """Tudo o que um módulo importa, com o nome inteiro; os do projeto, até o módulo."""
    package = list(path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(tree(path)):
        if skipped and node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                yield f"{full}.{alias.name}" if f"{full}.{alias.name}" in NAMES else full


def typing_only(path: Path) -> set[ast.AST]:
    """O que só os tipos leem (sob TYPE_CHECKING) e por isso não é executado."""
    guards = (node for node in ast.walk(tree(path)) if isinstance(node, ast.If))
    return {part for node in guards if ast.unparse(node.test) == "TYPE_CHECKING" for part in ast.walk(node)}


def own(path: Path, executed: bool = False) -> set[str]:
    """Os módulos deste projeto que um módulo importa, no alto ou dentro de uma função."""
    skipped = typing_only(path) if executed else set()
    return {name for name in imports(path, skipped) if name.split(".")[0] in ("finetune_helpers", API)}


def place(name: str) -> str:
    """A parte da estrutura em que um módulo está: uma subpasta, um módulo da base ou a API local."""
    parts = name.split(".")
    return parts[0] if parts[0] == API else parts[1] if len(parts) > 1 else ""


def strangers(path: Path) -> set[str]:
    """O que um módulo importa de onde não pode."""
    here = place(named(path))
    allowed = {here, "", *(GROUND - {"colab"})} | ALLOWED.get(here, set())
    return {name for name in own(path) if not {place(name), name.removeprefix("finetune_helpers.")} & allowed}


def test_the_way_of_the_imports():
    assert {named(path): strangers(path) for path in MODULES if strangers(path)} == {}


def test_the_imports_of_the_project_are_seen():
    # Sem isto, um leitor de imports que não visse nada aprovaria tudo.
    assert {place(name) for name in own(NAMES["finetune_helpers.answers"])} >= {"progress", "prompts", "records"}
    assert any(place(name) == "training" for path in MODULES for name in own(path) if place(named(path)) == API)


def test_no_circle_of_imports():
    graph = {name: own(path, executed=True) & NAMES.keys() - {name} for name, path in NAMES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


# Cada nome é importado num processo filho de um Python que não carregou nada.
FORKING = """
import os, sys
for name in sys.argv[1:]:
    before = set(sys.modules)
    if os.fork() == 0:
        __import__(name)
        print(name, *{one.split(".")[0] for one in set(sys.modules) - before if one[0] != "_"}, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_importing_loads_no_package():
    names = ["finetune_helpers", API, *(f"finetune_helpers.{name}" for name in [*WINGS, *sorted(GROUND)])]
    done = subprocess.run([sys.executable, "-c", FORKING, *names], capture_output=True, text=True, check=True)
    loaded = {name: rest for name, *rest in map(str.split, done.stdout.splitlines())}
    light = {*sys.stdlib_module_names, "finetune_helpers", API}
    assert loaded.keys() == set(names)
    assert {name: heavy for name, packages in loaded.items() if (heavy := set(packages) - light)} == {}


def test_what_a_package_shows_exists():
    # Pelo texto: importar de verdade cada nome carregaria o torch e o gradio.
    for name in [API, *(f"finetune_helpers.{wing}" for wing in WINGS)]:
        package, folder = import_module(name), NAMES[name].parent
        bodies = [(path, tree(path).body) for path in folder.glob("*.py")]
        defined = {getattr(node, "name", "") for _, body in bodies for node in body} | {path.stem for path, _ in bodies}
        assigned = [node for _, body in bodies for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
        defined |= {part.id for node in assigned for part in ast.walk(node) if isinstance(part, ast.Name)}
        assert package.__all__ and set(package.__all__) - defined == set(), name
        with pytest.raises(AttributeError, match="nome_que_ninguem_tem"):
            _ = package.nome_que_ninguem_tem


def test_a_module_is_one_idea_in_one_reading():
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert [named(path) for path in MODULES if path.stem in DRAWERS] == []


def test_a_line_is_one_statement_and_a_function_takes_few_arguments():
    wrong = []
    for path, node in ((module, part) for module in MODULES for part in ast.walk(tree(module))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            positional = [one.arg for one in [*node.args.posonlyargs, *node.args.args]]
            many = len([name for name in positional if name not in ("self", "cls")]) > 5
            wrong += [f"{named(path)}:{node.lineno} {node.name}"] if many else []
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple):
            wrong.append(f"{named(path)}:{node.lineno}")
    assert wrong == []


def public(path: Path) -> Iterator[tuple[str, ast.AST, str]]:
    """Nome, nó e bases da classe das funções, classes e métodos públicos de um módulo."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree(path).body:
        if isinstance(node, kinds) and node.name[0] != "_":
            yield node.name, node, ""
            if isinstance(node, ast.ClassDef):
                methods = [one for one in node.body if isinstance(one, kinds) and one.name[0] != "_"]
                yield from ((f"{node.name}.{one.name}", one, " ".join(map(ast.unparse, node.bases))) for one in methods)


def untyped(node: ast.AST) -> list[str]:
    """O que falta anotar numa assinatura."""
    if isinstance(node, ast.ClassDef):
        return []
    parts = node.args
    every = [*parts.posonlyargs, *parts.args, *parts.kwonlyargs, parts.vararg, parts.kwarg]
    missing = [one.arg for one in every if one and not one.annotation and one.arg not in ("self", "cls")]
    return missing + ([] if node.returns else ["o que devolve"])


def test_all_that_is_public_has_a_docstring_and_types():
    bare = [named(path) for path in MODULES if not ast.get_docstring(tree(path))]
    for path in MODULES:
        for name, node, bases in public(path):
            # A biblioteca de treino chama os métodos das suas classes: a assinatura deles é a dela.
            missing = [] if re.search("Callback|Criteria", bases) else untyped(node)
            missing += [] if ast.get_docstring(node) else ["docstring"]
            bare += [f"{named(path)}:{node.lineno} {name}: {missing}"] if missing else []
    assert bare == []


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Linha e texto fixo de cada mensagem de erro do projeto."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and re.search(r"(?:Error|Problem)$", ast.unparse(node.func)):
            for argument in node.args:
                for part in ast.walk(argument):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.lineno, part.value


def test_every_name_that_a_message_cites_can_be_used():
    # Entre crases, o nome do Python, que o caderno mostra com o nome da sua célula; ou um arquivo, ou um comando.
    known = re.compile(
        rf"(?:{'|'.join(NOTEBOOK_NAMES)})|[\w./-]+\.(?:jsonl?|csv|txt|xlsx|py|toml|ipynb)|(?:make|pip|python|export) .+"
    )
    strange = []
    for path, (line, text) in ((module, message) for module in MODULES for message in messages(module)):
        cited = [name for name in re.findall(r"`([^`]+)`", text) if not known.fullmatch(name)]
        names = re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b|\b\w+=(?:True|False|\"|')", text)
        strange += [f"{named(path)}:{line} {name}" for name in [*cited, *(set(names) - ENVIRONMENT)]]
    assert strange == []


# Palavras que um primeiro leitor estranhou, e as que ficaram no lugar.
REPLACED = {
    r"braços?": "trilha",
    r"núcleo d[oe] caderno|o núcleo carregou": "kernel",
    r"pontos? de retomada": "checkpoint",
    r"preenchimento": "padding",
    r"posto (?!baixo)(?:do|de) (?:LoRA|\d)": "rank",
    r"\brodas? \(|a roda\b": "pacote (.whl)",
    r"folhas?(?= (?:\*|Revis|Resumo|Estat|Hiper|Arena))": "aba",
    r"n/d\b": "—, não medido ou não executado",
    r"levar o modelo embora|(?:abrir|fechar) a porta|o mapa da casa|a lei do estilo": "a proposta da lista",
}


def test_the_words_that_were_replaced_do_not_come_back():
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "GLOSSARIO.md")]
    pages += [SOURCE / API / "README.md", *sorted((ROOT / "colab").glob("*.ipynb")), *MODULES]
    seen = [
        f"{path.relative_to(ROOT)}: {match[0]!r} → {word}"
        for path in pages
        for pattern, word in REPLACED.items()
        if (match := re.search(rf"\b(?:{pattern})", path.read_text(encoding="utf-8"), re.IGNORECASE))
    ]
    assert seen == []


# As versões --------------------------------------------------------------------------------------------------------


def pins(name: str) -> list[Requirement]:
    """As linhas de um arquivo de requirements/, sem comentários."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def declared() -> list[Requirement]:
    """O que o pyproject pede, na base e nos extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def test_every_version_is_exact_and_each_package_has_one():
    versions = defaultdict(set)
    for path in (ROOT / "requirements").glob("*.txt"):
        names = [canonicalize_name(one.name) for one in pins(path.name)]
        assert sorted(names) == sorted(set(names)), path.name
        assert [str(one) for one in pins(path.name) if not re.fullmatch(r"==\d[\w.+!]*", str(one.specifier))] == []
        for name, one in zip(names, pins(path.name), strict=True):
            versions[name].add(str(one.specifier))
    assert {name: exact for name, exact in versions.items() if len(exact) > 1} == {}


def test_the_exact_versions_serve_what_the_project_asks():
    exact = {canonicalize_name(one.name): str(one.specifier)[2:] for one in pins("pacotes.txt")}
    unmet = [str(one) for one in declared() if exact.get(canonicalize_name(one.name), "") not in one.specifier]
    assert unmet == []


def test_every_package_the_code_imports_is_declared():
    known = {canonicalize_name(one.name) for one in [*declared(), *pins("sem_dependencias.txt")]}
    every, homes = {name.split(".")[0] for path in MODULES for name in imports(path)}, packages_distributions()
    # O google.colab é do Colab.
    outside = every - set(sys.stdlib_module_names) - {"finetune_helpers", API, "google"}
    assert {
        name for name in outside if not {canonicalize_name(one) for one in homes.get(name, [name])} & known
    } == set()
