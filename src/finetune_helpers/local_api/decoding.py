"""Acompanha um lote enquanto ele é gerado: trechos, paradas por texto e limites de cada pedido."""

from collections.abc import Callable
from threading import Event

import torch
from transformers import StoppingCriteria


class Batch(StoppingCriteria):
    """Para cada linha quando ela acaba (EOS, texto de parada ou limite) e entrega o texto à medida que sai.

    ``rows`` traz ``stop`` (lista de textos) e ``stream``; ``room`` é o limite de tokens de cada linha; ``ends``, os
    tokens de fim; ``stop``, o aviso de que ninguém mais espera o lote.
    """

    def __init__(
        self,
        tokenizer,
        rows: list[dict],
        room: list[int],
        ends: set[int],
        deliver: Callable[[int, str], None],
        stop: Event | None = None,
    ):
        self.abandoned = stop or Event()
        self.tokenizer, self.rows, self.room, self.ends, self.deliver = tokenizer, rows, room, ends, deliver
        self.ids: list[list[int]] = [[] for _ in rows]
        self.reason = [""] * len(rows)
        self.text = [""] * len(rows)
        self.sent = [0] * len(rows)

    def __call__(self, input_ids, scores, **kwargs):
        """Chamado a cada passo; devolve, por linha, se ela acabou."""
        if self.abandoned.is_set():
            self.reason = [reason or "length" for reason in self.reason]
        newest = input_ids[:, -1].tolist()
        for row, token in enumerate(newest):
            if not self.reason[row]:
                self._advance(row, token)
        return torch.tensor([bool(reason) for reason in self.reason], device=input_ids.device)

    def finished(self) -> list[dict]:
        """Texto, tokens e motivo do fim (``stop`` ou ``length``) de cada linha."""
        return [
            {"text": text, "tokens_out": len(ids), "finish_reason": reason or "length"}
            for text, ids, reason in zip(self.text, self.ids, self.reason, strict=True)
        ]

    def _advance(self, row: int, token: int) -> None:
        if token in self.ends:
            self.reason[row] = "stop"
        else:
            self.ids[row].append(token)
        # Sem paradas nem transmissão, basta decodificar no fim: decodificar a cada passo custaria caro.
        if len(self.ids[row]) >= self.room[row] and not self.reason[row]:
            self.reason[row] = "length"
        if self.reason[row] or self.rows[row]["stop"] or self.rows[row]["stream"]:
            self._read(row)

    def _read(self, row: int) -> None:
        text = self.tokenizer.decode(self.ids[row], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        cuts = [text.find(stop) for stop in self.rows[row]["stop"] if stop in text]
        if cuts:
            text, self.reason[row] = text[: min(cuts)], "stop"
        self.text[row] = text
        if self.rows[row]["stream"]:
            self._deliver(row, text)

    def _deliver(self, row: int, text: str) -> None:
        """Só sai o que não muda mais: nem meio caractere, nem o começo de um possível texto de parada."""
        safe = len(text) if self.reason[row] else len(text) - self._pending(text, self.rows[row]["stop"])
        if safe > self.sent[row]:
            self.deliver(row, text[self.sent[row] : safe])
            self.sent[row] = safe

    @staticmethod
    def _pending(text: str, stops: list[str]) -> int:
        if text.endswith("\ufffd"):
            return len(text) - len(text.rstrip("\ufffd")) + max(map(len, stops), default=0)
        return max(
            (size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size])),
            default=0,
        )
