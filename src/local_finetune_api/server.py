"""Como um caderno inicia e encerra o servidor; e o que os processos dele têm em comum: ajustes, ambiente e registro."""

import os
import re
import secrets
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from finetune_helpers.errors import MachineError
from finetune_helpers.records import read_json

ADDRESS_FILE = "servidor.json"
STORAGE_EXIT = 74  # código do treino que parou porque o disco encheu ou a pasta sumiu: ele continua quando ela voltar
_FOLDERS = re.compile(r"(?<![\w/])(?:[A-Za-z]:)?[\\/](?:[^\s\\/\"':]+[\\/])+")


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


@dataclass(frozen=True)
class Server:
    """Um servidor em execução: endereço para o ``base_url`` do cliente e a chave sorteada."""

    base_url: str
    api_key: str = field(repr=False)
    process: subprocess.Popen = field(repr=False)

    def stop(self) -> None:
        """Termina o servidor e espera; um treino em andamento continua na próxima vez que ele iniciar."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin:
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
    deadline = time.monotonic() + wait_seconds
    try:
        # Com o endereço escrito, a porta já escuta: um pedido espera nela até o aplicativo atender.
        while time.monotonic() < deadline and process.poll() is None:
            if (folder / ADDRESS_FILE).is_file():
                return Server(read_json(folder / ADDRESS_FILE)["base_url"], key, process)
            time.sleep(0.05)
        last = "\n".join((folder / "servidor.log").read_text(errors="replace").splitlines()[-5:])
        raise MachineError(f"A API local não subiu. Veja {folder / 'servidor.log'}\n{last}")
    except BaseException:
        process.kill()
        process.wait()
        raise
