"""O que um treino deixou: curva de perda, validação, pontos de cada época e o conteúdo de ``treino.json``."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import prompts
from .failures import retrying
from .providers import Provider

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob


def training_report(
    client: "OpenAI",
    job: "FineTuningJob",
    *,
    provider: Provider,
    item_ids: Sequence[str] = (),
    evaluate_seconds: float = 0.0,
) -> dict:
    """Dicionário de ``treino.json`` de um treino terminado, com o que o provedor informa; o resto fica None.

    ``item_ids`` dá o id do item de cada linha do arquivo de validação. Só a API local mede cada linha antes e depois:
    nos outros provedores ``heldout`` fica vazio e ``notes`` diz isso.
    """
    contents = [_content(client, file_id) for file_id in job.result_files]
    tables = [rows for rows in map(_table, contents) if rows]
    local = next((report for report in map(_json, contents) if report), None)
    steps = next((rows for rows in tables if "step" in rows[0]), [])
    heldout = next((rows for rows in tables if "base_loss" in rows[0]), [])
    report = _hosted(job, provider, steps, _step_seconds(client, job)) if local is None else dict(local)
    report["seconds"]["evaluate"] = round(report["seconds"]["evaluate"] + evaluate_seconds, 2)
    report["heldout"] = [_heldout(row, item_ids) for row in heldout]
    report["billed_tokens"] = job.trained_tokens if provider.paid else None
    report["prompt_fingerprint"] = prompts.fingerprint()
    report["checkpoints"] = checkpoints(client, job)
    unmeasured = "" if heldout else "O provedor não mede a perda de cada item de validação antes e depois do treino."
    report["notes"] = [note for note in (unmeasured, provider.after) if note]
    return report


def checkpoints(client: "OpenAI", job: "FineTuningJob") -> list[dict]:
    """Pontos de cada época: modelo, passo e medidas; lista vazia se o provedor não os tem."""
    listed = retrying(lambda: list(client.fine_tuning.jobs.checkpoints.list(job.id)))
    return [
        {
            "model": row.fine_tuned_model_checkpoint,
            "step": row.step_number,
            "metrics": row.metrics.model_dump(exclude_none=True),
        }
        for row in listed
    ]


def metrics(text: str) -> list[dict]:
    """Linhas de um CSV de resultados por nome de coluna, com números onde há números; o que falta fica de fora."""
    rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    return [{key: _number(value) for key, value in row.items() if key and value not in ("", None)} for row in rows]


def _content(client, file_id: str) -> str:
    """Texto do arquivo; alguns serviços o devolvem em base64."""
    text = retrying(lambda: client.files.content(file_id)).content.decode("utf-8-sig")
    if "," in text.split("\n", 1)[0] or text.lstrip().startswith("{"):
        return text
    try:
        return base64.b64decode(text, validate=False).decode("utf-8-sig")
    except ValueError:  # não é base64, ou o que ele guarda não é texto
        return text


def _table(text: str) -> list[dict]:
    return [] if text.lstrip().startswith("{") else [row for row in metrics(text) if row]


def _json(text: str) -> dict | None:
    return json.loads(text) if text.lstrip().startswith("{") else None


def _number(value: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _heldout(row: dict, item_ids: Sequence[str]) -> dict:
    line = int(row["line"])
    name = item_ids[line - 1] if 0 < line <= len(item_ids) else str(line)
    return {"item_id": name, **{key: row[key] for key in ("tokens", "base_loss", "tuned_loss")}}


def _step_seconds(client, job) -> dict[int, float]:
    """Segundos desde a criação até o evento de medidas de cada passo."""
    events = retrying(lambda: list(client.fine_tuning.jobs.list_events(job.id, limit=100)))
    data = [(event.created_at, event.data) for event in events if isinstance(event.data, dict) and "step" in event.data]
    return {int(given["step"]): float(created - job.created_at) for created, given in data}


def _hosted(job, provider: Provider, steps: list[dict], seconds: dict[int, float]) -> dict:
    known = provider.tunable(job.model)
    took = float((job.finished_at or job.created_at) - job.created_at)
    batch = getattr(job.hyperparameters, "batch_size", None)
    last = max((row["step"] for row in steps), default=0)
    return {
        "engine": provider.name,
        "model": job.model,
        "device": f"serviço de {provider.name}",
        "seconds": {"load": 0.0, "train": took, "evaluate": 0.0},
        "peak_gpu_gb": None,
        "peak_rss_gb": None,
        "trainable_parameters": None,
        "steps": last,
        "examples_seen": last * batch if isinstance(batch, int) else None,
        "tokens_seen": job.trained_tokens,
        "tokens_per_second": round((job.trained_tokens or 0) / took, 1) if took else None,
        "loss_curve": _curve(steps, "train_loss", seconds),
        "heldout_curve": _curve(steps, "full_valid_loss", seconds) or _curve(steps, "valid_loss", seconds),
        "gpu_hours": None,
        "price_sku": known.price_sku if known else "",
        "profile": {"hyperparameters": job.hyperparameters.model_dump(), "seed": job.seed},
        "adapter_sha256": None,
    }


def _curve(steps: list[dict], column: str, seconds: dict[int, float]) -> list[dict]:
    return [
        {"step": row["step"], "seconds": seconds.get(int(row["step"])), "loss": row[column]}
        for row in steps
        if column in row
    ]
