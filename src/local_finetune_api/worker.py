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
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from finetune_helpers.errors import FinetuneError, InputError, StorageError
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
            task = Task(options.dir, store.known_job(options.dir, options.job), options.save_minutes)
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
        shutil.rmtree(task.checkpoints, ignore_errors=True)
    return 0


def _leave_with_the_server() -> None:
    # os.read, e não sys.stdin: a leitura com reserva prende uma trava que um processo filho herdaria presa.
    while os.read(0, 4096):
        continue
    os._exit(1)


@dataclass(frozen=True)
class Task:
    """O que um job pede: os arquivos dele, o perfil e as pastas; ``seconds`` soma o que cada fase levou."""

    root: Path
    job: dict
    save_minutes: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "train": 0.0, "evaluate": 0.0})

    @property
    def folder(self) -> Path:
        """Pasta do job."""
        return store.job_folder(self.root, self.job["id"])

    @property
    def checkpoints(self) -> Path:
        """Onde o treinador deixa os pontos de que se continua."""
        return self.folder / "checkpoints"

    @cached_property
    def base(self) -> base_models.BaseModel:
        """O modelo base."""
        return base_models.of_source(self.job["model"], self.job["source"])

    @cached_property
    def examples(self) -> list[dict]:
        """As linhas de treino, já validadas pelo servidor."""
        return self._rows("training_file")

    @cached_property
    def validation(self) -> list[dict]:
        """As linhas de validação; nenhuma, se o job não as tem."""
        return self._rows("validation_file") if self.job["validation_file"] else []

    @cached_property
    def hyperparameters(self) -> dict:
        """Hiperparâmetros com ``"auto"`` resolvido."""
        return base_models.resolve(self.job["hyperparameters"], len(self.examples))

    @cached_property
    def profile(self) -> "Profile":
        """Perfil de treino nesta máquina, com os hiperparâmetros do job."""
        chosen = base_models.profile(self.base, self.hyperparameters, self.job["seed"])
        return replace(chosen, save_minutes=self.save_minutes) if self.save_minutes else chosen

    def say(self, message: str, *, level: str = "info", data: dict | None = None) -> None:
        """Acrescenta um evento ao job."""
        store.event(self.root, self.job["id"], message, level=level, data=data)

    def _rows(self, kind: str) -> list[dict]:
        from finetune_helpers.gpt import validation

        return validation.read_rows(store.content_path(self.root, self.job[kind]))


@dataclass(frozen=True)
class Heldout:
    """As linhas de validação que se medem: número da linha, a própria pergunta e a pergunta da linha seguinte."""

    lines: list[int]
    own: list[dict[str, str]]
    other: list[dict[str, str]]


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
    start = tokenizer.decode(tokenizer("")["input_ids"])
    learned = [row | {"prompt": row["prompt"].removeprefix(start)} for row in rows]
    trainer = training.trainer(model, tokenizer, task.profile, (learned, []), task.checkpoints, callbacks=callbacks)
    resumed = training.last_complete(task.checkpoints, unfinished=True)
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
    numbered = [
        (line, turn)
        for line, example in enumerate(task.examples, start=1)
        for turn in base_models.turns(tokenizer, example["messages"])
    ]
    fits = [base_models.tokens_of(tokenizer, turn) <= task.base.max_length for _, turn in numbered]
    rows = [turn for (_, turn), fit in zip(numbered, fits, strict=True) if fit]
    _warn(task, [line for (line, _), fit in zip(numbered, fits, strict=True) if not fit], "treino")
    if not rows:
        raise InputError(f"Nenhum exemplo cabe em {task.base.max_length} tokens. Encurte os exemplos.")
    return rows


def heldout(task: Task, tokenizer: Any) -> Heldout:
    """As linhas de validação que cabem, com a última resposta sob a sua pergunta e sob a da linha seguinte."""
    conversations = [row["messages"] for row in task.validation]
    following = [*conversations[1:], *conversations[:1]]
    own = [list(base_models.turns(tokenizer, messages))[-1] for messages in conversations]
    other = [
        list(base_models.turns(tokenizer, asked_as(messages, after)))[-1]
        for messages, after in zip(conversations, following, strict=True)
    ]
    pairs = list(zip(own, other, strict=True))
    fits = [max(base_models.tokens_of(tokenizer, row) for row in pair) <= task.base.max_length for pair in pairs]
    kept = [index for index, fit in enumerate(fits) if fit]
    _warn(task, [index + 1 for index, fit in enumerate(fits) if not fit], "validação")
    return Heldout([index + 1 for index in kept], [own[index] for index in kept], [other[index] for index in kept])


def asked_as(messages: list[dict], other: list[dict]) -> list[dict]:
    """A conversa com a última pergunta trocada pela última de ``other``: o que a resposta perde, a pergunta explicava."""
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
