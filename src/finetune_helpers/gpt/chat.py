"""Respostas do modelo base e do ajustado às mesmas perguntas, com pedidos simultâneos e espera nos limites."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from .. import answers, progress, prompts
from ..answers import Answer
from ..prompts import Question
from .failures import MalformedResponse, explain, retrying
from .providers import LOOPBACK

if TYPE_CHECKING:
    from openai import OpenAI

ATTEMPTS = 8
WARM_SECONDS = 3600.0  # a primeira resposta local pode esperar o download de um modelo de 13 GB
SNAPSHOT = re.compile(r"(?P<name>.+?)-(?P<revision>\d{4}-\d{2}-\d{2})$")  # gpt-4o-mini-2024-07-18
UNDATED = "sem-revisão"


def answerer(
    client: "OpenAI", model: str, *, base: str = "", max_tokens: int = 256, concurrency: int = 8
) -> Callable[[list[Question]], list[Answer]]:
    """Função para ``answers.answer_all``: responde a um lote, na ordem, com até ``concurrency`` pedidos ao mesmo tempo.

    ``base`` é o modelo base de um ``model`` ajustado. Temperatura 0; os tokens vêm da contagem da API e os segundos de
    um lote são divididos por igual entre as respostas dele. Na API local, o modelo é carregado antes de contar o tempo.
    Erros como em ``failures.retrying``.
    """
    ready = cache(lambda: _warm(client, model))

    def answer(questions: list[Question]) -> list[Answer]:
        ready()
        started = time.perf_counter()
        with ThreadPoolExecutor(max(1, min(concurrency, len(questions)))) as pool:
            replies = list(pool.map(lambda asked: _asked(client, body(model, asked, max_tokens), base), questions))
        seconds = round((time.perf_counter() - started) / len(questions), 4)
        return [replace(reply, seconds=seconds) for reply in replies]

    return answer


def stream(client: "OpenAI", model: str, asked: Question, max_tokens: int) -> Iterator[str]:
    """Os pedaços da resposta, à medida que chegam; largar o iterador interrompe a geração no servidor.

    Falhas da API sobem como instruções (InputError ou MachineError).
    """
    import openai

    patient = client.with_options(max_retries=0, timeout=WARM_SECONDS if _is_local(client) else client.timeout)
    try:
        with patient.chat.completions.create(**body(model, asked, max_tokens), stream=True) as chunks:
            for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content
    except openai.OpenAIError as error:
        raise explain(error) from None  # a resposta original pode repetir a chave


def body(model: str, asked: Question, max_tokens: int) -> dict:
    """O pedido de uma resposta: o mesmo para qualquer provedor."""
    messages = prompts.chat_messages(asked)
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0}


def read(completion: dict, model: str, base: str = "") -> Answer:
    """A resposta de um ``chat.completion`` pedido a ``model``; MalformedResponse se falta texto ou contagem."""
    try:
        choice, usage = completion["choices"][0], completion["usage"]
        text = choice["message"]["content"] or choice["message"].get("refusal") or ""
        counts = (int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
        said = completion.get("system_fingerprint") or ""
        # A impressão que a OpenAI publica (fp_…) muda com o servidor, não com os pesos; a da API local os nomeia.
        identity = said if "@" in said else model_id(model, base=base, served=completion["model"])
        return Answer(text, *counts, 0.0, choice["finish_reason"], identity)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedResponse(str(completion)[:200]) from None


def model_id(model: str, *, base: str = "", served: str = "") -> str:
    """Que pesos respondem num serviço: a versão com data do modelo base e, se ajustado, doze dígitos do nome dele.

    ``base`` é o modelo base de um ajustado (``ft:base:…`` já o diz) e ``served`` o nome com que o serviço respondeu: um
    apelido como ``gpt-4o-mini`` volta com a data.
    """
    tuned = re.match(r"ft:([^:]+):", model)
    origin = tuned[1] if tuned else base or served or model
    dated = SNAPSHOT.match(origin)
    name, revision = (dated["name"], dated["revision"]) if dated else (origin, UNDATED)
    adapter = hashlib.sha256(model.encode()).hexdigest() if tuned or base else ""
    return answers.model_id(name, revision, adapter)


def _asked(client, request: dict, base: str) -> Answer:
    def ask() -> Answer:
        completion = client.with_options(max_retries=0).chat.completions.create(**request)
        if isinstance(completion, str):
            raise MalformedResponse(completion[:200])
        return read(completion.model_dump(), request["model"], base)

    return retrying(ask, attempts=ATTEMPTS)


def _is_local(client) -> bool:
    return client.base_url.host in LOOPBACK


def _warm(client, model: str) -> None:
    """Carrega (e talvez baixe) o modelo na API local, fora do tempo das respostas; noutros serviços, nada."""
    if _is_local(client):
        with progress.waiting(f"carregando {model}", 30):
            patient = client.with_options(timeout=WARM_SECONDS)
            _asked(patient, body(model, Question("", "Hello"), 1), "")
