"""O treino que sobrevive a uma queda: o SFTTrainer do perfil, os checkpoints inteiros e de onde continuar."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import prompts
from ..errors import RunMismatchError
from ..records import Example, read_json, storage, write_json
from . import guards
from .bases import base_id
from .model import CARD, WEIGHTS, adapter_in_32_bits, check_card
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTTrainer

# O que pode mudar no meio de um treino sem mudar o que ele aprende; do lote e do acúmulo, vale o produto.
FREE = {"reasons", "origin", "price_sku", "save_minutes", "save_limit", "answer_batch_size", "max_new_tokens"}
FREE |= {"eval_steps", "batch_size", "gradient_accumulation"}


def sft_arguments(
    profile: Profile, output_dir: Path | str, *, evaluate: bool = False, max_length: int | None = None
) -> dict[str, Any]:
    """Argumentos de ``trl.SFTConfig``: perda só na resposta e precisão da máquina; ``evaluate`` mede a validação.

    ``max_length`` é o comprimento real dos dados, se for menor que o limite do perfil.
    """
    validation = {"eval_strategy": "steps", "eval_steps": profile.eval_steps} if evaluate else {}
    return validation | {
        "output_dir": str(output_dir),
        "fp16": profile.dtype == "float16",
        "bf16": profile.dtype == "bfloat16",
        "max_length": max_length or profile.max_length,
        "completion_only_loss": True,
        "per_device_train_batch_size": profile.batch_size,
        "per_device_eval_batch_size": profile.batch_size,
        "gradient_accumulation_steps": profile.gradient_accumulation,
        "num_train_epochs": profile.epochs,
        "max_steps": profile.max_steps,
        "learning_rate": profile.learning_rate,
        "lr_scheduler_type": profile.scheduler,
        "warmup_steps": profile.warmup,
        "weight_decay": profile.weight_decay,
        "neftune_noise_alpha": profile.neftune_alpha or None,
        "optim": profile.optimizer,
        "gradient_checkpointing": bool(profile.gradient_checkpointing),
        "use_cpu": profile.device == "cpu",
        "logging_steps": 1,
        "include_num_input_tokens_seen": "non_padding",
        # Quem salva é o TimedSave, por tempo: um passo leva segundos numa GPU e minutos noutra.
        "save_strategy": "no",
        "train_sampling_strategy": profile.sampling,
        "save_total_limit": profile.save_limit,
        "seed": profile.seed,
        "report_to": "none",
    }


def trainer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    profile: Profile,
    rows: tuple[Sequence[dict[str, str]], Sequence[dict[str, str]]],
    folder: Path,
    *,
    callbacks: "Sequence[TrainerCallback]" = (),
    evaluate: bool = False,
) -> "SFTTrainer":
    """O SFTTrainer de ``rows`` (treino e validação, linhas ``{prompt, completion}``); InputError se nenhuma couber.

    As linhas maiores que o limite ficam de fora. ``evaluate`` mede a validação a cada ``eval_steps`` passos.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    train, validation = rows
    lengths = guards.lengths(tokenizer, train, profile.max_length)
    config = SFTConfig(**sft_arguments(profile, folder, evaluate=evaluate, max_length=lengths.longest_kept))
    # Com 1 ou mais, o `datasets` abre processos que um kill -9 deixa órfãos; no argumento, o Unsloth põe 1 onde há 0.
    config.dataset_num_proc = 0
    fitting = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=config,
        train_dataset=Dataset.from_list(lengths.kept(train)),
        eval_dataset=Dataset.from_list(list(validation)) if validation else None,
        callbacks=list(callbacks),
    )
    adapter_in_32_bits(model)
    return fitting


def training_rows(examples: tuple[list[Example], list[Example]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """As linhas ``{prompt, completion}`` do treino e da validação."""
    train, validation = ([prompts.to_prompt_completion(example) for example in part] for part in examples)
    return train, validation


def last_complete(folder: Path | str, *, unfinished: bool = False) -> Path | None:
    """O checkpoint mais avançado que está inteiro em ``folder``, ou None.

    ``unfinished`` pula o do último passo: retomar dali daria um passo a mais.
    """
    numbered = {int(path.name.split("-")[1]): path for path in Path(folder).glob("checkpoint-*[0-9]")}
    for step in sorted(numbered, reverse=True):
        state = complete_state(numbered[step])
        if state and not (unfinished and step >= state.get("max_steps", step + 1)):
            return numbered[step]
    return None


def complete_state(checkpoint: Path) -> dict[str, Any]:
    """O estado de um checkpoint salvo por inteiro; vazio se ele não está.

    O Trainer escreve ``trainer_state.json`` por último; o cabeçalho do safetensors diz o tamanho do arquivo, e um
    arquivo cortado não bate com ele.
    """
    from safetensors import SafetensorError, safe_open

    try:
        state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text())
        with safe_open(checkpoint / WEIGHTS, framework="numpy") as weights:
            whole = any(weights.keys()) and (checkpoint / "optimizer.pt").stat().st_size > 0
    except (OSError, ValueError, SafetensorError):
        return {}
    return state if whole else {}


def train_or_resume(trainer: "SFTTrainer", adapter: Path, profile: Profile | None = None) -> bool:
    """Treina do começo, retoma do último checkpoint inteiro ou reconhece que já terminou; diz se treinou agora.

    Se o cartão de ``adapter`` existe, só os pesos são recarregados. Com ``profile``, o que é de outro modelo base ou
    perfil é recusado (RunMismatchError). StorageError se o disco enche ou a pasta some enquanto um checkpoint é salvo.
    """
    adapter_in_32_bits(trainer.model)
    folder = Path(str(trainer.args.output_dir))
    if profile:
        check_folder(folder, profile, trainer.args.world_size)
    if (Path(adapter) / CARD).is_file():
        if profile:
            check_card(adapter, profile)
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        set_peft_model_state_dict(cast("PreTrainedModel", trainer.model), load_file(Path(adapter) / WEIGHTS))
        return False
    if profile and trainer.is_world_process_zero():
        write_json(folder / CARD, card(profile, trainer.args.world_size))
    write = trainer._save_checkpoint

    def save(*args: Any, **options: Any) -> None:
        # Só a gravação de um checkpoint fala do disco: um erro do treino não pode virar "monte o Drive".
        with storage(folder / "checkpoint"):
            write(*args, **options)

    trainer._save_checkpoint = save  # type: ignore[method-assign]  # não há outro lugar
    point = last_complete(folder, unfinished=True)
    trainer.train(resume_from_checkpoint=str(point) if point else None)
    # O accelerate deixa no modelo a precisão mista do treino: medido assim, ele não é o que se recarrega depois.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return True


def check_folder(folder: Path, profile: Profile, processes: int = 1) -> None:
    """RunMismatchError se os checkpoints de ``folder`` são de outro modelo base ou de outro perfil."""
    if (Path(folder) / CARD).is_file():
        refuse_other(f"Os checkpoints em {folder}", read_json(Path(folder) / CARD), card(profile, processes))


def refuse_other(what: str, known: dict[str, Any], asked: dict[str, Any]) -> None:
    """RunMismatchError, com as diferenças, se ``what`` começou com outro modelo base ou perfil."""
    changed = [key for key in asked if known.get(key) != asked[key]]
    if changed:
        listed = "; ".join(f"{key}: era {known.get(key)!r}, agora {asked[key]!r}" for key in changed)
        raise RunMismatchError(
            f"{what} são de outro treino ({listed}), e perdas de modelos diferentes não se comparam. Volte à máquina e "
            f"aos parâmetros de antes (`profile` = {known.get('name')}), ou use outra rodada (`run`)."
        )


def card(profile: Profile, processes: int = 1) -> dict[str, Any]:
    """O modelo base e tudo o que define o que um treino aprende, na forma que o JSON devolve."""
    values = {key: value for key, value in asdict(profile).items() if key not in FREE}
    values |= {"model": profile.model_name, "base_id": base_id(profile)}
    return dict(json.loads(json.dumps(values | {"examples_a_step": profile.effective_batch * processes})))
