"""As respostas: a rota de ``/v1/chat/completions`` e a fila que junta pedidos parecidos em lotes."""

import asyncio
import json
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from openai.types.chat import ChatCompletion

from . import store
from .files import find_model
from .schemas import ApiError, ChatRequest, Configured, Message, error_body, typed
from .server import Settings, environment

log = logging.getLogger("local_finetune_api")
router = APIRouter(prefix="/v1/chat")
DEFAULT_MAX_TOKENS = 256


@dataclass
class Chat:
    """Um pedido de resposta na fila: o que gerar e por onde os trechos e a resposta voltam."""

    key: tuple[str, str, float, float, bool]  # modelo base, adaptador, temperatura, top_p e se é em fluxo
    row: dict  # messages e max_tokens
    deltas: asyncio.Queue = field(default_factory=asyncio.Queue)
    cancelled: bool = False

    async def message(self) -> dict:
        """O próximo trecho (``delta``) ou a resposta inteira (``text``); ApiError se a geração não deu certo."""
        message = await self.deltas.get()
        if "too_long" in message:
            text = f"A conversa tem {message['too_long']} tokens e o modelo aceita {message['limit']}. Encurte-a."
            raise ApiError(400, text, "context_length_exceeded", "messages")
        if "error" in message:
            raise message["error"]
        return message


class Engine:
    """Fila, lotes e o processo gerador; ``hold`` a esvazia e encerra o processo, para um treino usar a máquina."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.waiting: deque[Chat] = deque()
        self.training = False
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._process: asyncio.subprocess.Process | None = None

    def submit(self, chat: Chat) -> None:
        """Põe um pedido na fila; ApiError 503 durante um treino e 429 com a fila cheia."""
        if self.training:
            text = "Há um treino em andamento e esta máquina faz uma coisa por vez. Tente de novo quando ele terminar."
            raise ApiError(503, text, "training_in_progress", retry_after=10)
        if len(self.waiting) >= self.settings.max_chats_waiting:
            text = "A fila de respostas está cheia. Tente de novo em instantes."
            raise ApiError(429, text, "queue_full", retry_after=2)
        self.waiting.append(chat)
        self._idle.clear()
        self._arrived.set()

    async def hold(self) -> None:
        """Recusa pedidos novos, termina os aceitos e devolve a memória do modelo."""
        self.training = True
        await self._idle.wait()
        await self.stop()

    def release(self) -> None:
        """Volta a aceitar pedidos."""
        self.training = False

    async def run(self) -> None:
        """Atende a fila para sempre."""
        while True:
            await self._arrived.wait()
            while batch := self._next_batch():
                try:
                    await self._exchange(batch)
                except Exception as error:  # uma falha num lote não pode parar a fila dos outros
                    log.error("o processo gerador falhou: %s", type(error).__name__)
                    await self.stop()
                    text = error.detail if isinstance(error, ApiError) else "O processo que gera caiu. Tente de novo."
                    for chat in batch:
                        chat.deltas.put_nowait({"error": ApiError(500, text, "generation_failed")})
            self._arrived.clear()
            self._idle.set()

    async def stop(self) -> None:
        """Encerra o processo gerador, se houver."""
        process, self._process = self._process, None
        if process and process.returncode is None:
            process.kill()
            await process.wait()

    def _next_batch(self) -> list[Chat]:
        """Os primeiros da fila enquanto tiverem a mesma chave: a ordem de chegada nunca muda."""
        batch: list[Chat] = []
        while self.waiting and len(batch) < self.settings.chat_batch:
            if self.waiting[0].cancelled:
                self.waiting.popleft()
            elif batch and self.waiting[0].key != batch[0].key:
                break
            else:
                batch.append(self.waiting.popleft())
        return batch

    async def _exchange(self, batch: list[Chat]) -> None:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "local_finetune_api.generation"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
                limit=2**26,
            )
        process = self._process
        assert process.stdin and process.stdout  # criado com os dois
        process.stdin.write(json.dumps(request_of(batch)).encode() + b"\n")
        await process.stdin.drain()
        stopping = False
        while True:
            line = await process.stdout.readline()
            if not line:
                raise EOFError
            if not stopping and all(chat.cancelled for chat in batch):
                stopping = True
                process.stdin.write(b'{"stop": true}\n')
            message = json.loads(line)
            if message.get("done"):
                return
            if "failed" in message:
                raise ApiError(500, message["failed"], "generation_failed")
            batch[message["row"]].deltas.put_nowait(message)


def request_of(batch: list[Chat]) -> dict:
    """O que se pede ao processo gerador: um lote de conversas ao mesmo modelo, com os mesmos parâmetros."""
    names = ("source", "adapter", "temperature", "top_p", "stream")
    return dict(zip(names, batch[0].key, strict=True)) | {"rows": [chat.row for chat in batch]}


@router.post("/completions", **typed(ChatCompletion))
async def create(request: Request, configured: Configured, asked: ChatRequest) -> Any:
    """Responde a uma conversa."""
    if asked.max_tokens and asked.max_completion_tokens:
        text = 'Envie "max_tokens" ou "max_completion_tokens", não os dois.'
        raise ApiError(400, text, "invalid_value", "max_completion_tokens")
    if asked.stream_options and not asked.stream:
        raise ApiError(400, '"stream_options" só vale com stream=true.', "invalid_value", "stream_options")
    model = find_model(configured, asked.model)
    temperature = 1.0 if asked.temperature is None else asked.temperature
    top_p = (asked.top_p or 1.0) if temperature > 0 else 1.0
    limit = asked.max_completion_tokens or asked.max_tokens or DEFAULT_MAX_TOKENS
    row = {"messages": [_message(message) for message in asked.messages], "max_tokens": limit}
    chat = Chat((model["source"], str(model["adapter"] or ""), temperature, top_p, bool(asked.stream)), row)
    request.app.state.engine.submit(chat)
    head = {"id": store.new_id("chatcmpl"), "created": int(time.time()), "model": model["id"]}
    if asked.stream:
        usage = bool(asked.stream_options and asked.stream_options.include_usage)
        return Flow(chat, _stream(chat, head, usage, configured.chat_timeout))
    try:
        done = await _finished(chat, request, configured.chat_timeout)
    finally:
        chat.cancelled = True
    message = {"role": "assistant", "content": done["text"], "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": done["finish_reason"], "logprobs": None}
    body = {"object": "chat.completion", "choices": [choice], "usage": _usage(done)}
    return {**head, **body, "system_fingerprint": done["model_id"]}


class Flow(StreamingResponse):
    """Uma resposta em fluxo que libera o lugar na fila também de quem sai antes do primeiro trecho."""

    def __init__(self, chat: Chat, pieces: AsyncIterator[str]):
        super().__init__(pieces, media_type="text/event-stream")
        self.chat = chat

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.chat.cancelled = True


def _message(message: Message) -> dict[str, str]:
    content = message.content if isinstance(message.content, str) else "".join(part.text for part in message.content)
    # O formato de conversa dos modelos abertos chama de system o que a OpenAI hoje chama de developer.
    return {"role": "system" if message.role == "developer" else message.role, "content": content}


async def _finished(chat: Chat, request: Request, timeout: float) -> dict:
    """A resposta inteira; quem desistiu de esperar libera o lugar na fila na hora."""

    async def whole() -> dict:
        while "text" not in (message := await chat.message()):
            continue
        return message

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    answering, leaving = asyncio.create_task(whole()), asyncio.create_task(left())
    try:
        done, _ = await asyncio.wait({answering, leaving}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if answering in done:
            return answering.result()
        if leaving in done:
            raise ApiError(499, "O cliente desistiu de esperar.", "client_closed_request")
        raise _too_slow()
    finally:
        answering.cancel()
        leaving.cancel()


async def _stream(chat: Chat, head: dict, include_usage: bool, timeout: float) -> AsyncIterator[str]:
    base = {**head, "object": "chat.completion.chunk"} | ({"usage": None} if include_usage else {})

    def piece(delta: dict, finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _sse({**base, "choices": [choice]})

    try:
        yield piece({"role": "assistant", "content": ""})
        async with asyncio.timeout(timeout):
            while "text" not in (message := await chat.message()):
                yield piece({"content": message["delta"]})
        base["system_fingerprint"] = message["model_id"]
        yield piece({}, message["finish_reason"])
        if include_usage:
            yield _sse({**base, "choices": [], "usage": _usage(message)})
        yield "data: [DONE]\n\n"
    except (ApiError, TimeoutError) as error:
        yield _sse(error_body(error if isinstance(error, ApiError) else _too_slow()))


def _too_slow() -> ApiError:
    return ApiError(503, "A resposta demorou demais. Tente de novo.", "timeout", retry_after=5)


def _usage(done: dict) -> dict[str, int]:
    read, written = done["tokens_in"], done["tokens_out"]
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _sse(value: dict) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
