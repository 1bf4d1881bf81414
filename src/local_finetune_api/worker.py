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
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from finetune_helpers.errors import FinetuneError, InputError, StorageError
from finetune_helpers.gpt import validation
from finetune_helpers.portuguese import counted, number
from finetune_helpers.records import read_json, watch, write_json
from finetune_helpers.runs import when_input_closes

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
    when_input_closes(lambda: os._exit(1))
    folder = store.job_folder(options.dir, options.job)
    with FileLock(folder / "trava"):  # espera que o processo de um servidor morto acabe de sair
        watch(folder / "trava")
        if (folder / "outcome.json").is_file():
            return 0  # um processo anterior terminou depois que o servidor dele caiu
        try:
            outcome = train(read(options.dir, options.job, options.save_minutes))
        except StorageError as error:
            print(f"Erro: {error}", file=sys.stderr)
            return STORAGE_EXIT
        except FinetuneError as error:
            outcome = {"error": {"code": "training_failed", "message": without_paths(str(error))}}
        except Exception as error:
            print(trace(error), file=sys.stderr)
            return 1
        write_json(folder / "outcome.json", outcome)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return 0


@dataclass(frozen=True)
class Task:
    """Um job pronto para treinar: o modelo base, as conversas dos arquivos e o perfil da máquina.

    ``seconds`` soma o que cada fase levou.
    """

    root: Path
    job: dict
    base: base_models.BaseModel
    examples: list[dict]
    validation: list[dict]
    profile: "Profile"
    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "train": 0.0, "evaluate": 0.0})

    @property
    def folder(self) -> Path:
        """Pasta do job."""
        return store.job_folder(self.root, self.job["id"])

    def say(self, message: str, *, level: str = "info", data: dict | None = None) -> None:
        """Acrescenta um evento ao job."""
        store.event(self.root, self.job["id"], message, level=level, data=data)

    def fits(self, tokenizer: Any, turn: dict[str, str]) -> bool:
        """Se uma linha ``{prompt, completion}`` cabe no modelo."""
        return base_models.tokens_of(tokenizer, turn) <= self.base.max_length

    def warn(self, lines: list[int], kind: str) -> None:
        """Um evento com as linhas do arquivo que não cabem e ficam de fora."""
        distinct = sorted(set(lines))
        if distinct:
            listed = ", ".join(map(str, distinct[:20])) + (" …" if len(distinct) > 20 else "")
            text = f"{counted(len(distinct), 'linha')} de {kind} acima de {number(self.base.max_length)} tokens, fora"
            self.say(f"{text}: {listed}.", level="warn")


def read(root: Path, identifier: str, save_minutes: float) -> Task:
    """O que o job ``identifier`` pede; os arquivos já foram validados pelo servidor."""
    job = store.known_job(root, identifier)
    base = base_models.of_source(job["model"], job["source"])
    examples, heldout = (
        validation.read_rows(store.content_path(root, job[name])) if job[name] else []
        for name in ("training_file", "validation_file")
    )
    profile = base_models.profile(base, job["hyperparameters"], job["seed"])
    return Task(root, job, base, examples, heldout, replace(profile, save_minutes=save_minutes or profile.save_minutes))


def train(task: Task) -> dict:
    """Treina (ou continua do último checkpoint inteiro), salva os arquivos de resultados e devolve o desfecho.

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
    seen = [row | {"prompt": row["prompt"].removeprefix(start)} for row in rows]
    folder = task.folder / "checkpoints"
    trainer = training.trainer(model, tokenizer, task.profile, (seen, []), folder, callbacks=callbacks)
    if resumed := training.last_complete(folder, unfinished=True):
        step = read_json(resumed / "trainer_state.json")["global_step"]
        task.say(f"Continua do passo {step}.", level="warn")
    training.train_or_resume(trainer, task.folder / "models")
    task.seconds["train"] = curves.seconds  # com o que já tinha passado antes de uma retomada
    adapter, losses = reporting.finish(trainer.state.global_step)
    billed = task.job["hyperparameters"]["n_epochs"] * sum(base_models.tokens_of(tokenizer, row) for row in rows)
    report = measures.report(trainer, curves, task.profile, task.seconds, adapter) | {
        "model": task.base.name,
        "trained_tokens": billed,
        "hyperparameters": task.job["hyperparameters"],
        "heldout_curve": reporting.curve(),
        "heldout": losses,
    }
    report["profile"] |= {"model": task.base.name}  # sem a pasta em que o modelo está
    files = {
        "step_metrics.csv": metrics_csv(store.events(task.root, task.job["id"])),
        "validation_losses.jsonl": "".join(json.dumps(row) + "\n" for row in losses),
        "training_report.json": json.dumps(report, ensure_ascii=False, indent=2),
    }
    stored = [
        store.add_file(task.root, io.BytesIO(text.encode()), name, "fine-tune-results")["id"]
        for name, text in files.items()
        if text
    ]
    return {"result_files": stored, "trained_tokens": billed}


def training_rows(task: Task, tokenizer: Any) -> list[dict[str, str]]:
    """As linhas ``{prompt, completion}`` que cabem; um evento avisa das outras. InputError se nenhuma cabe."""
    every = [
        (line, turn)
        for line, example in enumerate(task.examples, start=1)
        for turn in base_models.turns(tokenizer, example["messages"])
    ]
    rows = [turn for _, turn in every if task.fits(tokenizer, turn)]
    task.warn([line for line, turn in every if not task.fits(tokenizer, turn)], "treino")
    if not rows:
        raise InputError(f"Nenhum exemplo cabe em {task.base.max_length} tokens. Encurte os exemplos.")
    return rows


def heldout(task: Task, tokenizer: Any) -> list[dict[str, Any]]:
    """As linhas de validação que cabem: ``line`` e a última resposta sob a sua pergunta (``own``) e a da linha seguinte
    (``other``), cada uma ``{prompt, completion}``.
    """
    rows: list[dict[str, Any]] = []
    for line, row in enumerate(task.validation, start=1):
        following = task.validation[line % len(task.validation)]
        asked = {"own": row["messages"], "other": asked_as(row["messages"], following["messages"])}
        last = {key: list(base_models.turns(tokenizer, messages))[-1] for key, messages in asked.items()}
        rows.append({"line": line, **last})
    fits = [row for row in rows if all(task.fits(tokenizer, row[key]) for key in ("own", "other"))]
    task.warn([row["line"] for row in rows if row not in fits], "validação")
    return fits


def asked_as(messages: list[dict], other: list[dict]) -> list[dict]:
    """A conversa com a última pergunta trocada pela última de ``other``."""
    questions = [message["content"] for message in other if message["role"] == "user"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None or not questions:
        return messages
    return [*messages[:last], messages[last] | {"content": questions[-1]}, *messages[last + 1 :]]


def metrics_csv(events: list[dict]) -> str:
    """As medidas por passo com os nomes de coluna da OpenAI; depois de uma retomada vale a última de cada passo."""
    by_step: dict[int, dict] = {}
    for event in reversed(events):
        if event["type"] == "metrics":
            by_step.setdefault(event["data"]["step"], {}).update(event["data"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.get(key, "") for key in COLUMNS.values()] for _, row in sorted(by_step.items()))
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
