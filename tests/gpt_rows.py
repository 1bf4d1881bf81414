"""Linhas de conversa para os testes do braço GPT."""

from pathlib import Path

from finetune_helpers import prompts
from finetune_helpers.records import Example, write_jsonl


def examples(count: int, start: int = 0) -> list[Example]:
    return [
        Example(
            f"The Little Book of Rivers and Mountains, Volume {number}",
            f"In book number {number} the author walks along {number} rivers and tells of the people met on the way.",
        )
        for number in range(start, start + count)
    ]


def chat_file(path: Path, count: int = 12, start: int = 0) -> Path:
    return write_jsonl(path, [prompts.to_chat(example) for example in examples(count, start)])
