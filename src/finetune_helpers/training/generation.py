"""O gerador do projeto: o mesmo para o modelo base e o ajustado, no caderno, na página e na API local.

Importa o torch e o transformers: com o Unsloth, só depois dele.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import StoppingCriteria

from .. import prompts
from ..answers import Answer
from ..prompts import Question

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampling:
    """Como se escolhe o próximo token: temperatura 0 é a escolha gulosa; acima dela, um sorteio (núcleo ``top_p``)."""

    temperature: float = 0.0
    top_p: float = 1.0


GREEDY = Sampling()


@dataclass(frozen=True)
class Generated:
    """Texto gerado, tokens lidos e escritos e motivo do fim: ``stop`` (fim de sequência) ou ``length`` (limite)."""

    text: str
    tokens_in: int
    tokens_out: int
    finish_reason: str


def encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Tokens de um texto; um que já começa com um token especial (uma conversa) não recebe outro início."""
    special = tuple(token for token in tokenizer.all_special_tokens if token)
    return list(tokenizer(text, add_special_tokens=not text.startswith(special))["input_ids"])


def generate(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    texts: list[str],
    *,
    limits: list[int],
    sampling: Sampling = GREEDY,
    on_text: Callable[[int, str], None] | None = None,
    stop: Event | None = None,
) -> list[Generated]:
    """Continua cada texto de um lote até um fim de sequência ou até ``limits`` tokens novos, um limite por linha.

    ``on_text(linha, trecho)`` recebe o texto à medida que sai, sem partir um caractere; os trechos de uma linha,
    juntos, são o texto dela. ``stop``, se for ligado, encerra o lote no passo seguinte.
    """
    rows = [encode(tokenizer, text) for text in texts]
    ids, mask = padded(rows, padding_id(tokenizer), side="left")
    batch = _Batch(tokenizer, limits, _ends(model, tokenizer), on_text, stop or Event())
    # Um limite de comprimento do próprio modelo faria o transformers avisar, a cada chamada, que há dois.
    model.generation_config.max_length = None
    with inference(model):
        model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max(limits),
            pad_token_id=padding_id(tokenizer),
            eos_token_id=sorted(batch.ends),
            stopping_criteria=[batch],
            use_cache=True,
            repetition_penalty=1.0,
            do_sample=sampling.temperature > 0,
            temperature=sampling.temperature or 1.0,
            top_p=sampling.top_p,
            top_k=0 if sampling.temperature > 0 else 50,
        )
    return [batch.generated(row, len(tokens)) for row, tokens in enumerate(rows)]


@dataclass
class _Batch(StoppingCriteria):
    """Acompanha um lote enquanto ele é gerado: diz quando cada linha acaba e entrega o texto dela."""

    tokenizer: Any
    limits: list[int]
    ends: set[int]
    on_text: Callable[[int, str], None] | None
    stop: Event

    def __post_init__(self) -> None:
        self.ids: list[list[int]] = [[] for _ in self.limits]
        self.reasons, self.sent = [""] * len(self.limits), [0] * len(self.limits)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Chamado a cada passo; devolve, por linha, se ela acabou."""
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.reasons[row]:
                continue
            if token in self.ends:
                self.reasons[row] = "stop"
            else:
                self.ids[row].append(token)
                if len(self.ids[row]) >= self.limits[row] or self.stop.is_set():
                    self.reasons[row] = "length"
            if self.on_text:
                self._deliver(row, self.on_text)
        return torch.tensor([bool(reason) for reason in self.reasons], device=input_ids.device)

    def generated(self, row: int, tokens_in: int) -> Generated:
        """O resultado de uma linha."""
        return Generated(self._text(row), tokens_in, len(self.ids[row]), self.reasons[row] or "length")

    def _deliver(self, row: int, on_text: Callable[[int, str], None]) -> None:
        text = self._text(row)
        # Um caractere que ainda não está inteiro é decodificado como o sinal de substituição, no fim.
        whole = text if self.reasons[row] else text.rstrip("\ufffd")
        if len(whole) > self.sent[row]:
            on_text(row, whole[self.sent[row] :])
            self.sent[row] = len(whole)

    def _text(self, row: int) -> str:
        return str(self.tokenizer.decode(self.ids[row], skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Os tokens que encerram uma resposta: o do tokenizador e os que o modelo declara (o Harmony tem três)."""
    declared = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])} - {None}


def padding_id(tokenizer: Any) -> int:
    """O token de padding; sem um, o de fim de sequência."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def padded(rows: list[list[int]], padding: int, *, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Um lote retangular (linhas × tokens), com padding do lado ``side`` (``left`` ou ``right``), e a máscara dele."""
    tensors = [torch.tensor(tokens, dtype=torch.long) for tokens in rows]
    ids = pad_sequence(tensors, batch_first=True, padding_value=padding, padding_side=side)
    mask = pad_sequence([torch.ones_like(tokens) for tokens in tensors], batch_first=True, padding_side=side)
    return ids, mask


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Modo de avaliação; o Unsloth troca seus núcleos com for_inference e os devolve com for_training."""
    training = model.training
    getattr(model, "for_inference", model.eval)()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            getattr(model, "for_training", model.train)()


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
            rows = generate(model, tokenizer, texts, limits=[max_new_tokens] * len(texts))
        seconds = round((time.perf_counter() - started) / len(questions), 4)
        return [
            Answer(row.text.strip(), row.tokens_in, row.tokens_out, seconds, row.finish_reason, model_id)
            for row in rows
        ]

    return answer
