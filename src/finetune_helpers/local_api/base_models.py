"""Os modelos base que a API local ajusta e o que ``"auto"`` vira em cada um."""

from dataclasses import dataclass, field

from ..errors import MachineError
from ..gpt.data import default_epochs
from ..portuguese import number
from ..training import profiles
from .settings import Settings

AUTO_BATCH = 4
AUTO_MULTIPLIER = 1.0


@dataclass(frozen=True)
class BaseModel:
    """Um modelo base: nome na API, de onde vem, taxa de aprendizado do multiplicador 1 e mudanças no perfil."""

    name: str
    source: str
    base_rate: float
    changes: dict = field(default_factory=dict)
    micro_batch: int = 8
    gpu_gb: float = 0.0  # memória de GPU sem a qual o modelo não cabe


EMBEDDED = BaseModel("smollm2-135m-instruct", "embutido", 1e-3, {"max_length": 512})
# Só a atenção é treinada: os especialistas ficam congelados, e assim o modelo cabe em 15 GB (T4).
GPT_OSS = BaseModel(
    "gpt-oss-20b",
    "unsloth/gpt-oss-20b",
    2e-4,
    {"max_length": 1024, "lora_r": 8, "target_modules": ("q_proj", "k_proj", "v_proj", "o_proj")},
    micro_batch=1,
    gpu_gb=15.0,
)


def catalogue(settings: Settings) -> dict[str, BaseModel]:
    """Modelos base por nome: os dois do projeto e as pastas locais que quem iniciou o servidor ofereceu."""
    local = [BaseModel(name, folder, 2e-4, {"max_length": 1024}) for name, folder in settings.models]
    return {base.name: base for base in (EMBEDDED, GPT_OSS, *local)}


def resolve(given: dict, examples: int) -> dict:
    """Hiperparâmetros com cada ``"auto"`` trocado pelo valor documentado (épocas pela regra de ``default_epochs``)."""
    auto = {
        "n_epochs": default_epochs(examples),
        "batch_size": min(AUTO_BATCH, examples),
        "learning_rate_multiplier": AUTO_MULTIPLIER,
    }
    return {key: auto[key] if given.get(key, "auto") == "auto" else given[key] for key in auto}


def profile(base: BaseModel, hyperparameters: dict | None = None, seed: int = 3407) -> profiles.Profile:
    """Perfil de treino nesta máquina; sem hiperparâmetros, serve só para carregar o modelo.

    MachineError se o modelo pede uma GPU que não há.
    """
    _need_gpu(base)
    chosen = hyperparameters or {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0}
    micro = max(n for n in range(1, base.micro_batch + 1) if chosen["batch_size"] % n == 0)
    return profiles.choose(
        "auto",
        model=_source(base),
        batch_size=micro,
        gradient_accumulation=chosen["batch_size"] // micro,
        epochs=float(chosen["n_epochs"]),
        learning_rate=base.base_rate * chosen["learning_rate_multiplier"],
        seed=seed,
        **base.changes,
    )


def _need_gpu(base: BaseModel) -> None:
    if not base.gpu_gb:
        return
    import torch

    found = torch.cuda.mem_get_info()[1] / 1e9 if torch.cuda.is_available() else 0.0
    if found < base.gpu_gb:
        raise MachineError(
            f"{base.name} precisa de uma GPU com {number(base.gpu_gb)} GB e esta máquina tem {number(found)} GB. "
            f"Use uma T4 ou maior, ou o modelo {EMBEDDED.name}."
        )


def _source(base: BaseModel) -> str:
    if base.source != "embutido":
        return base.source
    from ..training import smollm2_folder

    return str(smollm2_folder())
