"""Perfis de treino: o que muda entre uma CPU e cada placa de vídeo, e por quê."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .. import prices
from ..errors import InputError, MachineError, RunMismatchError
from ..portuguese import number, plain
from ..records import read_json
from . import machine
from .machine import Card

EMBEDDED, EMBEDDED_NAME, EMBEDDED_PARAMETERS = "embutido", "SmolLM2-135M-Instruct", 134_515_008
LLAMA_3_8B = "unsloth/llama-3-8b-bnb-4bit"
ENGINES = ("unsloth", "transformers")
SEVEN_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WINNER, WINNER_FILE = "vencedor", Path("hiperparametros") / "vencedor.json"
# O motivo de cada valor: começa assim, e sai da lista quando o valor muda.
EXPLAINED = {"model": "modelo pequeno", "batch_size": "lote de", "learning_rate": "taxa de", "dtype": "bfloat16 nos"}


@dataclass(frozen=True)
class Profile:
    """Tudo o que define um treino; cada valor pode ser trocado por ``choose``.

    ``gpu_gb`` é a memória da placa a que o perfil se destina; ``needed_gpu_gb``, a que ele precisa ter livre.
    ``origin`` é o nome que refaz um perfil que veio do caderno 05.
    """

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
    gpu_gb: float = 0.0
    needed_gpu_gb: float = 8.0
    origin: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        """O nome do modelo para quem lê, nunca um caminho."""
        if self.model == EMBEDDED:
            return EMBEDDED_NAME
        path = Path(self.model).expanduser()
        return path.name.removesuffix(".gguf") if path.exists() else self.model

    @property
    def effective_batch(self) -> int:
        """Exemplos por passo do otimizador."""
        return self.batch_size * self.gradient_accumulation


_CPU = Profile(
    name="cpu",
    device="cpu",
    model=EMBEDDED,
    dtype="bfloat16",
    max_length=512,
    batch_size=4,
    gradient_accumulation=1,
    optimizer="adamw_torch",
    price_sku="cpu",
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
        "taxa de aprendizado 0,002: poucos passos e menos parâmetros pedem dez vezes a do 8B",
        "lote de 4 sem acúmulo: mais passos com os poucos exemplos da amostra",
    ),
)
_T4 = Profile(
    name="t4",
    device="cuda",
    model=LLAMA_3_8B,
    dtype="float16",
    max_length=1024,
    batch_size=2,
    gradient_accumulation=8,
    optimizer="adamw_8bit",
    price_sku="T4",
    gpu_gb=14.5,
    reasons=(
        "float16: a T4 não tem bfloat16 nativo",
        "lote de 2 × 8 de acúmulo: 16 por passo cabem em menos de 8 GB",
    ),
)
_L4 = replace(
    _T4,
    name="l4",
    dtype="bfloat16",
    batch_size=4,
    gradient_accumulation=4,
    price_sku="L4",
    gpu_gb=22.0,
    reasons=("bfloat16 nativo", "lote de 4 × 4 de acúmulo: 16 por passo em 24 GB"),
)
_A100 = replace(
    _L4,
    name="a100",
    max_length=2048,
    price_sku="A100",
    answer_batch_size=16,
    gpu_gb=39.0,
    reasons=("bfloat16 nativo", "lote de 4 × 4 de acúmulo: cabe em 40 GB também com linhas de 2.048 tokens"),
)
_H100 = replace(
    _A100,
    name="h100",
    batch_size=8,
    gradient_accumulation=2,
    price_sku="H100",
    answer_batch_size=32,
    gpu_gb=78.0,
    reasons=("bfloat16 nativo", "lote de 8 × 2 de acúmulo e respostas de 32 em 32: há 80 GB"),
)
# Para acrescentar um perfil, basta uma linha aqui: a placa cujo nome traz ``price_sku`` passa a usá-lo.
BY_NAME = {profile.name: profile for profile in (_CPU, _T4, _L4, _A100, _H100)}


def choose(name: str = "auto", *, run: Path | None = None, **changes: Any) -> Profile:
    """Escolhe o perfil da máquina (ou o de nome ``name``) e aplica as mudanças pedidas.

    ``vencedor`` é o perfil da máquina com o que o caderno 05 achou na rodada ``run``; ``vencedor:outra``, na rodada
    ``outra``. Mudanças vazias (``""``, ``0`` ou ``None``) ficam com o valor do perfil. InputError se o nome, o motor
    ou um campo não existir; RunMismatchError se o vencedor é de outro modelo; MachineError se o perfil pedir uma GPU
    que não há.
    """
    if name.partition(":")[0] == WINNER:
        return _winner(name, run, changes)
    card = machine.gpu()
    chosen = nearest(card) if name == "auto" else BY_NAME.get(name)
    if chosen is None:
        known = ", ".join([*BY_NAME, WINNER])
        raise InputError(f'Perfil "{name}" desconhecido. Em `profile`, use "auto" ou um destes: {known}.')
    unknown = changes.keys() - {field.name for field in fields(Profile)}
    if unknown:
        raise InputError(f"O perfil não tem o campo {sorted(unknown)[0]!r}. Veja os campos em training/profiles.py.")
    asked = {key: value for key, value in changes.items() if value}
    if chosen.device == "cpu" and "dtype" not in asked and not machine.native_bfloat16():
        chosen = _changed(chosen, {"dtype": "float32"})
        reason = "float32 nos cálculos: este processador só emula bfloat16, o que leva o triplo do tempo"
        chosen = replace(chosen, reasons=(*chosen.reasons, reason))
    chosen = _priced(_changed(chosen, asked), card)
    if chosen.engine not in ENGINES:
        raise InputError(f'Motor "{chosen.engine}" desconhecido. Em `engine`, use "unsloth" ou "transformers".')
    _check_card(chosen, card)
    machine.point_unsloth(chosen.engine, chosen.device)
    return chosen


def nearest(card: Card | None) -> Profile:
    """O perfil da placa, pelo nome dela; de outra placa, o maior que cabe na memória e na precisão que ela tem."""
    if card is None:
        return BY_NAME["cpu"]
    if named := _named(card):
        return named
    fits = [
        profile
        for profile in BY_NAME.values()
        if profile.device == "cuda"
        and profile.gpu_gb <= card.total_gb
        and (profile.dtype != "bfloat16" or card.capability >= 80)
    ]
    return max(fits, key=lambda profile: profile.gpu_gb, default=BY_NAME["t4"])


def _changed(profile: Profile, changes: dict[str, Any]) -> Profile:
    """O perfil com as mudanças e sem os motivos do que mudou."""
    stale = [
        word
        for field, word in EXPLAINED.items()
        if changes.get(field, getattr(profile, field)) != getattr(profile, field)
    ]
    kept = tuple(reason for reason in profile.reasons if not any(word in reason for word in stale))
    return replace(profile, **({"reasons": kept} | changes))


def _named(card: Card) -> Profile | None:
    words = card.name.upper().replace("-", " ").split()
    return next((profile for profile in BY_NAME.values() if profile.price_sku.upper() in words), None)


def _priced(profile: Profile, card: Card | None) -> Profile:
    """O preço é o da placa que trabalha, seja qual for o perfil; de uma placa sem preço conhecido, nenhum."""
    if profile.device == "cpu" or card is None:
        return profile
    known = {price.sku for price in prices.load() if price.item == "gpu_hour"}
    named = _named(card)
    if named and named.price_sku in known:
        return replace(profile, price_sku=named.price_sku)
    unpriced = f"placa {card.name}: sem preço; treina com o perfil {profile.name}"
    return replace(profile, price_sku="", reasons=(*profile.reasons, unpriced))


def _check_card(profile: Profile, card: Card | None) -> None:
    if profile.device == "cpu":
        return
    if card is None:
        raise MachineError(
            f'O perfil "{profile.name}" pede uma GPU e esta máquina não tem nenhuma visível. No Colab: *Ambiente de '
            "execução → Alterar o tipo de ambiente de execução → T4*. Sem GPU, use `profile` = cpu, que treina o "
            "modelo pequeno."
        )
    if card.free_gb < profile.needed_gpu_gb:
        raise MachineError(
            f'O perfil "{profile.name}" precisa de {number(profile.needed_gpu_gb)} GB livres na GPU e há '
            f"{number(card.free_gb, 1)}. Encerre outros cadernos que a usem (*Ambiente de execução → Gerenciar "
            "sessões*) ou reinicie esta sessão (*Ambiente de execução → Reiniciar sessão*)."
        )


def _winner(name: str, run: Path | None, changes: dict[str, Any]) -> Profile:
    """O perfil desta máquina com as mudanças do vencedor do caderno 05; as pedidas em ``changes`` valem mais."""
    if run is None:
        raise InputError("O perfil vencedor precisa de uma rodada: use-o no caderno 02.")
    other = name.partition(":")[2].strip() or Path(run).name
    path = Path(run).parent / other / WINNER_FILE
    if ".." in path.parts or not path.is_file():
        raise InputError(
            f"A rodada {other} não tem {WINNER_FILE}. Execute nela o caderno 05 até o fim, ou deixe `profile` em auto."
        )
    chosen = read_json(path)
    asked = chosen["changes"] | {key: value for key, value in changes.items() if value}
    asked = {key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()}
    small = BY_NAME[chosen["base_profile"]].device == "cpu"
    profile = choose(chosen["base_profile"] if small else "auto", **asked)
    if profile.model != chosen["model"]:
        raise RunMismatchError(
            f"O vencedor da rodada {other} foi escolhido com o modelo {chosen['model']} e este treino é de "
            f"{profile.model}. Use o mesmo modelo em `model`, ou deixe `profile` em auto."
        )
    reason = f"taxa e LoRA do ensaio {chosen['trial']}, escolhido no caderno 05"
    return replace(profile, reasons=(*profile.reasons, reason), origin=f"{WINNER}:{other}")


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


def describe(profile: Profile) -> str:
    """O perfil em português, com os motivos, para o caderno mostrar."""
    lines = [
        f"Perfil {profile.name} · motor {profile.engine} · modelo {profile.model_name} · {profile.dtype}",
        f"  {profile.batch_size} × {profile.gradient_accumulation} = {profile.effective_batch} exemplos por passo, até "
        f"{number(profile.max_length)} tokens cada, taxa {plain(profile.learning_rate)}, LoRA r={profile.lora_r}",
    ]
    return "\n".join(lines + [f"  · {reason}" for reason in (*profile.reasons, *machine.unproved())])
