"""Rota de ``/v1/chat/completions``, inteira ou transmitida aos poucos."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from . import api_errors, chat_schemas, models, store
from .api_errors import ApiError
from .engine import Chat, Engine
from .files import Configured

router = APIRouter(tags=["chat"])
DEFAULT_MAX_TOKENS = 256


@router.post("/v1/chat/completions", response_model=chat_schemas.ChatCompletion)
async def create(request: Request, given: Configured, asked: chat_schemas.ChatRequest) -> Any:
    """Responde a uma conversa."""
    chat = _chat(models.find(given, asked.model), asked)
    engine: Engine = request.app.state.engine
    engine.submit(chat)
    head = {"id": store.new_id("chatcmpl"), "created": int(time.time()), "model": asked.model}
    if asked.stream:
        usage = bool(asked.stream_options and asked.stream_options.include_usage)
        return StreamingResponse(_stream(chat, head, usage, given.chat_timeout), media_type="text/event-stream")
    try:
        done = await asyncio.wait_for(_finished(chat), given.chat_timeout)
    except TimeoutError:
        raise ApiError(503, "A resposta demorou demais. Tente de novo.", "timeout", retry_after=5) from None
    finally:
        chat.cancelled = True
    message = {"role": "assistant", "content": done["text"], "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": done["finish_reason"], "logprobs": None}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(done)}


def _chat(model: models.Served, asked: chat_schemas.ChatRequest) -> Chat:
    if asked.max_tokens and asked.max_completion_tokens:
        text = 'Envie "max_tokens" ou "max_completion_tokens", não os dois.'
        raise ApiError(400, text, "invalid_value", "max_completion_tokens")
    if asked.stream_options and not asked.stream:
        raise ApiError(400, '"stream_options" só vale com stream=true.', "invalid_value", "stream_options")
    temperature = 1.0 if asked.temperature is None else asked.temperature
    sampled = (asked.top_p or 1.0, asked.seed) if temperature > 0 else (1.0, None)
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    row = {
        "messages": [_message(message) for message in asked.messages],
        "max_tokens": asked.max_completion_tokens or asked.max_tokens or DEFAULT_MAX_TOKENS,
        "stop": stops,
        "stream": bool(asked.stream),
    }
    return Chat((model.base, str(model.adapter) if model.adapter else "", temperature, *sampled), row)


def _message(message: chat_schemas.Message) -> dict[str, str]:
    content = message.content if isinstance(message.content, str) else "".join(part.text for part in message.content)
    # O formato de conversa dos modelos abertos chama de system o que a OpenAI hoje chama de developer.
    return {"role": "system" if message.role == "developer" else message.role, "content": content}


async def _finished(chat: Chat) -> dict:
    while True:
        message = await chat.deltas.get()
        if failure := _failure(message):
            raise failure
        if "text" in message:
            return message


def _failure(message: dict) -> ApiError | None:
    if "too_long" in message:
        text = f"A conversa tem {message['too_long']} tokens e o modelo aceita {message['limit']}. Encurte-a."
        return ApiError(400, text, "context_length_exceeded", "messages")
    return message.get("error")


async def _stream(chat: Chat, head: dict, include_usage: bool, timeout: float) -> AsyncIterator[str]:
    base = {**head, "object": "chat.completion.chunk"} | ({"usage": None} if include_usage else {})
    try:
        yield _sse({**base, "choices": [_piece({"role": "assistant", "content": ""})]})
        async with asyncio.timeout(timeout):
            while True:
                message = await chat.deltas.get()
                if failure := _failure(message):
                    yield _sse(api_errors.body(failure.status_code, failure.detail, failure.code, failure.param))
                    return
                if "delta" in message:
                    yield _sse({**base, "choices": [_piece({"content": message["delta"]})]})
                if "text" in message:
                    break
        yield _sse({**base, "choices": [_piece({}, message["finish_reason"])]})
        if include_usage:
            yield _sse({**base, "choices": [], "usage": _usage(message)})
        yield "data: [DONE]\n\n"
    except TimeoutError:
        yield _sse(api_errors.body(503, "A resposta demorou demais. Tente de novo.", "timeout"))
    finally:
        chat.cancelled = True


def _piece(delta: dict, finish_reason: str | None = None) -> dict:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}


def _usage(done: dict) -> dict[str, int]:
    given, written = done["tokens_in"], done["tokens_out"]
    return {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written}


def _sse(value: dict) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
