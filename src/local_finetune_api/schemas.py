"""O que entra e o que sai: pedidos, respostas com os tipos do pacote ``openai`` e erros com a forma dos da OpenAI.

Um parâmetro desconhecido é recusado pelo nome, para que ninguém acredite que ele foi obedecido; nenhum erro mostra
caminho desta máquina nem chave.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from openai.types.fine_tuning import FineTuningJob
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.exceptions import HTTPException

from finetune_helpers.errors import StorageError

from .server import Settings, without_paths

Auto = Literal["auto"]
Item = TypeVar("Item", bound=BaseModel)
STATUS_TEXT = {404: "Este endereço não existe na API local.", 405: "Este endereço não aceita esse método."}
# O que se deve usar, para cada erro do pydantic.
EXPECTED = {
    "greater_than_equal": "{ge} ou mais",
    "greater_than": "mais que {gt}",
    "less_than_equal": "no máximo {le}",
    "finite_number": "um número finito",
    "string_too_long": "no máximo {max_length} caracteres",
    "too_long": "no máximo {max_length} itens",
    "too_short": "pelo menos {min_length} item",
    "literal_error": "{expected}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "um número inteiro"),
    **dict.fromkeys(("float_type", "float_parsing"), "um número"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true ou false"),
    "string_type": "um texto",
    "list_type": "uma lista",
    **dict.fromkeys(("dict_type", "model_attributes_type"), "um objeto"),
}


class Strict(BaseModel):
    """Base dos pedidos: nada além do que está escrito é aceito."""

    model_config = ConfigDict(extra="forbid")


class Hyperparameters(Strict):
    """Épocas, lote e multiplicador da taxa de aprendizado; ``"auto"`` deixa a escolha ao modelo base."""

    n_epochs: Auto | Annotated[StrictInt, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[StrictInt, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = "auto"


class Supervised(Strict):
    """O método supervisionado e seus hiperparâmetros."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Method(Strict):
    """Como treinar; só o método supervisionado existe aqui."""

    type: Literal["supervised"] = "supervised"
    supervised: Supervised = Supervised()


MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class JobRequest(Strict):
    """Pedido de um treino."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = None
    suffix: Annotated[str, Field(max_length=64)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None


class TextPart(Strict):
    """Um trecho de texto de uma mensagem."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """Uma mensagem da conversa."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]


class StreamOptions(Strict):
    """O que acompanha uma resposta em fluxo."""

    include_usage: bool = False


class ChatRequest(Strict):
    """Pedido de uma resposta."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


class Job(FineTuningJob):
    """Um treino; a descrição publicada tem a pausa, mas o tipo do pacote ``openai`` ainda não traz o estado dela."""

    # O tipo do pacote não tem a pausa.
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]  # type: ignore[assignment]


class ErrorBody(BaseModel):
    """Corpo de uma resposta de erro."""

    error: ErrorObject


class Page(BaseModel, Generic[Item]):
    """Uma página de uma lista."""

    object: Literal["list"]
    data: list[Item]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


def typed(kind: Any) -> dict[str, Any]:
    """Opções de rota de uma resposta do tipo ``kind``, que sai só com os campos preenchidos."""
    return {"response_model": kind, "response_model_exclude_unset": True}


def shaped(kind: type[BaseModel], row: dict) -> dict:
    """Os campos de ``row`` que o tipo publicado tem; os outros são só do servidor."""
    return {key: row[key] for key in kind.model_fields if key in row}


def page(kind: type[BaseModel], rows: Iterable[dict], after: str | None = None, limit: int = 10_000) -> dict:
    """Até ``limit`` linhas depois da que tem o id ``after``; 404 se esse id não está na lista."""
    known, start = list(rows), 0
    # Conforme a versão do FastAPI, um id vazio na URL chega como texto vazio ou como ausente: os dois são o começo.
    if after:
        start = next((index for index, row in enumerate(known, start=1) if row["id"] == after), 0)
        if not start:
            raise not_found("item nesta lista", after, param="after")
    chosen = [shaped(kind, row) for row in known[start : start + limit]]
    ends = {"first_id": chosen[0]["id"], "last_id": chosen[-1]["id"]} if chosen else {}
    return {"object": "list", "data": chosen, "has_more": start + limit < len(known), **ends}


class ApiError(HTTPException):
    """Um erro da API: código HTTP, mensagem, ``code``, ``param`` e, se for o caso, segundos até tentar de novo."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None, retry_after: int = 0
    ):
        super().__init__(status, message, {"Retry-After": str(retry_after)} if retry_after else None)
        self.code, self.param = code, param


def error_body(error: ApiError) -> dict:
    """O corpo de um erro, com a forma dos da OpenAI; ``type`` sai do código HTTP."""
    status = error.status_code
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": error.detail, "type": kind, "param": error.param, "code": error.code}}


def not_found(what: str, identifier: str, code: str | None = None, param: str | None = "id") -> ApiError:
    """404 com o identificador pedido."""
    text = f"Não existe {what} com o id {identifier[:100]!r}. Confira o id ou liste os que há."
    return ApiError(404, text, code, param)


def settings(request: Request) -> Settings:
    """Ajustes do servidor que atende o pedido."""
    return request.app.state.settings


Configured = Annotated[Settings, Depends(settings)]


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StorageError):
        error = ApiError(507, without_paths(str(error)), "storage")
    elif isinstance(error, RequestValidationError):
        received = {"body": error.body, "query": dict(request.query_params), "path": request.path_params}
        rows = [(".".join(map(str, _steps(row, received))), row) for row in error.errors()]
        param = rows[0][0]
        error = ApiError(400, *_instruction(param, [row for name, row in rows if name == param]), param or None)
    elif isinstance(error, HTTPException) and not isinstance(error, ApiError):
        error = ApiError(error.status_code, STATUS_TEXT.get(error.status_code, "O pedido não pôde ser lido."))
    assert isinstance(error, ApiError)  # só estes são registrados
    return JSONResponse(error_body(error), error.status_code, error.headers)


# Toda falha sai com a forma da OpenAI.
HANDLERS = dict.fromkeys((HTTPException, RequestValidationError, StorageError), _refused)


def _steps(row: dict[str, Any], received: dict) -> Iterator[str | int]:
    """O nome do parâmetro no pedido, sem os ramos que o pydantic põe no caminho de uma união."""
    value: Any = received.get(str(row["loc"][0]))
    for part in row["loc"][1:]:
        inside = isinstance(value, dict) and part in value
        if inside or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]
            yield part
        elif row["type"] == "missing" and part is row["loc"][-1]:
            yield part


def _instruction(param: str, errors: list[dict[str, Any]]) -> tuple[str, str | None]:
    first = errors[0]["type"]
    if first == "extra_forbidden":
        return f'A API local não aceita "{param}". Retire-o do pedido.', "unsupported_parameter"
    if first == "missing":
        return f'Falta o parâmetro obrigatório "{param}".', "missing_required_parameter"
    if first == "json_invalid":
        return "O corpo do pedido não é um JSON válido.", None
    if param == "n":
        return 'A API local dá uma resposta por pedido: retire "n" ou use 1.', "unsupported_parameter"
    # Numa união, só interessa o ramo do tipo que veio: para 0, "1 ou mais", e não "'auto'".
    close = [row for row in errors if row["type"] != "literal_error" or isinstance(row["input"], str)] or errors
    advice = dict.fromkeys(
        EXPECTED.get(row["type"], "o tipo e o tamanho da descrição publicada").format_map(row.get("ctx", {}))
        for row in close
    )
    return f'O valor de "{param}" não serve: use {" ou ".join(advice).replace(" or ", " ou ")}.', "invalid_value"
