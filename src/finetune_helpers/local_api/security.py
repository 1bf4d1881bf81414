"""Chave obrigatória e limite de tamanho, conferidos antes de qualquer rota."""

import hmac
import json
import logging

from . import api_errors
from .process_environment import trace
from .settings import Settings

log = logging.getLogger("finetune_helpers.local_api")


class Guard:
    """Camada ASGI: recusa quem não tem a chave e corta corpos grandes enquanto chegam."""

    def __init__(self, app, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"] == "/healthz":
            return await self.app(scope, receive, send)
        if not self._authorised(scope):
            text = "Chave ausente ou incorreta. Envie Authorization: Bearer com a chave de LOCAL_API_KEY."
            return await _refuse(send, 401, text, "invalid_api_key")
        limit = self.settings.max_upload + 65_536 if scope["path"] == "/v1/files" else self.settings.max_body
        if self._declared(scope) > limit:
            return await _refuse(send, 413, f"O corpo passa do limite de {limit} bytes.", "payload_too_large")
        return await self._answered(scope, _limited(receive, limit), send)

    async def _answered(self, scope, receive, send) -> None:
        """Uma falha inesperada vira erro 500 e um rastro sem pastas no registro; o uvicorn não a vê."""
        started = False

        async def watched(message):
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            log.error("falha inesperada: %s", trace(error))
            if not started:
                await _refuse(send, 500, "Falha interna da API local. Veja o registro do servidor.", "internal_error")

    def _authorised(self, scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, b"Bearer " + self.settings.api_key.encode())

    @staticmethod
    def _declared(scope) -> int:
        value = dict(scope["headers"]).get(b"content-length", b"0")
        return int(value) if value.isdigit() else 0


def _limited(receive, limit: int):
    seen = 0

    async def counted():
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise api_errors.ApiError(413, f"O corpo passa do limite de {limit} bytes.", "payload_too_large")
        return message

    return counted


async def _refuse(send, status: int, message: str, code: str) -> None:
    content = json.dumps(api_errors.body(status, message, code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": content})
