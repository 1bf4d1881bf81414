"""O estado da API local em disco: arquivos enviados, treinos e eventos; sobrevive a qualquer interrupção.

Nenhum nome vindo de fora vira caminho: pastas e arquivos têm só identificadores sorteados aqui.
"""

import json
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import IO

from finetune_helpers.errors import InputError
from finetune_helpers.records import append_jsonl, atomic_write, drop_truncated_tail, read_json, write_json

_ID = re.compile(r"(file|ftjob)-[0-9a-f]{24}", re.ASCII)

WAITING = ("validating_files", "queued")
LIVE = (*WAITING, "running", "paused")


def new_id(prefix: str) -> str:
    """Identificador novo, como ``file-3f…``, com 24 dígitos sorteados."""
    return f"{prefix}-{secrets.token_hex(12)}"


def add_file(root: Path, source: IO[bytes], filename: str, purpose: str) -> dict:
    """Salva um arquivo e devolve os seus dados; ele só existe depois de inteiro no disco."""
    identifier = new_id("file")
    folder = root / "files" / identifier
    with atomic_write(folder / "content.jsonl", "wb") as target:
        shutil.copyfileobj(source, target)
    meta = {
        "id": identifier,
        "object": "file",
        "bytes": (folder / "content.jsonl").stat().st_size,
        "created_at": int(time.time()),
        "order": time.time_ns(),
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
    }
    write_json(folder / "meta.json", meta)  # a marca: sem ela o arquivo não existe
    return meta


def files(root: Path) -> list[dict]:
    """Todos os arquivos, do mais novo para o mais antigo."""
    return _newest_first(root / "files", "meta.json")


def file(root: Path, identifier: str) -> dict | None:
    """Dados de um arquivo, ou None."""
    return _read(root / "files", identifier, "meta.json")


def content_path(root: Path, identifier: str) -> Path:
    """Onde está o conteúdo de um arquivo que existe."""
    return root / "files" / identifier / "content.jsonl"


def delete_file(root: Path, identifier: str) -> None:
    """Apaga um arquivo; a marca sai primeiro."""
    (root / "files" / identifier / "meta.json").unlink(missing_ok=True)
    shutil.rmtree(root / "files" / identifier, ignore_errors=True)


def job_folder(root: Path, identifier: str) -> Path:
    """Pasta de um treino."""
    return root / "jobs" / identifier


def jobs(root: Path) -> list[dict]:
    """Todos os treinos, do mais novo para o mais antigo."""
    return [_with_progress(root, job) for job in _newest_first(root / "jobs", "job.json")]


def job(root: Path, identifier: str) -> dict | None:
    """Um treino com o progresso que o trabalhador anotou, ou None."""
    row = _read(root / "jobs", identifier, "job.json")
    return _with_progress(root, row) if row else None


def known_job(root: Path, identifier: str) -> dict:
    """Um treino que tem de existir; InputError se não existe."""
    row = job(root, identifier)
    if row is None:
        raise InputError(f"Não há o treino {identifier} em {root}. Confira a pasta e o id.")
    return row


def save_job(root: Path, row: dict) -> dict:
    """Grava um treino; só o servidor o faz."""
    write_json(job_folder(root, row["id"]) / "job.json", row)
    return row


def event(root: Path, identifier: str, message: str, *, level: str = "info", data: dict | None = None) -> None:
    """Acrescenta um evento ao treino; com ``data``, é um evento de medidas."""
    row = {
        "id": new_id("ftevent"),
        "object": "fine_tuning.job.event",
        "created_at": int(time.time()),
        "level": level,
        "message": message,
        "type": "metrics" if data else "message",
        "data": data or {},
    }
    append_jsonl(job_folder(root, identifier) / "events.jsonl", [row])


def events(root: Path, identifier: str) -> list[dict]:
    """Eventos de um treino, do mais novo para o mais antigo; uma última linha pela metade fica de fora."""
    path = job_folder(root, identifier) / "events.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return [json.loads(line) for line in reversed(lines) if line]


def last_line(root: Path, identifier: str) -> str:
    """O que o trabalhador disse por último no registro dele."""
    lines = (job_folder(root, identifier) / "worker.log").read_text(errors="replace").splitlines()
    return lines[-1].removeprefix("Erro: ") if lines else "O treino parou: o disco não aceitou a gravação."


def repair_events(root: Path, identifier: str) -> None:
    """Retira uma última linha pela metade; só quando nenhum trabalhador escreve."""
    drop_truncated_tail(job_folder(root, identifier) / "events.jsonl")


def checkpoints(root: Path, identifier: str) -> list[dict]:
    """Checkpoints de um treino (um por época), do mais novo para o mais antigo."""
    return sorted(
        (read_json(path) for path in job_folder(root, identifier).glob("models/*/checkpoint.json")),
        key=lambda row: -row["step_number"],
    )


def _with_progress(root: Path, job: dict) -> dict:
    path = job_folder(root, job["id"]) / "progress.json"
    if job["status"] != "running" or not path.is_file():
        return job
    progress = read_json(path)
    return job | {key: progress[key] for key in ("estimated_finish", "hyperparameters") if key in progress}


def _read(folder: Path, identifier: str, name: str) -> dict | None:
    path = folder / identifier / name
    return read_json(path) if _ID.fullmatch(identifier) and path.is_file() else None


def _newest_first(folder: Path, name: str) -> list[dict]:
    rows = [read_json(path) for path in folder.glob(f"*/{name}")]
    return sorted(rows, key=lambda row: (row.get("order", row["created_at"]), row["id"]), reverse=True)
