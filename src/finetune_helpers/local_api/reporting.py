"""O que o treino conta enquanto acontece: eventos, progresso e um ponto utilizável por época."""

import shutil
import time
from pathlib import Path

from transformers import TrainerCallback

from ..portuguese import number
from ..records import sha256_file, write_json
from . import store

KEPT = 3  # como na OpenAI: os três últimos pontos ficam


class Reporting(TrainerCallback):
    """Escreve medidas e progresso do job, salva o adaptador a cada época e atende ao pedido de pausa."""

    def __init__(self, training, model, measure, base_losses, pause, curves):
        self.training, self.model, self.measure, self.pause = training, model, measure, pause
        self.base_losses, self.curves = base_losses, curves
        self.tuned_losses: list[dict] = []
        self.heldout_curve = [{"step": 0, "seconds": 0.0, "loss": _mean(base_losses)}] if base_losses else []
        self.paused = False
        self._started, self._first_step = 0.0, 0
        self.last_adapter: Path | None = None
        self._last: dict = {}

    def on_step_begin(self, args, state, control, **kwargs):
        """Marca o início, para estimar o fim."""
        if not self._started:
            self._started, self._first_step = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Um evento de medidas por passo."""
        if not logs or "loss" not in logs:
            return
        self._last = {"train_loss": round(logs["loss"], 5)}
        if "mean_token_accuracy" in logs:
            self._last["train_mean_token_accuracy"] = round(logs["mean_token_accuracy"], 5)
        measured = {"step": state.global_step, "total_steps": state.max_steps, **self._last}
        text = f"Passo {state.global_step}/{state.max_steps}: perda {number(logs['loss'], 2)}"
        store.event(self.training.root, self.training.job["id"], text, data=measured)

    def on_step_end(self, args, state, control, **kwargs):
        """Atualiza o fim estimado e para, com o ponto salvo, se pediram pausa."""
        spent = (time.monotonic() - self._started) / max(1, state.global_step - self._first_step)
        finish = int(time.time() + spent * (state.max_steps - state.global_step))
        progress = {"estimated_finish": finish, "hyperparameters": self.training.hyperparameters}
        write_json(self.training.folder / "progress.json", progress)
        if self.pause() and state.global_step < state.max_steps:
            self.paused = control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args, state, control, **kwargs):
        """Ponto de controle utilizável como modelo, com a perda de toda a validação."""
        if self.paused:
            return
        metrics = {"step": state.global_step, **self._last}
        if self.base_losses:
            self.tuned_losses = self.measure()
            metrics["full_valid_loss"] = _mean(self.tuned_losses)
            seconds = round(self.curves.seconds, 3)
            point = {"step": state.global_step, "seconds": seconds, "loss": metrics["full_valid_loss"]}
            self.heldout_curve.append(point)
        self._save(state.global_step, metrics)

    def heldout(self) -> list[dict]:
        """Perda de cada linha de validação antes e depois."""
        return [
            {
                "line": before["line"],
                "tokens": before["tokens"],
                "base_loss": before["loss"],
                "tuned_loss": after["loss"],
            }
            for before, after in zip(self.base_losses, self.tuned_losses, strict=True)
        ]

    def _save(self, step: int, metrics: dict) -> None:
        folder = self.training.folder / "models" / f"step-{step}"
        self.model.save_pretrained(str(folder))
        self.last_adapter = folder
        row = {
            "id": store.new_id("ftckpt"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(time.time()),
            "fine_tuning_job_id": self.training.job["id"],
            "fine_tuned_model_checkpoint": f"{self.training.job['tuned_name']}:ckpt-step-{step}",
            "step_number": step,
            "metrics": metrics,
            "adapter_sha256": sha256_file(folder / "adapter_model.safetensors"),
        }
        write_json(folder / "checkpoint.json", row)  # a marca: sem ela o ponto não existe
        self._forget_old()

    def _forget_old(self) -> None:
        saved = sorted(self.training.folder.glob("models/step-*"), key=lambda path: int(path.name.split("-")[1]))
        for folder in saved[:-KEPT]:
            (folder / "checkpoint.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def _mean(rows: list[dict]) -> float:
    """Média por token, não por linha: é o que a OpenAI chama de perda de toda a validação."""
    return round(sum(row["loss"] * row["tokens"] for row in rows) / max(1, sum(row["tokens"] for row in rows)), 5)
