"""Perguntas da referência com três exemplos no prompt: quanto do ganho vem do formato, sem treinar nada."""

import random
from pathlib import Path

from .. import prompts
from ..errors import InputError
from ..prompts import Question, read_train
from ..records import read_jsonl
from .study import SEED

LONGEST = 1200


def few_shot(data_folder: Path | str, n: int = 3) -> list[Question]:
    """Perguntas do teste com ``n`` exemplos de treino, sempre os mesmos; responda com o sistema ``<braço>-fewshot``.

    InputError se o treino tem menos de ``n`` descrições de até 1.200 caracteres.
    """
    folder = Path(data_folder)
    short = [example for example in read_train(folder) if len(example.content) <= LONGEST]
    if len(short) < n:
        raise InputError(
            f"O treino em {folder} tem {len(short)} descrições de até {LONGEST} caracteres; são precisas {n}."
        )
    shown = random.Random(SEED).sample(sorted(short, key=lambda example: example.item_id), n)
    items = read_jsonl(folder / "comparacao" / "teste.jsonl")
    return [prompts.few_shot(Question(row["item_id"], prompts.INSTRUCTION, row["title"]), shown) for row in items]
