"""Pedidos e respostas com a forma publicada pela OpenAI; um parâmetro desconhecido é recusado pelo nome."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, computed_field

Auto = Literal["auto"]
Item = TypeVar("Item")


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


class JobRequest(Strict):
    """Pedido de um treino."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = None
    suffix: Annotated[str, Field(max_length=64)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None


class ErrorDetail(BaseModel):
    """O que deu errado, na forma da OpenAI."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Corpo de uma resposta de erro."""

    error: ErrorDetail


class JobError(BaseModel):
    """Por que um treino falhou."""

    code: str
    message: str
    param: str | None = None


class File(BaseModel):
    """Um arquivo enviado ou produzido."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    expires_at: int | None = None
    status_details: str | None = None


class Job(BaseModel):
    """Um treino e o seu estado."""

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    hyperparameters: Hyperparameters
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    error: JobError | None
    seed: int
    user_provided_suffix: str | None
    metadata: dict[str, str] | None
    integrations: list = []

    @computed_field  # type: ignore[prop-decorator]  # o mypy não aceita decorador sobre property
    @property
    def method(self) -> Method:
        """Os mesmos hiperparâmetros, na forma nova da API."""
        return Method(supervised=Supervised(hyperparameters=self.hyperparameters))


class Event(BaseModel):
    """Um acontecimento de um treino."""

    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class Checkpoint(BaseModel):
    """Um ponto de uma época, que serve de modelo."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float]


class Model(BaseModel):
    """Um modelo que responde."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None = None


class Deleted(BaseModel):
    """Confirmação de que algo foi apagado."""

    id: str
    object: str
    deleted: Literal[True] = True


class Page(BaseModel, Generic[Item]):
    """Uma página de uma lista."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


class Models(BaseModel):
    """Os modelos que respondem."""

    object: Literal["list"] = "list"
    data: list[Model]
