"""Envio de arquivos de treino: uma vez só, esperando o serviço os ler, e apagados se o treino é recusado."""

import io
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from . import data
from .failures import retrying
from .providers import Provider

if TYPE_CHECKING:
    from openai import OpenAI


def uploaded(client: "OpenAI", provider: Provider, path: Path, name: str) -> str:
    """Id do arquivo na conta; só envia se ele ainda não está lá com este nome."""

    def present():
        return next((file for file in client.files.list(purpose="fine-tune") if file.filename == name), None)

    def send():
        payload = (data.BOM if provider.bom else b"") + path.read_bytes().removeprefix(data.BOM)
        return client.with_options(max_retries=0).files.create(file=(name, io.BytesIO(payload)), purpose="fine-tune")

    return _processed(client, retrying(present) or retrying(send, recover=present)).id


def _processed(client, file):
    """Espera até dois minutos que o serviço leia o arquivo: o Azure recusa treinar com um ainda pendente."""
    for _ in range(60):
        if file.status not in ("pending", "running", "notRunning"):
            break
        time.sleep(2)
        file = retrying(partial(client.files.retrieve, file.id))
    return file


def discard_files(client: "OpenAI", file_ids: Iterable[str | None]) -> None:
    """Apaga arquivos enviados por um treino recusado; um que já não existe não é erro."""
    for file_id in filter(None, file_ids):
        try:
            retrying(partial(client.files.delete, file_id))
        except InputError:
            continue
