"""Respostas do modelo base e do ajustado às mesmas perguntas, com pedidos simultâneos e espera nos limites."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import prompts
from ..answers import Answer
from ..prompts import Question
from .failures import MalformedResponse, retrying

if TYPE_CHECKING:
    from openai import OpenAI


def answerer(
    client: "OpenAI", model: str, *, max_tokens: int = 256, concurrency: int = 8, attempts: int = 8
) -> Callable[[list[Question]], list[Answer]]:
    """Função para ``answers.answer_all``: responde a um lote, na ordem, com até ``concurrency`` pedidos ao mesmo tempo.

    Temperatura 0; os tokens vêm da contagem da API e os segundos de um lote são divididos por igual entre as respostas
    dele. Erros como em ``failures.retrying``.
    """

    def answer(questions: list[Question]) -> list[Answer]:
        started = time.perf_counter()
        with ThreadPoolExecutor(max(1, min(concurrency, len(questions)))) as pool:
            given = list(pool.map(lambda asked: _one(client, model, asked, max_tokens, attempts), questions))
        seconds = round((time.perf_counter() - started) / len(questions), 4)
        return [replace(answered, seconds=seconds) for answered in given]

    return answer


def body(model: str, asked: Question, max_tokens: int) -> dict:
    """O pedido de uma resposta: o mesmo para qualquer provedor, na hora ou em lote."""
    messages = prompts.chat_messages(asked)
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0}


def read(completion: dict, seconds: float, model: str) -> Answer:
    """A resposta de um ``chat.completion``; MalformedResponse se falta texto ou contagem."""
    try:
        choice, usage = completion["choices"][0], completion["usage"]
        text = choice["message"]["content"] or choice["message"].get("refusal") or ""
        counts = (int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
        return Answer(text, *counts, round(seconds, 4), choice["finish_reason"], model)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedResponse(str(completion)[:200]) from None


def _one(client, model: str, asked: Question, max_tokens: int, attempts: int) -> Answer:
    def ask() -> Answer:
        given = client.with_options(max_retries=0).chat.completions.create(**body(model, asked, max_tokens))
        if isinstance(given, str):
            raise MalformedResponse(given[:200])
        return read(given.model_dump(), 0.0, model)

    return retrying(ask, attempts=attempts)
