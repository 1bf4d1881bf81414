"""A pasta de uma rodada: parâmetros de cada passo, versões e a marca que diz que o passo terminou."""

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from . import lock
from .errors import InputError, MachineError, RunMismatchError
from .portuguese import number
from .records import read_json, write_json

PACKAGES = [
    "finetune-helpers",
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "unsloth",
    "unsloth_zoo",
    "datasets",
    "accelerate",
    "openai",
    "openpyxl",
    "pandas",
    "numpy",
    "tiktoken",
    "duckdb",
]


def cache_folder() -> Path:
    """Pasta de cache do projeto; a variável de ambiente FINETUNE_CACHE a muda de lugar."""
    folder = Path(os.environ.get("FINETUNE_CACHE") or Path.home() / ".cache" / "finetune_helpers")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def need_disk(folder: Path, gigabytes: float, purpose: str) -> None:
    """MachineError quando não há espaço livre em ``folder`` (GB) para ``purpose``."""
    import shutil

    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise MachineError(
            f"Disco cheio: {purpose} precisa de {number(gigabytes, 1)} GB em {folder} e há {number(free, 1)} GB "
            "livres. Libere espaço ou aponte a variável FINETUNE_CACHE para outro disco."
        )


def versions() -> dict[str, str]:
    """Versões do Python e dos pacotes instalados que influem no resultado."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "não instalado"
    return found


def open_run(folder: Path | str, step: str, parameters: dict, *, output: Path | None = None) -> Path:
    """Abre (ou retoma) o passo ``step`` da rodada em ``folder``, reserva a pasta para este caderno e a devolve.

    Os parâmetros ficam em ``rodada.json``. Enquanto a pasta ``output`` do passo está vazia, eles podem mudar; depois,
    RunMismatchError com a lista das diferenças. InputError se o nome da rodada não serve para uma pasta ou se um
    parâmetro é um endereço com senha; RunBusyError se outro caderno a usa (veja ``lock.take``).
    """
    for key, value in parameters.items():
        refuse_credentials(key, str(value))
    folder = Path(folder)
    # RODADA vazia deixa a própria pasta resultados/, e ".." sairia dela.
    name = "" if folder.name == "resultados" else folder.name
    if not name or name != name.strip() or name.startswith(".") or ".." in folder.parts:
        raise InputError(f'"{name}" não serve como nome de rodada. Use letras, números, "-" e "_".')
    folder.mkdir(parents=True, exist_ok=True)
    if lock.take(folder, step):
        _sweep(folder, output)
    path = folder / "rodada.json"
    state = read_json(path) if path.exists() else {"passos": {}}
    known = state["passos"].get(step, {}).get("parametros")
    if known not in (None, parameters) and not (output and _is_empty(output)):
        raise RunMismatchError(_differences(folder, step, known, parameters))
    if known != parameters:
        state["passos"][step] = {"parametros": parameters, "versoes": versions()}
        write_json(path, state)
    return folder


def refuse_credentials(name: str, value: str) -> None:
    """InputError, que não repete ``value``, quando ele é um endereço com usuário e senha."""
    if re.match(r"\w+://[^/?#]*@", value):
        raise InputError(
            f"{name} traz um endereço com usuário e senha, que ficariam escritos na rodada. Use um endereço sem senha "
            "ou baixe o arquivo e passe o caminho dele."
        )


def _sweep(*folders: Path | None) -> None:
    """Apaga o que um processo morto no meio de uma gravação deixou; com a trava, ninguém mais grava aqui."""
    for folder in filter(None, folders):
        for path in folder.rglob(".*.parcial"):
            path.unlink(missing_ok=True)


def close_run(folder: Path | str) -> None:
    """Fim do caderno: a pasta da rodada fica livre para o próximo, mesmo com este núcleo aberto."""
    lock.leave(folder)


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(folder.iterdir())


def _differences(folder: Path, step: str, known: dict, asked: dict) -> str:
    keys = [key for key in sorted(known.keys() | asked.keys()) if known.get(key) != asked.get(key)]
    listed = "; ".join(f"{key}: era {known.get(key)!r}, agora {asked.get(key)!r}" for key in keys)
    return (
        f"A rodada {folder.name} já tem o passo {step} com outros parâmetros ({listed}). "
        "Volte aos de antes ou dê outro nome à rodada (RODADA)."
    )


@dataclass
class Stopwatch:
    """Segundos de cada fase de um passo (``load``, ``train``, ``evaluate``)."""

    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "train": 0.0, "evaluate": 0.0})

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Soma à fase ``name`` o tempo do bloco."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
