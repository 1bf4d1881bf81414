"""O que vários testes usam: um modelo LLaMA de brinquedo, treinado em segundos, e exemplos pequenos."""

import os

# Antes de qualquer torch: processos vizinhos não podem disputar os núcleos com laços de espera.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
from hypothesis import settings
from tiny_llama import tiny_model

from finetune_helpers.records import Example

# O tempo de um exemplo depende de quem mais usa a máquina; as propriedades não dependem dele.
settings.register_profile("projeto", deadline=None)
settings.load_profile("projeto")

TITLES = ["The {curly} Garden", "Naïve Stories & Tales", "A Sea Voyage", "The Clockmaker", "Winter Light", "Old Roads"]


@pytest.fixture(scope="session")
def toy_examples() -> list[Example]:
    """Vinte e quatro exemplos curtos, todos diferentes."""
    return [
        Example(
            f"{TITLES[n % len(TITLES)]} {n}", f"Book number {n} tells of {n} travellers and the author who met them."
        )
        for n in range(24)
    ]


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory) -> Path:
    """Pasta com um LLaMA de duas camadas, pesos ao acaso, e o tokenizador do modelo embutido."""
    return tiny_model(tmp_path_factory.mktemp("modelo") / "llama-de-brinquedo")


@pytest.fixture(scope="session")
def toy_tuned(toy_model) -> tuple:
    """O modelo de brinquedo com um adaptador LoRA que muda as respostas, e o tokenizador."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(toy_model), config).eval()
    return model, AutoTokenizer.from_pretrained(toy_model)
