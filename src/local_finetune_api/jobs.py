"""Os treinos: as rotas de ``/v1/fine_tuning/jobs`` e a fila, um por vez, que continua o que uma queda interrompe."""

import asyncio
import logging
import re
import sys
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from finetune_helpers.errors import StorageError
from finetune_helpers.gpt import validation
from finetune_helpers.records import drop_truncated_tail, read_json

from . import base_models, store
from .chat import Engine
from .schemas import ApiError, Configured, Hyperparameters, Job, JobRequest, Page, not_found, page, shaped, typed
from .server import STORAGE_EXIT, Settings, environment, trace

log = logging.getLogger("local_finetune_api")
router = APIRouter(prefix="/v1/fine_tuning/jobs")
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
    job = _new(configured, asked, idempotency_key)
    async with _creating:
        known = store.jobs(configured.folder) if idempotency_key else []
        same = [job for job in known if job["idempotency_key"] == idempotency_key]
        return _public(same[0] if same else _scheduler(request).submit(job))


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
    return _public(await _scheduler(request).cancel(_known(configured, job_id, "cancelar", store.LIVE)))


@router.post("/{job_id}/pause", **typed(Job))
async def pause(request: Request, configured: Configured, job_id: str) -> dict:
    """Para um treino que pode ser retomado depois."""
    return _public(await _scheduler(request).pause(_known(configured, job_id, "pausar", ("queued", "running"))))


@router.post("/{job_id}/resume", **typed(Job))
async def resume(request: Request, configured: Configured, job_id: str) -> dict:
    """Continua um treino pausado."""
    return _public(_scheduler(request).resume(_known(configured, job_id, "retomar", ("paused",))))


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


def _known(settings: Settings, job_id: str, verb: str = "", states: tuple[str, ...] = ()) -> dict:
    """O treino pedido; 404 se não há, e 400 se está num estado em que não se pode fazer o que ``verb`` diz."""
    job = store.job(settings.folder, job_id)
    if job is None:
        raise not_found("treino", job_id, "fine_tune_not_found", "fine_tuning_job_id")
    if states and job["status"] not in states:
        raise ApiError(400, f"Não dá para {verb} um treino que está em {job['status']}.", "invalid_job_state")
    return job


def _public(job: dict) -> dict:
    method = {"type": "supervised", "supervised": {"hyperparameters": job["hyperparameters"]}}
    return shaped(Job, job | {"method": method})


def _new(settings: Settings, asked: JobRequest, idempotency_key: str | None) -> dict:
    """O treino que o pedido descreve; ApiError se o modelo ou um arquivo não existe."""
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
    chosen = asked.method.supervised.hyperparameters if asked.method else asked.hyperparameters
    wanted = asked.model_dump(include={"training_file", "validation_file", "seed", "metadata"})
    wanted |= {"hyperparameters": (chosen or Hyperparameters()).model_dump(), "idempotency_key": idempotency_key}
    return store.new_job(base.name, base.source, asked.suffix or "", wanted)


def _scheduler(request: Request) -> "Scheduler":
    return request.app.state.scheduler


class Scheduler:
    """Valida, enfileira, treina, pausa e cancela; o estado mora na pasta, nunca só aqui."""

    def __init__(self, settings: Settings, engine: Engine):
        self.settings, self.engine, self.root = settings, engine, settings.folder
        self.trouble: StorageError | None = None
        self._wake = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._running = ""

    def submit(self, job: dict) -> dict:
        """Aceita um treino; ApiError 429 com a fila cheia."""
        if len(self._waiting()) >= self.settings.max_jobs_waiting:
            raise ApiError(429, "A fila de treinos está cheia. Espere um terminar ou cancele algum.", "queue_full")
        return self._save(job, f"Treino criado: {job['id']}.")

    async def cancel(self, job: dict) -> dict:
        """Cancela um treino que ainda não terminou."""
        job = self._finish(job, "cancelled", "Treino cancelado.", "warn")
        await self.stop(job["id"])
        return job

    async def pause(self, job: dict) -> dict:
        """Tira o treino da fila ou encerra o processo dele: o último checkpoint já está salvo."""
        text = "Treino pausado; continua do último checkpoint quando for retomado."
        job = self._save(job | {"status": "paused", "attempts": 0}, text)
        await self.stop(job["id"])
        return job

    def resume(self, job: dict) -> dict:
        """Devolve à fila um treino pausado."""
        return self._save(job | {"status": "queued"}, "Treino de volta à fila.")

    async def stop(self, identifier: str = "") -> None:
        """Encerra o processo de treino, se houver e se for o de ``identifier`` (vazio: o de qualquer um)."""
        process = self._process
        if process and process.returncode is None and identifier in ("", self._running):
            process.kill()
            await process.wait()

    async def run(self) -> None:
        """Retoma o que uma queda interrompeu e atende a fila para sempre; enquanto o disco falha, ``trouble`` diz."""
        while True:
            try:
                for job in store.jobs(self.root):
                    drop_truncated_tail(store.job_folder(self.root, job["id"]) / "events.jsonl")
                    if job["status"] == "running":
                        self._settle(job)
                await self._serve()
            except StorageError as error:
                log.error("a fila parou: %s", trace(error))
                self.trouble = error
                await asyncio.sleep(self.settings.storage_retry)

    async def _serve(self) -> None:
        while True:
            self._wake.clear()
            waiting = self._waiting()
            if not waiting:
                self.trouble = None
                await self._wake.wait()
            for job in reversed(waiting):
                try:
                    await self._advance(job["id"])
                except StorageError:
                    raise
                except Exception as error:  # um treino com defeito não pode parar a fila dos outros
                    log.error("o treino %s falhou no servidor: %s", job["id"], trace(error))
                    job = store.known_job(self.root, job["id"])
                    self._fail(job, "server_error", "Falha interna; veja o registro do servidor.")

    def _waiting(self) -> list[dict]:
        return [job for job in store.jobs(self.root) if job["status"] in store.WAITING]

    async def _advance(self, identifier: str) -> None:
        job = store.known_job(self.root, identifier)
        if job["status"] == "validating_files":
            problem, chosen = None, job["hyperparameters"]
            try:
                chosen = await asyncio.to_thread(_validated, self.root, job)
            except ApiError as error:
                problem = error
            job = store.known_job(self.root, identifier)
            if job["status"] != "validating_files":  # cancelado enquanto os arquivos eram lidos
                return
            if problem:
                return self._fail(job, problem.code, problem.detail, problem.param)
            job = self._save(job | {"status": "queued", "hyperparameters": chosen}, "Arquivos validados; na fila.")
        if job["status"] == "queued":
            await self._train(identifier)

    async def _train(self, identifier: str) -> None:
        await self.engine.hold()
        try:
            job = store.known_job(self.root, identifier)
            if job["status"] != "queued":
                return
            self._running, self.trouble = identifier, None
            job = self._save(job | {"status": "running", "attempts": job["attempts"] + 1}, "Treino iniciado.")
            code = await self._work(job)
            if code == STORAGE_EXIT:
                said = (store.job_folder(self.root, identifier) / "worker.log").read_text(errors="replace").splitlines()
                last = said[-1] if said else "O treino parou: o disco não aceitou a gravação."
                raise StorageError(last.removeprefix("Erro: "))
            self._settle(store.known_job(self.root, identifier), code)
        finally:
            self._running = ""
            self.engine.release()

    async def _work(self, job: dict) -> int:
        module = ["-m", "local_finetune_api.worker", "--dir", str(self.root), "--job", job["id"]]
        module += ["--save-minutes", str(self.settings.save_minutes)]
        with open(store.job_folder(self.root, job["id"]) / "worker.log", "ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *module, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output, env=environment()
            )
        self._process = process
        try:
            if store.known_job(self.root, job["id"])["status"] != "running":  # cancelado enquanto o processo nascia
                process.kill()
            return await process.wait()
        finally:
            self._process = None
            if process.returncode is None:
                process.kill()

    def _settle(self, job: dict, code: int | None = None) -> None:
        """Decide o que houve com um treino cujo processo não vive mais; sem ``code``, quem parou foi o servidor."""
        path = store.job_folder(self.root, job["id"]) / "outcome.json"
        if job["status"] != "running":
            return
        if path.is_file():
            outcome = read_json(path)
            if error := outcome.get("error"):
                return self._fail(job, error["code"], error["message"])
            done = {key: outcome[key] for key in ("result_files", "trained_tokens")}
            text = f"Treino concluído; modelo pronto: {job['tuned_name']}."
            self._finish(job | done | {"fine_tuned_model": job["tuned_name"]}, "succeeded", text)
        elif code is not None and job["attempts"] >= self.settings.worker_attempts:
            text = f"O processo de treino caiu {job['attempts']} vezes. Veja worker.log na pasta do treino."
            self._fail(job, "worker_died", text)
        else:
            # Só quedas do processo contam como tentativa; uma parada do servidor, não.
            text = "O processo de treino foi interrompido; o treino volta à fila e continua do último checkpoint."
            self._save(job | {"status": "queued", "attempts": job["attempts"] - (code is None)}, text, "warn")

    def _fail(self, job: dict, code: str | None, message: str, param: str | None = None) -> None:
        self._finish(job | {"error": {"code": code, "message": message, "param": param}}, "failed", message, "error")

    def _finish(self, job: dict, status: str, message: str, level: str = "info") -> dict:
        ended = {"status": status, "finished_at": int(time.time()), "estimated_finish": None}
        return self._save(job | ended, message, level)

    def _save(self, job: dict, message: str, level: str = "info") -> dict:
        store.save_job(self.root, job)
        store.event(self.root, job["id"], message, level=level)
        self._wake.set()
        return job


def _validated(root: Path, job: dict) -> dict:
    """Os hiperparâmetros, sem ``"auto"``, de um treino cujos arquivos servem; ApiError com o primeiro que não serve."""
    for param in ("training_file", "validation_file"):
        if not job[param]:
            continue
        if store.file(root, job[param]) is None:
            raise ApiError(400, f"O arquivo {job[param]} foi apagado.", "invalid_" + param, param)
        problems = validation.validate(store.content_path(root, job[param]), minimum=param == "training_file")
        fatal = [str(problem) for problem in problems if problem.fatal]
        if fatal:
            raise ApiError(400, f"O arquivo não serve. {' '.join(fatal[:5])}", "invalid_" + param, param)
    with open(store.content_path(root, job["training_file"]), "rb") as lines:
        return base_models.resolve(job["hyperparameters"], sum(1 for _ in lines))
