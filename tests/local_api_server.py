"""A API local de verdade, por HTTP, num fio deste processo; só treino e geração são trocados por versões rápidas."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

from finetune_helpers.records import write_json
from local_finetune_api import Settings, create_app, store
from local_finetune_api.chat import Engine
from local_finetune_api.jobs import Scheduler

KEY = "chave-de-teste-com-bastante-letra"


@dataclass
class Running:
    base_url: str
    api_key: str
    app: object
    settings: Settings


@contextmanager
def serving(folder, *, work=None, exchange=None, **changes):
    """Serve ``folder``; ``work(scheduler, job)`` faz de trabalhador e ``exchange(engine, batch)`` de gerador."""
    import uvicorn

    settings = Settings(folder, KEY, **changes)
    app = create_app(settings)
    app.state.scheduler._work = lambda job: (work or trained)(app.state.scheduler, job)
    app.state.engine._exchange = lambda batch: (exchange or echo)(app.state.engine, batch)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", KEY, app, settings)
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


async def trained(scheduler: Scheduler, job: dict) -> int:
    """Faz, num instante, o que o trabalhador faz: eventos, dois pontos e o resultado."""
    root, folder = scheduler.root, store.job_folder(scheduler.root, job["id"])
    for step in (1, 2):
        measured = {"step": step, "total_steps": 2, "train_loss": 3.0 - step}
        store.event(root, job["id"], f"Passo {step}/2: perda {3.0 - step:.2f}", data=measured)
        row = {
            "id": store.new_id("ftckpt"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(time.time()),
            "fine_tuning_job_id": job["id"],
            "fine_tuned_model_checkpoint": f"{job['tuned_name']}:ckpt-step-{step}",
            "step_number": step,
            "metrics": {"step": step, "train_loss": 3.0 - step},
        }
        write_json(folder / "models" / f"step-{step}" / "checkpoint.json", row)
    import io

    results = store.add_file(
        root, io.BytesIO(b"step,train_loss\n1,2.0\n2,1.0\n"), "step_metrics.csv", "fine-tune-results"
    )
    resolved = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    done = {"result_files": [results["id"]], "trained_tokens": 100, "hyperparameters": resolved}
    write_json(folder / "outcome.json", {"status": "succeeded", **done})
    return 0


async def never(scheduler: Scheduler, job: dict) -> int:
    """Um treino que só acaba quando o cancelam ou pausam."""
    while store.job(scheduler.root, job["id"])["status"] == "running":
        await asyncio.sleep(0.01)
    return 75


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
