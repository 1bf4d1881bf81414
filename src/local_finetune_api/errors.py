"""Erros com a forma dos da OpenAI, em português, sem caminho desta máquina e sem chave."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from finetune_helpers.errors import StorageError

from .server import without_paths

STATUS_TEXT = {404: "Este endereço não existe na API local.", 405: "Este endereço não aceita esse método."}
# O que se deve usar, para cada erro do pydantic.
EXPECTED = {
    "greater_than_equal": "{ge} ou mais",
    "greater_than": "mais que {gt}",
    "less_than_equal": "no máximo {le}",
    "finite_number": "um número finito",
    "int_type": "um número inteiro",
    "int_parsing": "um número inteiro",
    "int_from_float": "um número inteiro",
    "float_type": "um número",
    "float_parsing": "um número",
    "bool_type": "true ou false",
    "bool_parsing": "true ou false",
    "string_type": "um texto",
    "string_too_long": "no máximo {max_length} caracteres",
    "too_long": "no máximo {max_length} itens",
    "too_short": "pelo menos {min_length} item",
    "list_type": "uma lista",
    "dict_type": "um objeto",
    "model_attributes_type": "um objeto",
    "literal_error": "{expected}",
}


class ApiError(HTTPException):
    """Um erro da API: código HTTP, mensagem, ``code``, ``param`` e, se for o caso, segundos até tentar de novo."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(status, message, {"Retry-After": str(retry_after)} if retry_after else None)
        self.code, self.param = code, param


def body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict:
    """Corpo do erro; ``type`` sai do código HTTP."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def not_found(what: str, identifier: str, code: str | None = None, param: str | None = "id") -> ApiError:
    """404 com o identificador pedido."""
    text = f"Não existe {what} com o id {identifier[:100]!r}. Confira o id ou liste os que há."
    return ApiError(404, text, code, param)


def install(app: FastAPI) -> None:
    """Faz toda falha sair com a forma da OpenAI."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(StorageError)(_storage)


async def _storage(request: Request, error: StorageError) -> JSONResponse:
    return JSONResponse(body(507, without_paths(str(error)), "storage"), 507)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    if isinstance(error, ApiError):
        content = body(error.status_code, error.detail, error.code, error.param)
    else:
        content = body(error.status_code, STATUS_TEXT.get(error.status_code, "O pedido não pôde ser lido."))
    return JSONResponse(content, error.status_code, error.headers)


async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
    errors = list(error.errors())
    received = {"body": error.body, "query": dict(request.query_params), "path": request.path_params}
    param = _param(errors[0], received)
    message, code = _instruction(param, [row for row in errors if _param(row, received) == param])
    return JSONResponse(body(400, message, code, param or None), 400)


def _param(row: dict[str, Any], received: dict) -> str:
    """O nome do parâmetro no pedido, sem os ramos que o pydantic põe no caminho de uma união."""
    return ".".join(str(part) for part in _steps(row, received.get(str(row["loc"][0]))))


def _steps(row: dict[str, Any], value: Any) -> Iterator[str | int]:
    for part in row["loc"][1:]:
        inside = isinstance(value, dict) and part in value
        if inside or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]
            yield part
        elif row["type"] == "missing" and part is row["loc"][-1]:
            yield part


def _instruction(param: str, errors: Sequence[dict[str, Any]]) -> tuple[str, str | None]:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f'A API local não aceita "{param}". Retire-o do pedido.', "unsupported_parameter"
    if first["type"] == "missing":
        return f'Falta o parâmetro obrigatório "{param}".', "missing_required_parameter"
    if first["type"] == "json_invalid":
        return "O corpo do pedido não é um JSON válido.", None
    if param == "n":
        return 'A API local dá uma resposta por pedido: retire "n" ou use 1.', "unsupported_parameter"
    # Numa união, só interessa o ramo do tipo que veio: para 0, "1 ou mais", e não "'auto'".
    close = [row for row in errors if row["type"] != "literal_error" or isinstance(row["input"], str)] or errors
    advice = list(dict.fromkeys(_expected(row) for row in close))
    return f'O valor de "{param}" não serve: use {" ou ".join(advice)}.', "invalid_value"


def _expected(row: dict[str, Any]) -> str:
    known = {key: str(value).replace(" or ", " ou ") for key, value in row.get("ctx", {}).items()}
    return EXPECTED.get(row["type"], "o tipo e o tamanho da descrição publicada").format_map(known)
