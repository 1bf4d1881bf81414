"""Processo que treina um job: ``python -m finetune_helpers.local_api.worker --dir PASTA --job ID``.

Fala com o servidor por arquivos (eventos, progresso e, por último, ``outcome.json``); pela entrada padrão recebe
"pause" e, quando ela fecha, sabe que o servidor morreu e sai.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import storage
from ..errors import FinetuneError, StorageError
from ..records import write_json
from . import base_models, learning, store
from .process_environment import PAUSED_EXIT, STORAGE_EXIT, trace, without_paths
from .settings import Settings


def main() -> int:
    """Treina um job; devolve 0 (terminou ou falhou com motivo), PAUSED_EXIT ou STORAGE_EXIT."""
    parser = argparse.ArgumentParser(description="Treina um job da API local.")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--model", action="append", default=[], type=lambda text: tuple(text.split("=", 1)))
    given = parser.parse_args()
    pausing = _listen()
    settings = Settings(given.dir, "", tuple(given.model))
    job = store.known_job(given.dir, given.job)
    folder = store.job_folder(given.dir, given.job)
    with _alone(folder):
        storage.watch(folder / "trava")
        return _work(given.dir, job, folder, settings, pausing.is_set)


def _work(root: Path, job: dict, folder: Path, settings: Settings, pause: Callable[[], bool]) -> int:
    if (folder / "outcome.json").is_file():
        return 0  # um trabalhador anterior terminou depois que o servidor dele caiu
    try:
        training = learning.read(root, job, base_models.catalogue(settings)[job["model"]])
        with storage.storage(folder / "recovery"):
            report = learning.run(training, pause)
    except StorageError as error:
        print(f"Erro: {error}", file=sys.stderr)
        return STORAGE_EXIT
    except FinetuneError as error:
        write_json(folder / "outcome.json", _failure(without_paths(str(error)), "training_failed"))
        return 0
    except Exception as error:
        print(trace(error), file=sys.stderr)
        return 1
    if report is None:
        return PAUSED_EXIT
    write_json(folder / "outcome.json", _success(root, job, report))
    shutil.rmtree(folder / "recovery", ignore_errors=True)
    return 0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Espera que um trabalhador anterior deste job, órfão de um servidor morto, acabe de sair."""
    import fcntl

    with open(folder / "trava", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _listen() -> threading.Event:
    """Lê a entrada padrão: "pause" pede pausa; o fim dela, que o servidor morreu."""
    pausing = threading.Event()

    def listen() -> None:
        # os.read, e não sys.stdin: a leitura com reserva prende uma trava que um processo filho herdaria presa.
        while received := os.read(0, 4096):
            if b"pause" in received:
                pausing.set()
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    return pausing


def _failure(message: str, code: str) -> dict:
    return {"status": "failed", "error": {"code": code, "message": message, "param": None}}


def _success(root: Path, job: dict, report: dict) -> dict:
    results = [_result(root, "step_metrics.csv", _metrics_csv(store.events(root, job["id"])))]
    if report["heldout"]:
        results.append(_result(root, "heldout_losses.csv", _csv(report["heldout"])))
    results.append(_result(root, "training_report.json", json.dumps(report, ensure_ascii=False, indent=2)))
    return {
        "status": "succeeded",
        "result_files": [meta["id"] for meta in results],
        "trained_tokens": report["trained_tokens"],
        "hyperparameters": report["hyperparameters"],
    }


def _result(root: Path, filename: str, text: str) -> dict:
    return store.add_file(root, io.BytesIO(text.encode()), filename, "fine-tune-results")


def _metrics_csv(events: list[dict]) -> str:
    """As medidas por passo com os nomes de coluna da OpenAI; depois de uma retomada vale a última de cada passo."""
    by_step: dict[int, dict] = {}
    for event in reversed(events):
        if event["type"] == "metrics":
            by_step[event["data"]["step"]] = event["data"]
    names = {"step": "step", "train_loss": "train_loss", "train_accuracy": "train_mean_token_accuracy"}
    return _csv([{column: row.get(key, "") for column, key in names.items()} for _, row in sorted(by_step.items())])


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(rows[0]) if rows else ["step", "train_loss", "train_accuracy"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
