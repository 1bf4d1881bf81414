"""O que vários testes usam: um modelo LLaMA de brinquedo, treinado em segundos, e exemplos pequenos."""

import os

# Antes de qualquer torch: processos vizinhos não podem disputar os núcleos com laços de espera.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
from hypothesis import settings

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
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from finetune_helpers.training import smollm2_folder

    folder = tmp_path_factory.mktemp("modelo") / "llama-de-brinquedo"
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
