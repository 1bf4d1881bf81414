"""O braço GPT por uma API: a local, reaberta sobre a pasta da rodada, ou a do provedor que treinou."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from ..errors import InputError
from ..gpt import providers
from ..gpt.providers import Provider
from ..prompts import Question
from .systems import Secret, Stream

if TYPE_CHECKING:
    from openai import OpenAI

STATE = "trabalho.json"
MISSING = "Esta rodada não guarda os pesos do GPT ajustado na API local. Execute o caderno 03 com esta RODADA."


def door(
    folder: Path, job: dict, closing: ExitStack, address: str, secret: Secret, paid_questions: int
) -> "tuple[Provider, Callable[[], OpenAI]]":
    """O provedor da rodada e a função que dá o cliente dele; a API local só inicia na primeira pergunta.

    InputError se os pesos não estão na rodada ou se o provedor é pago e nenhuma pergunta foi autorizada; MachineError
    sem a chave.
    """
    provider = providers.provider(job["request"]["provider"], base_url=address)
    if provider.name == "local":
        if not list((folder / "api_local" / "jobs" / job["job_id"]).glob("models/*/adapter_model.safetensors")):
            raise InputError(MISSING)
        return provider, cache(lambda: _reopened(folder / "api_local", provider, closing))
    if paid_questions < 1:
        raise InputError("Este provedor é pago. Diga em PERGUNTAS_PAGAS quantas perguntas você aceita pagar.")
    client, spend = providers.client(provider, api_key=secret(provider.key_name)), _allowance(paid_questions)
    return provider, lambda: spend(client)


def stream(client: "Callable[[], OpenAI]", model: str) -> Stream:
    """Transmite a resposta de ``model``; falhas da API sobem como instruções (``gpt.failures``)."""

    def pieces(asked: Question, max_tokens: int, cancelled: Event) -> Iterator[str]:
        from openai import OpenAIError

        from ..gpt import chat, failures

        given = client().with_options(max_retries=0)
        try:
            with given.chat.completions.create(**chat.body(model, asked, max_tokens), stream=True) as chunks:
                for chunk in chunks:
                    if cancelled.is_set():
                        return
                    if chunk.choices and chunk.choices[0].delta.content:
                        yield chunk.choices[0].delta.content
        except OpenAIError as error:
            raise failures.explain(error) from None  # a resposta original pode repetir a chave

    return pieces


def _reopened(folder: Path, provider: Provider, closing: ExitStack) -> "OpenAI":
    from .. import local_api

    server = closing.enter_context(local_api.running(folder))
    return providers.client(providers.provider(provider.name, base_url=server.base_url), api_key=server.api_key)


def _allowance(questions: int) -> Callable:
    """Deixa passar ``questions`` pedidos, contados entre todos os visitantes."""
    left, lock = [questions], Lock()

    def spend(client: "OpenAI") -> "OpenAI":
        with lock:
            if not left[0]:
                raise InputError(f"As {questions} perguntas pagas desta página acabaram.")
            left[0] -= 1
        return client

    return spend
