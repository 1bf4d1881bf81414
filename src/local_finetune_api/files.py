"""Rotas de ``/v1/files``."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.responses import FileResponse
from openai.types import FileDeleted, FileObject

from . import store
from .errors import ApiError, not_found
from .schemas import Page, page, shaped, typed
from .server import Settings

router = APIRouter(tags=["files"])


def settings(request: Request) -> Settings:
    """Ajustes do servidor que atende o pedido."""
    return request.app.state.settings


Configured = Annotated[Settings, Depends(settings)]


@router.post("/v1/files", **typed(FileObject))
def upload(
    configured: Configured, file: Annotated[UploadFile, File()], purpose: Annotated[Literal["fine-tune"], Form()]
) -> dict:
    """Recebe um arquivo de treino ou de validação."""
    size = file.size or 0
    if size > configured.max_upload:
        raise ApiError(413, f"O arquivo passa do limite de {configured.max_upload} bytes.", "payload_too_large", "file")
    if not size:
        raise ApiError(400, "O arquivo está vazio. Envie um JSONL com pelo menos 10 exemplos.", "invalid_file", "file")
    name = (file.filename or "arquivo.jsonl")[:255]
    return shaped(FileObject, store.add_file(configured.folder, file.file, name, purpose))


@router.get("/v1/files", **typed(Page[FileObject]))
def list_files(
    configured: Configured,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> dict:
    """Lista os arquivos, dos mais novos para os mais antigos."""
    rows = [row for row in store.files(configured.folder) if purpose in (None, row["purpose"])]
    return page(FileObject, rows if order == "desc" else rows[::-1], after, limit)


@router.get("/v1/files/{file_id}", **typed(FileObject))
def retrieve(configured: Configured, file_id: str) -> dict:
    """Dados de um arquivo."""
    row = store.file(configured.folder, file_id)
    if row is None:
        raise not_found("arquivo", file_id)
    return shaped(FileObject, row)


@router.get("/v1/files/{file_id}/content", response_class=FileResponse)
def content(configured: Configured, file_id: str) -> FileResponse:
    """Conteúdo de um arquivo, byte a byte."""
    retrieve(configured, file_id)
    return FileResponse(store.content_path(configured.folder, file_id), media_type="application/octet-stream")


@router.delete("/v1/files/{file_id}", **typed(FileDeleted))
def delete(configured: Configured, file_id: str) -> dict:
    """Apaga um arquivo que nenhum treino em andamento usa."""
    retrieve(configured, file_id)
    live = [job for job in store.jobs(configured.folder) if job["status"] in store.LIVE]
    if any(file_id in (job["training_file"], job["validation_file"]) for job in live):
        text = "Um treino em andamento usa este arquivo. Espere-o terminar ou cancele-o."
        raise ApiError(409, text, "file_in_use", "id")
    store.delete_file(configured.folder, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
