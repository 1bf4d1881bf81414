"""Rotas de ``/v1/models``: os modelos base, os ajustados e os pontos de cada época."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter

from . import base_models, schemas, store
from .api_errors import ApiError, not_found
from .files import Configured
from .settings import Settings

router = APIRouter(tags=["models"])
CREATED = 1730419200  # 2024-11-01, quando o SmolLM2 saiu; os modelos base não têm outra data


@dataclass(frozen=True)
class Served:
    """Um modelo que responde: nome, modelo base e a pasta do adaptador (None = o próprio modelo base)."""

    name: str
    base: str
    adapter: Path | None
    created: int
    job: str = ""


def served(settings: Settings) -> dict[str, Served]:
    """Tudo o que responde a ``/v1/chat/completions``, por nome."""
    found = {name: Served(name, name, None, CREATED) for name in base_models.catalogue(settings)}
    for job in store.jobs(settings.folder):
        points = store.checkpoints(settings.folder, job["id"])
        for row in points:
            folder = store.job_folder(settings.folder, job["id"]) / "models" / f"step-{row['step_number']}"
            names = [row["fine_tuned_model_checkpoint"]]
            if row is points[0] and job["fine_tuned_model"] and not job.get("model_deleted"):
                names.append(job["fine_tuned_model"])
            found |= {name: Served(name, job["model"], folder, row["created_at"], job["id"]) for name in names}
    return found


@router.get("/v1/models", response_model=schemas.Models)
def list_models(given: Configured) -> dict:
    """Lista os modelos."""
    return {"data": [_shape(model) for model in served(given).values()]}


@router.get("/v1/models/{model:path}", response_model=schemas.Model)
def retrieve(given: Configured, model: str) -> dict:
    """Um modelo."""
    return _shape(find(given, model))


@router.delete("/v1/models/{model:path}", response_model=schemas.Deleted)
def delete(given: Configured, model: str) -> dict:
    """Apaga um modelo ajustado, com os seus pontos; os modelos base não se apagam."""
    chosen = find(given, model)
    if chosen.adapter is None:
        raise ApiError(403, "Este é um modelo base e não pode ser apagado.", "model_not_deletable", "model")
    job = store.known_job(given.folder, chosen.job)
    if job["status"] in store.LIVE:
        raise ApiError(409, "O treino deste modelo não terminou. Cancele-o antes.", "model_in_use", "model")
    whole = model == job["fine_tuned_model"]
    gone = chosen.adapter.parent.glob("step-*") if whole else [chosen.adapter]
    for folder in list(gone):
        (folder / "checkpoint.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    if whole:
        store.save_job(given.folder, job | {"model_deleted": True})
    return {"id": model, "object": "model"}


def find(settings: Settings, name: str) -> Served:
    """O modelo de nome ``name``; 404 se não há."""
    found = served(settings).get(name)
    if found is None:
        raise not_found("modelo", name, "model_not_found", "model")
    return found


def _shape(model: Served) -> dict:
    return {"id": model.name, "created": model.created, "owned_by": "local" if model.adapter else "system"}
