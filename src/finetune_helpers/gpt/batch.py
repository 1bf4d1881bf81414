"""Respostas pela Batch API, pela metade do preço e em até 24 horas; retomáveis como o resto."""

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import progress
from ..answers import Answer
from ..errors import InputError
from ..prompts import Question
from ..records import read_json, write_json
from . import chat
from .failures import retrying

if TYPE_CHECKING:
    from openai import OpenAI

MARK = "impressao"
ENDED = ("completed", "failed", "expired", "cancelled")


def batch_answerer(
    client: "OpenAI",
    model: str,
    folder: Path | str,
    *,
    max_tokens: int = 256,
    poll_seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Callable[[list[Question]], list[Answer]]:
    """Função para ``answers.answer_all`` que envia o lote inteiro à Batch API e espera.

    Use-a com ``batch_size=len(itens)``. O lote em andamento fica anotado em ``folder`` e na conta: executar de novo o
    acha em vez de pagar outro. ``seconds`` é a duração do lote dividida pelas respostas. InputError se o lote falha.
    """

    def answer(questions: list[Question]) -> list[Answer]:
        lines = [_line(index, model, asked, max_tokens) for index, asked in enumerate(questions)]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        fingerprint = hashlib.sha256(content).hexdigest()[:16]
        batch = _find_or_create(client, Path(folder) / f"lote-{fingerprint}.json", fingerprint, content)
        return _answers(client, _wait(client, batch.id, poll_seconds, sleep), len(questions), model)

    return answer


def _line(index: int, model: str, asked: Question, max_tokens: int) -> dict:
    body = chat.body(model, asked, max_tokens)
    return {"custom_id": str(index), "method": "POST", "url": "/v1/chat/completions", "body": body}


def _find_or_create(client, note: Path, fingerprint: str, content: bytes):
    if note.is_file():
        batch = retrying(lambda: client.batches.retrieve(read_json(note)["batch_id"]))
    else:
        batch = _on_account(client, fingerprint) or _create(client, fingerprint, content)
        write_json(note, {"batch_id": batch.id, "fingerprint": fingerprint})
    return batch


def _on_account(client, fingerprint: str):
    listed = retrying(lambda: list(client.batches.list(limit=100)))
    mine = [batch for batch in listed if (batch.metadata or {}).get(MARK) == fingerprint]
    return next((batch for batch in mine if batch.status not in ("failed", "expired", "cancelled")), None)


def _create(client, fingerprint: str, content: bytes):
    name = f"lote-{fingerprint}.jsonl"
    once = client.with_options(max_retries=0)
    file = retrying(lambda: once.files.create(file=(name, io.BytesIO(content)), purpose="batch"))
    return retrying(
        lambda: once.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={MARK: fingerprint},
        ),
        recover=lambda: _on_account(client, fingerprint),
    )


def _wait(client, batch_id: str, poll_seconds: float, sleep):
    with progress.bar("esperando o lote", "respostas") as bar:
        while True:
            batch = retrying(lambda: client.batches.retrieve(batch_id), sleep=sleep)
            if batch.request_counts:
                bar.total = batch.request_counts.total
                bar.update(max(0, batch.request_counts.completed - bar.n))
            if batch.status in ENDED:
                return batch
            bar.refresh()
            sleep(poll_seconds)


def _answers(client, batch, expected: int, model: str) -> list[Answer]:
    if batch.status != "completed" or not batch.output_file_id:
        problems = "; ".join(error.message or "" for error in (batch.errors.data if batch.errors else None) or [])
        raise InputError(
            f"O lote {batch.id} terminou em {batch.status} ({problems or 'sem explicação'}). "
            "Apague o arquivo lote-*.json da rodada e execute de novo, ou responda sem lote."
        )
    text = retrying(lambda: client.files.content(batch.output_file_id)).content.decode()
    rows = {row["custom_id"]: row for row in map(json.loads, text.splitlines())}
    good = {
        key: row["response"]["body"]
        for key, row in rows.items()
        if (row.get("response") or {}).get("status_code") == 200
    }
    missing = [index for index in range(expected) if str(index) not in good]
    if missing:
        raise InputError(
            f"O lote {batch.id} não respondeu a {len(missing)} de {expected} perguntas (a primeira é a de índice "
            f"{missing[0]}). Apague o arquivo lote-*.json da rodada e execute de novo, ou responda sem lote."
        )
    seconds = ((batch.completed_at or batch.created_at) - batch.created_at) / expected
    return [chat.read(good[str(index)], seconds, model) for index in range(expected)]
