"""O aplicativo FastAPI: rotas, guarda e as duas filas (treinos e respostas)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from .. import __version__
from . import api_errors, chat, files, jobs, models, schemas
from .engine import Engine
from .scheduler import Scheduler
from .security import Guard
from .settings import Settings

ERRORS: dict[int | str, dict[str, Any]]
ERRORS = {code: {"model": schemas.ErrorBody} for code in (400, 401, 403, 404, 409, 413, 429, 500, 503)}


def create_app(settings: Settings) -> FastAPI:
    """Aplicativo da API local para uma pasta; o estado mora só nela."""
    # A documentação interativa ficaria fora da guarda e carrega páginas da rede: só o esquema é servido.
    app = FastAPI(
        title="API local de ajuste fino", version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None
    )
    app.state.settings = settings
    app.state.engine = Engine(settings)
    app.state.scheduler = Scheduler(settings, app.state.engine)
    for module in (files, jobs, models, chat):
        app.include_router(module.router, responses=ERRORS)
    app.add_api_route("/healthz", _health, methods=["GET"], tags=["saúde"])
    api_errors.install(app)
    app.add_middleware(Guard, settings=settings)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in (app.state.engine, app.state.scheduler)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.state.scheduler.stop()
        await app.state.engine.stop()


def _health() -> dict[str, str]:
    """Responde quando o servidor está pronto."""
    return {"status": "ok"}
