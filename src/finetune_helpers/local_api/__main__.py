"""``python -m finetune_helpers.local_api --host 127.0.0.1 --port 8000 --dir PASTA`` inicia o servidor sozinho."""

import argparse
import os
import sys
from pathlib import Path

from ..errors import FinetuneError
from .settings import Settings


def main() -> int:
    """Lê os argumentos, confere a chave e serve até receber SIGTERM."""
    given = _arguments()
    key = os.environ.get("LOCAL_API_KEY", "")
    if len(key) < 16 or not key.isascii() or not key.isprintable():
        print(
            "Defina LOCAL_API_KEY com uma chave de 16 caracteres ou mais (letras, números e sinais).", file=sys.stderr
        )
        return 2
    from . import server

    settings = Settings(given.dir.resolve(), key, tuple(given.model), given.max_upload_mb * 2**20)
    try:
        return server.serve(settings, given.host, given.port, follow_parent=given.follow_parent)
    except (FinetuneError, OSError) as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m finetune_helpers.local_api", description="API local de ajuste fino."
    )
    parser.add_argument("--host", default="127.0.0.1", help="endereço; só esta máquina, se não for dito outro")
    parser.add_argument("--port", type=int, default=8000, help="porta; 0 escolhe uma livre")
    parser.add_argument("--dir", type=Path, required=True, help="pasta do estado: arquivos, treinos e modelos")
    parser.add_argument("--model", action="append", default=[], type=_model, help="NOME=PASTA de um modelo local")
    parser.add_argument("--max-upload-mb", type=int, default=512, help="limite de um arquivo enviado, em MB")
    parser.add_argument("--follow-parent", action="store_true", help="termina quando a entrada padrão fecha")
    return parser.parse_args()


def _model(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not name or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: use NOME=PASTA, com a pasta de um modelo.")
    return name, str(Path(folder).resolve())


if __name__ == "__main__":
    sys.exit(main())
