"""Refaz as versões exatas de requirements/ com as mais novas que o pyproject aceita: ``make atualizar``.

Quem resolve é o pip, sem instalar nada. O torch fica onde está: a versão de CPU e a de CUDA pedem pacotes diferentes, e
trocá-la pede uma GPU para conferir.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finetune_helpers.errors import FinetuneError, MachineError
from finetune_helpers.records import atomic_write

ROOT = Path(__file__).resolve().parents[1]
WHOLE, BARE = "pacotes.txt", "sem_dependencias.txt"
HELD = "torch"
PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)
ADDRESS = re.compile(r"\b\w+://\S+|(?<!\w)/\S+")


class Package(NamedTuple):
    """Um pacote resolvido: nome como ele se escreve, versão e o que pede."""

    name: str
    version: str
    requires: list[str]


def main(arguments: list[str] | None = None) -> int:
    """Grava os arquivos que mudaram e mostra as mudanças; devolve 1, sem tocar em nada, se não há solução."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pasta", type=Path, default=ROOT / "requirements", help="a pasta dos arquivos")
    folder = parser.parse_args(arguments).pasta
    try:
        texts = renewed({path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))})
    except FinetuneError as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 1
    changed = {name: text for name, text in texts.items() if text != (folder / name).read_text(encoding="utf-8")}
    for name, text in changed.items():
        print(f"{name}: {'; '.join(differences((folder / name).read_text(encoding='utf-8'), text))}")
        with atomic_write(folder / name) as file:
            file.write(text)
    if not changed:
        print("Nada mais novo dentro dos limites do pyproject.")
    return 0


def renewed(texts: dict[str, str]) -> dict[str, str]:
    """Os mesmos arquivos com as versões de hoje; comentários, ordem e grafia dos nomes ficam."""
    locked = pins(texts[WHOLE])
    asked = [*declared(), f"{HELD}=={locked[HELD].version}"]
    alone = [one.name for one in pins(texts[BARE]).values()]
    bare = resolved(["--no-deps", *alone])
    found = resolved(asked) | bare
    names = needed(asked, {canonicalize_name(name) for name in alone}, set(locked), found)
    # O que o pip não trocou fica como estava; o que acaba de entrar no pyproject, como está instalado.
    chosen = {name: found.get(name) or locked.get(name) or package(name, found) for name in names}
    lines = [f"{(locked.get(name) or one).name}=={one.version}" for name, one in chosen.items()]
    header = "".join(line for line in texts[WHOLE].splitlines(keepends=True) if line.startswith("#"))
    every = {name: one.version for name, one in (chosen | bare).items()}
    others = {name: repinned(text, every) for name, text in texts.items()}
    return others | {WHOLE: header + "".join(f"{line}\n" for line in sorted(lines, key=str.lower))}


def pins(text: str) -> dict[str, Package]:
    """O que um arquivo fixa, pelo nome canônico."""
    return {canonicalize_name(name): Package(name, version, []) for name, version in PIN.findall(text)}


def repinned(text: str, versions: dict[str, str]) -> str:
    """O texto com as versões trocadas; um pacote tem a mesma em todos os arquivos."""
    return PIN.sub(lambda pin: f"{pin[1]}=={versions.get(canonicalize_name(pin[1]), pin[2])}", text)


def differences(before: str, after: str) -> list[str]:
    """As mudanças entre dois arquivos: ``nome antes → depois``."""
    old, new = pins(before), pins(after)
    absent = Package("", "—", [])
    pairs = {name: (old.get(name, absent).version, new.get(name, absent).version) for name in sorted(old | new)}
    return [f"{name} {was} → {now}" for name, (was, now) in pairs.items() if was != now]


def declared() -> list[str]:
    """O que o pyproject pede, na base e em todos os extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]


def resolved(requirements: list[str]) -> dict[str, Package]:
    """O que o pip instalaria ou trocaria para atender aos pedidos com o mais novo; MachineError se não há como."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "resposta.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", str(report)]
        command += ["--upgrade", "--upgrade-strategy", "eager", *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise MachineError(
                "O pip não achou versões que sirvam; nada foi mudado. Reveja os limites no pyproject ou a rede.\n"
                + ADDRESS.sub("…", "\n".join(said))
            )
        items = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    return {canonicalize_name(m["name"]): Package(m["name"], m["version"], m.get("requires_dist", [])) for m in items}


def package(name: str, found: dict[str, Package]) -> Package:
    """O pacote como o pip o resolveu ou, se não mudou, como está instalado."""
    if name in found:
        return found[name]
    try:
        here = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise MachineError(f"Falta o pacote {name}. Execute antes make instalar.") from None
    # A versão local (torch 2.13.0+cpu) é desta máquina; o arquivo guarda a pública.
    return Package(here.name, here.version.partition("+")[0], here.requires or [])


def needed(asked: list[str], bare: set[str], locked: set[str], found: dict[str, Package]) -> set[str]:
    """Nomes que os pedidos alcançam.

    Do torch e dos que se instalam com --no-deps só contam os que já estavam no conjunto: o resto é CUDA, ou não serve.
    """
    waiting = [*map(Requirement, asked), *map(Requirement, bare)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        wanted = [part for part in map(Requirement, package(name, found).requires) if _applies(part, extras)]
        loose = name in bare or name == HELD
        waiting += [part for part in wanted if not loose or canonicalize_name(part.name) in locked]
    return {name for name, _ in seen} - bare


def _applies(part: Requirement, extras: frozenset[str]) -> bool:
    return part.marker is None or any(part.marker.evaluate({"extra": extra}) for extra in extras | {""})


if __name__ == "__main__":
    sys.exit(main())
