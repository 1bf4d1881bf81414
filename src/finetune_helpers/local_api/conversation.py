"""Conversas como o modelo as lê: as mesmas no treino e na resposta."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Formato Harmony (gpt-oss): a resposta sai direto no canal final, sem raciocínio, no treino, na base e no ajustado.
HARMONY_FINAL = "<|channel|>final<|message|>"


def prompt(tokenizer: "PreTrainedTokenizerBase", messages: list[dict]) -> str:
    """Texto que o modelo continua para responder a ``messages``."""
    harmony = HARMONY_FINAL if "<|channel|>" in tokenizer.get_vocab() else ""
    options: dict[str, Any] = {"reasoning_effort": "low"} if harmony else {}
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True, **options)
    return str(text) + harmony


def training_rows(tokenizer: "PreTrainedTokenizerBase", examples: list[dict]) -> list[list[dict[str, str]]]:
    """Por exemplo, uma linha ``{"prompt", "completion"}`` para cada resposta do assistant que tem peso 1.

    O TRL acrescenta o fim de sequência (EOS) a ``completion``.
    """
    return [list(_turns(tokenizer, example["messages"])) for example in examples]


def tokens_of(tokenizer: "PreTrainedTokenizerBase", row: dict[str, str]) -> int:
    """Tokens de uma linha de treino, com o EOS; o TRL corta sem avisar o que passa do limite do perfil."""
    return len(tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]) + 1


def _turns(tokenizer, messages: list[dict]) -> Iterator[dict[str, str]]:
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight", 1) == 1:
            yield {"prompt": prompt(tokenizer, messages[:index]), "completion": message["content"]}
