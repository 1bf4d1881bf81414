"""Falar com o serviço: pedidos que só repetem falhas passageiras, erros que viram instruções, e as respostas."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from .. import answers, progress, prompts
from ..answers import Answer
from ..errors import FinetuneError, InputError, MachineError, without_key
from ..prompts import Question
from .providers import LOOPBACK

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

Result = TypeVar("Result")
ATTEMPTS = 8
LONGEST_WAIT = 60.0
WARM_SECONDS = 3600.0  # a primeira resposta local pode esperar o download de um modelo de 13 GB
SNAPSHOT = re.compile(r"(?P<name>.+?)-(?P<revision>\d{4}-\d{2}-\d{2})$")  # gpt-4o-mini-2024-07-18
UNDATED = "sem-revisão"
HOPELESS = ("insufficient_quota", "billing_hard_limit_reached")  # um 429 que esperar não resolve


class MalformedResponse(Exception):
    """A API respondeu 200 com algo que não tem a forma esperada."""


PASSING = (
    openai.RateLimitError,
    openai.APIConnectionError,  # inclui o tempo esgotado
    openai.InternalServerError,
    openai.APIResponseValidationError,
    json.JSONDecodeError,  # corpo cortado ou que não é JSON
    UnicodeDecodeError,
    MalformedResponse,
)
MESSAGES = {
    openai.AuthenticationError: "A chave não foi aceita (401). Confira a chave do provedor no segredo ou no ambiente.",
    openai.PermissionDeniedError: "A conta não tem permissão para isto (403). Confira o projeto da chave.",
    openai.NotFoundError: "O modelo, arquivo ou treino não existe (404). Confira o nome e a conta.",
    openai.ConflictError: "O pedido conflita com outro (409). Espere e execute de novo.",
    openai.RateLimitError: "O limite de pedidos não deixou passar (429). Espere um minuto e execute de novo.",
    openai.InternalServerError: "O serviço falhou ou está ocupado (5xx). Espere um pouco e execute de novo.",
    openai.APITimeoutError: "O serviço não respondeu a tempo. Confira a rede e execute de novo.",
    openai.APIConnectionError: "Não consegui falar com o serviço. Confira a rede e `base_url`, e execute de novo.",
    openai.APIStatusError: "O serviço recusou o pedido. Corrija o que ele aponta.",
    Exception: "A API devolveu algo que não é uma resposta válida. Tente de novo.",
}
# O que um treino falho diz, no código ou na mensagem, e o que fazer.
ADVICE = (
    (r"flagged lines?:\s*([\d,\s]*\d)", "Retire do arquivo as linhas {}, que a moderação recusou."),
    (r"modera|safety", "A moderação recusou o arquivo ou o modelo: retire as linhas dos avisos."),
    (r"quota|billing", "Acrescente crédito à conta."),
    (r"^invalid_|invalid file", "Corrija o arquivo: a validação aponta cada linha."),
    (r"^model_not_(available|found)", "Escolha outro `model`: este não aceita mais ajuste fino."),
    ("", "Veja os eventos do treino acima."),
)


def retrying(call: Callable[[], Result], *, recover: Callable[[], Result | None] | None = None) -> Result:
    """Chama ``call`` até ``ATTEMPTS`` vezes; só repete falhas passageiras, esperando o ``Retry-After`` ou o dobro.

    ``recover`` é chamado antes de cada repetição: se achar o resultado (o pedido tinha chegado), ele vale. Qualquer
    outra falha, ou a última, sobe traduzida: InputError ou MachineError.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            result = call()
            if isinstance(result, str):  # um corpo que não é JSON chega do pacote openai como texto puro
                raise MalformedResponse
            return result
        except PASSING as error:
            if attempt >= ATTEMPTS or getattr(error, "code", None) in HOPELESS:
                raise explain(error) from None  # a resposta original pode repetir a chave
            wait = _wait(error, attempt)
        except openai.OpenAIError as error:
            raise explain(error) from None
        time.sleep(wait)
        if recover and (recovered := retrying(recover)) is not None:
            return recovered


def _wait(error: Exception, attempt: int) -> float:
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        asked = float(headers.get("retry-after", ""))
    except ValueError:
        asked = 0.0
    return min(LONGEST_WAIT, max(asked, 0.5 * 2 ** (attempt - 1)))


def explain(error: Exception) -> FinetuneError:
    """A instrução em português para uma falha do pacote ``openai``, sem a chave que a resposta pode repetir."""
    code = getattr(error, "code", None)
    if code == "training_not_available":
        return MachineError(
            "A OpenAI está encerrando o ajuste fino e esta organização já não pode criar treinos "
            '(training_not_available). Use `provider` = "local" (sem conta) ou "azure"/"nebius".'
        )
    if code == "insufficient_quota":
        return MachineError("Acabou o crédito da conta (insufficient_quota). Acrescente crédito e execute de novo.")
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    sent = getattr(getattr(error, "request", None), "headers", {}).get("authorization", "").removeprefix("Bearer ")
    detail = without_key(str(said or type(error).__name__), sent)[:500]
    message = next(text for kind, text in MESSAGES.items() if isinstance(error, kind))
    build = InputError if isinstance(error, (openai.BadRequestError, openai.NotFoundError)) else MachineError
    return build(f"{message} (Resposta: {detail})")


def explain_job(job: "FineTuningJob", key: str = "") -> InputError:
    """A instrução para um treino que terminou em falha ou foi cancelado, sem a chave ``key`` da conta."""
    if job.status == "cancelled":
        return InputError(f"O treino {job.id} foi cancelado. Para criar outro no lugar dele, marque `again`.")
    code = getattr(job.error, "code", "") or "sem código"
    message = without_key(getattr(job.error, "message", "") or "sem explicação", key)[:1000]
    said = f"{code} {message}".lower()
    advice = next(text.format(*seen.groups()) for sign, text in ADVICE if (seen := re.search(sign, said)))
    again = "Depois, para criar outro no lugar dele, marque `again`."
    return InputError(f"O treino {job.id} falhou ({code}): {message}\n{advice} {again}")


def answerer(
    client: openai.OpenAI, model: str, *, base: str = "", max_tokens: int = 256, concurrency: int = 8
) -> Callable[[list[Question]], list[Answer]]:
    """Função para ``answers.answer_all``: responde a um lote, na ordem, com até ``concurrency`` pedidos ao mesmo tempo.

    ``base`` é o modelo base de um ``model`` ajustado. Temperatura 0; os tokens vêm da contagem da API e os segundos de
    um lote são divididos por igual entre as respostas dele. Erros como em ``retrying``.
    """

    @cache
    def warm() -> None:
        """Carrega (e talvez baixe) o modelo na API local, fora do tempo das respostas; noutros serviços, nada."""
        if client.base_url.host in LOOPBACK:
            with progress.waiting(f"carregando {model}", 30):
                patient = client.with_options(timeout=WARM_SECONDS)
                _asked(patient, body(model, Question("", "Hello"), 1), "")

    def answer(questions: list[Question]) -> list[Answer]:
        warm()
        started = time.perf_counter()
        with ThreadPoolExecutor(max(1, min(concurrency, len(questions)))) as pool:
            replies = list(pool.map(lambda asked: _asked(client, body(model, asked, max_tokens), base), questions))
        seconds = round((time.perf_counter() - started) / len(questions), 4)
        return [replace(reply, seconds=seconds) for reply in replies]

    return answer


def _asked(client: openai.OpenAI, request: dict, base: str) -> Answer:
    return retrying(lambda: read(client.chat.completions.create(**request), request["model"], base))


def stream(client: openai.OpenAI, model: str, asked: Question, max_tokens: int) -> Iterator[str]:
    """Os pedaços da resposta, à medida que chegam; largar o iterador interrompe a geração no servidor.

    Falhas da API sobem como instruções (InputError ou MachineError).
    """
    patient = client.with_options(timeout=WARM_SECONDS if client.base_url.host in LOOPBACK else client.timeout)
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


def read(completion: Any, model: str, base: str = "") -> Answer:
    """A resposta de um ``chat.completion`` pedido a ``model``; MalformedResponse se falta texto ou contagem."""
    try:
        choice, usage = completion.choices[0], completion.usage
        text = choice.message.content or choice.message.refusal or ""
        counts = (int(usage.prompt_tokens), int(usage.completion_tokens))
        said = completion.system_fingerprint or ""
        # A impressão que a OpenAI publica (fp_…) muda com o servidor, não com os pesos; a da API local os nomeia.
        identity = said if "@" in said else model_id(model, base=base, served=completion.model)
        return Answer(text, *counts, 0.0, choice.finish_reason, identity)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise MalformedResponse from None


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
