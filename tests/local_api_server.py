"""A API local de verdade, por HTTP, num fio deste processo; só treino e geração são trocados por versões rápidas."""

import asyncio
import io
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import openai
from gpt_rows import chat_file

from finetune_helpers.records import write_json
from local_finetune_api import Settings, create_app, store
from local_finetune_api.chat import Engine
from local_finetune_api.jobs import Scheduler

KEY, MODEL = "chave-de-teste-com-bastante-letra", "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Running:
    base_url: str
    api_key: str
    app: object


@contextmanager
def serving(folder, *, work=None, exchange=None, **changes):
    """Serve ``folder``; ``work(scheduler, job)`` faz de treino e ``exchange(engine, batch)`` de gerador."""
    import uvicorn

    app = create_app(Settings(folder, KEY, **changes))
    app.state.scheduler._work = lambda job: (work or trained)(app.state.scheduler, job)
    app.state.engine._exchange = lambda batch: (exchange or echo)(app.state.engine, batch)
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    running = Running(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", KEY, app)
    connect(running).models.list()  # a conexão espera na fila até o servidor atender
    try:
        yield running
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@cache  # criar um cliente lê os certificados do sistema, o que demora
def connect(running) -> openai.OpenAI:
    return openai.OpenAI(base_url=running.base_url, api_key=running.api_key, max_retries=0, timeout=600)


def submit(client, folder, count: int = 12, **changes):
    """Envia um arquivo de treino e cria um job com ele."""
    sent = client.files.create(file=chat_file(folder / "treino.jsonl", count), purpose="fine-tune")
    return client.fine_tuning.jobs.create(**({"model": MODEL, "training_file": sent.id} | changes))


def until(ready, seconds: float = 600):
    """Espera ``ready()`` ser verdadeiro, com um limite folgado, e devolve o que ele devolveu."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, "demorou demais"
        threading.Event().wait(0.01)
    return found


def wait(client, job, *states):
    """O job, quando chega a um dos estados."""
    retrieve = client.fine_tuning.jobs.retrieve
    return until(lambda: (found := retrieve(job.id)).status in states and found)


def ask(client, text: str, **changes):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(**({"model": MODEL, "messages": messages, "temperature": 0} | changes))


async def trained(scheduler: Scheduler, job: dict) -> int:
    """Faz, num instante, o que o processo de treino faz: eventos, dois checkpoints e o resultado."""
    root, folder = scheduler.root, store.job_folder(scheduler.root, job["id"])
    for step in (1, 2):
        measured = {"step": step, "total_steps": 2, "train_loss": 3.0 - step}
        store.event(root, job["id"], f"Passo {step}/2", data=measured)
        row = {
            "id": store.new_id("ftckpt"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(time.time()),
            "fine_tuning_job_id": job["id"],
            "fine_tuned_model_checkpoint": f"{job['tuned_name']}:ckpt-step-{step}",
            "step_number": step,
            "metrics": {"step": step, "train_loss": 3.0 - step},
            "adapter_sha256": "só do servidor",
        }
        write_json(folder / "models" / f"step-{step}" / "checkpoint.json", row)
    table = io.BytesIO(b"step,train_loss\n1,2.0\n2,1.0\n")
    results = store.add_file(root, table, "step_metrics.csv", "fine-tune-results")
    write_json(folder / "outcome.json", {"result_files": [results["id"]], "trained_tokens": 100})
    return 0


async def never(scheduler: Scheduler, job: dict) -> int:
    """Um treino que só acaba quando o cancelam ou pausam."""
    while store.job(scheduler.root, job["id"])["status"] == "running":
        await asyncio.sleep(0.01)
    return 137


async def echo(engine: Engine, batch: list) -> None:
    """Responde com a última mensagem, em pedaços se o pedido for transmitido."""
    for chat in batch:
        text = chat.row["messages"][-1]["content"]
        words = text.split()[: chat.row["max_tokens"]]
        for index, word in enumerate(words if chat.key[-1] else []):
            chat.deltas.put_nowait({"delta": word if index == 0 else f" {word}"})
        reason = "length" if len(words) < len(text.split()) else "stop"
        done = {"tokens_in": 5, "tokens_out": len(words), "finish_reason": reason, "model_id": "eco@123456789abc"}
        chat.deltas.put_nowait({"text": " ".join(words), **done})
