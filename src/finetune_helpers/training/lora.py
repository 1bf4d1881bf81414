"""O modelo em 4 bits, o adaptador LoRA e os argumentos do SFTTrainer, a partir de um perfil."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MachineError
from .adapters import check_card
from .profiles import Profile, model_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def model_arguments(profile: Profile, adapter: Path | None = None) -> dict:
    """Argumentos de ``FastLanguageModel.from_pretrained`` para o modelo base ou para um adaptador salvo."""
    return {
        "model_name": str(adapter or model_path(profile)),
        "max_seq_length": profile.max_length,
        "dtype": _dtype(profile),
        "load_in_4bit": profile.load_in_4bit,
    }


def lora_arguments(profile: Profile) -> dict:
    """Argumentos comuns de ``FastLanguageModel.get_peft_model`` e de ``peft.LoraConfig`` (LoRA, arXiv 2106.09685)."""
    return {
        "r": profile.lora_r,
        "lora_alpha": profile.lora_alpha,
        "lora_dropout": profile.lora_dropout,
        "target_modules": list(profile.target_modules),
        "bias": "none",
    } | ({"use_dora": True} if profile.use_dora else {})


def sft_arguments(
    profile: Profile, output_dir: Path | str, *, evaluate: bool = False, max_length: int | None = None
) -> dict:
    """Argumentos de ``trl.SFTConfig``: perda só na resposta e precisão da máquina; ``evaluate`` mede a validação.

    ``max_length`` é o comprimento real dos dados, se for menor que o limite do perfil.
    """
    precision = {"float16": {"fp16": True, "bf16": False}, "bfloat16": {"bf16": True}, "float32": {"bf16": False}}
    validation = {"eval_strategy": "steps", "eval_steps": profile.eval_steps} if evaluate else {}
    return (
        precision[profile.dtype]
        | validation
        | {
            "output_dir": str(output_dir),
            "max_length": profile.max_length,
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
            "dataset_num_proc": 1 if profile.device == "cpu" else None,
        }
    )


def load(profile: Profile, adapter: Path | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Carrega modelo e tokenizador em 4 bits com o motor do perfil, com o adaptador salvo se ele for dado.

    RunMismatchError se o adaptador foi treinado sobre outro modelo ou outro prompt; MachineError se o modelo não vier.
    """
    if adapter:
        check_card(adapter, profile)
    try:
        return (_load_unsloth if profile.engine == "unsloth" else _load_transformers)(profile, adapter)
    except (OSError, RuntimeError) as error:
        raise _explain(error, profile) from error


def add_adapter(model: "PreTrainedModel", profile: Profile) -> "PreTrainedModel":
    """Põe sobre o modelo um adaptador LoRA novo, com pesos em 32 bits nos dois motores."""
    if profile.engine == "unsloth":
        from unsloth import FastLanguageModel

        extra = {"use_gradient_checkpointing": profile.gradient_checkpointing, "random_state": profile.seed}
        return FastLanguageModel.get_peft_model(model, **lora_arguments(profile), **extra)
    return _add_plain_adapter(model, profile)


def _dtype(profile: Profile):
    import torch

    return getattr(torch, profile.dtype)


def _load_unsloth(profile: Profile, adapter: Path | None) -> tuple:
    from unsloth import FastLanguageModel

    return FastLanguageModel.from_pretrained(**model_arguments(profile, adapter))


def _load_transformers(profile: Profile, adapter: Path | None) -> tuple:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    path, dtype = model_path(profile), _dtype(profile)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    # Um modelo publicado já em 4 bits traz a própria configuração; a nossa só vale para os outros.
    given = {} if "bnb-4bit" in path or not profile.load_in_4bit else {"quantization_config": quantization}
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, device_map={"": _place(profile)}, **given)
    tokenizer = AutoTokenizer.from_pretrained(path)
    return (PeftModel.from_pretrained(model, str(adapter)) if adapter else model), tokenizer


def _place(profile: Profile) -> str:
    """Com vários processos, cada um fica com a sua GPU."""
    return profile.device if profile.device == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _add_plain_adapter(model, profile: Profile):
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    checkpointing = bool(profile.gradient_checkpointing)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    torch.manual_seed(profile.seed)
    model = get_peft_model(model, LoraConfig(**lora_arguments(profile), task_type="CAUSAL_LM"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _explain(error: Exception, profile: Profile) -> MachineError:
    text = str(error)
    if "out of memory" in text.lower():
        advice = "A memória da GPU não bastou. Reinicie a sessão para liberá-la ou use um perfil menor."
    elif "gated" in text.lower() or "401" in text or "403" in text:
        advice = f"O modelo exige autorização. Use {'unsloth/llama-3-8b-bnb-4bit'}, que é aberto, ou informe HF_TOKEN."
    elif "No space left" in text:
        advice = "Disco cheio. Libere espaço ou aponte HF_HOME para outro disco."
    else:
        advice = "Confira o nome do modelo e a rede, ou dê em MODELO uma pasta local."
    return MachineError(f"Não consegui carregar {profile.model}. {advice} (Detalhe: {text.splitlines()[0][:200]})")
