"""O treino de um job: do JSONL de conversas ao adaptador, com perdas de validação antes e depois."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..gpt import data
from ..portuguese import counted
from ..records import read_json, write_json
from ..training import checkpoints, lora
from ..training.profiles import Profile
from . import base_models, conversation, store
from .base_models import BaseModel


@dataclass
class Training:
    """Um treino em andamento: onde fica, o que treina e os relógios (em segundos)."""

    root: Path
    job: dict
    base: BaseModel
    examples: list[dict]
    heldout: list[dict]
    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "train": 0.0, "evaluate": 0.0})

    @property
    def folder(self) -> Path:
        """Pasta do job."""
        return store.job_folder(self.root, self.job["id"])

    @property
    def profile(self) -> Profile:
        """Perfil de treino nesta máquina, com os hiperparâmetros do job."""
        return base_models.profile(self.base, self.hyperparameters, self.job["seed"])

    @property
    def hyperparameters(self) -> dict:
        """Hiperparâmetros com "auto" resolvido."""
        return base_models.resolve(self.job["hyperparameters"], len(self.examples))


def read(root: Path, job: dict, base: BaseModel) -> Training:
    """Lê os arquivos do job, já validados pelo servidor."""
    heldout = data.read_rows(store.content_path(root, job["validation_file"])) if job["validation_file"] else []
    return Training(root, job, base, data.read_rows(store.content_path(root, job["training_file"])), heldout)


def run(training: Training, pause: Callable[[], bool]) -> dict | None:
    """Treina (ou continua do último ponto inteiro) e devolve o relatório; None se ``pause()`` pediu para parar.

    InputError se nenhum exemplo cabe no modelo; MachineError se o modelo não carrega.
    """
    profile = training.profile
    started = time.perf_counter()
    model, tokenizer = lora.load(profile)
    model = lora.add_adapter(model, profile)
    training.seconds["load"] = time.perf_counter() - started
    measure = _measurer(training, model, tokenizer, profile)
    base_losses = _base_losses(training, measure)
    turns = conversation.training_rows(tokenizer, training.examples)
    rows = [row for _, row in _fitting(training, tokenizer, turns, profile.max_length, "treino")]
    if not rows:
        raise InputError(f"Nenhum exemplo cabe em {profile.max_length} tokens. Encurte os exemplos.")
    billed = sum(conversation.tokens_of(tokenizer, row) for row in rows) * training.hyperparameters["n_epochs"]
    return _train(training, model, tokenizer, profile, rows, measure, base_losses, billed, pause)


def _train(training, model, tokenizer, profile, rows, measure, base_losses, billed, pause) -> dict | None:
    from ..training import efficiency
    from .reporting import Reporting

    curves = efficiency.EfficiencyCallback()
    reporting = Reporting(training, model, measure, base_losses, pause, curves)
    callbacks = [curves, efficiency.TimedSave(profile.save_minutes), reporting]
    trainer = _trainer(training, model, tokenizer, profile, rows, callbacks)
    started, evaluated = time.perf_counter(), training.seconds["evaluate"]
    resumed = _resumable(training)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if reporting.paused:
        return None
    # O relógio das curvas soma o que já tinha passado antes de uma retomada; a validação tem a sua própria conta.
    spent = max(time.perf_counter() - started, curves.seconds)
    training.seconds["train"] = spent - (training.seconds["evaluate"] - evaluated)
    heldout = reporting.heldout()
    assert reporting.last_adapter  # cada época salva o seu
    report = efficiency.report(trainer, curves, profile, training.seconds, heldout, reporting.last_adapter)
    # O perfil guarda a pasta do modelo nesta máquina; o relatório sai pela API e leva só o nome.
    named = {"model": training.base.name, "profile": report["profile"] | {"model": training.base.name}}
    done = {"trained_tokens": billed, "hyperparameters": training.hyperparameters}
    return report | named | done | {"heldout_curve": reporting.heldout_curve}


def _trainer(training, model, tokenizer, profile, rows, callbacks):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    arguments = lora.sft_arguments(profile, training.folder / "recovery")
    return SFTTrainer(
        model=model,
        args=SFTConfig(**(arguments | {"disable_tqdm": True, "dataset_num_proc": None})),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=callbacks,
    )


def _resumable(training: Training) -> Path | None:
    """O último ponto inteiro que ainda tem passos pela frente, anunciado num evento; None se não há."""
    found = checkpoints.last_complete(training.folder / "recovery", unfinished=True)
    if found:
        step = read_json(found / "trainer_state.json")["global_step"]
        store.event(training.root, training.job["id"], f"Continua do passo {step}.", level="warn")
    return found


def _measurer(training: Training, model, tokenizer, profile: Profile):
    """Função que mede a perda de cada linha de validação e soma o tempo gasto; as que não cabem ficam de fora."""
    from ..training import inference

    turns = [rows[-1:] for rows in conversation.training_rows(tokenizer, training.heldout)]
    kept = _fitting(training, tokenizer, turns, profile.max_length, "validação")

    def measure() -> list[dict]:
        started = time.perf_counter()
        given = inference.losses(model, tokenizer, [row for _, row in kept], max_length=profile.max_length)
        training.seconds["evaluate"] += time.perf_counter() - started
        return [
            {"line": line, "tokens": item.tokens, "loss": round(item.loss, 5)}
            for (line, _), item in zip(kept, given, strict=True)
        ]

    return measure


def _base_losses(training: Training, measure) -> list[dict]:
    """Perdas do modelo base, medidas uma vez: o adaptador recém-criado ainda não muda nada."""
    path = training.folder / "base_losses.json"
    if not path.exists():
        write_json(path, measure())
    return read_json(path)


def _fitting(training: Training, tokenizer, turns: list[list[dict]], max_length: int, kind: str) -> list[tuple]:
    """As linhas (número e conteúdo) que cabem em ``max_length`` tokens; um evento avisa das outras."""
    numbered = [(line, row) for line, rows in enumerate(turns, start=1) for row in rows]
    fits = [conversation.tokens_of(tokenizer, row) <= max_length for _, row in numbered]
    kept = [pair for pair, good in zip(numbered, fits, strict=True) if good]
    long = sorted({line for (line, _), good in zip(numbered, fits, strict=True) if not good})
    if long:
        listed = ", ".join(map(str, long[:20])) + (" …" if len(long) > 20 else "")
        message = f"{counted(len(long), 'linha')} de {kind} acima de {max_length} tokens, fora do treino: {listed}."
        store.event(training.root, training.job["id"], message, level="warn")
    return kept
