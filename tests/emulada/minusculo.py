"""Um LLaMA de duas camadas com o vocabulário verdadeiro do LLaMA 3, que vem no pacote llama-models."""

from pathlib import Path

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BEGIN, END, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_250|>"


def llama3_tokenizer():
    """O tokenizador do LLaMA 3 na forma rápida, com o começo de texto posto uma vez."""
    import llama_models
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    names = ["begin_of_text", "end_of_text", *(f"reserved_special_token_{n}" for n in range(4))]
    names += ["start_header_id", "end_header_id", "reserved_special_token_4", "eot_id"]
    special = [f"<|{name}|>" for name in [*names, *(f"reserved_special_token_{n}" for n in range(5, 251))]]
    words = next(path for path in Path(llama_models.__file__).parent.rglob("tokenizer.model") if "llama3" in path.parts)
    core = TikTokenConverter(vocab_file=str(words), pattern=PATTERN, extra_special_tokens=special).converted()
    begin = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, core.token_to_id(BEGIN))]
    )
    core.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), begin])
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=8192,
        padding_side="left",
        model_input_names=names,
    )


def write(folder: Path) -> Path:
    """Grava o modelo, de pesos sorteados, e o tokenizador."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    llama3_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=8192, bos_token_id=128000, eos_token_id=128001,
    )  # fmt: skip
    LlamaForCausalLM(config).half().save_pretrained(folder)
    return folder
