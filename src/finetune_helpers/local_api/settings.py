"""Ajustes do servidor da API local, todos com um valor padrão seguro."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Pasta do estado, chave e limites: tamanhos em bytes, esperas em segundos, filas em pedidos."""

    folder: Path
    api_key: str = field(repr=False)
    models: tuple[tuple[str, str], ...] = ()  # nome na API e pasta do modelo
    max_upload: int = 512 * 1024 * 1024
    max_body: int = 4 * 1024 * 1024
    max_jobs_waiting: int = 16
    max_chats_waiting: int = 256
    chat_batch: int = 16
    chat_timeout: float = 600.0
    worker_attempts: int = 3
