"""Perfis de treino: o que muda entre CPU, T4, L4 e A100, e por quê."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, MachineError
from ..portuguese import number, plain
from . import winner

LLAMA_3_8B = "unsloth/llama-3-8b-bnb-4bit"
ENGINES = ("unsloth", "transformers")
SEVEN_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Profile:
    """Tudo o que define um treino; cada valor pode ser trocado por ``choose``."""

    name: str
    device: str
    model: str
    dtype: str
    max_length: int
    batch_size: int
    gradient_accumulation: int
    optimizer: str
    price_sku: str
    engine: str = "unsloth"
    load_in_4bit: bool = True
    epochs: float = 3.0
    max_steps: int = -1
    learning_rate: float = 2e-4
    scheduler: str = "linear"
    warmup: float = 0.05
    weight_decay: float = 0.01
    lora_r: int = 16
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = SEVEN_PROJECTIONS
    use_dora: bool = False
    neftune_alpha: float = 0.0
    gradient_checkpointing: str | bool = "unsloth"
    sampling: str = "group_by_length"
    eval_steps: int = 25
    save_minutes: float = 10.0
    save_limit: int = 2
    seed: int = 3407
    answer_batch_size: int = 8
    max_new_tokens: int = 256
    needed_gpu_gb: float = 8.0
    reasons: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        """O nome do modelo para quem lê."""
        return "SmolLM2-135M-Instruct" if self.model == "embutido" else self.model

    @property
    def effective_batch(self) -> int:
        """Exemplos por passo do otimizador."""
        return self.batch_size * self.gradient_accumulation


BY_NAME = {
    "cpu": Profile(
        "cpu",
        "cpu",
        "embutido",
        "bfloat16",
        512,
        4,
        1,
        "adamw_torch",
        "cpu",
        epochs=1.0,
        learning_rate=2e-3,
        gradient_checkpointing=False,
        sampling="random",
        eval_steps=6,
        save_minutes=0.5,
        answer_batch_size=16,
        max_new_tokens=64,
        reasons=(
            "sem GPU: o modelo pequeno embutido (SmolLM2-135M, arquitetura LLaMA) no lugar do LLaMA 3 8B",
            "bfloat16 nos cálculos: metade da memória de float32; os pesos ficam em 4 bits (NF4) e o LoRA em 32",
            "taxa de aprendizado 2e-3: poucos passos e um modelo pequeno pedem dez vezes a do 8B",
            "lote de 4 sem acúmulo: mais passos com os poucos exemplos da amostra",
        ),
    ),
    "t4": Profile(
        "t4",
        "cuda",
        LLAMA_3_8B,
        "float16",
        1024,
        2,
        8,
        "adamw_8bit",
        "T4",
        reasons=(
            "float16: a T4 não tem bfloat16 nativo",
            "lote de 2 × 8 de acúmulo: 16 por passo cabem em menos de 8 GB",
        ),
    ),
    "l4": Profile(
        "l4",
        "cuda",
        LLAMA_3_8B,
        "bfloat16",
        1024,
        4,
        4,
        "adamw_8bit",
        "L4",
        reasons=("bfloat16 nativo", "lote de 4 × 4 de acúmulo: 16 por passo em 24 GB"),
    ),
    "a100": Profile(
        "a100",
        "cuda",
        LLAMA_3_8B,
        "bfloat16",
        2048,
        16,
        1,
        "adamw_8bit",
        "A100",
        answer_batch_size=16,
        reasons=("bfloat16 nativo", "16 por passo de uma só vez: há 40 GB ou mais"),
    ),
}


def choose(name: str = "auto", *, run: Path | None = None, **changes: object) -> Profile:
    """Escolhe o perfil da máquina (ou o de nome ``name``) e aplica as mudanças pedidas.

    ``vencedor`` é o perfil da máquina com o que o caderno 05 achou na rodada ``run``; ``vencedor:outra``, na rodada
    ``outra``. Mudanças vazias (``""``, ``0`` ou ``None``) ficam com o valor do perfil. InputError se o nome, o motor
    ou um campo não existir; RunMismatchError se o vencedor é de outro modelo; MachineError se o perfil pedir uma GPU
    que não há.
    """
    if winner.named(name):
        return winner.apply(name, run, changes)
    chosen = BY_NAME.get(_detect() if name == "auto" else name)
    if chosen is None:
        known = ", ".join([*BY_NAME, winner.NAME])
        raise InputError(f'Perfil "{name}" desconhecido. Use "auto" ou um destes: {known}.')
    unknown = changes.keys() - {field.name for field in fields(Profile)}
    if unknown:
        raise InputError(f"O perfil não tem o campo {sorted(unknown)[0]!r}. Veja os campos em training/profiles.py.")
    asked: dict[str, Any] = {key: value for key, value in changes.items() if value}
    chosen = replace(chosen, **asked)
    if chosen.engine not in ENGINES:
        raise InputError(f'Motor "{chosen.engine}" desconhecido. Use "unsloth" ou "transformers".')
    _check_device(chosen)
    return chosen


def _detect() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    gigabytes = torch.cuda.mem_get_info()[1] / 1e9
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return "t4"
    return "a100" if gigabytes > 35 else "l4"


def _check_device(profile: Profile) -> None:
    import torch

    if profile.device == "cpu":
        return
    if torch.cuda.is_available():
        _check_memory(profile, torch.cuda.mem_get_info()[0] / 1e9)
        return
    raise MachineError(
        f'O perfil "{profile.name}" pede uma GPU e esta máquina não tem nenhuma visível. '
        "No Colab: Ambiente de execução → Alterar o tipo → T4. "
        'Sem GPU, use PERFIL = "cpu", que treina o modelo pequeno.'
    )


def _check_memory(profile: Profile, free_gb: float) -> None:
    if free_gb < profile.needed_gpu_gb:
        raise MachineError(
            f'O perfil "{profile.name}" precisa de {number(profile.needed_gpu_gb)} GB livres na GPU e há '
            f"{number(free_gb, 1)}. Encerre outros cadernos que a usem (Ambiente de execução → Gerenciar sessões) ou "
            "reinicie esta sessão."
        )


def split_over(profile: Profile, processes: int) -> Profile:
    """O perfil de cada um de ``processes`` processos, com o mesmo lote efetivo no total.

    InputError se o lote efetivo não se divide por igual.
    """
    for batch in range(profile.batch_size, 0, -1):
        accumulation, rest = divmod(profile.effective_batch, processes * batch)
        if accumulation and not rest:
            return replace(profile, batch_size=batch, gradient_accumulation=accumulation)
    raise InputError(
        f"O lote efetivo de {profile.effective_batch} não se divide por {processes} processos. "
        "Use um número de processos que o divida."
    )


def model_path(profile: Profile) -> str:
    """O que se passa a ``from_pretrained``: um nome do Hub ou uma pasta local (a do modelo embutido, por exemplo).

    MachineError se o 8B for pedido sem GPU.
    """
    if profile.model == "embutido":
        from .embedded import smollm2_folder

        return str(smollm2_folder())
    if profile.device == "cpu" and not Path(profile.model).is_dir():
        raise MachineError(
            f"O modelo {profile.model} não cabe numa máquina sem GPU. Escolha uma GPU no ambiente de execução ou deixe "
            'MODELO = "" para treinar o modelo pequeno embutido.'
        )
    return profile.model


def describe(profile: Profile) -> str:
    """O perfil em português, com os motivos, para o caderno mostrar."""
    lines = [
        f"Perfil {profile.name} · motor {profile.engine} · modelo {profile.model_name} · {profile.dtype}",
        f"  {profile.batch_size} × {profile.gradient_accumulation} = {profile.effective_batch} exemplos por passo, até "
        f"{profile.max_length} tokens cada, taxa {plain(profile.learning_rate)}, LoRA r={profile.lora_r}",
    ]
    return "\n".join(lines + [f"  · {reason}" for reason in profile.reasons])
