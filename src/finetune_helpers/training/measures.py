"""O que se mede: a perda por item, o que o treino custou e o que a queda da perda quer dizer.

Importa o torch e o transformers: com o Unsloth, só depois dele. O gerador de respostas também se usa daqui.
"""

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import TrainerCallback

from .. import progress, prompts
from ..errors import RunMismatchError, StorageError
from ..estimates import PHASES, peak_rss_gb
from ..portuguese import duration, number
from ..records import Example, check_present, read_json, write_json
from .bases import base_id
from .generation import Sampling, answerer, encode, generate, inference, padded, padding_id
from .model import MEASURES, tuned_id
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import SFTTrainer

__all__ = ["Sampling", "answerer", "encode", "generate"]


@dataclass(frozen=True)
class ItemLoss:
    """Perda média por token da resposta de um item (em nats) e quantos tokens ela tem."""

    tokens: int
    loss: float


def losses(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: list[dict[str, str]],
    *,
    max_length: int,
    batch_size: int = 4,
) -> list[ItemLoss]:
    """Perda média por token (nats) da ``completion`` de cada linha ``{prompt, completion}``, com o EOS, na ordem dada.

    Uma linha maior que ``max_length`` é cortada, como no treino.
    """
    encoded = [encode(tokenizer, row["prompt"] + row["completion"] + tokenizer.eos_token)[:max_length] for row in rows]
    starts = [len(encode(tokenizer, row["prompt"])) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -len(encoded[index]))
    measured: dict[int, ItemLoss] = {}
    with inference(model), progress.bar("medindo a perda", "itens", len(rows)) as bar:
        for first in range(0, len(order), batch_size):
            indices = order[first : first + batch_size]
            ids, mask = padded([encoded[index] for index in indices], padding_id(tokenizer), side="right")
            logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
            for row, index in enumerate(indices):
                start, end = starts[index], len(encoded[index])
                target = torch.tensor(encoded[index][start:], device=logits.device)
                loss = torch.nn.functional.cross_entropy(logits[row, start - 1 : end - 1].float(), target)
                measured[index] = ItemLoss(end - start, loss.item())
            bar.update(len(indices))
    return [measured[index] for index in range(len(rows))]


def _written(path: Path, model_id: str) -> dict[str, Any]:
    """O que já está em ``path``, se é de ``model_id``; vazio se não está."""
    known: dict[str, Any] = read_json(path) if Path(path).exists() else {}
    if known and known["model_id"] != model_id:
        raise RunMismatchError(
            f"{path} é do modelo {known['model_id']} e o desta rodada é {model_id}. Apague o arquivo para medir de "
            "novo, volte ao modelo de antes ou use outra rodada (`run`)."
        )
    return known


def item_losses(
    measure: Callable[[list[dict[str, str]]], list[ItemLoss]], items: list[Example], path: Path, model_id: str
) -> list[dict[str, Any]]:
    """A perda da descrição de cada item sob o próprio título e sob o do item seguinte; lida de ``path``, se já existe.

    Devolve ``[{item_id, tokens, characters, loss, other_loss}]``; a diferença entre as duas é o que o título explica.
    RunMismatchError se o arquivo é de outros pesos.
    """
    if known := _written(path, model_id):
        return list(known["rows"])
    own = [prompts.to_prompt_completion(item) for item in items]
    # O título do item seguinte, na ordem do arquivo; o do último é o do primeiro.
    swapped = [row | {"prompt": own[(place + 1) % len(own)]["prompt"]} for place, row in enumerate(own)]
    measured = measure(own + swapped)
    rows = [
        {
            "item_id": item.item_id,
            "tokens": measured[place].tokens,
            "characters": len(item.content),
            "loss": round(measured[place].loss, 6),
            "other_loss": round(measured[len(items) + place].loss, 6),
        }
        for place, item in enumerate(items)
    ]
    write_json(path, {"model_id": model_id, "rows": rows})
    return rows


def join(base: list[dict[str, Any]], tuned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Uma linha por item presente nas duas medidas, antes e depois do treino, como ``treino.json`` a guarda."""
    before = {row["item_id"]: row for row in base}
    kinds = ("loss", "other_loss")
    return [
        {key: row[key] for key in ("item_id", "tokens", "characters")}
        | {f"base_{kind}": before[row["item_id"]][kind] for kind in kinds}
        | {f"tuned_{kind}": row[kind] for kind in kinds}
        for row in tuned
        if row["item_id"] in before
    ]


class EfficiencyCallback(TrainerCallback):
    """Anota a perda de cada registro do Trainer com o tempo de treino já decorrido, também entre retomadas."""

    def __init__(self) -> None:
        self.seconds = self._started = 0.0
        self.loss_curve: list[dict] = []
        self.heldout_curve: list[dict] = []

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Retoma as curvas que o checkpoint trouxe."""
        for entry in state.log_history:
            self._note(entry.get("step", 0), entry, entry.get("elapsed", 0.0))
        self.seconds = max((point["seconds"] for point in self.loss_curve), default=0.0)
        self._started = time.perf_counter() - self.seconds

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Anota a perda e, no histórico do Trainer, o tempo decorrido (que o checkpoint leva consigo)."""
        self.seconds = time.perf_counter() - self._started
        if state.log_history:
            state.log_history[-1]["elapsed"] = self.seconds
        self._note(state.global_step, logs or {}, self.seconds)

    def _note(self, step: int, logs: dict, seconds: float) -> None:
        for key, curve in (("loss", self.loss_curve), ("eval_loss", self.heldout_curve)):
            if key in logs:
                curve.append({"step": step, "seconds": round(seconds, 3), "loss": round(logs[key], 5)})


class TimedSave(TrainerCallback):
    """Pede um checkpoint a cada ``minutes`` minutos: o que se perde numa queda é tempo, não passos."""

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
        """Se a pasta sumiu enquanto este checkpoint era escrito, apaga o que ficou no lugar dela e para já."""
        try:
            check_present(args.output_dir)
        except StorageError:
            shutil.rmtree(Path(args.output_dir) / f"checkpoint-{state.global_step}", ignore_errors=True)
            raise


def peak_gpu_gb() -> float | None:
    """Pico de memória reservada na GPU, em GB; None sem GPU."""
    return round(torch.cuda.max_memory_reserved() / 1e9, 3) if torch.cuda.is_available() else None


def report(
    trainer: "SFTTrainer", curves: EfficiencyCallback, profile: Profile, seconds: dict[str, float], adapter: Path
) -> dict[str, Any]:
    """O que o treino custou, para ``medidas.json`` e depois ``treino.json``: tempo, memória, tokens (úteis) e curvas.

    ``seconds`` traz ``load`` e ``train`` (os passos e as medidas de validação entre eles).
    """
    state, net = trainer.state, cast("PreTrainedModel", trainer.model)
    cpu = f"CPU {platform.machine()}, {os.cpu_count()} núcleos"
    tokens = int(state.num_input_tokens_seen)
    return {
        "engine": profile.engine,
        "model": profile.model_name,
        "base_id": base_id(profile),
        "model_id": tuned_id(profile, adapter),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        "peak_gpu_gb": peak_gpu_gb(),
        "peak_rss_gb": peak_rss_gb(),
        "trainable_parameters": sum(weight.numel() for weight in net.parameters() if weight.requires_grad),
        "steps": state.global_step,
        "examples_seen": state.global_step * profile.effective_batch * trainer.args.world_size,
        "tokens_seen": tokens,
        "tokens_per_second": round(tokens / max(seconds["train"], 1e-9), 1),
        "loss_curve": curves.loss_curve,
        "heldout_curve": curves.heldout_curve,
        "heldout": [],
        "gpu_hours": round(sum(seconds.values()) / 3600, 5),
        "billed_tokens": None,
        "price_sku": profile.price_sku,
        "profile": asdict(profile) | {"model": profile.model_name},
        "prompt_fingerprint": prompts.fingerprint(),
    }


def finish(adapter: Path, seconds: dict[str, float], heldout: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    """Grava o ``treino.json`` de ``path``, uma só vez: as medidas do adaptador, o tempo da avaliação e as perdas.

    RunMismatchError se o relatório que já está lá é de outro adaptador.
    """
    # As medidas ficam ao lado dos pesos para que uma queda entre o treino e a avaliação não as perca.
    measured = read_json(Path(adapter) / MEASURES)
    if known := _written(path, measured["model_id"]):
        return known
    measured["seconds"]["evaluate"] = round(seconds["evaluate"], 2)
    measured |= {"heldout": heldout, "gpu_hours": round(sum(measured["seconds"].values()) / 3600, 5)}
    write_json(path, measured)
    return dict(measured)


def summary(report: dict[str, Any]) -> str:
    """O relatório em poucas linhas de português."""
    gpu = "sem GPU" if report["peak_gpu_gb"] is None else f"{number(report['peak_gpu_gb'], 1)} GB de GPU"
    times = ", ".join(f"{PHASES[key]} {duration(value)}" for key, value in report["seconds"].items())
    return (
        f"{report['device']}: {times}\n"
        f"{number(report['steps'])} passos, {number(report['tokens_seen'])} tokens úteis, "
        f"{number(report['tokens_per_second'])} tokens por segundo; "
        f"pico de {number(report['peak_rss_gb'], 1)} GB, {gpu}"
    )
