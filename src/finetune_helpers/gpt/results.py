"""O que um treino deixou: curvas de perda, perda por item e o conteúdo de ``treino.json``."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import portuguese, prompts
from ..answers import Answer
from ..errors import RunMismatchError
from ..portuguese import duration, number
from ..records import read_json, write_json
from .chat import model_id, retrying
from .providers import Provider

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob


def training_report(
    client: "OpenAI", job: "FineTuningJob", *, provider: Provider, item_ids: Sequence[str] = ()
) -> dict[str, Any]:
    """Dicionário de ``treino.json`` de um treino terminado, com o que o provedor informa; o resto fica None.

    ``item_ids`` dá o id do item de cada linha do arquivo de validação. Só a API local mede cada linha antes e depois:
    nos outros, ``heldout`` fica vazio e ``notes`` diz isso.
    """
    tables = [rows for rows in (_rows(_content(client, file_id)) for file_id in job.result_files) if rows]
    measured = next((rows[0] for rows in tables if "engine" in rows[0]), None)
    steps = next((rows for rows in tables if "step" in rows[0]), [])
    losses = next((rows for rows in tables if "base_loss" in rows[0]), [])
    ids = dict(enumerate(item_ids, start=1))
    points = retrying(lambda: list(client.fine_tuning.jobs.checkpoints.list(job.id)))
    unmeasured = "" if losses else "O provedor não mede a perda de cada item de validação antes e depois do treino."
    return (measured or _hosted(client, job, provider, steps)) | {
        "fine_tuned_model": job.fine_tuned_model,
        "job_seconds": _seconds(job),
        "heldout": [
            {"item_id": ids.get(row["line"], str(row["line"]))}
            | {key: value for key, value in row.items() if key != "line"}
            for row in losses
        ],
        "billed_tokens": job.trained_tokens if provider.paid else None,
        "prompt_fingerprint": prompts.fingerprint(),
        "checkpoints": [
            {
                "model": point.fine_tuned_model_checkpoint,
                "step": point.step_number,
                "metrics": point.metrics.model_dump(exclude_none=True),
            }
            for point in points
        ],
        "notes": [note for note in (unmeasured, provider.after) if note],
    }


def _content(client: "OpenAI", file_id: str) -> str:
    """Texto do arquivo; alguns serviços o devolvem em base64."""
    text = retrying(lambda: client.files.content(file_id)).content.decode("utf-8-sig")
    if "," in text.split("\n", 1)[0] or text.lstrip().startswith("{"):
        return text
    try:
        return base64.b64decode(text).decode("utf-8-sig")
    except ValueError:  # não é base64, ou o que ele guarda não é texto
        return text


def _rows(text: str) -> list[dict[str, Any]]:
    """As linhas de um arquivo de resultados: um JSON, um JSONL ou um CSV, este por nome de coluna."""
    if not text.lstrip().startswith("{"):
        return list(csv.DictReader(io.StringIO(text)))
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _seconds(job: "FineTuningJob") -> float:
    return float((job.finished_at or job.created_at) - job.created_at)


def _hosted(client: "OpenAI", job: "FineTuningJob", provider: Provider, steps: list[dict]) -> dict[str, Any]:
    """O relatório de um serviço que só publica as medidas de cada passo, em eventos e numa tabela."""
    events = retrying(lambda: list(client.fine_tuning.jobs.list_events(job.id, limit=100)))
    elapsed = {
        int(event.data["step"]): float(event.created_at - job.created_at)
        for event in events
        if isinstance(event.data, dict) and "step" in event.data
    }

    def curve(column: str) -> list[dict]:
        points = [(int(row["step"]), float(row[column])) for row in steps if row.get(column)]
        return [{"step": step, "seconds": elapsed.get(step), "loss": loss} for step, loss in points]

    known, whole = provider.tunable(job.model), _seconds(job)
    batch = getattr(job.hyperparameters, "batch_size", None)
    last = max((int(row["step"]) for row in steps), default=0)
    return {
        "engine": provider.name,
        "model": job.model,
        "base_id": model_id(job.model),
        "model_id": model_id(job.fine_tuned_model or job.model, base=job.model),
        "device": f"serviço de {provider.name}",
        "seconds": {"load": 0.0, "train": whole, "evaluate": 0.0},
        **dict.fromkeys(("peak_gpu_gb", "peak_rss_gb", "trainable_parameters", "gpu_hours")),
        "steps": last,
        "examples_seen": last * batch if isinstance(batch, int) else None,
        "tokens_seen": job.trained_tokens,
        "tokens_per_second": round((job.trained_tokens or 0) / whole, 1) if whole else None,
        "loss_curve": curve("train_loss"),
        "heldout_curve": curve("full_valid_loss") or curve("valid_loss"),
        "price_sku": known.price_sku if known else "",
        "profile": {"hyperparameters": job.hyperparameters.model_dump(), "seed": job.seed},
    }


def finish(report: dict, answered: Sequence[Answer], path: Path) -> dict[str, Any]:
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
    """Como ler a perda desta rodada: a de cada item ou, se o provedor não os mede, a curva; e o que falta fazer."""
    if report["heldout"]:
        return portuguese.learnt(report["heldout"])
    curve = report["heldout_curve"] or report["loss_curve"]
    ends = [number(curve[at]["loss"], 2) for at in (0, -1)] if curve else []
    shown = f" A curva que ele publica vai de {ends[0]} a {ends[1]}." if ends else ""
    said = f"Este provedor não mede a perda de cada item de teste antes e depois.{shown}"
    return "\n".join([said, *report["notes"][1:]])  # a primeira nota diz o mesmo; as outras, o que falta fazer


def took(report: dict) -> str:
    """O tempo do treino e o do trabalho inteiro, cada um com o seu nome."""
    whole = duration(report["job_seconds"])
    if report["gpu_hours"] is None:
        return f"do pedido ao modelo pronto: {whole} (o serviço não separa a fila do treino)"
    return (
        f"passos do treino: {duration(report['seconds']['train'])} · do pedido ao modelo pronto, com fila, carga do "
        f"modelo e medida das perdas: {whole}"
    )
