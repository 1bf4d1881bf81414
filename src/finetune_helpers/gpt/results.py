"""O que um treino deixou: curvas de perda, perda por item e o conteúdo de ``treino.json``."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import prompts
from ..answers import Answer
from ..errors import RunMismatchError
from ..portuguese import duration, number
from ..records import read_json, write_json
from .chat import model_id
from .failures import retrying
from .providers import Provider

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob

LOSSES = ("base_loss", "tuned_loss", "base_other_loss", "tuned_other_loss")


def training_report(
    client: "OpenAI",
    job: "FineTuningJob",
    *,
    provider: Provider,
    item_ids: Sequence[str] = (),
) -> dict:
    """Dicionário de ``treino.json`` de um treino terminado, com o que o provedor informa; o resto fica None.

    ``item_ids`` dá o id do item de cada linha do arquivo de validação. Só a API local mede cada linha antes e depois:
    nos outros, ``heldout`` fica vazio e ``notes`` diz isso.
    """
    tables = [rows for rows in (_rows(_content(client, file_id)) for file_id in job.result_files) if rows]
    measured = next((rows[0] for rows in tables if "engine" in rows[0]), None)
    steps = next((rows for rows in tables if "step" in rows[0]), [])
    losses = next((rows for rows in tables if "base_loss" in rows[0]), [])
    report = measured or _hosted(job, provider, steps, _step_seconds(client, job))
    report["fine_tuned_model"] = job.fine_tuned_model
    report["job_seconds"] = _took(job)
    report["heldout"] = [_heldout(row, item_ids) for row in losses]
    report["billed_tokens"] = job.trained_tokens if provider.paid else None
    report["prompt_fingerprint"] = prompts.fingerprint()
    report["checkpoints"] = _checkpoints(client, job)
    unmeasured = "" if losses else "O provedor não mede a perda de cada item de validação antes e depois do treino."
    report["notes"] = [note for note in (unmeasured, provider.after) if note]
    return report


def finish(report: dict, answered: Sequence[Answer], path: Path) -> dict:
    """Grava ``treino.json`` em ``path``, uma só vez, com o tempo das respostas ``answered`` somado à avaliação.

    RunMismatchError se o relatório que já está lá é de outro modelo ajustado.
    """
    if path.exists():
        known = read_json(path)
        if known["model_id"] != report["model_id"]:
            raise RunMismatchError(
                f"{path} é do modelo {known['model_id']} e o treino desta rodada é {report['model_id']}. Apague o "
                "relatório para escrever outro, ou use outra rodada (`run`)."
            )
        return known
    evaluate = report["seconds"]["evaluate"] + sum(answer.seconds for answer in answered)
    done = report | {"seconds": report["seconds"] | {"evaluate": round(evaluate, 2)}}
    if done["gpu_hours"] is not None:
        done["gpu_hours"] = round(sum(done["seconds"].values()) / 3600, 5)
    write_json(path, done)
    return done


def learned(report: dict) -> str:
    """Como ler a perda desta rodada, em português: de quanto para quanto, em quantos itens e quanto é conteúdo."""
    rows = report["heldout"]
    if not rows:
        curve = report["heldout_curve"] or report["loss_curve"]
        ends = [number(curve[at]["loss"], 2) for at in (0, -1)] if curve else []
        shown = f" A curva que ele publica vai de {ends[0]} a {ends[1]}." if ends else ""
        return f"Este provedor não mede a perda de cada item de teste antes e depois.{shown}"
    before, after, other_before, other_after = (sum(row[key] for row in rows) / len(rows) for key in LOSSES)
    lower = sum(row["tuned_loss"] < row["base_loss"] for row in rows)
    style, whole = other_before - other_after, before - after
    moved, surprise = ("caiu", "menos") if whole > 0 else ("subiu", "mais")
    return (
        f"A perda {moved} de {number(before, 2)} para {number(after, 2)} nats por token, menor em {lower} de "
        f"{len(rows)} itens: o texto verdadeiro surpreende {surprise} o modelo.\n"
        f"Sob o título de outro item, foi de {number(other_before, 2)} para {number(other_after, 2)}: dos "
        f"{number(whole, 2)} de queda, {number(style, 2)} são estilo (valem para qualquer título) e "
        f"{number(whole - style, 2)} são conteúdo (o que o título certo explica)."
    )


def took(report: dict) -> str:
    """O tempo do treino e o do trabalho inteiro, cada um com o seu nome."""
    whole = duration(report["job_seconds"])
    if report["gpu_hours"] is None:
        return f"do pedido ao modelo pronto: {whole} (o serviço não separa a fila do treino)"
    return (
        f"passos do treino: {duration(report['seconds']['train'])} · do pedido ao modelo pronto, com fila, carga do "
        f"modelo e medida das perdas: {whole}"
    )


def _checkpoints(client, job) -> list[dict]:
    """Os checkpoints de cada época: modelo, passo e medidas; lista vazia se o provedor não os tem."""
    return [
        {
            "model": row.fine_tuned_model_checkpoint,
            "step": row.step_number,
            "metrics": row.metrics.model_dump(exclude_none=True),
        }
        for row in retrying(lambda: list(client.fine_tuning.jobs.checkpoints.list(job.id)))
    ]


def _content(client, file_id: str) -> str:
    """Texto do arquivo; alguns serviços o devolvem em base64."""
    text = retrying(lambda: client.files.content(file_id)).content.decode("utf-8-sig")
    if "," in text.split("\n", 1)[0] or text.lstrip().startswith("{"):
        return text
    try:
        return base64.b64decode(text, validate=False).decode("utf-8-sig")
    except ValueError:  # não é base64, ou o que ele guarda não é texto
        return text


def _rows(text: str) -> list[dict[str, Any]]:
    """As linhas de um arquivo de resultados: um JSON, um JSONL ou um CSV, este por nome de coluna.

    No CSV, o que está vazio fica de fora e o que parece número é um.
    """
    if text.lstrip().startswith("{"):
        try:
            return [json.loads(text)]
        except ValueError:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    table = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    rows = [{key: _number(value) for key, value in row.items() if key and value not in ("", None)} for row in table]
    return [row for row in rows if row]


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
    return {"item_id": name, **{key: row[key] for key in ("tokens", "characters", *LOSSES)}}


def _took(job) -> float:
    return float((job.finished_at or job.created_at) - job.created_at)


def _step_seconds(client, job) -> dict[int, float]:
    """Segundos desde a criação até o evento de medidas de cada passo."""
    events = retrying(lambda: list(client.fine_tuning.jobs.list_events(job.id, limit=100)))
    return {
        int(event.data["step"]): float(event.created_at - job.created_at)
        for event in events
        if isinstance(event.data, dict) and "step" in event.data
    }


def _hosted(job, provider: Provider, steps: list[dict], seconds: dict[int, float]) -> dict:
    known, whole = provider.tunable(job.model), _took(job)
    batch = getattr(job.hyperparameters, "batch_size", None)
    last = max((row["step"] for row in steps), default=0)
    return {
        "engine": provider.name,
        "model": job.model,
        "base_id": model_id(job.model),
        "model_id": model_id(job.fine_tuned_model or job.model, base=job.model),
        "device": f"serviço de {provider.name}",
        "seconds": {"load": 0.0, "train": whole, "evaluate": 0.0},
        "peak_gpu_gb": None,
        "peak_rss_gb": None,
        "trainable_parameters": None,
        "steps": last,
        "examples_seen": last * batch if isinstance(batch, int) else None,
        "tokens_seen": job.trained_tokens,
        "tokens_per_second": round((job.trained_tokens or 0) / whole, 1) if whole else None,
        "loss_curve": _curve(steps, "train_loss", seconds),
        "heldout_curve": _curve(steps, "full_valid_loss", seconds) or _curve(steps, "valid_loss", seconds),
        "gpu_hours": None,
        "price_sku": known.price_sku if known else "",
        "profile": {"hyperparameters": job.hyperparameters.model_dump(), "seed": job.seed},
    }


def _curve(steps: list[dict], column: str, seconds: dict[int, float]) -> list[dict]:
    return [
        {"step": row["step"], "seconds": seconds.get(int(row["step"])), "loss": row[column]}
        for row in steps
        if column in row
    ]
