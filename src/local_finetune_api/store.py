"""O estado da API local em disco: arquivos enviados, treinos e eventos; sobrevive a qualquer interrupção.

Nenhum nome vindo de fora vira caminho: pastas e arquivos têm só identificadores sorteados aqui.
"""

import re
import secrets
import shutil
import time
from pathlib import Path
from typing import IO

from finetune_helpers.errors import InputError
from finetune_helpers.records import append_jsonl, atomic_write, read_json, read_jsonl, write_json

WAITING = ("validating_files", "queued")
LIVE = (*WAITING, "running", "paused")
_ID = re.compile(r"(file|ftjob)-[0-9a-f]{24}", re.ASCII)


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


def delete(folder: Path, mark: str) -> None:
    """Apaga a pasta de um arquivo ou de um checkpoint; a marca, sem a qual ele não existe, sai primeiro."""
    (folder / mark).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def new_job(model: str, source: str, suffix: str, wanted: dict) -> dict:
    """Um treino novo do modelo base ``model``, ainda não salvo; ``wanted`` é o que o pedido disse, campo por campo."""
    identifier = new_id("ftjob")
    readable = re.sub(r"[^a-z0-9_-]+", "-", suffix.lower()).strip("-")
    return wanted | {
        "id": identifier,
        "object": "fine_tuning.job",
        "created_at": int(time.time()),
        "finished_at": None,
        "model": model,
        "fine_tuned_model": None,
        "organization_id": "org-local",
        "status": "validating_files",
        "result_files": [],
        "trained_tokens": None,
        "error": None,
        "seed": secrets.randbelow(2**31) if wanted["seed"] is None else wanted["seed"],
        "integrations": [],
        "estimated_finish": None,
        # O que segue é só do servidor.
        "order": time.time_ns(),
        "source": source,
        "tuned_name": f"ft:{model}:local:{readable}:{identifier[-8:]}",
        "attempts": 0,
    }


def job_folder(root: Path, identifier: str) -> Path:
    """Pasta de um treino."""
    return root / "jobs" / identifier


def jobs(root: Path) -> list[dict]:
    """Todos os treinos, do mais novo para o mais antigo."""
    return [_with_progress(root, job) for job in _newest_first(root / "jobs", "job.json")]


def job(root: Path, identifier: str) -> dict | None:
    """Um treino com o fim previsto que o processo dele anotou, ou None."""
    row = _read(root / "jobs", identifier, "job.json")
    return _with_progress(root, row) if row else None


def known_job(root: Path, identifier: str) -> dict:
    """Um treino que tem de existir; InputError se não existe."""
    row = job(root, identifier)
    if row is None:
        raise InputError(f"Não há o treino {identifier} em {root}. Confira a pasta e o id.")
    return row


def save_job(root: Path, row: dict) -> None:
    """Grava um treino; só o servidor o faz."""
    write_json(job_folder(root, row["id"]) / "job.json", row)


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
    return read_jsonl(job_folder(root, identifier) / "events.jsonl", growing=True)[::-1]


def checkpoints(root: Path, identifier: str) -> list[dict]:
    """Checkpoints de um treino (um por época), do mais novo para o mais antigo."""
    marks = job_folder(root, identifier).glob("models/*/checkpoint.json")
    return sorted(map(read_json, marks), key=lambda row: -row["step_number"])


def _with_progress(root: Path, job: dict) -> dict:
    path = job_folder(root, job["id"]) / "progress.json"
    return job | read_json(path) if job["status"] == "running" and path.is_file() else job


def _read(folder: Path, identifier: str, name: str) -> dict | None:
    path = folder / identifier / name
    return read_json(path) if _ID.fullmatch(identifier) and path.is_file() else None


def _newest_first(folder: Path, name: str) -> list[dict]:
    rows = [read_json(path) for path in folder.glob(f"*/{name}")]
    return sorted(rows, key=lambda row: (row["order"], row["id"]), reverse=True)
