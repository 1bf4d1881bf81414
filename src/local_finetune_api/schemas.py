"""Pedidos aceitos e respostas dadas: as respostas são os tipos do pacote ``openai``; os pedidos, o que a API faz deles.

Um parâmetro desconhecido é recusado pelo nome, para que ninguém acredite que ele foi obedecido.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Generic, Literal, TypeVar

from openai.types.fine_tuning import FineTuningJob
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from .errors import not_found

Auto = Literal["auto"]
Item = TypeVar("Item", bound=BaseModel)


class Strict(BaseModel):
    """Base dos pedidos: nada além do que está escrito é aceito."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


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


def page(kind: type[BaseModel], rows: Iterable[dict], after: str | None, limit: int) -> dict:
    """Até ``limit`` linhas depois da que tem o id ``after``; 404 se esse id não está na lista."""
    known, start = list(rows), 0
    # Conforme a versão do FastAPI, um id vazio na URL chega como texto vazio ou como ausente: os dois são o começo.
    if after:
        positions = [index for index, row in enumerate(known) if row["id"] == after]
        if not positions:
            raise not_found("item nesta lista", after, param="after")
        start = positions[0] + 1
    chosen = [shaped(kind, row) for row in known[start : start + limit]]
    ends = {"first_id": chosen[0]["id"], "last_id": chosen[-1]["id"]} if chosen else {}
    return {"object": "list", "data": chosen, "has_more": start + limit < len(known), **ends}
