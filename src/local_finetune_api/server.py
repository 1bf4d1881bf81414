"""O processo do servidor: uma pasta, uma porta, uma trava; e como um caderno o inicia e o encerra."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_helpers.errors import MachineError
from finetune_helpers.records import read_json, watch, write_json

if TYPE_CHECKING:
    from fastapi import FastAPI

ADDRESS_FILE = "servidor.json"
_FOLDERS = re.compile(r"(?<![\w/])(?:[A-Za-z]:)?[\\/](?:[^\s\\/\"':]+[\\/])+")
STORAGE_EXIT = 74  # código do treino que parou porque o disco encheu ou a pasta sumiu: ele continua quando ela voltar
LOCK_WAIT = 20.0  # segundos: o servidor anterior pode estar terminando


@dataclass(frozen=True)
class Settings:
    """Pasta do estado, chave, modelos base e limites: tamanhos em bytes, esperas em segundos, filas em pedidos."""

    folder: Path
    api_key: str = field(repr=False)
    models: tuple[str, ...] = ()  # cada um como em --model: uma pasta, um .gguf, um nome do Hub, ou NOME=ORIGEM
    max_upload: int = 512 * 1024 * 1024
    max_body: int = 4 * 1024 * 1024
    max_jobs_waiting: int = 16
    max_chats_waiting: int = 256
    chat_batch: int = 16
    chat_timeout: float = 1800.0  # a primeira resposta de um modelo do Hub espera o download dele
    worker_attempts: int = 3
    save_minutes: float = 0.0  # 0: os do perfil de treino da máquina
    storage_retry: float = 30.0


def environment() -> dict[str, str]:
    """Cópia do ambiente, sem a chave, para os processos que treinam e respondem.

    Dois processos torch em dois núcleos ficam dez vezes mais lentos se as linhas de execução esperarem em laço.
    """
    kept = {name: value for name, value in os.environ.items() if name != "LOCAL_API_KEY"}
    return kept | {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def without_paths(text: str) -> str:
    """A mensagem sem as pastas desta máquina: de cada caminho fica só o último nome."""
    return _FOLDERS.sub("…/", text)


def trace(error: BaseException) -> str:
    """Rastro de pilha para o registro, sem pastas e sem os valores das variáveis."""
    return without_paths("".join(traceback.format_exception(error)))


def serve(
    create_app: Callable[[Settings], "FastAPI"],
    settings: Settings,
    host: str,
    port: int,
    *,
    follow_parent: bool = False,
) -> int:
    """Serve até SIGTERM (ou, com ``follow_parent``, até a entrada padrão fechar); devolve o código de saída.

    MachineError se outro servidor usa a pasta ou se a porta está ocupada.
    """
    import uvicorn
    from filelock import FileLock, Timeout

    settings.folder.mkdir(parents=True, exist_ok=True)
    try:
        # Uma trava que o sistema solta sozinho quando o processo morre, mesmo com kill -9.
        lock = FileLock(settings.folder / "trava").acquire(timeout=LOCK_WAIT)
    except Timeout:
        raise MachineError("Outro servidor já usa esta pasta. Encerre-o ou escolha outra pasta.") from None
    with lock, _listening(host, port) as listening:
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
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"
        write_json(settings.folder / ADDRESS_FILE, {"base_url": address, "pid": os.getpid()})
        print(f"API local em {address}", flush=True)
        uvicorn.Server(config).run([listening])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError:
        raise MachineError(f"A porta {port} de {host} está ocupada. Use outra, ou --port 0.") from None


def _follow_parent() -> None:
    while os.read(0, 4096):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


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

    def __exit__(self, *exception: object) -> None:
        self.stop()


def running(
    folder: Path | str, *, models: Iterable[str] = (), save_minutes: float = 0.0, wait_seconds: float = 60.0
) -> Server:
    """Inicia a API local sobre ``folder``, numa porta livre desta máquina e com chave sorteada, e espera ficar pronta.

    ``models`` oferece outros modelos base, cada um pela pasta, pelo arquivo ``.gguf`` ou pelo nome no Hub; o mesmo
    texto serve de ``model`` nos pedidos. O servidor termina com quem o iniciou. MachineError se ele não subir.
    """
    folder, key = Path(folder).resolve(), secrets.token_urlsafe(24)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ADDRESS_FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "local_finetune_api", "--port", "0", "--dir", str(folder), "--follow-parent"]
    command += ["--save-minutes", str(save_minutes)]
    command += [part for model in models for part in ("--model", model)]
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
    while time.monotonic() < deadline and process.poll() is None:
        address = read_json(folder / ADDRESS_FILE) if (folder / ADDRESS_FILE).is_file() else {}
        if address.get("pid") == process.pid and _healthy(address["base_url"]):
            return address["base_url"]
        time.sleep(0.05)
    last = "\n".join((folder / "servidor.log").read_text(errors="replace").splitlines()[-5:])
    raise MachineError(f"A API local não subiu. Veja {folder / 'servidor.log'}\n{last}")


def _healthy(address: str) -> bool:
    try:
        # Um proxy do ambiente não pode ficar no caminho de um endereço desta máquina.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address.removesuffix("/v1") + "/healthz", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
