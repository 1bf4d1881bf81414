"""Texto que sai do modelo enquanto ele gera, numa linha de execução que para quando o visitante pede."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Event
from typing import TYPE_CHECKING

import torch
from transformers import StoppingCriteria, TextIteratorStreamer

from ..errors import InputError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


class _Until(StoppingCriteria):
    """Para a geração quando um dos avisos é dado."""

    def __init__(self, *stops: Event):
        self.stops = stops

    def __call__(self, input_ids, scores, **kwargs):
        stopped = any(stop.is_set() for stop in self.stops)
        return torch.full((input_ids.shape[0],), stopped, dtype=torch.bool, device=input_ids.device)


def pieces(
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    text: str,
    max_tokens: int,
    cancelled: Event,
    tuned: bool,
) -> Iterator[str]:
    """Trechos da continuação gulosa de ``text``, com o adaptador se ``tuned``, até o fim, o limite ou ``cancelled``.

    Quem deixa de ler também para a geração. InputError se o texto não deixa lugar no contexto do modelo.
    """
    encoded = tokenizer(text, return_tensors="pt").to(model.device)
    length = encoded["input_ids"].shape[1]
    room = min(max_tokens, model.config.max_position_embeddings - length)
    if room < 1:
        raise InputError(f"A pergunta tem {length} tokens e não sobra lugar para a resposta. Encurte-a.")
    readable = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    streamer, abandoned = TextIteratorStreamer(tokenizer, skip_prompt=True, **readable), Event()

    def generate() -> None:
        try:
            with torch.inference_mode(), nullcontext() if tuned else model.disable_adapter():
                model.generate(
                    input_ids=encoded["input_ids"],
                    attention_mask=encoded["attention_mask"],
                    max_new_tokens=room,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    stopping_criteria=[_Until(cancelled, abandoned)],
                    streamer=streamer,
                )
        finally:
            streamer.text_queue.put(streamer.stop_signal)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(generate)
        try:
            yield from (piece for piece in streamer if piece)
            work.result()
        finally:
            abandoned.set()
