"""Treino do LLaMA: perfis por máquina, LoRA em 4 bits, medidas de eficiência, pontos de retomada e respostas.

Nada pesado é importado aqui: o Unsloth precisa entrar antes de trl, transformers e peft. ``inference`` e ``efficiency``
carregam o torch e são importados depois dele.
"""

import os

# Processos vizinhos não podem disputar os núcleos com laços de espera: o torch lê isto uma só vez, ao ser importado.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from .adapters import save
from .checkpoints import last_complete, train_or_resume
from .embedded import smollm2_folder
from .forecasts import forecast
from .heldout import split_validation
from .lora import add_adapter, load, lora_arguments, model_arguments, sft_arguments
from .profiles import Profile, choose, describe

__all__ = [
    "Profile",
    "add_adapter",
    "choose",
    "describe",
    "forecast",
    "last_complete",
    "load",
    "lora_arguments",
    "model_arguments",
    "save",
    "sft_arguments",
    "smollm2_folder",
    "split_validation",
    "train_or_resume",
]
