"""``python -m local_finetune_api --dir PASTA --port 8000`` inicia o servidor sozinho."""

import argparse
import os
import sys
from pathlib import Path

from finetune_helpers.errors import FinetuneError

from . import base_models, server


def main() -> int:
    """Lê os argumentos, confere a chave e serve até receber SIGTERM; devolve o código de saída."""
    options = _arguments()
    key = os.environ.get("LOCAL_API_KEY", "")
    if len(key) < 16 or not key.isascii() or not key.isprintable():
        print(
            "Defina LOCAL_API_KEY com uma chave de 16 caracteres ou mais (letras, números e sinais).", file=sys.stderr
        )
        return 2
    settings = server.Settings(
        options.dir.resolve(),
        key,
        tuple(options.model),
        max_upload=options.max_upload_mb * 2**20,
        save_minutes=options.save_minutes,
    )
    from .app import create_app

    try:
        return server.serve(create_app, settings, options.host, options.port, follow_parent=options.follow_parent)
    except (FinetuneError, OSError) as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_finetune_api", description="API local de ajuste fino.")
    parser.add_argument("--host", default="127.0.0.1", help="endereço; se não for dito outro, só esta máquina")
    parser.add_argument("--port", type=int, default=8000, help="porta; 0 escolhe uma livre")
    parser.add_argument("--dir", type=Path, required=True, help="pasta do estado: arquivos, treinos e modelos")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        type=_model,
        metavar="[NOME=]ORIGEM",
        help="modelo base: uma pasta, um arquivo .gguf ou um nome do Hub; pode ser repetido",
    )
    parser.add_argument("--max-upload-mb", type=int, default=512, help="limite de um arquivo enviado, em MB")
    parser.add_argument(
        "--save-minutes", type=float, default=0.0, help="minutos entre checkpoints; 0 usa os do perfil da máquina"
    )
    parser.add_argument("--follow-parent", action="store_true", help="termina quando a entrada padrão fecha")
    return parser.parse_args()


def _model(text: str) -> str:
    try:
        base_models.read(text)
    except FinetuneError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


if __name__ == "__main__":
    sys.exit(main())
