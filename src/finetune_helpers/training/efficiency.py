"""O que o treino custou: segundos, tokens, memória e curvas de perda, para ``treino.json``."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from transformers import TrainerCallback

from .. import prompts
from ..errors import StorageError
from ..estimates import PHASES, peak_rss_gb
from ..portuguese import duration, number
from ..records import append_jsonl, read_json, sha256_file
from ..storage import check_present
from .adapters import MEASURES
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


class EfficiencyCallback(TrainerCallback):
    """Anota a perda de cada registro do Trainer com o tempo de treino já decorrido, também entre retomadas."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.loss_curve: list[dict] = []
        self.heldout_curve: list[dict] = []
        self.energy_kwh: float | None = None
        self._started = 0.0
        self._joules: float | None = None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Retoma as curvas que o ponto de retomada guardou."""
        for entry in state.log_history:
            self._note(entry.get("step", 0), entry, entry.get("elapsed", 0.0))
        self.seconds = max((point["seconds"] for point in self.loss_curve), default=0.0)
        self._started = time.perf_counter() - self.seconds
        self._joules = gpu_joules()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Fecha a conta da energia; a de um trecho anterior a uma retomada não é conhecida."""
        joules = gpu_joules()
        if joules is not None and self._joules is not None and self.seconds:
            self.energy_kwh = round((joules - self._joules) / 3.6e6, 5)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Guarda a perda e, no histórico do Trainer, o tempo decorrido (que o ponto de retomada leva consigo)."""
        self.seconds = time.perf_counter() - self._started
        if state.log_history:
            state.log_history[-1]["elapsed"] = self.seconds
        self._note(state.global_step, logs or {}, self.seconds)

    def _note(self, step: int, logs: dict, seconds: float) -> None:
        for key, curve in (("loss", self.loss_curve), ("eval_loss", self.heldout_curve)):
            if key in logs:
                curve.append({"step": step, "seconds": round(seconds, 3), "loss": round(logs[key], 5)})


class TimedSave(TrainerCallback):
    """Pede um ponto de retomada a cada ``minutes`` minutos: o que se perde numa queda é tempo, não passos."""

    def __init__(self, minutes: float) -> None:
        self.interval = 60 * minutes
        self._last = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Decide, ao fim de cada passo, se já é hora de salvar."""
        due = [time.monotonic() - self._last >= self.interval]
        if args.world_size > 1:
            # Cada processo tem o seu relógio, e todos precisam salvar no mesmo passo: vale o do primeiro.
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(due)
        if due[0]:
            check_present(args.output_dir)
            control.should_save, self._last = True, time.monotonic()

    def on_save(self, args, state, control, **kwargs) -> None:
        """Se a pasta sumiu enquanto este ponto era escrito, apaga o que ficou no lugar dela e para já."""
        try:
            check_present(args.output_dir)
        except StorageError:
            shutil.rmtree(Path(args.output_dir) / f"checkpoint-{state.global_step}", ignore_errors=True)
            raise


class HeldoutPoints(TrainerCallback):
    """Mede a validação ``evaluations`` vezes, a última no último passo, e acrescenta cada medida ao JSONL ``path``."""

    def __init__(self, path: Path, evaluations: int) -> None:
        self.path, self.evaluations = Path(path), evaluations

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Pede a medida nos passos que dividem o treino em partes iguais."""
        planned = {-(-state.max_steps * part // self.evaluations) for part in range(1, self.evaluations + 1)}
        control.should_evaluate = state.global_step in planned

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        """Grava passo, época e perda; quem acompanha o ensaio lê o arquivo enquanto ele cresce."""
        point = {"step": state.global_step, "epoch": round(state.epoch, 3), "loss": round(metrics["eval_loss"], 5)}
        append_jsonl(self.path, [point])


def gpu_joules() -> float | None:
    """Energia gasta pela GPU desde que o driver subiu (NVML, Volta ou mais nova), em joules; None onde não há."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)) / 1000
    except pynvml.NVMLError:
        return None


def peak_gpu_gb() -> float | None:
    """Pico de memória reservada na GPU, em GB; None sem GPU."""
    import torch

    return round(torch.cuda.max_memory_reserved() / 1e9, 3) if torch.cuda.is_available() else None


def device_name() -> str:
    """Nome da GPU ou, sem ela, o processador e os núcleos."""
    import os
    import platform

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU {platform.machine()}, {os.cpu_count()} núcleos"


def summary(report: dict) -> str:
    """O relatório em poucas linhas de português."""
    gpu = "sem GPU" if report["peak_gpu_gb"] is None else f"{number(report['peak_gpu_gb'], 1)} GB de GPU"
    times = ", ".join(f"{PHASES[key]} {duration(value)}" for key, value in report["seconds"].items())
    return (
        f"{report['device']}: {times}\n"
        f"{report['steps']} passos, {number(report['tokens_seen'])} tokens úteis, "
        f"{number(report['tokens_per_second'])} tokens por segundo; "
        f"pico de {number(report['peak_rss_gb'], 1)} GB, {gpu}"
    )


def finish(adapter: Path, seconds: dict[str, float], heldout: list[dict]) -> dict:
    """O conteúdo final de ``treino.json``: as medidas guardadas com o adaptador, mais a avaliação (segundos e perdas).

    As medidas ficam ao lado dos pesos para que uma queda entre o treino e a avaliação não as perca.
    """
    measured = read_json(Path(adapter) / MEASURES)
    measured["seconds"]["evaluate"] = round(seconds["evaluate"], 2)
    return measured | {"heldout": heldout, "gpu_hours": round(sum(measured["seconds"].values()) / 3600, 5)}


def report(
    trainer: "SFTTrainer",
    curves: EfficiencyCallback,
    profile: Profile,
    seconds: dict[str, float],
    heldout: list[dict],
    adapter: Path,
) -> dict:
    """O conteúdo de ``treino.json``: eficiência, curvas e perdas por item antes e depois (``heldout``).

    ``seconds`` traz ``load``, ``train`` e ``evaluate``; ``tokens_per_second`` conta só tokens úteis, sem preenchimento.
    """
    state, model = trainer.state, cast("PreTrainedModel", trainer.model)
    hours = round(sum(seconds.values()) / 3600, 5)
    return {
        "engine": profile.engine,
        "model": profile.model_name,
        "device": device_name(),
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        "peak_gpu_gb": peak_gpu_gb(),
        "peak_rss_gb": peak_rss_gb(),
        "trainable_parameters": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "steps": state.global_step,
        "examples_seen": state.global_step * profile.effective_batch * trainer.args.world_size,
        "tokens_seen": int(state.num_input_tokens_seen),
        "tokens_per_second": round(int(state.num_input_tokens_seen) / max(seconds["train"], 1e-9), 1),
        "loss_curve": curves.loss_curve,
        "heldout_curve": curves.heldout_curve,
        "heldout": heldout,
        "gpu_hours": hours,
        "energy_kwh": curves.energy_kwh,
        "price_sku": profile.price_sku,
        "profile": asdict(profile),
        "adapter_sha256": sha256_file(Path(adapter) / "adapter_model.safetensors"),
        "prompt_fingerprint": prompts.fingerprint(),
    }
