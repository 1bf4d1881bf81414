"""Acompanha um treino até o fim: barra de progresso, eventos e fim previsto; sobrevive a quedas da rede."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from .. import progress
from ..errors import without_key
from ..portuguese import number
from .failures import explain_job, retrying
from .job import MARK
from .uploads import discard_files

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob

ENDED = ("succeeded", "failed", "cancelled")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def follow(
    client: "OpenAI",
    job_id: str,
    *,
    poll_seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> "FineTuningJob":
    """Mostra o treino até terminar e o devolve; pode ser chamado de novo a qualquer momento.

    InputError com o próximo passo se ele falhou ou foi cancelado (os arquivos de um treino falho são apagados);
    MachineError se a rede não volta. Interromper a célula não interrompe o treino.
    """
    pause = poll_seconds or (1.0 if client.base_url.host in LOOPBACK else 15.0)
    seen: set[str] = set()
    with progress.bar("treinando", "passos") as bar:
        while True:
            job = retrying(lambda: client.fine_tuning.jobs.retrieve(job_id), sleep=sleep)
            _show(bar, _new_events(client, job_id, seen, sleep), job, client.api_key)
            if job.status in ENDED:
                break
            bar.refresh()
            sleep(pause)
    if job.status == "succeeded":
        return job
    if job.status == "failed" and (job.metadata or {}).get(MARK):  # só os arquivos que este pacote enviou
        discard_files(client, [job.training_file, job.validation_file])
    raise explain_job(job, client.api_key)


def _new_events(client, job_id: str, seen: set[str], sleep) -> list:
    """Eventos ainda não mostrados, do mais antigo para o mais novo; para de paginar no primeiro conhecido."""

    def read() -> list:
        fresh = []
        for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
            if event.id in seen:
                break
            fresh.append(event)
        return fresh

    fresh = retrying(read, sleep=sleep)[::-1]
    seen.update(event.id for event in fresh)
    return fresh


def _show(bar, events: list, job, key: str) -> None:
    for event in events:
        measured = event.data if isinstance(event.data, dict) else {}
        if "step" in measured:
            bar.total = measured.get("total_steps") or bar.total
            bar.update(max(0, int(measured["step"]) - bar.n))
            bar.set_postfix_str(_postfix(measured, job))
        else:
            bar.write(f"{datetime.fromtimestamp(event.created_at):%H:%M:%S} {without_key(event.message, key)}")


def _postfix(measured: dict, job) -> str:
    parts = [f"perda {number(measured['train_loss'], 2)}"] if "train_loss" in measured else []
    if job.estimated_finish:
        parts.append(f"fim previsto {datetime.fromtimestamp(job.estimated_finish):%H:%M:%S}")
    return " · ".join(parts)
