"""Rotas de ``/v1/fine_tuning/jobs``."""

import asyncio
import re
import secrets
import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from . import base_models, schemas, store
from .api_errors import ApiError, not_found
from .files import Configured
from .paging import page
from .scheduler import Scheduler
from .settings import Settings

router = APIRouter(tags=["fine_tuning"], prefix="/v1/fine_tuning/jobs")
Limit = Annotated[int, Query(ge=1, le=100)]
_creating = asyncio.Lock()


@router.post("", response_model=schemas.Job)
async def create(
    request: Request,
    given: Configured,
    asked: schemas.JobRequest,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> dict:
    """Cria um treino; com ``Idempotency-Key`` repetida, devolve o que já existe."""
    _check(given, asked)
    async with _creating:
        known = [
            job for job in store.jobs(given.folder) if idempotency_key and job["idempotency_key"] == idempotency_key
        ]
        return known[0] if known else _scheduler(request).submit(_new(asked, idempotency_key))


@router.get("", response_model=schemas.Page[schemas.Job])
def list_jobs(request: Request, given: Configured, after: str | None = None, limit: Limit = 20) -> dict:
    """Lista os treinos, dos mais novos para os mais antigos; ``metadata[chave]=valor`` filtra."""
    wanted = {key[9:-1]: value for key, value in request.query_params.items() if re.fullmatch(r"metadata\[.+\]", key)}
    found = [job for job in store.jobs(given.folder) if wanted.items() <= (job["metadata"] or {}).items()]
    return page(found, after, limit)


@router.get("/{job_id}", response_model=schemas.Job)
def retrieve(given: Configured, request: Request, job_id: str) -> dict:
    """Um treino; 507 se a fila parou porque o disco encheu ou a pasta sumiu."""
    if request.app.state.scheduler.trouble:
        raise request.app.state.scheduler.trouble
    return _known(given, job_id)


def _known(given: Settings, job_id: str) -> dict:
    found = store.job(given.folder, job_id)
    if found is None:
        raise not_found("treino", job_id, "fine_tune_not_found", "fine_tuning_job_id")
    return found


@router.post("/{job_id}/cancel", response_model=schemas.Job)
async def cancel(request: Request, given: Configured, job_id: str) -> dict:
    """Cancela um treino que ainda não terminou."""
    return await _scheduler(request).cancel(_in_state(given, job_id, "cancelar", store.LIVE))


@router.post("/{job_id}/pause", response_model=schemas.Job)
async def pause(request: Request, given: Configured, job_id: str) -> dict:
    """Salva um ponto de retomada e para."""
    return _scheduler(request).pause(_in_state(given, job_id, "pausar", ("queued", "running")))


@router.post("/{job_id}/resume", response_model=schemas.Job)
async def resume(request: Request, given: Configured, job_id: str) -> dict:
    """Continua um treino pausado."""
    return _scheduler(request).resume(_in_state(given, job_id, "retomar", ("paused",)))


@router.get("/{job_id}/events", response_model=schemas.Page[schemas.Event])
def events(given: Configured, job_id: str, after: str | None = None, limit: Limit = 20) -> dict:
    """Eventos, dos mais novos para os mais antigos."""
    _known(given, job_id)
    return page(store.events(given.folder, job_id), after, limit)


@router.get("/{job_id}/checkpoints", response_model=schemas.Page[schemas.Checkpoint])
def checkpoints(given: Configured, job_id: str, after: str | None = None, limit: Limit = 10) -> dict:
    """Pontos salvos, um por época, dos mais novos para os mais antigos."""
    _known(given, job_id)
    return page(store.checkpoints(given.folder, job_id), after, limit)


def _scheduler(request: Request) -> Scheduler:
    return request.app.state.scheduler


def _in_state(given, job_id: str, verb: str, states: tuple[str, ...]) -> dict:
    job = _known(given, job_id)
    if job["status"] not in states:
        raise ApiError(400, f"Não dá para {verb} um treino que está em {job['status']}.", "invalid_job_state")
    return job


def _check(given, asked: schemas.JobRequest) -> None:
    if asked.method and asked.hyperparameters:
        raise ApiError(400, 'Envie "method" ou "hyperparameters", não os dois.', "invalid_value", "hyperparameters")
    if asked.model not in base_models.catalogue(given):
        known = ", ".join(base_models.catalogue(given))
        raise ApiError(
            400, f"O modelo {asked.model[:100]!r} não aceita treino. Use: {known}.", "model_not_available", "model"
        )
    for param in ("training_file", "validation_file"):
        identifier = getattr(asked, param)
        if identifier is not None and store.file(given.folder, identifier) is None:
            raise ApiError(400, f"O arquivo {identifier[:100]!r} não existe. Envie-o antes.", "invalid_" + param, param)


def _new(asked: schemas.JobRequest, idempotency_key: str | None) -> dict:
    identifier = store.new_id("ftjob")
    chosen = asked.method.supervised.hyperparameters if asked.method else asked.hyperparameters
    hyperparameters = (chosen or schemas.Hyperparameters()).model_dump()
    suffix = re.sub(r"[^a-z0-9_-]+", "-", (asked.suffix or "").lower()).strip("-")
    return {
        "id": identifier,
        "object": "fine_tuning.job",
        "created_at": int(time.time()),
        "order": time.time_ns(),
        "finished_at": None,
        "model": asked.model,
        "fine_tuned_model": None,
        "tuned_name": f"ft:{asked.model}:local:{suffix}:{identifier[-8:]}",
        "organization_id": "org-local",
        "status": "validating_files",
        "hyperparameters": hyperparameters,
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
        "result_files": [],
        "trained_tokens": None,
        "error": None,
        "seed": secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        "user_provided_suffix": asked.suffix,
        "metadata": asked.metadata,
        "idempotency_key": idempotency_key,
        "attempts": 0,
        "estimated_finish": None,
    }
