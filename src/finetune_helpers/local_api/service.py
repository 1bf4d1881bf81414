"""Inicia a API local como processo, para um caderno ou um teste, e a encerra no fim."""

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MachineError
from ..records import read_json
from .process_environment import environment
from .server import ADDRESS_FILE


@dataclass(frozen=True)
class Server:
    """Um servidor em execução: endereço para o ``base_url`` do cliente e a chave sorteada."""

    base_url: str
    api_key: str = field(repr=False)
    process: subprocess.Popen = field(repr=False)

    def stop(self) -> None:
        """Termina o servidor e espera; um treino em andamento continua na próxima vez que ele iniciar."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin  # criado com ela
        self.process.stdin.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception) -> None:
        self.stop()


def running(folder: Path | str, *, models: dict[str, str] | None = None, wait_seconds: float = 60.0) -> Server:
    """Inicia a API local sobre ``folder``, numa porta livre desta máquina e com chave sorteada, e espera ficar pronta.

    ``models`` oferece pastas locais como modelos base. O servidor termina com quem o iniciou.
    MachineError se ele não subir.
    """
    folder, key = Path(folder).resolve(), secrets.token_urlsafe(24)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ADDRESS_FILE).unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "finetune_helpers.local_api",
        "--port",
        "0",
        "--dir",
        str(folder),
        "--follow-parent",
    ]
    command += [part for name, path in (models or {}).items() for part in ("--model", f"{name}={path}")]
    with open(folder / "servidor.log", "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment() | {"LOCAL_API_KEY": key}
        )
    try:
        address = _ready(folder, process, time.monotonic() + wait_seconds)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Server(address, key, process)


def _ready(folder: Path, process: subprocess.Popen, deadline: float) -> str:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        found = read_json(folder / ADDRESS_FILE) if (folder / ADDRESS_FILE).is_file() else {}
        if found.get("pid") == process.pid and _healthy(found["base_url"]):
            return found["base_url"]
        time.sleep(0.05)
    raise MachineError(f"A API local não subiu. Veja {folder / 'servidor.log'}{os.linesep}{_tail(folder)}")


def _healthy(address: str) -> bool:
    try:
        # Um proxy do ambiente não pode ficar no caminho de um endereço desta máquina.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address.removesuffix("/v1") + "/healthz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _tail(folder: Path) -> str:
    return "\n".join((folder / "servidor.log").read_text(errors="replace").splitlines()[-5:])
