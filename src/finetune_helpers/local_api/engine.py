"""A fila de respostas: junta pedidos parecidos em lotes, na ordem de chegada, e fala com o processo que gera."""

import asyncio
import json
import logging
import sys
from collections import deque
from dataclasses import dataclass, field

from .api_errors import ApiError
from .process_environment import environment
from .settings import Settings

log = logging.getLogger("finetune_helpers.local_api")


@dataclass
class Chat:
    """Um pedido de resposta na fila: o que gerar e por onde os trechos e a resposta voltam."""

    key: tuple  # só pedidos de mesma chave (modelo, temperatura, top_p, semente) vão no mesmo lote
    row: dict
    deltas: asyncio.Queue = field(default_factory=asyncio.Queue)
    cancelled: bool = False


class Engine:
    """Fila, lotes e o processo gerador; ``hold`` o esvazia e o encerra para que um treino use a máquina."""

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
            raise ApiError(
                429, "A fila de respostas está cheia. Tente de novo em instantes.", "queue_full", retry_after=2
            )
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
                await self._serve(batch)
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
            elif batch and (self.waiting[0].key != batch[0].key or batch[0].key[-1] is not None):
                break  # com semente, um pedido por lote: o sorteio não pode depender dos vizinhos
            else:
                batch.append(self.waiting.popleft())
        return batch

    async def _serve(self, batch: list[Chat]) -> None:
        try:
            await self._exchange(batch)
        except Exception as error:  # uma falha num lote não pode parar a fila dos outros
            log.error("o processo gerador falhou: %s", type(error).__name__)
            await self.stop()
            text = error.detail if isinstance(error, ApiError) else "O processo que gera caiu. Tente de novo."
            for chat in batch:
                chat.deltas.put_nowait({"error": ApiError(500, text, "generation_failed")})

    async def _exchange(self, batch: list[Chat]) -> None:
        process = await self._started()
        assert process.stdin and process.stdout  # criado com os dois
        base, adapter, temperature, top_p, seed = batch[0].key
        request = {
            "base": base,
            "adapter": adapter,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "local_models": self.settings.models,
            "rows": [chat.row for chat in batch],
        }
        process.stdin.write(json.dumps(request).encode() + b"\n")
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

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "finetune_helpers.local_api.generation",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
                limit=2**26,
            )
        return self._process
