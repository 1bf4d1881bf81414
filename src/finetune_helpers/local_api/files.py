"""Rotas de ``/v1/files``."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.responses import FileResponse

from . import schemas, store
from .api_errors import ApiError, not_found
from .paging import page
from .settings import Settings

router = APIRouter(tags=["files"])


def settings(request: Request) -> Settings:
    """Ajustes do servidor que atende o pedido."""
    return request.app.state.settings


Configured = Annotated[Settings, Depends(settings)]


@router.post("/v1/files", response_model=schemas.File)
def upload(
    given: Configured, file: Annotated[UploadFile, File()], purpose: Annotated[Literal["fine-tune"], Form()]
) -> dict:
    """Recebe um arquivo de treino ou de validação."""
    size = file.size or 0
    if size > given.max_upload:
        raise ApiError(413, f"O arquivo passa do limite de {given.max_upload} bytes.", "payload_too_large", "file")
    if not size:
        raise ApiError(400, "O arquivo está vazio. Envie um JSONL com pelo menos 10 exemplos.", "invalid_file", "file")
    return store.add_file(given.folder, file.file, (file.filename or "arquivo.jsonl")[:255], purpose)


@router.get("/v1/files", response_model=schemas.Page[schemas.File])
def list_files(
    given: Configured,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> dict:
    """Lista os arquivos, dos mais novos para os mais antigos."""
    found = [row for row in store.files(given.folder) if purpose in (None, row["purpose"])]
    return page(found if order == "desc" else found[::-1], after, limit)


@router.get("/v1/files/{file_id}", response_model=schemas.File)
def retrieve(given: Configured, file_id: str) -> dict:
    """Dados de um arquivo."""
    found = store.file(given.folder, file_id)
    if found is None:
        raise not_found("arquivo", file_id)
    return found


@router.get("/v1/files/{file_id}/content", response_class=FileResponse)
def content(given: Configured, file_id: str) -> FileResponse:
    """Conteúdo de um arquivo, byte a byte."""
    retrieve(given, file_id)
    return FileResponse(store.content_path(given.folder, file_id), media_type="application/octet-stream")


@router.delete("/v1/files/{file_id}", response_model=schemas.Deleted)
def delete(given: Configured, file_id: str) -> dict:
    """Apaga um arquivo que nenhum treino em andamento usa."""
    retrieve(given, file_id)
    live = [job for job in store.jobs(given.folder) if job["status"] in store.LIVE]
    if any(file_id in (job["training_file"], job["validation_file"]) for job in live):
        raise ApiError(
            409, "Um treino em andamento usa este arquivo. Espere-o terminar ou cancele-o.", "file_in_use", "id"
        )
    store.delete_file(given.folder, file_id)
    return {"id": file_id, "object": "file"}
