"""O ramo CUDA do Unsloth numa máquina sem GPU, sobre o interpretador do Triton; importe antes de tudo.

Mostra o caminho que o Colab percorre: argumentos, o treinador do TRL trocado pelo Unsloth, máscara, LoRA, checkpoint,
``disable_adapter`` e geração. Não mostra os núcleos de 4 bits, o autocast de 16 bits, velocidade nem memória. O
interpretador multiplica bfloat16 errado: use float32. CAPACIDADE=7.5 (T4), 8.0 (A100), 8.9 (L4).
"""

import contextlib
import dataclasses
import os
import sys
import tempfile
from types import SimpleNamespace

os.environ |= {"UNSLOTH_ALLOW_CPU": "1", "TRITON_INTERPRET": "1", "TORCH_COMPILE_DISABLE": "1"}
os.environ |= {"UNSLOTH_COMPILE_DISABLE": "1", "UNSLOTH_DISABLE_STATISTICS": "1", "HF_HUB_OFFLINE": "1"}
os.environ["UNSLOTH_FORCE_CPU"] = "0"
os.environ["UNSLOTH_COMPILE_LOCATION"] = tempfile.mkdtemp()

import torch

MAJOR, MINOR = map(int, os.environ.get("CAPACIDADE", "7.5").split("."))
CARD = SimpleNamespace(
    name="Tesla T4", total_memory=int(15.8e9), major=MAJOR, minor=MINOR, multi_processor_count=40, warp_size=32
)
torch.cuda.get_device_properties = lambda *_, **__: CARD
torch.cuda.get_device_capability = lambda *_, **__: (MAJOR, MINOR)

from triton.runtime.interpreter import interpreter_builder

# A conferência de estouro dos inteiros, de que o interpretador não usa o resultado, levaria perto de um terço do tempo.
interpreter_builder.options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)

import unsloth

os.environ["UNSLOTH_ALLOW_CPU"] = "0"  # com ele o Unsloth não troca o treinador, como faz numa GPU
from unsloth.context_parallel import patch_sft_trainer
from unsloth.models import llama
from unsloth.models.rl import PatchFastRL
from unsloth.trainer import _patch_trl_trainer

PatchFastRL()
_patch_trl_trainer()
patch_sft_trainer()
os.environ["UNSLOTH_ALLOW_CPU"] = "1"


class _Stream:
    """Uma fila da GPU, que aqui não existe."""

    def __init__(self, *_: object, **__: object) -> None:
        self.cuda_stream = 0

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *_: object) -> bool:
        return False

    def __getattr__(self, name: str):
        return lambda *_, **__: None


class _ByDevice(list):
    """Um cache que o Unsloth indexa pelo número da GPU; na CPU não há número."""

    def __getitem__(self, key):
        return list.__getitem__(self, key if isinstance(key, int | slice) else 0)

    def __setitem__(self, key, value):
        list.__setitem__(self, key if isinstance(key, int | slice) else 0, value)


def _keep(self, key, value):
    torch.nn.Module.__setattr__(self, key, _ByDevice(value or [None]) if type(value) is list else value)


torch.cuda.mem_get_info = lambda *_, **__: (int(14e9), int(15.8e9))
for name in ("memory_reserved", "memory_allocated", "current_device"):
    setattr(torch.cuda, name, lambda *_, **__: 0)
torch.cuda.current_stream = lambda *_, **__: _Stream()
torch.cuda.device = _Stream
llama._PerDeviceRopeCache.__setattr__ = _keep
OURS = {
    "get_current_device": lambda: torch.device("cpu"),
    "DEVICE_TYPE_TORCH": "cpu",
    "DEVICE_COUNT": 1,
    "torch_gpu_device": lambda device: contextlib.nullcontext(),
}
for name, module in list(sys.modules.items()):
    if name.startswith("unsloth") and module is not None:
        for attribute, value in OURS.items():
            if attribute in vars(module):
                setattr(module, attribute, value)
assert unsloth.DEVICE_TYPE == "cuda"
