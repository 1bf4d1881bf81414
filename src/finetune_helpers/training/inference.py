"""Respostas em lote e perda por item: o mesmo código para o modelo base e para o ajustado."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from .. import progress, prompts
from ..answers import Answer
from ..prompts import Question

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Generated:
    """Texto gerado, tokens lidos e escritos e motivo do fim: ``stop`` (EOS) ou ``length`` (limite)."""

    text: str
    tokens_in: int
    tokens_out: int
    finish_reason: str


@dataclass(frozen=True)
class ItemLoss:
    """Perda média por token da resposta de um item (em nats) e quantos tokens ela tem."""

    tokens: int
    loss: float


@contextmanager
def _inference(model) -> Iterator[None]:
    """Modo de avaliação; o Unsloth troca seus núcleos com for_inference e os devolve com for_training."""
    getattr(model, "for_inference", model.eval)()
    try:
        with torch.inference_mode():
            yield
    finally:
        getattr(model, "for_training", model.train)()


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: list[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> list[Generated]:
    """Continua cada texto de um lote até o EOS ou ``max_new_tokens``; temperatura 0 é a escolha gulosa."""
    if seed is not None:
        torch.manual_seed(seed)
    tokenizer.padding_side = "left"
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=_needs_bos(tokenizer, texts))
    batch = batch.to(model.device)
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_p": top_p} if temperature > 0 else {"do_sample": False}
    )
    with _inference(model):
        output = model.generate(  # type: ignore[operator]  # vem do GenerationMixin
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            use_cache=True,
            **sampling,
        )
    new = output[:, batch["input_ids"].shape[1] :].tolist()
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [_generated(tokenizer, ids, length) for ids, length in zip(new, lengths, strict=True)]


def losses(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: list[dict[str, str]],
    *,
    max_length: int,
    batch_size: int = 4,
) -> list[ItemLoss]:
    """Perda média por token da ``completion`` (com o EOS) de cada linha, na ordem dada."""
    encoded = [_encode(tokenizer, row, max_length) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -len(encoded[index][0]))
    result: dict[int, ItemLoss] = {}
    with _inference(model), progress.bar("medindo a perda", "itens", len(rows)) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            result.update(zip(chosen, _batch_losses(model, tokenizer, [encoded[i] for i in chosen]), strict=True))
            bar.update(len(chosen))
    return [result[index] for index in range(len(rows))]


def answerer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    model_id: str,
    *,
    max_new_tokens: int,
    adapter: bool = True,
) -> Callable[[list[Question]], list[Answer]]:
    """Função de resposta para ``answers.answer_all``; ``adapter=False`` responde com o modelo base dos mesmos pesos.

    Os segundos de um lote são divididos por igual entre as respostas dele.
    """

    def answer(questions: list[Question]) -> list[Answer]:
        started = time.perf_counter()
        with nullcontext() if adapter else cast("PeftModel", model).disable_adapter():
            texts = [prompts.alpaca_prompt(question) for question in questions]
            given = generate(model, tokenizer, texts, max_new_tokens=max_new_tokens)
        seconds = round((time.perf_counter() - started) / len(questions), 4)
        return [Answer(g.text, g.tokens_in, g.tokens_out, seconds, g.finish_reason, model_id) for g in given]

    return answer


def _needs_bos(tokenizer, texts: list[str]) -> bool:
    """Um texto de conversa já traz o início de sequência; os outros o recebem se o tokenizador o usa."""
    return not (tokenizer.bos_token and texts and texts[0].startswith(tokenizer.bos_token))


def _generated(tokenizer, ids: list[int], tokens_in: int) -> Generated:
    stopped = tokenizer.eos_token_id in ids
    kept = ids[: ids.index(tokenizer.eos_token_id)] if stopped else ids
    text = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
    return Generated(text, tokens_in, len(kept), "stop" if stopped else "length")


def _encode(tokenizer, row: dict[str, str], max_length: int) -> tuple[list[int], int]:
    """Tokens da linha, cortados como no treino, e quantos deles são do prompt."""
    special = _needs_bos(tokenizer, [row["prompt"]])
    prompt = tokenizer(row["prompt"], add_special_tokens=special)["input_ids"]
    whole = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token, add_special_tokens=special)["input_ids"]
    return whole[:max_length], len(prompt)


def _batch_losses(model, tokenizer, encoded: list[tuple[list[int], int]]) -> list[ItemLoss]:
    longest = max(len(ids) for ids, _ in encoded)
    ids = torch.full((len(encoded), longest), tokenizer.pad_token_id)
    mask = torch.zeros((len(encoded), longest), dtype=torch.long)
    for row, (tokens, _) in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
    return [_item_loss(logits[row], tokens, start) for row, (tokens, start) in enumerate(encoded)]


def _item_loss(logits: torch.Tensor, tokens: list[int], start: int) -> ItemLoss:
    target = torch.tensor(tokens[start:], device=logits.device)
    predicted = logits[start - 1 : len(tokens) - 1].float()
    return ItemLoss(len(target), torch.nn.functional.cross_entropy(predicted, target).item())
