"""Erros com a forma dos da OpenAI: ``{"error": {"message", "type", "param", "code"}}``."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import StorageError
from .process_environment import without_paths


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
    kind = {401: "invalid_request_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def not_found(what: str, identifier: str, code: str | None = None, param: str | None = "id") -> ApiError:
    """404 com o identificador pedido."""
    return ApiError(
        404, f"Não existe {what} com o id {identifier[:100]!r}. Confira o id ou liste os que há.", code, param
    )


def install(app: FastAPI) -> None:
    """Faz toda falha sair com a forma da OpenAI e sem caminho nem chave."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(StorageError)(_storage)


async def _storage(request: Request, error: StorageError) -> JSONResponse:
    return JSONResponse(body(507, without_paths(str(error)), "storage"), 507)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    messages = {404: "Este endereço não existe na API local.", 405: "Este endereço não aceita esse método."}
    if isinstance(error, ApiError):
        content = body(error.status_code, error.detail, error.code, error.param)
    else:
        content = body(error.status_code, messages.get(error.status_code, "O pedido não pôde ser lido."))
    return JSONResponse(content, error.status_code, error.headers)


async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path")) or None
    if first["type"] == "extra_forbidden":
        message, code = (
            f"O parâmetro {param!r} não é aceito pela API local. Retire-o do pedido.",
            "unsupported_parameter",
        )
    elif first["type"] == "missing":
        message, code = f"Falta o parâmetro obrigatório {param!r}.", "missing_required_parameter"
    elif first["type"] == "json_invalid":
        message, code = "O corpo do pedido não é um JSON válido.", None
    else:
        message, code = f"O valor de {param!r} não serve: {first['msg']}.", "invalid_value"
    return JSONResponse(body(400, message, code, param), 400)
