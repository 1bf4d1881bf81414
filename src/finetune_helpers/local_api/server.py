"""O processo do servidor: uma pasta, uma porta, uma trava; SIGTERM termina limpo."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import MachineError
from ..records import write_json
from ..storage import watch
from .settings import Settings

ADDRESS_FILE = "servidor.json"
LOCK_WAIT = 20.0  # segundos: o servidor anterior pode estar terminando


def serve(settings: Settings, host: str, port: int, *, follow_parent: bool = False) -> int:
    """Serve até SIGTERM (ou, com ``follow_parent``, até a entrada padrão fechar); devolve o código de saída.

    MachineError se outro servidor usa a pasta ou se a porta está ocupada.
    """
    import uvicorn

    from .app import create_app

    settings.folder.mkdir(parents=True, exist_ok=True)
    with _locked(settings.folder), _listening(host, port) as listening:
        watch(settings.folder / "trava")
        config = uvicorn.Config(
            create_app(settings),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        if follow_parent:
            threading.Thread(target=_follow_parent, daemon=True).start()
        address = f"http://{host}:{listening.getsockname()[1]}/v1"
        write_json(settings.folder / ADDRESS_FILE, {"base_url": address, "pid": os.getpid()})
        print(f"API local em {address}", flush=True)
        uvicorn.Server(config).run([listening])
    return 0


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError:
            raise MachineError(f"A porta {port} de {host} está ocupada. Use outra, ou --port 0.") from None
        listening.listen(512)
        yield listening


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Uma trava que o sistema solta sozinho quando o processo morre, mesmo com kill -9."""
    import fcntl

    with open(folder / "trava", "w") as lock:
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MachineError("Outro servidor já usa esta pasta. Pare-o ou escolha outra pasta.") from None
                time.sleep(0.2)
        yield


def _follow_parent() -> None:
    while os.read(0, 4096):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
