"""Rotas de ``/v1/models``: os modelos base, os ajustados e os checkpoints de cada época."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from openai.types import Model, ModelDeleted

from . import base_models, store
from .errors import ApiError, not_found
from .files import Configured
from .schemas import Page, page, typed
from .server import Settings

router = APIRouter(tags=["models"])
CREATED = 1730419200  # 01/11/2024, quando o SmolLM2 saiu; os modelos base não têm outra data


@dataclass(frozen=True)
class Served:
    """Um modelo que responde: nome, origem do modelo base e a pasta do adaptador (None = o próprio modelo base)."""

    name: str
    source: str
    adapter: Path | None = None
    created: int = CREATED
    job: str = ""


def served(settings: Settings) -> dict[str, Served]:
    """Tudo o que responde a ``/v1/chat/completions``, por nome."""
    answering = {base.name: Served(base.name, base.source) for base in base_models.catalogue(settings.models)}
    for job in store.jobs(settings.folder):
        points = store.checkpoints(settings.folder, job["id"])
        for row in points:
            folder = store.job_folder(settings.folder, job["id"]) / "models" / f"step-{row['step_number']}"
            names = [row["fine_tuned_model_checkpoint"]]
            if row is points[0] and job["fine_tuned_model"] and not job.get("model_deleted"):
                names.append(job["fine_tuned_model"])
            answering |= {name: Served(name, job["source"], folder, row["created_at"], job["id"]) for name in names}
    return answering


def find(settings: Settings, name: str) -> Served:
    """O modelo de nome ``name`` (nos modelos base, sem diferença de caixa); 404 se não há."""
    base = base_models.find(settings.models, name)
    model = Served(base.name, base.source) if base else served(settings).get(name)
    if model is None:
        raise not_found("modelo", name, "model_not_found", "model")
    return model


@router.get("/v1/models", **typed(Page[Model]))
def list_models(configured: Configured) -> dict:
    """Lista os modelos."""
    rows = [_shape(model) for model in served(configured).values()]
    return page(Model, rows, None, len(rows))


@router.get("/v1/models/{model:path}", **typed(Model))
def retrieve(configured: Configured, model: str) -> dict:
    """Um modelo."""
    return _shape(find(configured, model))


@router.delete("/v1/models/{model:path}", **typed(ModelDeleted))
def delete(configured: Configured, model: str) -> dict:
    """Apaga um modelo ajustado, com os seus checkpoints; os modelos base não se apagam."""
    chosen = find(configured, model)
    if chosen.adapter is None:
        raise ApiError(403, "Este é um modelo base e não pode ser apagado.", "model_not_deletable", "model")
    job = store.known_job(configured.folder, chosen.job)
    if job["status"] in store.LIVE:
        raise ApiError(409, "O treino deste modelo não terminou. Cancele-o antes.", "model_in_use", "model")
    whole = model == job["fine_tuned_model"]
    for folder in list(chosen.adapter.parent.glob("step-*")) if whole else [chosen.adapter]:
        (folder / "checkpoint.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    if whole:
        store.save_job(configured.folder, job | {"model_deleted": True})
    return {"id": model, "object": "model", "deleted": True}


def _shape(model: Served) -> dict:
    owner = "local" if model.adapter else "system"
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": owner}
