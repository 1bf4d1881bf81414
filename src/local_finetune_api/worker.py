"""Processo que treina um job: ``python -m local_finetune_api.worker --dir PASTA --job ID``.

Fala com o servidor só por arquivos: eventos, progresso e, por último, ``outcome.json``. Quando a entrada padrão fecha,
o servidor morreu e o processo sai: o próximo servidor continua do último checkpoint.
"""

import argparse
import csv
import io
import json
import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from finetune_helpers.errors import FinetuneError, InputError, StorageError
from finetune_helpers.gpt import validation
from finetune_helpers.portuguese import counted, number
from finetune_helpers.records import read_json, watch, write_json

from . import base_models, store
from .server import STORAGE_EXIT, trace, without_paths

if TYPE_CHECKING:
    from finetune_helpers.training import Profile

COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "full_valid_loss": "full_valid_loss",
}


def main() -> int:
    """Treina um job; devolve 0 (terminou, ou falhou com motivo), 1 (falhou sem explicação) ou STORAGE_EXIT."""
    parser = argparse.ArgumentParser(description="Treina um job da API local.")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--save-minutes", type=float, default=0.0)
    options = parser.parse_args()
    threading.Thread(target=_leave_with_the_server, daemon=True).start()
    folder = store.job_folder(options.dir, options.job)
    with FileLock(folder / "trava"):  # espera que o processo de um servidor morto acabe de sair
        watch(folder / "trava")
        if (folder / "outcome.json").is_file():
            return 0  # um processo anterior terminou depois que o servidor dele caiu
        try:
            task = read(options.dir, options.job, options.save_minutes)
            outcome = _success(task, train(task))
        except StorageError as error:
            print(f"Erro: {error}", file=sys.stderr)
            return STORAGE_EXIT
        except FinetuneError as error:
            outcome = _failure(without_paths(str(error)))
        except Exception as error:
            print(trace(error), file=sys.stderr)
            return 1
        write_json(folder / "outcome.json", outcome)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return 0


def _leave_with_the_server() -> None:
    # os.read, e não sys.stdin: a leitura com reserva prende uma trava que um processo filho herdaria presa.
    while os.read(0, 4096):
        continue
    os._exit(1)


@dataclass(frozen=True)
class Task:
    """Um job pronto para treinar: as linhas dos arquivos dele, os hiperparâmetros sem ``"auto"`` e o perfil da máquina.

    ``seconds`` soma o que cada fase levou.
    """

    root: Path
    job: dict
    base: base_models.BaseModel
    examples: list[dict]
    validation: list[dict]
    hyperparameters: dict
    profile: "Profile"
    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "train": 0.0, "evaluate": 0.0})

    @property
    def folder(self) -> Path:
        """Pasta do job."""
        return store.job_folder(self.root, self.job["id"])

    def say(self, message: str, *, level: str = "info", data: dict | None = None) -> None:
        """Acrescenta um evento ao job."""
        store.event(self.root, self.job["id"], message, level=level, data=data)


def read(root: Path, identifier: str, save_minutes: float) -> Task:
    """O que o job ``identifier`` pede; os arquivos já foram validados pelo servidor."""
    job = store.known_job(root, identifier)
    base = base_models.of_source(job["model"], job["source"])
    examples = validation.read_rows(store.content_path(root, job["training_file"]))
    heldout = validation.read_rows(store.content_path(root, job["validation_file"])) if job["validation_file"] else []
    hyperparameters = base_models.resolve(job["hyperparameters"], len(examples))
    profile = base_models.profile(base, hyperparameters, job["seed"])
    profile = replace(profile, save_minutes=save_minutes or profile.save_minutes)
    return Task(root, job, base, examples, heldout, hyperparameters, profile)


def train(task: Task) -> dict:
    """Treina (ou continua do último checkpoint inteiro) e devolve o relatório.

    InputError se nenhum exemplo cabe no modelo; MachineError se o modelo não carrega.
    """
    from finetune_helpers import training

    started = time.perf_counter()
    model, tokenizer = training.load(task.profile)
    model = training.add_adapter(model, task.profile)
    task.seconds["load"] = time.perf_counter() - started

    from finetune_helpers.training import measures  # só depois de load: o Unsloth entra antes do transformers

    from .reporting import Reporting

    rows = training_rows(task, tokenizer)
    curves = measures.EfficiencyCallback()
    reporting = Reporting(task, model, tokenizer, heldout(task, tokenizer), curves)
    callbacks = [curves, measures.TimedSave(task.profile.save_minutes), reporting]
    # Um tokenizador que põe o início sozinho (o do LLaMA 3) o repetiria: o formato de conversa já o traz.
    start = str(tokenizer.decode(tokenizer("")["input_ids"]))
    learned = [row | {"prompt": row["prompt"].removeprefix(start)} for row in rows]
    folder = task.folder / "checkpoints"
    trainer = training.trainer(model, tokenizer, task.profile, (learned, []), folder, callbacks=callbacks)
    resumed = training.last_complete(folder, unfinished=True)
    if resumed:
        step = read_json(resumed / "trainer_state.json")["global_step"]
        task.say(f"Continua do passo {step}.", level="warn")
    training.train_or_resume(trainer, task.folder / "models")
    task.seconds["train"] = curves.seconds  # com o que já tinha passado antes de uma retomada
    adapter, losses = reporting.finish(trainer.state.global_step)
    report = measures.report(trainer, curves, task.profile, task.seconds, adapter)
    billed = task.hyperparameters["n_epochs"] * sum(base_models.tokens_of(tokenizer, row) for row in rows)
    done = {"trained_tokens": billed, "hyperparameters": task.hyperparameters, "heldout_curve": reporting.curve()}
    named = {"model": task.base.name, "profile": report["profile"] | {"model": task.base.name}}
    return report | named | done | {"heldout": losses}


def training_rows(task: Task, tokenizer: Any) -> list[dict[str, str]]:
    """As linhas ``{prompt, completion}`` que cabem; um evento avisa das outras. InputError se nenhuma cabe."""
    rows, long = [], []
    for line, example in enumerate(task.examples, start=1):
        for turn in base_models.turns(tokenizer, example["messages"]):
            if base_models.tokens_of(tokenizer, turn) <= task.base.max_length:
                rows.append(turn)
            else:
                long.append(line)
    _warn(task, long, "treino")
    if not rows:
        raise InputError(f"Nenhum exemplo cabe em {task.base.max_length} tokens. Encurte os exemplos.")
    return rows


def heldout(task: Task, tokenizer: Any) -> list[dict[str, Any]]:
    """As linhas de validação que cabem: ``line`` e a última resposta sob a sua pergunta (``own``) e a da linha seguinte
    (``other``), cada uma ``{prompt, completion}``.
    """
    rows: list[dict[str, Any]] = []
    long: list[int] = []
    for line, row in enumerate(task.validation, start=1):
        following = task.validation[line % len(task.validation)]
        pair = {
            key: list(base_models.turns(tokenizer, messages))[-1]
            for key, messages in (
                ("own", row["messages"]),
                ("other", asked_as(row["messages"], following["messages"])),
            )
        }
        if max(base_models.tokens_of(tokenizer, turn) for turn in pair.values()) > task.base.max_length:
            long.append(line)
        else:
            rows.append({"line": line, **pair})
    _warn(task, long, "validação")
    return rows


def asked_as(messages: list[dict], other: list[dict]) -> list[dict]:
    """A conversa com a última pergunta trocada pela última de ``other``."""
    questions = [message["content"] for message in other if message["role"] == "user"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None or not questions:
        return messages
    return [*messages[:last], messages[last] | {"content": questions[-1]}, *messages[last + 1 :]]


def _warn(task: Task, long: list[int], kind: str) -> None:
    lines = sorted(set(long))
    if lines:
        listed = ", ".join(map(str, lines[:20])) + (" …" if len(lines) > 20 else "")
        text = (
            f"{counted(len(lines), 'linha')} de {kind} acima de {number(task.base.max_length)} tokens, fora: {listed}."
        )
        task.say(text, level="warn")


def _failure(message: str) -> dict:
    return {"status": "failed", "error": {"code": "training_failed", "message": message, "param": None}}


def _success(task: Task, report: dict) -> dict:
    files = [("step_metrics.csv", metrics_csv(store.events(task.root, task.job["id"])))]
    if report["heldout"]:
        losses = "".join(json.dumps(row) + "\n" for row in report["heldout"])
        files.append(("validation_losses.jsonl", losses))
    files.append(("training_report.json", json.dumps(report, ensure_ascii=False, indent=2)))
    stored = [store.add_file(task.root, io.BytesIO(text.encode()), name, "fine-tune-results") for name, text in files]
    return {
        "status": "succeeded",
        "result_files": [row["id"] for row in stored],
        "trained_tokens": report["trained_tokens"],
        "hyperparameters": report["hyperparameters"],
    }


def metrics_csv(events: list[dict]) -> str:
    """As medidas por passo com os nomes de coluna da OpenAI; depois de uma retomada vale a última de cada passo."""
    by_step: dict[int, dict] = {}
    for event in reversed(events):
        if event["type"] == "metrics":
            by_step.setdefault(event["data"]["step"], {}).update(event["data"])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for _, row in sorted(by_step.items()):
        writer.writerow({column: row.get(key, "") for column, key in COLUMNS.items()})
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
