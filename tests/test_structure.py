"""A estrutura do código: quem importa quem, o que não se carrega à toa e os padrões, com a lista de quem falta."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
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
# Nomes que se importam de um jeito e se instalam de outro, sem que a instalação diga (o google.colab é do Colab).
ONLY_IN_COLAB = {"google"}


def named(path: Path) -> str:
    """O nome com que um módulo é importado: ``finetune_helpers.gpt.job``."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


NAMES = {named(path): path for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    """A árvore de um módulo."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, nodes: Iterator[ast.AST] | None = None) -> Iterator[str]:
    """Tudo o que um módulo importa, com o nome inteiro; módulos da casa até o módulo."""
    package = list(path.relative_to(SOURCE).parent.parts)
    for node in nodes or ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                yield f"{full}.{alias.name}" if f"{full}.{alias.name}" in NAMES else full


def own(path: Path) -> set[str]:
    """Os módulos deste projeto que um módulo importa, em qualquer ponto."""
    return {name for name in imports(path) if name.split(".")[0] in ("finetune_helpers", API)}


def executed(path: Path) -> set[str]:
    """Os módulos deste projeto que um módulo importa de verdade, no alto ou dentro de uma função."""
    typing = [
        node for node in ast.walk(tree(path)) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    only = {inner for node in typing for inner in ast.walk(node)}
    return set(imports(path, (node for node in ast.walk(tree(path)) if node not in only)))


def place(name: str) -> str:
    """A parte da estrutura em que um módulo está: uma subpasta, um módulo da base ou a API local."""
    parts = name.split(".")
    return parts[0] if parts[0] == API else parts[1] if len(parts) > 1 else ""


def strangers(path: Path) -> set[str]:
    """O que um módulo importa de onde não pode."""
    here = place(named(path))
    allowed = {here, "", *GROUND} - ({"colab"} if here != "colab" else set()) | ALLOWED.get(here, set())
    if here in GROUND:
        allowed = GROUND - {"colab"} | {"", here}
    return {
        name
        for name in own(path)
        if place(name) not in allowed and name.removeprefix("finetune_helpers.") not in allowed
    }


def test_the_way_of_the_imports():
    assert {named(path): strangers(path) for path in MODULES if strangers(path)} == {}


def test_the_imports_of_the_project_are_seen():
    # Sem isto, um leitor de imports que não visse nada aprovaria tudo.
    assert {place(name) for name in own(NAMES["finetune_helpers.answers"])} >= {
        "progress",
        "prompts",
        "errors",
        "records",
    }
    assert any(
        name.startswith("finetune_helpers.training")
        for path in MODULES
        for name in own(path)
        if place(named(path)) == API
    )


def test_no_circle_of_imports():
    # O que só os tipos importam (sob TYPE_CHECKING) não é executado e não conta.
    graph = {name: executed(path) & NAMES.keys() - {name} for name, path in NAMES.items()}
    done: set[str] = set()
    circles = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circles.append(" → ".join(trail[trail.index(name) :]))
        elif name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    assert circles == []


def test_importing_loads_no_package():
    code = (
        "import sys; name = sys.argv[1]; before = set(sys.modules); __import__(name); "
        "print(*{one.split('.')[0] for one in set(sys.modules) - before if one[0] != '_'})"
    )
    names = ["finetune_helpers", API, *(f"finetune_helpers.{name}" for name in [*WINGS, *sorted(GROUND)])]
    loaded = {}
    for name in names:
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
        loaded[name] = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"finetune_helpers", API}
    assert {name: packages for name, packages in loaded.items() if packages} == {}


def test_what_a_package_shows_exists():
    for name in [API, *(f"finetune_helpers.{wing}" for wing in WINGS)]:
        package = import_module(name)
        assert package.__all__ and all(getattr(package, shown) is not None for shown in package.__all__), name
        with pytest.raises(AttributeError, match="nome_que_ninguem_tem"):
            _ = package.nome_que_ninguem_tem


def test_a_module_fits_in_one_reading():
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "common", "helpers", "manager", "misc", "registry", "factory", "base"}
    assert [named(path) for path in MODULES if path.stem in drawers] == []


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Todas as funções de um módulo."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_no_function_takes_more_than_five_positional_arguments():
    many = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in MODULES
        for node in functions(path)
        if len([one for one in [*node.args.posonlyargs, *node.args.args] if one.arg not in ("self", "cls")]) > 5
    ]
    assert many == []


def test_a_line_is_one_statement():
    tuples = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple)
    ]
    assert tuples == []


def public(path: Path) -> dict[str, ast.AST]:
    """Funções e classes públicas de um módulo, com os métodos públicos das classes."""
    shown = {}

    def enter(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                shown[f"{prefix}{node.name}"] = node
                if isinstance(node, ast.ClassDef):
                    enter(node.body, f"{node.name}.")

    enter(tree(path).body, "")
    return shown


def test_all_that_is_public_has_a_docstring():
    bare = [named(path) for path in MODULES if not ast.get_docstring(tree(path))]
    bare += [
        f"{named(path)}:{node.lineno} {name}"
        for path in MODULES
        for name, node in public(path).items()
        if not ast.get_docstring(node)
    ]
    assert bare == []


def untyped(node: ast.FunctionDef) -> list[str]:
    """O que falta anotar numa assinatura."""
    parts = node.args
    every = [*parts.posonlyargs, *parts.args, *parts.kwonlyargs, parts.vararg, parts.kwarg]
    missing = [one.arg for one in every if one and not one.annotation and one.arg not in ("self", "cls")]
    return missing + ([] if node.returns else ["o que devolve"])


def framework_methods(path: Path) -> set[str]:
    """Métodos que a biblioteca de treino chama: a assinatura deles é a da TrainerCallback ou da StoppingCriteria."""
    return {
        f"{node.name}.{method.name}"
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and re.search("Callback|Criteria", " ".join(map(ast.unparse, node.bases)))
        for method in node.body
        if isinstance(method, ast.FunctionDef)
    }


def test_all_that_is_public_has_types():
    bare = [
        f"{named(path)}:{node.lineno} {name}: {untyped(node)}"
        for path in MODULES
        for name, node in public(path).items()
        if not isinstance(node, ast.ClassDef) and name not in framework_methods(path) and untyped(node)
    ]
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
    strange = [
        f"{named(path)}:{line} `{cited}`"
        for path in MODULES
        for line, text in messages(path)
        for cited in re.findall(r"`([^`]+)`", text)
        if not known.fullmatch(cited)
    ]
    assert strange == []


def test_no_message_cites_a_parameter_that_nobody_has():
    # Um nome em maiúsculas com sublinhado é uma variável de ambiente ou um segredo; argumentos vão entre crases.
    environment = {
        "FINETUNE_CACHE",
        "FINETUNE_PASTA",
        "HF_TOKEN",
        "HF_HOME",
        "LOCAL_API_KEY",
        "OPENAI_API_KEY",
        "USAR_DRIVE",
    }
    environment |= {"AZURE_OPENAI_API_KEY", "NEBIUS_API_KEY", "JUIZ_API_KEY"}
    strange = [
        f"{named(path)}:{line} {cited}"
        for path in MODULES
        for line, text in messages(path)
        for cited in re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)+\b|\b\w+=(?:True|False|\"|')", text)
        if cited not in environment
    ]
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
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "GLOSSARIO.md",
        *sorted((ROOT / "colab").glob("*.ipynb")),
    ]
    pages += [SOURCE / API / "README.md", *MODULES]
    seen = [
        f"{path.relative_to(ROOT)}: {match[0]!r} → {word}"
        for path in pages
        for pattern, word in REPLACED.items()
        if (match := re.search(rf"\b(?:{pattern})", path.read_text(encoding="utf-8"), re.IGNORECASE))
    ]
    assert seen == []


# As versões --------------------------------------------------------------------------------------------------------


def pins(name: str) -> list[str]:
    """Linhas de um arquivo de requirements/, sem comentários."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def declared() -> list[Requirement]:
    """O que o pyproject pede, na base e nos extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def test_every_version_is_exact_and_each_package_has_one():
    versions = defaultdict(set)
    for path in (ROOT / "requirements").glob("*.txt"):
        assert [line for line in pins(path.name) if not re.fullmatch(r"[\w.-]+==\d[\w.+!]*", line)] == [], path.name
        names = [canonicalize_name(line.split("==")[0]) for line in pins(path.name)]
        assert sorted(names) == sorted(set(names)), path.name
        for line in pins(path.name):
            versions[canonicalize_name(line.split("==")[0])].add(line.split("==")[1])
    assert {name: exact for name, exact in versions.items() if len(exact) > 1} == {}


def test_the_exact_versions_serve_what_the_project_asks():
    exact = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in pins("pacotes.txt")}
    unmet = [str(one) for one in declared() if exact.get(canonicalize_name(one.name), "") not in one.specifier]
    assert unmet == []


def test_every_package_the_code_imports_is_declared():
    known = {canonicalize_name(one.name) for one in declared()}
    known |= {canonicalize_name(line.split("==")[0]) for line in pins("sem_dependencias.txt")}
    every = {name.split(".")[0] for path in MODULES for name in imports(path)}
    homes = packages_distributions()
    outside = every - set(sys.stdlib_module_names) - {"finetune_helpers", API} - ONLY_IN_COLAB
    assert {
        name for name in outside if not {canonicalize_name(one) for one in homes.get(name, [name])} & known
    } == set()
