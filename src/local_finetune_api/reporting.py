"""O que o treino conta enquanto acontece: eventos, fim previsto e um checkpoint utilizável por época."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from finetune_helpers.portuguese import number
from finetune_helpers.records import read_json, storage, write_json
from finetune_helpers.training import adapter_hash, measures

from . import store

if TYPE_CHECKING:
    from .worker import Task

KEPT = 3  # como na OpenAI: os três últimos checkpoints ficam


class Reporting(TrainerCallback):
    """Escreve medidas e progresso do job e, a cada época, salva o adaptador e mede a validação.

    A última época fica para ``finish``, depois do treino: a medida dela é também a das perdas finais.
    """

    def __init__(self, task: "Task", model: Any, tokenizer: Any, heldout: list[dict], curves: Any):
        self.task, self.model, self.tokenizer, self.heldout, self.curves = task, model, tokenizer, heldout, curves
        self._started, self._first_step = 0.0, 0
        self._last: dict[str, float] = {}
        self.base = self._base_losses()

    def on_train_begin(self, args, state, control, **kwargs):
        """Marca o início, para estimar o fim, e refaz o checkpoint de época que uma queda tenha levado."""
        self._started, self._first_step = time.monotonic(), state.global_step
        for logs in state.log_history:
            self._keep(logs)
        marker = self.task.folder / "models" / f"step-{state.global_step}" / "checkpoint.json"
        if state.global_step and float(state.epoch or 0.5).is_integer() and not marker.is_file():
            # O Trainer salva antes o seu estado: a queda veio entre os dois.
            self.on_epoch_end(args, state, control)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Um evento de medidas por passo, e o fim previsto."""
        if not self._keep(logs or {}):
            return
        measured = {"step": state.global_step, "total_steps": state.max_steps, **self._last}
        text = f"Passo {state.global_step}/{state.max_steps}: perda {number(self._last['train_loss'], 2)}"
        self.task.say(text, data=measured)
        pace = (time.monotonic() - self._started) / max(1, state.global_step - self._first_step)
        finish = int(time.time() + pace * (state.max_steps - state.global_step))
        write_json(self.task.folder / "progress.json", {"estimated_finish": finish})

    def _keep(self, logs: dict[str, float]) -> bool:
        """Guarda as medidas de um passo; False se ``logs`` não as traz."""
        names = {"loss": "train_loss", "mean_token_accuracy": "train_mean_token_accuracy"}
        if "loss" in logs:
            self._last = {names[key]: round(logs[key], 5) for key in names if key in logs}
        return "loss" in logs

    def on_epoch_end(self, args, state, control, **kwargs):
        """Um checkpoint que serve de modelo, com a perda de toda a validação."""
        if state.global_step < state.max_steps:
            self._save(state.global_step, self._measured("own"))

    def finish(self, step: int) -> tuple[Path, list[dict]]:
        """Salva o adaptador do último passo; devolve a pasta dele e as perdas de cada linha de validação."""
        started = time.perf_counter()
        own, other = self._measured("own"), self._measured("other")
        self.task.seconds["evaluate"] += time.perf_counter() - started
        rows = [
            before | {"tuned_loss": mine["loss"], "tuned_other_loss": another["loss"]}
            for before, mine, another in zip(self.base, own, other, strict=True)
        ]
        return self._save(step, own), rows

    def curve(self) -> list[dict]:
        """A perda da validação a cada época, a partir da do modelo base, mesmo que o treino tenha sido retomado."""
        if not self.base:
            return []
        start = _mean([row | {"loss": row["base_loss"]} for row in self.base])
        points = {0: {"step": 0, "seconds": 0.0, "loss": start}}
        for event in reversed(store.events(self.task.root, self.task.job["id"])):
            if "full_valid_loss" in event["data"]:
                step, loss = event["data"]["step"], event["data"]["full_valid_loss"]
                points[step] = {"step": step, "seconds": event["data"]["seconds"], "loss": loss}
        return [points[step] for step in sorted(points)]

    def _measured(self, key: str) -> list[dict]:
        # O micro-lote do treino: é o que se sabe que cabe na memória ao lado do treino.
        profile, rows = self.task.profile, [row[key] for row in self.heldout]
        limit, size = profile.max_length, profile.batch_size
        losses = measures.losses(self.model, self.tokenizer, rows, max_length=limit, batch_size=size) if rows else []
        return [{"tokens": item.tokens, "loss": round(item.loss, 6)} for item in losses]

    def _base_losses(self) -> list[dict]:
        """Perdas do modelo base, medidas uma vez por job: o adaptador recém-criado ainda não muda nada."""
        path = self.task.folder / "base_losses.json"
        if not path.exists():
            started = time.perf_counter()
            measured = zip(self.heldout, self._measured("own"), self._measured("other"), strict=True)
            rows = [
                {
                    "line": row["line"],
                    "tokens": mine["tokens"],
                    "characters": len(row["own"]["completion"]),
                    "base_loss": mine["loss"],
                    "base_other_loss": another["loss"],
                }
                for row, mine, another in measured
            ]
            write_json(path, {"seconds": time.perf_counter() - started, "rows": rows})
        known = read_json(path)
        self.task.seconds["evaluate"] += known["seconds"]
        return known["rows"]

    def _save(self, step: int, losses: list[dict]) -> Path:
        metrics = {"step": step, **self._last}
        if losses:
            metrics["full_valid_loss"] = _mean(losses)
            text = f"Época terminada no passo {step}: perda de validação {number(metrics['full_valid_loss'], 2)}"
            self.task.say(text, data=metrics | {"seconds": round(self.curves.seconds, 3)})
        folder = self.task.folder / "models" / f"step-{step}"
        with storage(folder / "adapter_model.safetensors"):
            self.model.save_pretrained(str(folder))
        row = {
            "id": store.new_id("ftckpt"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(time.time()),
            "fine_tuning_job_id": self.task.job["id"],
            "fine_tuned_model_checkpoint": f"{self.task.job['tuned_name']}:ckpt-step-{step}",
            "step_number": step,
            "metrics": metrics,
            "adapter_sha256": adapter_hash(folder),
        }
        write_json(folder / "checkpoint.json", row)  # a marca: sem ela o checkpoint não existe
        saved = sorted(self.task.folder.glob("models/step-*"), key=lambda path: int(path.name.split("-")[1]))
        for old in saved[:-KEPT]:
            store.delete(old, "checkpoint.json")
        return folder


def _mean(rows: list[dict]) -> float:
    """Média por token, não por linha: é o que a OpenAI chama de perda de toda a validação."""
    return round(sum(row["loss"] * row["tokens"] for row in rows) / max(1, sum(row["tokens"] for row in rows)), 5)
