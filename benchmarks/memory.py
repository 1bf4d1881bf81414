"""Conta a memória de GPU que o treino do LLaMA 3 8B pede em cada perfil, pelas formas dos tensores, sem GPU.

    python benchmarks/memory.py                # imprime a tabela
    python benchmarks/memory.py --salvar       # e a grava em benchmarks/resultados/memoria.md

O modelo é montado no dispositivo "meta" do PyTorch, que só conhece formas: nenhum peso é baixado nem alocado. É uma
conta, não uma medida: o que o alocador, o CUDA e os kernels gastam além dela está na coluna "folga".
"""

import argparse
from pathlib import Path

from finetune_helpers.portuguese import number
from finetune_helpers.training import lora_arguments
from finetune_helpers.training.profiles import BY_NAME, Profile

FREE_GB = {"t4": 14.7, "l4": 22.0, "a100": 39.0, "h100": 78.0}
SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
# NF4 com dupla quantização: 4 bits, mais um fator de 8 bits a cada 64 pesos e um de 32 a cada 256 fatores.
BITS_NF4 = 4 + 8 / 64 + 32 / (64 * 256)


def main() -> None:
    """Imprime a tabela em Markdown; falha se algum perfil não couber na placa a que se destina."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--salvar", action="store_true")
    asked = parser.parse_args()
    names = ("pesos", "LoRA e gradientes", "otimizador", "logits", "ativações", "total", "placa", "folga")
    lines = ["| perfil | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name, free in FREE_GB.items():
        parts = account(BY_NAME[name])
        total = sum(parts.values())
        assert total < free, f"{name}: {total:.1f} GB não cabem em {free}"
        values = [*parts.values(), total, free, free - total]
        lines.append(f"| {name} | " + " | ".join(number(value, 2) for value in values) + " |")
    text = (
        "# Memória de GPU do treino do LLaMA 3 8B, em GB, pelas formas\n\n"
        "Conta feita por `benchmarks/memory.py` no dispositivo meta; não medido numa GPU.\n\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if asked.salvar:
        (Path(__file__).parent / "resultados" / "memoria.md").write_text(text, encoding="utf-8")


def account(profile: Profile) -> dict[str, float]:
    """GB de cada parte: pesos em NF4, LoRA em 32 bits, Adam de 8 bits, logits e ativações de um lote."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False))
        quantized = sum(
            part.weight.numel()
            for name, part in model.named_modules()
            if isinstance(part, torch.nn.Linear) and "lm_head" not in name
        )
        whole = sum(weight.numel() for weight in model.parameters()) - quantized
        tuned = get_peft_model(model, LoraConfig(**lora_arguments(profile), task_type="CAUSAL_LM"))
    trainable, _ = tuned.get_nb_trainable_parameters()
    tokens = profile.batch_size * profile.max_length
    layers, hidden, inner = SHAPE["num_hidden_layers"], SHAPE["hidden_size"], SHAPE["intermediate_size"]
    # Com gradient checkpointing ficam as entradas das camadas (o Unsloth as leva à RAM) e uma camada refeita inteira.
    kept = tokens * hidden * layers * 2 + tokens * (4 * hidden + 3 * inner) * 2
    parts = {
        "pesos": quantized * BITS_NF4 / 8 + whole * 2,
        "LoRA e gradientes": trainable * 8,
        "otimizador": trainable * 2,
        # A pior conta, a do motor transformers: em 16 bits, a cópia em 32, o softmax e os gradientes. O Unsloth
        # calcula a perda em fatias e gasta muito menos.
        "logits": tokens * SHAPE["vocab_size"] * (2 + 4 + 4 + 4 + 2),
        "ativações": kept,
    }
    return {name: size / 1e9 for name, size in parts.items()}


if __name__ == "__main__":
    main()
