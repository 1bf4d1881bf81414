"""A trava da pasta de uma rodada: um caderno por vez, e quem chega depois fica sabendo quem a usa."""

import _thread
import atexit
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RunBusyError
from .portuguese import duration
from .records import read_json, write_json
from .storage import unwatch, watch

if TYPE_CHECKING:
    from filelock import LeaseCompromise, SoftFileLease

MARKER, OWNER = "em_uso.trava", "em_uso.json"
LEASE = 90.0  # segundos sem sinal até que a trava deixada por outra máquina deixe de valer
POLL = 0.5
DYING = 3.0  # segundos que um processo com muita memória pode levar para acabar depois de um kill -9
_held: "dict[Path, SoftFileLease]" = {}


def take(folder: Path, step: str) -> bool:
    """Reserva a pasta para este processo, até ``leave`` ou até ele acabar; falso se ele já a tinha (troca o passo).

    A trava é o arquivo ``em_uso.trava``, porque ``flock`` não vale num Drive montado; ao lado, ``em_uso.json`` diz de
    quem ela é. Um dono morto nesta máquina (kill -9, queda) a perde na hora. O de outra máquina dá sinal a cada 30 s:
    aqui se espera um sinal por até 90 s e, sem nenhum, a trava passa para cá. RunBusyError se o dono vive; a saída de
    emergência é apagar ``em_uso.trava``. Quem perde a trava enquanto trabalha é interrompido.
    """
    from filelock import SoftFileLease

    folder = folder.resolve()
    lease = _held.get(folder)
    mine = lease is not None and not lease.compromise and lease.is_lock_held_by_us
    if not mine:
        lease = SoftFileLease(folder / MARKER, lease_duration=LEASE, on_compromise=_lost, thread_local=False)
        _wait(lease, folder)
        _held[folder] = lease
        watch(folder / MARKER)
    since = datetime.now().strftime("%d/%m/%Y às %H:%M")
    write_json(folder / OWNER, {"machine": socket.gethostname(), "process": os.getpid(), "since": since, "step": step})
    return not mine


def leave(folder: Path | str) -> None:
    """Devolve a pasta, se ela é deste processo; no fim do processo isso acontece sozinho."""
    unwatch(Path(folder).resolve() / MARKER)
    lease = _held.pop(Path(folder).resolve(), None)
    if lease and lease.is_lock_held_by_us:
        (Path(folder) / OWNER).unlink(missing_ok=True)
        lease.release()


@atexit.register
def _leave_all() -> None:
    for folder in list(_held):
        leave(folder)


def _wait(lease: "SoftFileLease", folder: Path) -> None:
    """Volta com a trava, ou RunBusyError se o dono vive nesta máquina ou dá sinal de outra."""
    first, started = _signal(folder), time.monotonic()
    while not _acquired(lease):
        owner = _owner(lease, folder)
        waited, here = time.monotonic() - started, owner["machine"] == socket.gethostname()
        if here and _is_zombie(owner["process"]):
            (folder / MARKER).unlink(missing_ok=True)
        elif (waited > DYING if here else _signal(folder) not in (first, None)) or waited > LEASE + 5:
            raise RunBusyError(_refusal(folder, owner))
        elif not here and waited < POLL:
            print(f"{_named(owner)}. Espero até {duration(LEASE)} por um sinal dele.", flush=True)
        time.sleep(POLL)


def _acquired(lease: "SoftFileLease") -> bool:
    from filelock import Timeout

    try:
        lease.acquire(timeout=0.2)
    except Timeout:
        return False
    return True


def _is_zombie(process: int) -> bool:
    """Já morreu, mas quem o começou ainda não soube."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _signal(folder: Path) -> int | None:
    try:
        return (folder / MARKER).stat().st_mtime_ns
    except OSError:
        return None


def _owner(lease: "SoftFileLease", folder: Path) -> dict:
    found = dict.fromkeys(("machine", "process", "since", "step"), "?")
    if (folder / OWNER).is_file():
        found |= read_json(folder / OWNER)
    marked = lease.owner
    return found | {"machine": marked.hostname, "process": marked.pid} if marked else found


def _named(owner: dict) -> str:
    return (
        f"Outro caderno usa esta rodada: o passo {owner['step']}, na máquina {owner['machine']}, processo "
        f"{owner['process']}, desde {owner['since']}"
    )


def _refusal(folder: Path, owner: dict) -> str:
    return (
        f"{_named(owner)}. Espere-o terminar ou encerre o núcleo dele e execute esta célula de novo. "
        f"Se ele já não existe, apague {folder / MARKER}."
    )


def _lost(compromise: "LeaseCompromise") -> None:
    """Outra máquina ficou com a pasta (esta esteve parada): continuar misturaria duas execuções."""
    if compromise.reason == "owner-changed":
        print("Outro caderno ficou com esta rodada enquanto este esteve parado. Feche um dos dois.", flush=True)
        _thread.interrupt_main()
