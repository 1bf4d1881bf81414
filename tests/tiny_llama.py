"""Um LLaMA minúsculo, de pesos sorteados, com o tokenizador do SmolLM2: treina de verdade em segundos."""

from pathlib import Path

NAME = "minusculo"


def tiny_model(folder: Path) -> Path:
    """Grava o modelo em ``folder`` e devolve a pasta."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from finetune_helpers.training import bases, profiles

    # Do modelo já convertido ou, sem ele, direto do .gguf: convertê-lo levaria mais que os testes.
    base = bases.resolve(profiles.BY_NAME["cpu"])
    ready = bases.converted_folder(base)
    tokenizer = AutoTokenizer.from_pretrained(ready) if ready.is_dir() else bases.gguf_tokenizer(Path(base.source))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=1,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    tokenizer.model_max_length = config.max_position_embeddings
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
