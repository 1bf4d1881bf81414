"""A máquina em que se treina: a placa de vídeo, a memória e o que o Unsloth precisa saber antes de ser importado."""

import os
import sys
from dataclasses import dataclass

from ..errors import MachineError

# Com o que o conjunto de versões foi provado; outro costuma funcionar, mas ninguém o viu.
PROVED_TORCH, PROVED_CUDA = ("2.11", "2.13"), "12.8"


@dataclass(frozen=True)
class Card:
    """A placa de vídeo desta máquina: nome, memória livre e total (GB) e capacidade do CUDA, em décimos (75 na T4)."""

    name: str
    free_gb: float
    total_gb: float
    capability: int


def gpu() -> Card | None:
    """A placa de vídeo visível, ou None."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = (size / 1e9 for size in torch.cuda.mem_get_info())
    major, minor = torch.cuda.get_device_capability()
    return Card(torch.cuda.get_device_name(), free, total, 10 * major + minor)


def unproved() -> list[str]:
    """Uma linha de aviso se o torch ou o CUDA não são os que o conjunto de versões provou; nenhuma, se são."""
    import torch

    version, cuda = ".".join(torch.__version__.split(".")[:2]), torch.version.cuda
    if version in PROVED_TORCH and cuda in (None, PROVED_CUDA):
        return []
    return [
        f"aviso: torch {torch.__version__} com CUDA {cuda or '—'}; o conjunto foi provado com torch "
        f"{' e '.join(PROVED_TORCH)} e CUDA {PROVED_CUDA}"
    ]


def memory_gb() -> float:
    """A memória desta máquina, em GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def native_bfloat16() -> bool:
    """Se o processador faz contas em bfloat16; onde não faz, emulá-las leva o triplo do tempo de float32."""
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # um torch mais antigo não as diz
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def point_unsloth(engine: str, device: str) -> None:
    """Diz ao Unsloth, antes que ele seja importado, se o treino é na CPU; MachineError se ele já escolheu a GPU.

    Onde há CUDA ele não ouve ``use_cpu``: carregaria em float16 e o treinador pediria bfloat16.
    """
    if engine != "unsloth":
        return
    os.environ["UNSLOTH_FORCE_CPU"] = str(int(device == "cpu"))
    loaded = getattr(sys.modules.get("unsloth"), "DEVICE_TYPE", device)
    if loaded != device:
        raise MachineError(
            f"O Unsloth já foi carregado para {loaded} e este perfil treina em {device}. "
            "Reinicie a sessão (*Ambiente de execução → Reiniciar sessão*) e execute de novo."
        )
