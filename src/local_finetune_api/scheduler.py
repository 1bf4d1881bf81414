"""A fila de treinos: um por vez, cada um no seu processo, retomados depois de uma queda."""

import asyncio
import logging
import sys
import time
from pathlib import Path

from finetune_helpers.errors import StorageError
from finetune_helpers.gpt import validation
from finetune_helpers.records import read_json

from . import store
from .chat import Engine
from .errors import ApiError
from .server import STORAGE_EXIT, Settings, environment, trace

log = logging.getLogger("local_finetune_api")


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
        waiting = [known for known in store.jobs(self.root) if known["status"] in store.WAITING]
        if len(waiting) >= self.settings.max_jobs_waiting:
            raise ApiError(429, "A fila de treinos está cheia. Espere um terminar ou cancele algum.", "queue_full")
        store.save_job(self.root, job)
        store.event(self.root, job["id"], f"Treino criado: {job['id']}.")
        self._wake.set()
        return job

    async def cancel(self, job: dict) -> dict:
        """Cancela um treino que ainda não terminou."""
        job = self._finish(job, "cancelled")
        store.event(self.root, job["id"], "Treino cancelado.", level="warn")
        await self._stop_if_running(job)
        return job

    async def pause(self, job: dict) -> dict:
        """Tira o treino da fila ou encerra o processo dele: o último checkpoint já está salvo."""
        job = store.save_job(self.root, job | {"status": "paused", "attempts": 0})
        store.event(self.root, job["id"], "Treino pausado; continua do último checkpoint quando for retomado.")
        await self._stop_if_running(job)
        return job

    def resume(self, job: dict) -> dict:
        """Devolve à fila um treino pausado."""
        job = store.save_job(self.root, job | {"status": "queued"})
        store.event(self.root, job["id"], "Treino de volta à fila.")
        self._wake.set()
        return job

    async def stop(self) -> None:
        """Encerra o processo de treino, se houver."""
        process = self._process
        if process and process.returncode is None:
            process.kill()
            await process.wait()

    async def run(self) -> None:
        """Retoma o que uma queda interrompeu e atende a fila para sempre; enquanto o disco falha, ``trouble`` diz."""
        while True:
            try:
                await self._serve()
            except StorageError as error:
                log.error("a fila parou: %s", trace(error))
                self.trouble = error
                await asyncio.sleep(self.settings.storage_retry)

    async def _serve(self) -> None:
        for job in store.jobs(self.root):
            store.repair_events(self.root, job["id"])
            if job["status"] == "running":
                self._settle(job)
        while True:
            self._wake.clear()
            waiting = [job for job in store.jobs(self.root) if job["status"] in store.WAITING]
            if not waiting:
                self.trouble = None
                await self._wake.wait()
            for job in reversed(waiting):
                await self._step(job["id"])

    async def _step(self, identifier: str) -> None:
        try:
            await self._advance(identifier)
        except StorageError:
            raise
        except Exception as error:  # um treino com defeito não pode parar a fila dos outros
            log.error("o treino %s falhou no servidor: %s", identifier, trace(error))
            job = store.known_job(self.root, identifier)
            self._fail(job, "server_error", "Falha interna; veja o registro do servidor.")

    async def _advance(self, identifier: str) -> None:
        job = store.known_job(self.root, identifier)
        if job["status"] == "validating_files":
            problem = await asyncio.to_thread(_invalid, self.root, job)
            job = store.known_job(self.root, identifier)
            if job["status"] != "validating_files":
                return
            if problem:
                return self._fail(job, *problem)
            job = store.save_job(self.root, job | {"status": "queued"})
            store.event(self.root, identifier, "Arquivos validados; treino na fila.")
        if job["status"] == "queued":
            await self._train(identifier)

    async def _train(self, identifier: str) -> None:
        await self.engine.hold()
        try:
            job = store.known_job(self.root, identifier)
            if job["status"] != "queued":
                return
            self._running = identifier
            job = store.save_job(self.root, job | {"status": "running", "attempts": job["attempts"] + 1})
            self.trouble = None
            store.event(self.root, identifier, "Treino iniciado.")
            code = await self._work(job)
            if code == STORAGE_EXIT:
                raise StorageError(store.last_line(self.root, identifier))
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

    async def _stop_if_running(self, job: dict) -> None:
        if self._running == job["id"]:
            await self.stop()

    def _settle(self, job: dict, code: int | None = None) -> None:
        """Decide o que houve com um treino cujo processo não vive mais; sem ``code``, quem parou foi o servidor."""
        outcome = store.job_folder(self.root, job["id"]) / "outcome.json"
        if job["status"] != "running":
            return
        if outcome.is_file():
            self._conclude(job, read_json(outcome))
        elif code is not None and job["attempts"] >= self.settings.worker_attempts:
            text = f"O processo de treino caiu {job['attempts']} vezes. Veja worker.log na pasta do treino."
            self._fail(job, "worker_died", text)
        else:
            # Só quedas do processo contam como tentativa; uma parada do servidor, não.
            store.save_job(self.root, job | {"status": "queued", "attempts": job["attempts"] - (code is None)})
            text = "O processo de treino foi interrompido; o treino volta à fila e continua do último checkpoint."
            store.event(self.root, job["id"], text, level="warn")

    def _conclude(self, job: dict, outcome: dict) -> None:
        if outcome["status"] == "failed":
            return self._fail(job, outcome["error"]["code"], outcome["error"]["message"])
        done = {key: outcome[key] for key in ("result_files", "trained_tokens", "hyperparameters")}
        self._finish(job | done | {"fine_tuned_model": job["tuned_name"]}, "succeeded")
        store.event(self.root, job["id"], f"Modelo pronto: {job['tuned_name']}.")
        store.event(self.root, job["id"], "Treino concluído.")

    def _fail(self, job: dict, code: str, message: str, param: str | None = None) -> None:
        self._finish(job | {"error": {"code": code, "message": message, "param": param}}, "failed")
        store.event(self.root, job["id"], message, level="error")

    def _finish(self, job: dict, status: str) -> dict:
        changes = {"status": status, "finished_at": int(time.time()), "estimated_finish": None}
        return store.save_job(self.root, job | changes)


def _invalid(root: Path, job: dict) -> tuple[str, str, str] | None:
    """Código, mensagem e parâmetro do primeiro arquivo que não serve."""
    for param in ("training_file", "validation_file"):
        if not job[param]:
            continue
        if store.file(root, job[param]) is None:
            return "invalid_" + param, f"O arquivo {job[param]} foi apagado.", param
        problems = validation.validate(store.content_path(root, job[param]), minimum=param == "training_file")
        fatal = [str(problem) for problem in problems if problem.fatal]
        if fatal:
            return "invalid_" + param, f"O arquivo não serve. {' '.join(fatal[:5])}", param
    return None
