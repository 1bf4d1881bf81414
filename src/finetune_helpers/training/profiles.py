"""Perfis de treino: o que muda entre uma CPU e cada placa de vídeo, e por quê."""

import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .. import prices
from ..errors import InputError, MachineError, RunMismatchError
from ..portuguese import number, plain
from ..records import read_json

EMBEDDED, EMBEDDED_NAME, EMBEDDED_PARAMETERS = "embutido", "SmolLM2-135M-Instruct", 134_515_008
LLAMA_3_8B = "unsloth/llama-3-8b-bnb-4bit"
ENGINES = ("unsloth", "transformers")
SEVEN_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WINNER, WINNER_FILE = "vencedor", Path("hiperparametros") / "vencedor.json"
# O motivo de cada valor: começa assim, e sai da lista quando o valor muda.
EXPLAINED = {"model": "modelo pequeno", "batch_size": "lote de", "learning_rate": "taxa de", "dtype": "bfloat16 nos"}
# Com o que o conjunto de versões foi provado; outro costuma funcionar, mas ninguém o viu.
PROVED_TORCH, PROVED_CUDA = ("2.11", "2.13"), "12.8"


@dataclass(frozen=True)
class Card:
    """A placa de vídeo desta máquina: nome, memória livre e total (GB) e capacidade do CUDA, em décimos (75 na T4)."""

    name: str
    free_gb: float
    total_gb: float
    capability: int


@dataclass(frozen=True)
class Profile:
    """Tudo o que define um treino; cada valor pode ser trocado por ``choose``.

    ``gpu_gb`` é a memória da placa do perfil; ``needed_gpu_gb``, a que ele precisa ter livre; ``origin``, o nome que
    refaz um perfil que veio do caderno 05.
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
    max_new_tokens=48,
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
    reasons=("float16: a T4 não tem bfloat16 nativo", "lote de 2 × 8 de acúmulo: 16 por passo cabem em menos de 8 GB"),
)


def _larger(smaller: Profile, name: str, batch: int, why: str, **changes: Any) -> Profile:
    """A placa seguinte: o mesmo lote efetivo, menos acúmulo."""
    batches = {"batch_size": batch, "gradient_accumulation": smaller.effective_batch // batch}
    reasons = ("bfloat16 nativo", f"lote de {batch} × {batches['gradient_accumulation']} de acúmulo: {why}")
    changes |= batches | {"name": name, "price_sku": name.upper(), "dtype": "bfloat16", "reasons": reasons}
    return replace(smaller, **changes)


# Para acrescentar um perfil, basta uma linha aqui: a placa cujo nome traz ``price_sku`` passa a usá-lo.
_L4 = _larger(_T4, "l4", 4, "16 por passo em 24 GB", gpu_gb=22.0)
_A100 = _larger(_L4, "a100", 4, "16 por passo em 40 GB", max_length=2048, answer_batch_size=16, gpu_gb=39.0)
_H100 = _larger(_A100, "h100", 8, "respostas de 32 em 32 em 80 GB", answer_batch_size=32, gpu_gb=78.0)
BY_NAME = {profile.name: profile for profile in (_CPU, _T4, _L4, _A100, _H100)}


def choose(name: str = "auto", *, run: Path | None = None, **changes: Any) -> Profile:
    """O perfil da máquina (ou o de nome ``name``) com as mudanças pedidas; as vazias ficam com o valor do perfil.

    ``vencedor`` traz o que o caderno 05 achou na rodada ``run``; ``vencedor:outra``, na rodada ``outra``. InputError se
    o nome, o motor ou um campo não existir; RunMismatchError se o vencedor é de outro modelo; MachineError sem a GPU.
    """
    if name.partition(":")[0] == WINNER:
        return _winner(name, run, changes)
    card = gpu()
    chosen = nearest(card) if name == "auto" else BY_NAME.get(name)
    if chosen is None:
        known = ", ".join([*BY_NAME, WINNER])
        raise InputError(f'Perfil "{name}" desconhecido. Em `profile`, use "auto" ou um destes: {known}.')
    unknown = changes.keys() - {field.name for field in fields(Profile)}
    if unknown:
        raise InputError(f"O perfil não tem o campo {sorted(unknown)[0]!r}. Veja os campos em training/profiles.py.")
    asked = {key: value for key, value in changes.items() if value}
    if chosen.device == "cpu" and "dtype" not in asked and not native_bfloat16():
        chosen = _changed(chosen, {"dtype": "float32"})
        reason = "float32 nos cálculos: este processador só emula bfloat16, o que leva o triplo do tempo"
        chosen = replace(chosen, reasons=(*chosen.reasons, reason))
    chosen = _priced(_changed(chosen, asked), card)
    if chosen.engine not in ENGINES:
        raise InputError(f'Motor "{chosen.engine}" desconhecido. Em `engine`, use "unsloth" ou "transformers".')
    _check_card(chosen, card)
    point_unsloth(chosen)
    return chosen


def _named(card: Card) -> Profile | None:
    words = card.name.upper().replace("-", " ").split()
    return next((profile for profile in BY_NAME.values() if profile.price_sku.upper() in words), None)


def nearest(card: Card | None) -> Profile:
    """O perfil da placa, pelo nome dela; de outra placa, o maior que cabe na memória e na precisão que ela tem."""
    if card is None:
        return _CPU
    if named := _named(card):
        return named
    fits = [
        profile
        for profile in BY_NAME.values()
        if 0 < profile.gpu_gb <= card.total_gb and (profile.dtype == "float16" or card.capability >= 80)
    ]
    return max(fits, key=lambda profile: profile.gpu_gb, default=_T4)


def _changed(profile: Profile, changes: dict[str, Any]) -> Profile:
    """O perfil com as mudanças e sem os motivos do que mudou."""
    changed = replace(profile, **changes)
    stale = [word for field, word in EXPLAINED.items() if getattr(changed, field) != getattr(profile, field)]
    return replace(changed, reasons=tuple(why for why in changed.reasons if not any(word in why for word in stale)))


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


def describe(profile: Profile) -> str:
    """O perfil em português, com os motivos, para o caderno mostrar."""
    lines = [
        f"Perfil {profile.name} · motor {profile.engine} · modelo {profile.model_name} · {profile.dtype}",
        f"  {profile.batch_size} × {profile.gradient_accumulation} = {profile.effective_batch} exemplos por passo, até "
        f"{number(profile.max_length)} tokens cada, taxa {plain(profile.learning_rate)}, LoRA r={profile.lora_r}",
    ]
    return "\n".join(lines + [f"  · {reason}" for reason in (*profile.reasons, *_unproved())])


def _unproved() -> list[str]:
    """Uma linha de aviso se o torch ou o CUDA não são os que o conjunto de versões provou."""
    import torch

    version, cuda = ".".join(torch.__version__.split(".")[:2]), torch.version.cuda
    if version in PROVED_TORCH and cuda in (None, PROVED_CUDA):
        return []
    proved = f"torch {' e '.join(PROVED_TORCH)} e CUDA {PROVED_CUDA}"
    return [f"aviso: torch {torch.__version__} com CUDA {cuda or '—'}; o conjunto foi provado com {proved}"]


def gpu() -> Card | None:
    """A placa de vídeo visível, ou None."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = (size / 1e9 for size in torch.cuda.mem_get_info())
    major, minor = torch.cuda.get_device_capability()
    return Card(torch.cuda.get_device_name(), free, total, 10 * major + minor)


def native_bfloat16() -> bool:
    """Se o processador faz contas em bfloat16; onde não faz, emulá-las leva o triplo do tempo de float32."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # um torch mais antigo não as diz
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def memory_gb() -> float:
    """A memória desta máquina, em GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def point_unsloth(profile: Profile) -> None:
    """Diz ao Unsloth, antes que ele seja importado, se o treino é na CPU; MachineError se ele já escolheu outra placa.

    Onde há CUDA ele não ouve ``use_cpu``: carregaria em float16 e o treinador pediria bfloat16.
    """
    if profile.engine != "unsloth":
        return
    os.environ["UNSLOTH_FORCE_CPU"] = str(int(profile.device == "cpu"))
    loaded = getattr(sys.modules.get("unsloth"), "DEVICE_TYPE", profile.device)
    if loaded != profile.device:
        raise MachineError(
            f"O Unsloth já foi carregado para {loaded} e este perfil treina em {profile.device}. "
            "Reinicie a sessão (*Ambiente de execução → Reiniciar sessão*) e execute de novo."
        )
