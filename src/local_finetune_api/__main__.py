"""``python -m local_finetune_api --dir PASTA --port 8000`` inicia o servidor: uma pasta, uma porta, uma trava."""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from finetune_helpers.errors import FinetuneError, MachineError
from finetune_helpers.records import watch, write_json
from finetune_helpers.runs import when_input_closes

from . import base_models
from .server import ADDRESS_FILE, Settings

LOCK_WAIT = 20.0  # segundos: o servidor anterior pode estar terminando


def main() -> int:
    """Lê os argumentos, confere a chave e serve até receber SIGTERM; devolve o código de saída."""
    parser = argparse.ArgumentParser(prog="python -m local_finetune_api", description="API local de ajuste fino.")
    parser.add_argument("--host", default="127.0.0.1", help="endereço; se não for dito outro, só esta máquina")
    parser.add_argument("--port", type=int, default=8000, help="porta; 0 escolhe uma livre")
    parser.add_argument("--dir", type=Path, required=True, help="pasta do estado: arquivos, treinos e modelos")
    told = "modelo base: uma pasta, um arquivo .gguf ou um nome do Hub; pode ser repetido"
    parser.add_argument("--model", action="append", default=[], metavar="[NOME=]ORIGEM", help=told)
    parser.add_argument("--max-upload-mb", type=int, default=512, help="limite de um arquivo enviado, em MB")
    told = "minutos entre checkpoints; 0 usa os do perfil da máquina"
    parser.add_argument("--save-minutes", type=float, default=0.0, help=told)
    parser.add_argument("--follow-parent", action="store_true", help="termina quando a entrada padrão fecha")
    options = parser.parse_args()
    key = os.environ.get("LOCAL_API_KEY", "")
    try:
        if len(key) < 16 or not key.isascii() or not key.isprintable():
            raise MachineError("Defina LOCAL_API_KEY com 16 caracteres ou mais (letras, números e sinais).")
        base_models.catalogue(options.model)
        settings = Settings(
            options.dir.resolve(),
            key,
            tuple(options.model),
            max_upload=options.max_upload_mb * 2**20,
            save_minutes=options.save_minutes,
        )
        serve(settings, options.host, options.port, follow_parent=options.follow_parent)
    except (FinetuneError, OSError) as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 2
    return 0


def serve(settings: Settings, host: str, port: int, *, follow_parent: bool = False) -> None:
    """Serve até SIGTERM (ou, com ``follow_parent``, até a entrada padrão fechar).

    MachineError se outro servidor usa a pasta ou se a porta está ocupada.
    """
    import uvicorn
    from filelock import FileLock, Timeout

    from .app import create_app

    settings.folder.mkdir(parents=True, exist_ok=True)
    mark = settings.folder / "trava"
    try:
        # Uma trava que o sistema solta sozinho quando o processo morre, mesmo com kill -9.
        lock = FileLock(mark).acquire(timeout=LOCK_WAIT)
    except Timeout:
        raise MachineError("Outro servidor já usa esta pasta. Encerre-o ou escolha outra pasta.") from None
    with lock, _listening(host, port) as listening:
        watch(mark)
        config = uvicorn.Config(
            create_app(settings),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        if follow_parent:
            when_input_closes(lambda: os.kill(os.getpid(), signal.SIGTERM))
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"
        write_json(settings.folder / ADDRESS_FILE, {"base_url": address, "pid": os.getpid()})
        print(f"API local em {address}", flush=True)
        uvicorn.Server(config).run([listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError:
        raise MachineError(f"A porta {port} de {host} está ocupada. Use outra, ou --port 0.") from None


if __name__ == "__main__":
    sys.exit(main())
