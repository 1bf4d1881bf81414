"""Perda dos itens de teste antes e depois do treino, medida uma vez e guardada ao lado das respostas."""

from pathlib import Path

from .. import prompts
from ..records import Example, read_json, write_json
from .profiles import Profile


def measure(
    model, tokenizer, examples: list[Example], profile: Profile, path: Path, *, adapter: bool = True
) -> list[dict]:
    """Perda média por token de cada exemplo, ``[{item_id, tokens, loss}]``; lê ``path`` se ele já existe.

    ``adapter=False`` mede o modelo base dos mesmos pesos em 4 bits.
    """
    if Path(path).exists():
        return read_json(path)
    from contextlib import nullcontext

    from .inference import losses

    rows = [prompts.to_prompt_completion(example) for example in examples]
    with nullcontext() if adapter or not hasattr(model, "disable_adapter") else model.disable_adapter():
        measured = losses(model, tokenizer, rows, max_length=profile.max_length, batch_size=profile.batch_size)
    found = [
        {"item_id": example.item_id, "tokens": item.tokens, "loss": round(item.loss, 6)}
        for example, item in zip(examples, measured, strict=True)
    ]
    write_json(path, found)
    return found


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
