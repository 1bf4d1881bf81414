"""Rotas de ``/v1/fine_tuning/jobs``."""

import asyncio
import re
import secrets
import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from . import base_models, store
from .errors import ApiError, not_found
from .files import Configured
from .scheduler import Scheduler
from .schemas import Hyperparameters, Job, JobRequest, Page, page, shaped, typed
from .server import Settings

router = APIRouter(tags=["fine_tuning"], prefix="/v1/fine_tuning/jobs")
Limit = Annotated[int, Query(ge=1, le=100)]
_creating = asyncio.Lock()


@router.post("", **typed(Job))
async def create(
    request: Request,
    configured: Configured,
    asked: JobRequest,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> dict:
    """Cria um treino; com ``Idempotency-Key`` repetida, devolve o que já existe."""
    base = _checked(configured, asked)
    async with _creating:
        same = (
            job
            for job in store.jobs(configured.folder)
            if idempotency_key and job["idempotency_key"] == idempotency_key
        )
        known = next(same, None)
        return _public(known or _scheduler(request).submit(_new(asked, base, idempotency_key)))


@router.get("", **typed(Page[Job]))
def list_jobs(request: Request, configured: Configured, after: str | None = None, limit: Limit = 20) -> dict:
    """Lista os treinos, dos mais novos para os mais antigos; ``metadata[chave]=valor`` filtra."""
    wanted = {key[9:-1]: value for key, value in request.query_params.items() if re.fullmatch(r"metadata\[.+\]", key)}
    rows = [job for job in store.jobs(configured.folder) if wanted.items() <= (job["metadata"] or {}).items()]
    return page(Job, map(_public, rows), after, limit)


@router.get("/{job_id}", **typed(Job))
def retrieve(configured: Configured, request: Request, job_id: str) -> dict:
    """Um treino; 507 enquanto a fila está parada porque o disco encheu ou a pasta sumiu."""
    if trouble := _scheduler(request).trouble:
        raise trouble
    return _public(_known(configured, job_id))


@router.post("/{job_id}/cancel", **typed(Job))
async def cancel(request: Request, configured: Configured, job_id: str) -> dict:
    """Cancela um treino que ainda não terminou."""
    return _public(await _scheduler(request).cancel(_in_state(configured, job_id, "cancelar", store.LIVE)))


@router.post("/{job_id}/pause", **typed(Job))
async def pause(request: Request, configured: Configured, job_id: str) -> dict:
    """Para um treino que pode ser retomado depois."""
    return _public(await _scheduler(request).pause(_in_state(configured, job_id, "pausar", ("queued", "running"))))


@router.post("/{job_id}/resume", **typed(Job))
async def resume(request: Request, configured: Configured, job_id: str) -> dict:
    """Continua um treino pausado."""
    return _public(_scheduler(request).resume(_in_state(configured, job_id, "retomar", ("paused",))))


@router.get("/{job_id}/events", **typed(Page[FineTuningJobEvent]))
def events(configured: Configured, job_id: str, after: str | None = None, limit: Limit = 20) -> dict:
    """Eventos, dos mais novos para os mais antigos."""
    _known(configured, job_id)
    return page(FineTuningJobEvent, store.events(configured.folder, job_id), after, limit)


@router.get("/{job_id}/checkpoints", **typed(Page[FineTuningJobCheckpoint]))
def checkpoints(configured: Configured, job_id: str, after: str | None = None, limit: Limit = 10) -> dict:
    """Checkpoints, um por época, dos mais novos para os mais antigos."""
    _known(configured, job_id)
    return page(FineTuningJobCheckpoint, store.checkpoints(configured.folder, job_id), after, limit)


def _scheduler(request: Request) -> Scheduler:
    return request.app.state.scheduler


def _public(job: dict) -> dict:
    method = {"type": "supervised", "supervised": {"hyperparameters": job["hyperparameters"]}}
    return shaped(Job, job | {"method": method})


def _known(settings: Settings, job_id: str) -> dict:
    job = store.job(settings.folder, job_id)
    if job is None:
        raise not_found("treino", job_id, "fine_tune_not_found", "fine_tuning_job_id")
    return job


def _in_state(settings: Settings, job_id: str, verb: str, states: tuple[str, ...]) -> dict:
    job = _known(settings, job_id)
    if job["status"] not in states:
        raise ApiError(400, f"Não dá para {verb} um treino que está em {job['status']}.", "invalid_job_state")
    return job


def _checked(settings: Settings, asked: JobRequest) -> base_models.BaseModel:
    if asked.method and asked.hyperparameters:
        raise ApiError(400, 'Envie "method" ou "hyperparameters", não os dois.', "invalid_value", "hyperparameters")
    base = base_models.find(settings.models, asked.model)
    if base is None:
        known = ", ".join(known.name for known in base_models.catalogue(settings.models))
        text = f"O modelo {asked.model[:100]!r} não aceita treino. Use um destes: {known}."
        raise ApiError(400, text, "model_not_available", "model")
    for param in ("training_file", "validation_file"):
        identifier = getattr(asked, param)
        if identifier is not None and store.file(settings.folder, identifier) is None:
            raise ApiError(400, f"O arquivo {identifier[:100]!r} não existe. Envie-o antes.", "invalid_" + param, param)
    return base


def _new(asked: JobRequest, base: base_models.BaseModel, idempotency_key: str | None) -> dict:
    identifier = store.new_id("ftjob")
    chosen = asked.method.supervised.hyperparameters if asked.method else asked.hyperparameters
    suffix = re.sub(r"[^a-z0-9_-]+", "-", (asked.suffix or "").lower()).strip("-")
    public = {
        "id": identifier,
        "object": "fine_tuning.job",
        "created_at": int(time.time()),
        "finished_at": None,
        "model": base.name,
        "fine_tuned_model": None,
        "organization_id": "org-local",
        "status": "validating_files",
        "hyperparameters": (chosen or Hyperparameters()).model_dump(),
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "result_files": [],
        "trained_tokens": None,
        "error": None,
        "seed": secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        "metadata": asked.metadata,
        "integrations": [],
        "estimated_finish": None,
    }
    return public | {
        "order": time.time_ns(),
        "source": base.source,
        "tuned_name": f"ft:{base.name}:local:{suffix}:{identifier[-8:]}",
        "idempotency_key": idempotency_key,
        "attempts": 0,
    }
