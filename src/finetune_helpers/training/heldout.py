"""Perda dos itens de teste antes e depois do treino, medida uma vez e guardada ao lado das respostas."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .. import prompts
from ..errors import InputError
from ..portuguese import number
from ..records import Example, read_json, write_json
from .profiles import Profile

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def measure(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: list[Example],
    profile: Profile,
    path: Path,
    *,
    adapter: bool = True,
) -> list[dict]:
    """Perda média por token de cada exemplo, ``[{item_id, tokens, loss}]``; lê ``path`` se ele já existe.

    ``adapter=False`` mede o modelo base dos mesmos pesos em 4 bits.
    """
    if Path(path).exists():
        return read_json(path)
    from contextlib import nullcontext

    from .inference import losses

    rows = [prompts.to_prompt_completion(example) for example in examples]
    whole = adapter or not hasattr(model, "disable_adapter")
    with nullcontext() if whole else cast("PeftModel", model).disable_adapter():
        measured = losses(model, tokenizer, rows, max_length=profile.max_length, batch_size=profile.batch_size)
    found = [
        {"item_id": example.item_id, "tokens": item.tokens, "loss": round(item.loss, 6)}
        for example, item in zip(examples, measured, strict=True)
    ]
    write_json(path, found)
    return found


def split_validation(
    examples: list[Example], share: float = 0.1, least: int = 8
) -> tuple[list[Example], list[Example]]:
    """Separa do treino uma validação: ``share`` das linhas (no mínimo ``least``), escolhidas pela identidade do item.

    InputError se não sobrar ao menos o mesmo tanto para treinar.
    """
    wanted = max(least, round(share * len(examples)))
    if len(examples) < 2 * wanted:
        raise InputError(
            f"São {len(examples)} exemplos de treino e a validação pede {wanted}: aumente N_TREINO no caderno 01."
        )
    held = {example.item_id for example in sorted(examples, key=lambda example: example.item_id)[:wanted]}
    train = [example for example in examples if example.item_id not in held]
    return train, [example for example in examples if example.item_id in held]


def summary(losses: list[dict]) -> str:
    """A queda da perda em português: médias e perplexidades antes e depois, e em quantos itens ela caiu."""
    if not losses:
        return "perda por item: não executado"
    before, after = (sum(row[key] for row in losses) / len(losses) for key in ("base_loss", "tuned_loss"))
    better = sum(row["tuned_loss"] < row["base_loss"] for row in losses)
    return (
        f"perda por token: {number(before, 3)} → {number(after, 3)} (perplexidade {number(math.exp(before), 1)} → "
        f"{number(math.exp(after), 1)}); menor em {better} de {len(losses)} itens"
    )


def join(base: list[dict], tuned: list[dict]) -> list[dict]:
    """Uma linha por item presente nas duas medidas: ``{item_id, tokens, base_loss, tuned_loss}``."""
    before = {row["item_id"]: row for row in base}
    return [
        {
            "item_id": row["item_id"],
            "tokens": row["tokens"],
            "base_loss": before[row["item_id"]]["loss"],
            "tuned_loss": row["loss"],
        }
        for row in tuned
        if row["item_id"] in before
    ]
