"""A casa: quem importa quem, o que não se carrega à toa, o tamanho dos módulos e o que cada um declara."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "src" / "finetune_helpers"
MODULES = sorted(HOUSE.rglob("*.py"))
GROUND = sorted(path.stem for path in HOUSE.glob("*.py") if path.stem not in ("__init__", "colab"))
WINGS = sorted(path.parent.name for path in HOUSE.glob("*/__init__.py"))
# A página usa o que a rodada guarda, seja de que ala for; nenhuma ala usa a página.
ALLOWED = {"local_api": {"training", "gpt"}, "interface": {"training", "gpt", "local_api", "comparison"}}
MOST_LINES = 250
# Nomes que se importam de um jeito e se instalam de outro, sem que a instalação diga (o google.colab é do Colab).
ONLY_IN_COLAB = {"google"}


def named(path: Path) -> str:
    """O caminho de um módulo dentro da casa, para as mensagens."""
    return path.relative_to(HOUSE).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """A árvore de um módulo."""
    return ast.parse(path.read_text(encoding="utf-8"))


def own_imports(path: Path) -> set[str]:
    """As partes da casa que um módulo importa: alas e módulos do chão."""
    package = ["finetune_helpers", *path.relative_to(HOUSE).parent.parts]
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("finetune_helpers.")}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            if full[0] == "finetune_helpers":
                found |= {full[1]} if len(full) > 1 else {alias.name for alias in node.names}
    return found


def outside_imports(path: Path) -> set[str]:
    """Os pacotes de terceiros que um módulo importa, em qualquer ponto."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"finetune_helpers"}


@pytest.mark.parametrize("name", ["", *WINGS, *GROUND, "colab"])
def test_importing_loads_no_package(name):
    code = (
        "import sys; before = set(sys.modules); "
        f"import finetune_helpers{'.' * bool(name)}{name}; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before if name[0] != '_'})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) - set(sys.stdlib_module_names) == {"finetune_helpers"}


@pytest.mark.parametrize("wing", WINGS)
def test_what_a_wing_shows_exists(wing):
    package = import_module(f"finetune_helpers.{wing}")
    assert package.__all__ and all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="nome_que_ninguem_tem"):
        _ = package.nome_que_ninguem_tem


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_the_way_of_the_imports(path):
    parts = path.relative_to(HOUSE).parts
    wing = parts[0] if len(parts) > 1 else None
    ground = {*GROUND, "__version__"}
    allowed = ground | ({wing} | ALLOWED.get(wing, set()) if wing else set())
    assert own_imports(path) - allowed == set()


def test_the_imports_of_the_house_are_seen():
    # Sem isto, um leitor de imports que não visse nada aprovaria tudo.
    assert own_imports(HOUSE / "answers.py") == {"progress", "prompts", "errors", "records"}
    assert {"training", "gpt", "records"} <= own_imports(HOUSE / "local_api" / "learning.py")


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_fits_in_one_reading(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "common", "helpers", "manager", "misc", "registry", "factory", "base"}
    assert [named(path) for path in MODULES if path.stem in drawers] == []


def public(path: Path) -> dict[str, ast.AST]:
    """Funções e classes públicas de um módulo, com os métodos públicos das classes."""
    found = {}

    def enter(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                found[f"{prefix}{node.name}"] = node
                if isinstance(node, ast.ClassDef):
                    enter(node.body, f"{node.name}.")

    enter(tree(path).body, "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_all_that_is_public_has_a_docstring(path):
    assert ast.get_docstring(tree(path)), "falta a docstring do módulo"
    bare = [f"linha {node.lineno}: {name}" for name, node in public(path).items() if not ast.get_docstring(node)]
    assert bare == []


def untyped(node: ast.FunctionDef) -> list[str]:
    """O que falta anotar numa assinatura."""
    parts = node.args
    every = [*parts.posonlyargs, *parts.args, *parts.kwonlyargs, parts.vararg, parts.kwarg]
    missing = [one.arg for one in every if one and not one.annotation and one.arg not in ("self", "cls")]
    return missing + ([] if node.returns else ["o que devolve"])


def framework_methods(path: Path) -> set[str]:
    """Métodos que a biblioteca de treino chama: a assinatura deles é a da TrainerCallback."""
    return {
        f"{node.name}.{method.name}"
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and any("Callback" in ast.unparse(base) for base in node.bases)
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    }


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_all_that_is_public_has_types(path):
    signatures = {
        name: node
        for name, node in public(path).items()
        if not isinstance(node, ast.ClassDef) and name not in framework_methods(path)
    }
    bare = [f"linha {node.lineno}: {name}: {untyped(node)}" for name, node in signatures.items() if untyped(node)]
    assert bare == []


def pins(name: str) -> list[str]:
    """Linhas de um arquivo de requirements/, sem comentários."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def declared() -> list[Requirement]:
    """O que o pyproject pede, na base e nos extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [
        Requirement(line)
        for line in [
            *project["dependencies"],
            *(one for extra in project["optional-dependencies"].values() for one in extra),
        ]
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_every_version_is_exact_and_listed_once(name):
    lines = pins(name)
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)] == []
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert sorted(names) == sorted(set(names))


def test_a_package_has_one_exact_version_in_all_files():
    versions = defaultdict(set)
    for path in (ROOT / "requirements").glob("*.txt"):
        for line in pins(path.name):
            name, version = line.split("==")
            versions[canonicalize_name(name)].add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_exact_versions_serve_what_the_project_asks():
    exact = dict(line.split("==") for line in pins("pacotes.txt"))
    exact = {canonicalize_name(name): version for name, version in exact.items()}
    unmet = [
        str(one)
        for one in declared()
        if canonicalize_name(one.name) not in exact or exact[canonicalize_name(one.name)] not in one.specifier
    ]
    assert unmet == []


def test_every_package_the_code_imports_is_declared():
    known = {canonicalize_name(one.name) for one in declared()}
    known |= {canonicalize_name(line.split("==")[0]) for line in pins("sem_dependencias.txt")}
    imported = set().union(*map(outside_imports, MODULES)) - ONLY_IN_COLAB
    homes = packages_distributions()
    undeclared = {name for name in imported if not {canonicalize_name(one) for one in homes.get(name, [name])} & known}
    assert undeclared == set()
