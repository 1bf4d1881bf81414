"""O aplicativo FastAPI: as rotas, a guarda da chave e dos tamanhos, e as duas filas (treinos e respostas)."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from finetune_helpers import __version__

from . import chat, files, jobs
from .schemas import HANDLERS, ApiError, ErrorBody, error_body
from .server import Settings, trace

log = logging.getLogger("local_finetune_api")
ERRORS: dict[int | str, dict[str, Any]]
ERRORS = {code: {"model": ErrorBody} for code in (400, 401, 403, 404, 409, 413, 429, 499, 500, 503, 507)}


def create_app(settings: Settings) -> FastAPI:
    """Aplicativo da API local para uma pasta; o estado mora só nela."""
    # A documentação interativa ficaria fora da guarda e carrega páginas da rede: só o esquema é servido.
    app = FastAPI(
        title="API local de ajuste fino", version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None
    )
    app.exception_handlers.update(HANDLERS)
    app.state.settings = settings
    app.state.engine = chat.Engine(settings)
    app.state.scheduler = jobs.Scheduler(settings, app.state.engine)
    for module in (files, jobs, chat):
        app.include_router(module.router, responses=ERRORS)
    app.add_middleware(Guard, settings=settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts = (app.state.engine, app.state.scheduler)
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for part in parts:
            await part.stop()


class Guard:
    """Camada ASGI: recusa quem não tem a chave e corta corpos grandes enquanto chegam, antes de qualquer rota."""

    def __init__(self, app: Any, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + self.settings.api_key.encode()):
            text = "Chave ausente ou incorreta. Envie Authorization: Bearer com a chave de LOCAL_API_KEY."
            return await _refusal(ApiError(401, text, "invalid_api_key"))(scope, receive, send)
        limit = self.settings.max_upload + 65_536 if scope["path"] == "/v1/files" else self.settings.max_body
        large = ApiError(413, f"O corpo passa do limite de {limit} bytes.", "payload_too_large")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            return await _refusal(large)(scope, receive, send)
        received, started = 0, False

        async def counted():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise large
            return message

        async def watched(message):
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except Exception as error:  # o uvicorn não a vê: o registro fica com um rastro sem pastas
            log.error("falha inesperada: %s", trace(error))
            if not started:
                text = "Falha interna da API local. Veja o registro do servidor."
                await _refusal(ApiError(500, text, "internal_error"))(scope, receive, send)


def _refusal(error: ApiError) -> JSONResponse:
    headers = {"connection": "close"} | ({"www-authenticate": "Bearer"} if error.status_code == 401 else {})
    return JSONResponse(error_body(error), error.status_code, headers)
