"""Falhas da API: repete só as passageiras, com espera crescente, e traduz as outras em instruções."""

import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import openai

from ..errors import FinetuneError, InputError, MachineError, without_key

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

Result = TypeVar("Result")
ATTEMPTS = 6
LONGEST_WAIT = 60.0
PASSING = (
    openai.RateLimitError,
    openai.APIConnectionError,  # inclui o tempo esgotado
    openai.InternalServerError,
    openai.APIResponseValidationError,
    json.JSONDecodeError,  # corpo cortado ou que não é JSON
    UnicodeDecodeError,
)
HOPELESS = ("insufficient_quota", "billing_hard_limit_reached")  # um 429 que esperar não resolve
MESSAGES = {
    openai.AuthenticationError: "A chave não foi aceita (401). Confira a chave do provedor no segredo ou no ambiente.",
    openai.PermissionDeniedError: "A conta não tem permissão para isto (403). Confira o projeto da chave.",
    openai.NotFoundError: "O modelo, arquivo ou treino não existe (404). Confira o nome e a conta.",
    openai.ConflictError: "O pedido conflita com outro (409). Espere e execute de novo.",
    openai.RateLimitError: "O limite de pedidos não deixou passar (429). Espere um minuto e execute de novo.",
    openai.InternalServerError: "O serviço falhou ou está ocupado (5xx). Espere um pouco e execute de novo.",
    openai.APITimeoutError: "O serviço não respondeu a tempo. Confira a rede e execute de novo.",
    openai.APIConnectionError: "Não consegui falar com o serviço. Confira a rede e `base_url`, e execute de novo.",
    openai.BadRequestError: "O serviço recusou o pedido (400). Corrija o que ele aponta.",
    openai.APIStatusError: "O serviço recusou o pedido. Corrija o que ele aponta.",
}
# O que um treino falho diz, no código ou na mensagem, e o que fazer.
ADVICE = (
    (r"modera|safety", "A moderação recusou o arquivo ou o modelo: retire as linhas dos avisos."),
    (r"quota|billing", "Acrescente crédito à conta."),
    (r"^invalid_|invalid file", "Corrija o arquivo: a validação aponta cada linha."),
    (r"^model_not_(available|found)", "Escolha outro `model`: este não aceita mais ajuste fino."),
)


class MalformedResponse(Exception):
    """A API respondeu 200 com algo que não tem a forma esperada."""


def retrying(
    call: Callable[[], Result],
    *,
    recover: Callable[[], Result | None] | None = None,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Chama ``call`` até ``attempts`` vezes; só repete falhas passageiras, esperando o ``Retry-After`` ou o dobro.

    ``recover`` é chamado antes de cada repetição: se achar o resultado (o pedido tinha chegado), ele vale. Qualquer
    outra falha, ou a última, sobe traduzida: InputError ou MachineError.
    """
    for attempt in range(1, attempts + 1):
        try:
            result = call()
            # Um corpo que não é JSON chega do pacote openai como texto puro.
            if isinstance(result, str):
                raise MalformedResponse(result[:200])
            return result
        except (*PASSING, MalformedResponse) as error:
            if attempt == attempts or getattr(error, "code", None) in HOPELESS:
                raise explain(error) from None  # a resposta original pode repetir a chave
            wait = _wait(error, attempt)
        except openai.OpenAIError as error:
            raise explain(error) from None
        sleep(wait)
        if recover and (recovered := retrying(recover, attempts=attempts, sleep=sleep)) is not None:
            return recovered
    raise AssertionError("o laço sempre devolve ou levanta")


def explain(error: Exception) -> FinetuneError:
    """A instrução em português para uma falha do pacote ``openai``."""
    code = getattr(error, "code", None) or ""
    if code == "training_not_available":
        return MachineError(
            "A OpenAI está encerrando o ajuste fino e esta organização já não pode criar treinos "
            '(training_not_available). Use `provider` = "local" (sem conta) ou "azure"/"nebius".'
        )
    if code == "insufficient_quota":
        return MachineError("Acabou o crédito da conta (insufficient_quota). Acrescente crédito e execute de novo.")
    detail = _detail(error)
    malformed = "A API devolveu algo que não é uma resposta válida. Tente de novo."
    message = next((text for kind, text in MESSAGES.items() if isinstance(error, kind)), malformed)
    build = InputError if isinstance(error, (openai.BadRequestError, openai.NotFoundError)) else MachineError
    return build(f"{message} (Resposta: {detail})")


def explain_job(job: "FineTuningJob", key: str = "") -> InputError:
    """A instrução para um treino que terminou em falha ou foi cancelado, sem a chave ``key`` da conta."""
    if job.status == "cancelled":
        return InputError(f"O treino {job.id} foi cancelado. Para criar outro no lugar dele, marque `again`.")
    code = getattr(job.error, "code", "") or ""
    message = without_key(getattr(job.error, "message", "") or "sem explicação", key)[:1000]
    return InputError(
        f"O treino {job.id} falhou ({code or 'sem código'}): {message}\n{_advice(code, message)} "
        "Depois, para criar outro no lugar dele, marque `again`."
    )


def _advice(code: str, message: str) -> str:
    flagged = re.search(r"flagged lines?:\s*([\d,\s]+)", message, re.IGNORECASE)
    if flagged:
        return f"Retire do arquivo as linhas {flagged[1].strip().rstrip(',')}, que a moderação recusou."
    said = f"{code} {message}".lower()
    return next((advice for sign, advice in ADVICE if re.search(sign, said)), "Veja os eventos do treino acima.")


def _wait(error: Exception, attempt: int) -> float:
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        asked = float(headers.get("retry-after", ""))
    except ValueError:
        asked = 0.0
    return min(LONGEST_WAIT, max(asked, 0.5 * 2 ** (attempt - 1)))


def _detail(error: Exception) -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    sent = getattr(getattr(error, "request", None), "headers", {}).get("authorization", "").removeprefix("Bearer ")
    return without_key(str(message or type(error).__name__), sent)[:500]
