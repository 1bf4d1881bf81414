"""Pedido e resposta de ``/v1/chat/completions`` com a forma publicada pela OpenAI."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictInt

from .schemas import Strict


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
    seed: Annotated[StrictInt, Field(ge=0, le=2**63 - 1)] | None = None
    stop: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


class Usage(BaseModel):
    """Tokens lidos e escritos."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AssistantMessage(BaseModel):
    """A mensagem do assistente."""

    role: Literal["assistant"]
    content: str
    refusal: str | None = None


class Choice(BaseModel):
    """Uma resposta e o motivo do seu fim."""

    index: Literal[0]
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """Uma resposta inteira."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
