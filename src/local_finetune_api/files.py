"""O que fica guardado e se pode pedir pelo nome: as rotas de ``/v1/files`` e de ``/v1/models``."""

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse
from openai.types import FileDeleted, FileObject, Model, ModelDeleted

from . import base_models, store
from .schemas import ApiError, Configured, Page, not_found, page, shaped, typed
from .server import Settings

router = APIRouter(prefix="/v1")
CREATED = 1730419200  # 01/11/2024, quando o SmolLM2 saiu; os modelos base não têm outra data


@router.post("/files", **typed(FileObject))
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


@router.get("/files", **typed(Page[FileObject]))
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


@router.get("/files/{file_id}", **typed(FileObject))
def retrieve_file(configured: Configured, file_id: str) -> dict:
    """Dados de um arquivo."""
    row = store.file(configured.folder, file_id)
    if row is None:
        raise not_found("arquivo", file_id)
    return shaped(FileObject, row)


@router.get("/files/{file_id}/content", response_class=FileResponse)
def content(configured: Configured, file_id: str) -> FileResponse:
    """Conteúdo de um arquivo, byte a byte."""
    retrieve_file(configured, file_id)
    return FileResponse(store.content_path(configured.folder, file_id), media_type="application/octet-stream")


@router.delete("/files/{file_id}", **typed(FileDeleted))
def delete_file(configured: Configured, file_id: str) -> dict:
    """Apaga um arquivo que nenhum treino em andamento usa."""
    retrieve_file(configured, file_id)
    live = [job for job in store.jobs(configured.folder) if job["status"] in store.LIVE]
    if any(file_id in (job["training_file"], job["validation_file"]) for job in live):
        text = "Um treino em andamento usa este arquivo. Espere-o terminar ou cancele-o."
        raise ApiError(409, text, "file_in_use", "id")
    store.delete(configured.folder / "files" / file_id, "meta.json")
    return {"id": file_id, "object": "file", "deleted": True}


def _model(name: str, source: str, adapter: Path | None = None, created: int = CREATED, job: str = "") -> dict:
    """Um modelo como a API o mostra e, só do servidor, a origem da base e, de um ajustado, o adaptador e o treino."""
    shown = {"id": name, "object": "model", "created": created, "owned_by": "local" if adapter else "system"}
    return shown | {"source": source, "adapter": adapter, "job": job}


def served(settings: Settings) -> dict[str, dict]:
    """Tudo o que responde a ``/v1/chat/completions``, por nome: modelos base, ajustados e checkpoints de cada época."""
    answering = {base.name: _model(base.name, base.source) for base in base_models.catalogue(settings.models)}
    for job in store.jobs(settings.folder):
        points = store.checkpoints(settings.folder, job["id"])
        for row in points:
            folder = store.job_folder(settings.folder, job["id"]) / "models" / f"step-{row['step_number']}"
            names = [row["fine_tuned_model_checkpoint"]]
            if row is points[0] and job["fine_tuned_model"] and not job.get("model_deleted"):
                names.append(job["fine_tuned_model"])
            answering |= {name: _model(name, job["source"], folder, row["created_at"], job["id"]) for name in names}
    return answering


def find_model(settings: Settings, name: str) -> dict:
    """O modelo de nome ``name`` (nos modelos base, sem diferença de caixa); 404 se não há."""
    base = base_models.find(settings.models, name)
    model = _model(base.name, base.source) if base else served(settings).get(name)
    if model is None:
        raise not_found("modelo", name, "model_not_found", "model")
    return model


@router.get("/models", **typed(Page[Model]))
def list_models(configured: Configured) -> dict:
    """Lista os modelos."""
    return page(Model, served(configured).values())


@router.get("/models/{model:path}", **typed(Model))
def retrieve_model(configured: Configured, model: str) -> dict:
    """Um modelo."""
    return shaped(Model, find_model(configured, model))


@router.delete("/models/{model:path}", **typed(ModelDeleted))
def delete_model(configured: Configured, model: str) -> dict:
    """Apaga um modelo ajustado, com os seus checkpoints; os modelos base não se apagam."""
    chosen = find_model(configured, model)
    adapter = chosen["adapter"]
    if adapter is None:
        raise ApiError(403, "Este é um modelo base e não pode ser apagado.", "model_not_deletable", "model")
    job = store.known_job(configured.folder, chosen["job"])
    if job["status"] in store.LIVE:
        raise ApiError(409, "O treino deste modelo não terminou. Cancele-o antes.", "model_in_use", "model")
    whole = model == job["fine_tuned_model"]
    for folder in list(adapter.parent.glob("step-*")) if whole else [adapter]:
        store.delete(folder, "checkpoint.json")
    if whole:
        store.save_job(configured.folder, job | {"model_deleted": True})
    return {"id": model, "object": "model", "deleted": True}
