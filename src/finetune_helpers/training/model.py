"""O modelo em 4 bits e o adaptador LoRA: carregar, acrescentar, salvar e reconhecer de que pesos ele é."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import prompts
from ..errors import InputError, RunMismatchError
from ..records import read_json, sha256_file, storage, write_json
from . import bases
from .profiles import Profile, point_unsloth

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CARD, MEASURES, WEIGHTS = "cartao.json", "medidas.json", "adapter_model.safetensors"


def model_arguments(profile: Profile, adapter: Path | None = None) -> dict[str, Any]:
    """Argumentos de ``FastLanguageModel.from_pretrained`` para o modelo base ou para um adaptador salvo."""
    import torch

    base = bases.resolve(profile)
    return ({} if adapter else base.arguments()) | {
        "model_name": str(adapter or base.load_from()),
        "max_seq_length": profile.max_length,
        "dtype": getattr(torch, profile.dtype),
        "load_in_4bit": profile.load_in_4bit,
    }


def lora_arguments(profile: Profile) -> dict[str, Any]:
    """Argumentos comuns de ``FastLanguageModel.get_peft_model`` e de ``peft.LoraConfig`` (LoRA, arXiv 2106.09685)."""
    return {
        "r": profile.lora_r,
        "lora_alpha": profile.lora_alpha,
        "lora_dropout": profile.lora_dropout,
        "target_modules": list(profile.target_modules),
        "bias": "none",
    } | ({"use_dora": True} if profile.use_dora else {})


def load(profile: Profile, adapter: Path | None = None) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Carrega modelo e tokenizador em 4 bits com o motor do perfil, com o adaptador salvo se ele for dado.

    RunMismatchError se o adaptador foi treinado sobre outro modelo ou outro prompt; MachineError se o modelo não vier.
    """
    if adapter:
        check_card(adapter, profile)
    try:
        if profile.engine != "unsloth":
            return _load_transformers(profile, adapter)
        point_unsloth(profile)
        from unsloth import FastLanguageModel

        return FastLanguageModel.from_pretrained(**model_arguments(profile, adapter))
    except (OSError, RuntimeError, ValueError) as error:
        raise bases.explain(error, profile.model_name) from error


def add_adapter(model: Any, profile: Profile) -> Any:
    """Põe sobre o modelo um adaptador LoRA novo, com pesos em 32 bits nos dois motores."""
    lora = lora_arguments(profile)
    if profile.engine == "unsloth":
        from unsloth import FastLanguageModel

        extra = {"use_gradient_checkpointing": profile.gradient_checkpointing, "random_state": profile.seed}
        return FastLanguageModel.get_peft_model(model, **lora, **extra)
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    checkpointing = bool(profile.gradient_checkpointing)
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    torch.manual_seed(profile.seed)
    model = get_peft_model(model, LoraConfig(**lora, task_type="CAUSAL_LM"))
    adapter_in_32_bits(model)
    return model


def adapter_in_32_bits(model: Any) -> None:
    """Põe em 32 bits os pesos que se treinam; vale também depois de montar o treinador.

    O SFTTrainer (TRL 1.14) os põe em bfloat16 sobre um modelo em 4 bits: o treino em float16 de uma T4 não aceita
    gradientes em bfloat16, e um modelo em float32 responderia outra coisa depois de recarregado.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _load_transformers(profile: Profile, adapter: Path | None) -> tuple:
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    base = bases.resolve(profile)
    path, pinned = base.load_from(), base.arguments()
    # Com vários processos, cada um fica com a sua GPU.
    place = profile.device if profile.device == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    options: dict[str, Any] = {"dtype": profile.dtype, "device_map": {"": place}} | pinned
    config = AutoConfig.from_pretrained(path, **pinned)
    if published := getattr(config, "quantization_config", None):
        # Um modelo publicado já em 4 bits diz em que tipo calcula, e a T4 pode não o ter: vale o do perfil.
        published["bnb_4bit_compute_dtype"] = profile.dtype
        options["config"] = config
    elif profile.load_in_4bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=profile.dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(path, **options)
    _keep_the_gradient(model)
    tokenizer = AutoTokenizer.from_pretrained(path, **pinned)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return (PeftModel.from_pretrained(model, str(adapter)) if adapter else model), tokenizer


def _keep_the_gradient(model: Any) -> None:
    """Numa CPU com AVX512-BF16, o ``bitsandbytes`` (0.50) reempacota os pesos na primeira resposta, e não volta atrás.

    O núcleo que lê o novo formato não tem gradiente: o treino que viesse depois aprenderia só pelos atalhos do LoRA.
    """
    from bitsandbytes.nn import Linear4bit

    for part in model.modules():
        if isinstance(part, Linear4bit):
            part.support_avx512bf16_for_cpu = False


def to_answer(model: "PreTrainedModel", profile: Profile) -> "PreTrainedModel":
    """O modelo pronto para só responder: numa CPU, os pesos de 4 bits são expandidos uma vez, e não a cada token."""
    if profile.device == "cpu" and profile.load_in_4bit:
        # No lugar: num modelo com adaptador, o que ``dequantize`` devolve é só o de dentro.
        model.dequantize()
    return getattr(model, "for_inference", model.eval)()


def adapter_hash(folder: Path) -> str:
    """O SHA-256 dos pesos de um adaptador salvo."""
    return sha256_file(Path(folder) / WEIGHTS)


def tuned_id(profile: Profile, adapter: Path) -> str:
    """Que pesos são os do modelo ajustado: os da base e os do adaptador (``nome@revisão+hash``)."""
    return bases.resolve(profile).tuned(adapter_hash(adapter))


def save(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    profile: Profile,
    measure: Callable[[Path], dict] | None = None,
) -> None:
    """Salva adaptador, tokenizador e, por último, o cartão com o modelo base, o prompt e o hash dos pesos.

    ``measure`` recebe a pasta, já com os pesos, e devolve o que o treino custou, que fica em ``medidas.json``.
    """
    with storage(folder / WEIGHTS):
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    if measure:
        write_json(folder / MEASURES, measure(folder))
    write_json(folder / CARD, _expected_card(profile) | {"adapter_sha256": adapter_hash(folder)})


def check_card(adapter: Path, profile: Profile) -> None:
    """InputError se o adaptador não está inteiro; RunMismatchError se é de outro modelo base ou de outro prompt."""
    if not (Path(adapter) / CARD).is_file():
        raise InputError(f"{adapter} não tem um adaptador completo (falta {CARD}). Treine de novo no caderno 02.")
    card = read_json(Path(adapter) / CARD)
    for key, value in _expected_card(profile).items():
        if card.get(key) != value:
            raise RunMismatchError(
                f"O adaptador em {adapter} foi treinado com {key}={card.get(key)!r} e o pedido é {value!r}. "
                "Use o mesmo modelo e o mesmo prompt do treino, ou treine de novo em outra rodada (`run`)."
            )


def _expected_card(profile: Profile) -> dict[str, str]:
    return {"base_id": bases.base_id(profile), "prompt_fingerprint": prompts.fingerprint()}
