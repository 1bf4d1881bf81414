"""Conta a memória de GPU do treino do LLaMA 3 8B e do gpt-oss-20b em cada perfil, pelas formas dos tensores, sem GPU.

    python benchmarks/memory.py                # imprime a tabela
    python benchmarks/memory.py --salvar       # e a grava em benchmarks/resultados/memoria.md

O modelo é montado no dispositivo "meta" do PyTorch, que só conhece formas: nenhum peso é baixado nem alocado. É uma
conta, não uma medida: o que o alocador, o CUDA e os kernels gastam além dela está na coluna "folga".
"""

import argparse
from dataclasses import replace
from pathlib import Path

from finetune_helpers.portuguese import number
from finetune_helpers.training import lora_arguments
from finetune_helpers.training.profiles import BY_NAME, Profile
from local_finetune_api import base_models

FREE_GB = {"t4": 14.7, "l4": 22.0, "a100": 39.0, "h100": 78.0}
# As formas publicadas nos config.json dos dois modelos.
LLAMA = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
OSS = {
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "vocab_size": 201088,
}
# NF4 com dupla quantização: 4 bits, mais um fator de 8 bits a cada 64 pesos e um de 32 a cada 256 fatores.
BITS_NF4 = 4 + 8 / 64 + 32 / (64 * 256)


def main() -> None:
    """Imprime a tabela em Markdown; falha se algum perfil não couber na placa a que se destina."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--salvar", action="store_true")
    asked = parser.parse_args()
    names = ("pesos", "LoRA e gradientes", "otimizador", "logits", "ativações", "total", "placa", "folga")
    lines = ["| modelo e perfil | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    cases = [("LLaMA 3 8B, " + name, BY_NAME[name], free) for name, free in FREE_GB.items()]
    cases += [("gpt-oss-20b, " + name, _oss(BY_NAME[name]), FREE_GB[name]) for name in ("t4", "l4", "a100")]
    for name, profile, free in cases:
        parts = account(profile, oss=name.startswith("gpt"))
        total = sum(parts.values())
        assert total < free, f"{name}: {total:.1f} GB não cabem em {free}"
        values = [*parts.values(), total, free, free - total]
        lines.append(f"| {name} | " + " | ".join(number(value, 2) for value in values) + " |")
    text = (
        "# Memória de GPU do treino do LLaMA 3 8B e do gpt-oss-20b, em GB, pelas formas\n\n"
        "Conta feita por `benchmarks/memory.py` no dispositivo meta; não medido numa GPU.\n\n" + "\n".join(lines) + "\n"
    )
    print(text)
    if asked.salvar:
        (Path(__file__).parent / "resultados" / "memoria.md").write_text(text, encoding="utf-8")


def _oss(profile: Profile) -> Profile:
    """O perfil com o que a API local muda para o gpt-oss: lote de 1 e adaptador só na atenção."""
    oss = base_models.GPT_OSS
    return replace(profile, batch_size=oss.micro_batch, max_length=oss.max_length, **oss.changes)


def account(profile: Profile, *, oss: bool = False) -> dict[str, float]:
    """GB de cada parte: pesos em NF4, LoRA em 32 bits, Adam de 8 bits, logits e ativações de um lote."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import GptOssConfig, GptOssForCausalLM, LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        if oss:
            model = GptOssForCausalLM(GptOssConfig(**OSS, tie_word_embeddings=False))
        else:
            model = LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=False))
        linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
        # Nos especialistas do gpt-oss as matrizes ficam num parâmetro de três dimensões.
        quantized = sum(
            weight.numel()
            for name, weight in model.named_parameters()
            if "lm_head" not in name and (weight.dim() == 3 or name.removesuffix(".weight") in linear)
        )
        whole = sum(weight.numel() for weight in model.parameters()) - quantized
        tuned = get_peft_model(model, LoraConfig(**lora_arguments(profile), task_type="CAUSAL_LM"))
    trainable, _ = tuned.get_nb_trainable_parameters()
    shape = OSS if oss else LLAMA
    tokens = profile.batch_size * profile.max_length
    layers, hidden = shape["num_hidden_layers"], shape["hidden_size"]
    inner = shape["intermediate_size"] * shape.get("num_experts_per_tok", 1)
    # Com gradient checkpointing ficam as entradas das camadas (o Unsloth as leva à RAM) e uma camada refeita inteira.
    kept = tokens * hidden * layers * 2 + tokens * (4 * hidden + 3 * inner) * 2
    # A pior conta, a do motor transformers: em 16 bits, a cópia em 32, o softmax e os gradientes. O gpt-oss só treina
    # com o Unsloth, que calcula a perda em pelo menos quatro fatias quando ela não cabe inteira.
    slices = 4 if oss else 1
    parts = {
        "pesos": quantized * BITS_NF4 / 8 + whole * 2,
        "LoRA e gradientes": trainable * 8,
        "otimizador": trainable * 2,
        "logits": tokens * shape["vocab_size"] * (2 + 4 + 4 + 4 + 2) / slices,
        "ativações": kept,
    }
    return {name: size / 1e9 for name, size in parts.items()}


if __name__ == "__main__":
    main()
