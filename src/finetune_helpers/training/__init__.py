"""Treino do LLaMA: perfis por máquina, LoRA em 4 bits, conferências, medidas, checkpoints, busca e exportação.

Nada pesado é importado aqui: o Unsloth precisa entrar antes de trl, transformers e peft. ``measures`` carrega o torch e
é importado depois dele.
"""

import os

# Processos vizinhos não podem disputar os núcleos com laços de espera: o torch lê isto uma só vez, ao ser importado.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from .bases import base_id, smollm2_folder, units
from .guards import split_validation
from .model import adapter_hash, add_adapter, load, lora_arguments, model_arguments, save, to_answer, tuned_id
from .profiles import Profile, choose, describe
from .resume import last_complete, sft_arguments, train_or_resume, trainer

__all__ = [
    "Profile",
    "adapter_hash",
    "add_adapter",
    "base_id",
    "choose",
    "describe",
    "last_complete",
    "load",
    "lora_arguments",
    "model_arguments",
    "save",
    "sft_arguments",
    "smollm2_folder",
    "split_validation",
    "to_answer",
    "train_or_resume",
    "trainer",
    "tuned_id",
    "units",
]
