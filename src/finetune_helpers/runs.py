"""A pasta de uma rodada: um caderno por vez, os parâmetros de cada passo e as versões."""

import atexit
import hashlib
import os
import platform
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, MachineError, RunBusyError, RunMismatchError
from .portuguese import number
from .records import read_json, unwatch, watch, write_json

if TYPE_CHECKING:
    from filelock import FileLock

PACKAGES = (
    "finetune-helpers", "torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth", "unsloth_zoo", "datasets",
    "accelerate", "openai", "openpyxl", "pandas", "numpy", "tiktoken", "duckdb",
)  # fmt: skip
OWNER = "em_uso.json"
DYING = 3.0  # segundos que um processo com muita memória pode levar para acabar depois de um kill -9
_held: "dict[Path, FileLock]" = {}


def cache_folder() -> Path:
    """Pasta de cache do projeto; a variável de ambiente FINETUNE_CACHE a muda de lugar."""
    folder = Path(os.environ.get("FINETUNE_CACHE") or Path.home() / ".cache" / "finetune_helpers")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def need_disk(folder: Path, gigabytes: float, purpose: str) -> None:
    """MachineError quando não há espaço livre em ``folder`` (GB) para ``purpose``."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise MachineError(
            f"Disco cheio: {purpose} precisa de {number(gigabytes, 1)} GB em {folder} e há {number(free, 1)} GB "
            "livres. Libere espaço ou, antes de executar, use outro disco: export FINETUNE_CACHE=/outro/disco (no "
            "Colab, numa célula: %env FINETUNE_CACHE=/content/cache)."
        )


def versions() -> dict[str, str]:
    """Versões do Python e dos pacotes instalados que influem no resultado."""
    packages = {name: installed_version(name) or "não instalado" for name in PACKAGES}
    return {"python": platform.python_version()} | packages


def installed_version(name: str) -> str:
    """A versão instalada de um pacote; vazia se ele não está instalado."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def open_run(folder: Path | str, step: str, parameters: dict, *, output: Path | None = None) -> Path:
    """Abre (ou retoma) o passo ``step`` da rodada em ``folder``, reserva a pasta para este caderno e a devolve.

    Os parâmetros ficam em ``rodada.json`` e podem mudar enquanto a pasta ``output`` está vazia; depois,
    RunMismatchError com as diferenças. InputError se o nome não serve para uma pasta ou um parâmetro é um endereço
    com senha; RunBusyError se outro caderno desta máquina usa a rodada.
    """
    for key, value in parameters.items():
        refuse_credentials(key, str(value))
    # De um caminho, só o nome: a pasta de uma pessoa não se publica, e o conteúdo é conferido por quem o lê.
    parameters = {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in parameters.items()
    }
    folder = Path(folder)
    # RODADA vazia deixa a própria pasta resultados/, e ".." sairia dela.
    name = "" if folder.name == "resultados" else folder.name
    if not name or name != name.strip() or name.startswith(".") or ".." in folder.parts:
        raise InputError(f'"{name}" não serve como nome de rodada. Use letras, números, "-" e "_".')
    folder.mkdir(parents=True, exist_ok=True)
    if _take(folder.resolve(), step):
        # O que um processo morto no meio de uma gravação deixou; com a trava, ninguém mais grava aqui.
        for path in [path for place in (folder, output) if place for path in place.rglob(".*.parcial")]:
            path.unlink(missing_ok=True)
    path = folder / "rodada.json"
    state = read_json(path) if path.exists() else {"passos": {}}
    known = state["passos"].get(step, {}).get("parametros")
    empty = output and not any(output.glob("*"))
    if known not in (None, parameters) and not empty:
        keys = [key for key in sorted(known.keys() | parameters.keys()) if known.get(key) != parameters.get(key)]
        listed = "; ".join(f"{key}: era {known.get(key)!r}, agora {parameters.get(key)!r}" for key in keys)
        back = "Volte aos de antes"
        if "PERFIL" in keys:
            # Quem volta a uma máquina sem a placa não mudou parâmetro nenhum.
            back = (
                "O perfil segue a placa da máquina: volte a uma como a de antes (no Colab, Ambiente de execução → "
                "Alterar o tipo de ambiente de execução)"
            )
        raise RunMismatchError(
            f"A rodada {name} já tem o passo {step} com outros parâmetros ({listed}). {back} ou dê outro nome à "
            "rodada (`run`)."
        )
    if known != parameters:
        state["passos"][step] = {"parametros": parameters, "versoes": versions()}
        write_json(path, state)
    return folder


def recorded(folder: Path, step: str) -> dict:
    """Os parâmetros que o passo ``step`` registrou na rodada; vazio se ele não passou por ela."""
    steps = read_json(folder / "rodada.json")["passos"] if (folder / "rodada.json").is_file() else {}
    return dict(steps.get(step, {}).get("parametros", {}))


def refuse_credentials(name: str, value: str) -> None:
    """InputError, que não repete ``value``, quando ele é um endereço com usuário e senha."""
    if re.match(r"\w+://[^/?#]*@", value):
        raise InputError(
            f"{name} traz um endereço com usuário e senha, que ficariam escritos na rodada. Use um endereço sem senha "
            "ou baixe o arquivo e informe o caminho dele."
        )


def close_run(folder: Path | str) -> None:
    """Fim do caderno: libera a rodada para o próximo, mesmo com este kernel aberto."""
    folder = Path(folder).resolve()
    if lock := _held.pop(folder, None):
        unwatch(folder / OWNER)
        if _owner(folder)["token"] == _token():
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _take(folder: Path, step: str) -> bool:
    # Falso se a rodada já era deste processo. Nesta máquina a trava é do sistema e some com ele, mesmo num kill -9;
    # entre máquinas, num Drive, vale em_uso.json: quem chega fica com a rodada (a máquina anterior do Colab em geral já
    # não existe), e o caderno anterior, se ainda vive, para na próxima leitura ou gravação (records.check_present).
    from filelock import FileLock, Timeout

    if taken := folder not in _held:
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        lock = FileLock(cache_folder() / f"rodada-{name}.trava", thread_local=False)
        try:
            lock.acquire(timeout=DYING)
        except Timeout:
            raise RunBusyError(
                f"{_in_use(folder)}. Espere-o terminar ou encerre o kernel dele (no Colab, Ambiente de execução "
                "→ Gerenciar sessões; no Jupyter, Kernel → Shut Down Kernel) e execute esta célula de novo."
            ) from None
        _held[folder] = lock
        atexit.register(close_run, folder)
        if _owner(folder)["machine"] not in ("?", socket.gethostname()):
            print(f"{_in_use(folder)}. A rodada passa para este: se aquele ainda executa, feche um dos dois.")
    since = datetime.now().strftime("%d/%m/%Y às %H:%M")
    owner = {"machine": socket.gethostname(), "process": os.getpid(), "since": since, "step": step, "token": _token()}
    write_json(folder / OWNER, owner)
    watch(folder / OWNER, _token())
    return taken


def _token() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _owner(folder: Path) -> dict:
    unknown = dict.fromkeys(("machine", "process", "since", "step", "token"), "?")
    return unknown | (read_json(folder / OWNER) if (folder / OWNER).is_file() else {})


def _in_use(folder: Path) -> str:
    who = "o passo {step}, na máquina {machine}, processo {process}, desde {since}".format(**_owner(folder))
    return f"Outro caderno usa esta rodada: {who}"


def when_input_closes(end: Callable[[], None]) -> None:
    """Chama ``end`` quando a entrada padrão fecha: quem iniciou este processo acabou."""

    def wait() -> None:
        # os.read, e não sys.stdin: a leitura com reserva prende uma trava que um processo filho herdaria presa.
        while os.read(0, 4096):
            continue
        end()

    threading.Thread(target=wait, daemon=True).start()


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
