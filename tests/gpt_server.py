"""Um serviço compatível com o da OpenAI, em laço local, que obedece a um roteiro de falhas."""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from finetune_helpers import gpt


@dataclass
class Scripted:
    """O estado do serviço e o roteiro: ``failures["POST /fine_tuning/jobs"]`` é uma lista do que responder antes."""

    files: dict = field(default_factory=dict)
    contents: dict = field(default_factory=dict)
    jobs: dict = field(default_factory=dict)
    events: list = field(default_factory=list)
    failures: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    bodies: list = field(default_factory=list)
    models: dict = field(default_factory=dict)
    on_chat: object = None
    base_url: str = ""

    def reset(self):
        """Esquece tudo, menos o endereço: o serviço de um arquivo de testes atende a todos eles."""
        self.__init__(base_url=self.base_url)
        return self

    def script(self, route: str, *answers):
        """Responde ``answers`` às próximas chamadas: (código, corpo[, cabeçalhos]), "cut", "garbage", "lost" ou
        uma função do caminho que devolve uma dessas."""
        self.failures[route] = list(answers)

    def count(self, route: str) -> int:
        return sum(1 for request in self.requests if re.fullmatch(route, request))


def error(status: int, code: str, message: str = "falha do roteiro", **headers) -> tuple:
    return status, {"error": {"message": message, "type": "t", "param": None, "code": code}}, headers


def job(identifier: str, body: dict, **changes) -> dict:
    chosen = body.get("method", {}).get("supervised", {}).get("hyperparameters") or body.get("hyperparameters") or {}
    return {
        "id": identifier,
        "object": "fine_tuning.job",
        "created_at": 1000 + len(identifier),
        "finished_at": None,
        "model": body.get("model", "m"),
        "fine_tuned_model": None,
        "organization_id": "org",
        "status": "running",
        "hyperparameters": chosen,
        "training_file": body.get("training_file"),
        "validation_file": body.get("validation_file"),
        "result_files": [],
        "trained_tokens": None,
        "error": None,
        "seed": body.get("seed", 0),
        "metadata": body.get("metadata"),
    } | changes


def event(number: int, message: str = "", **measured) -> dict:
    """Um evento de um treino, criado dez segundos por ``number`` depois dele; com ``measured``, de medidas."""
    shape = {"type": "metrics", "data": measured} if measured else {}
    stamped = {"id": f"e{number}", "object": "fine_tuning.job.event", "created_at": 1000 + 10 * number}
    return stamped | {"level": "info", "message": message} | shape


@cache
def caller(base_url: str, name: str = "openai"):
    """O cliente de um provedor neste endereço; criar um lê os certificados do sistema, o que demora."""
    return gpt.client(gpt.provider(name, base_url=base_url), api_key="chave-de-teste")


@contextmanager
def scripted():
    """Sobe o serviço numa porta livre e devolve o estado dele."""
    state = Scripted()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.base_url = f"http://127.0.0.1:{server.server_port}/v1/"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Scripted
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _serve(self):
        path = urlsplit(self.path).path.removeprefix("/v1")
        route = f"{self.command} {path}"
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.state.requests.append(route)
        self.state.bodies.append((route, raw, {name.lower(): value for name, value in self.headers.items()}))
        planned = next((key for key in self.state.failures if re.fullmatch(key, route)), None)
        answer = self.state.failures[planned].pop(0) if planned and self.state.failures[planned] else None
        if answer == "cut":
            self.close_connection = True
            return self.connection.close()
        if answer == "garbage":
            return self._send(200, b'{"id": "x", ', {})
        if callable(answer):
            answer = answer(path)
        if isinstance(answer, tuple):
            status, body, *headers = answer
            return self._send(status, json.dumps(body).encode(), headers[0] if headers else {})
        status, body = self._default(path, raw)
        if answer == "lost":  # o pedido valeu, mas a resposta se perdeu
            self.close_connection = True
            return self.connection.close()
        return self._send(status, body if isinstance(body, bytes) else json.dumps(body).encode(), {})

    do_GET = do_POST = do_DELETE = _serve

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _default(self, path, raw):
        state, creating = self.state, self.command == "POST"
        match path.strip("/").split("/"):
            case ["files"]:
                return 200, self._upload(raw) if creating else _page(list(state.files.values()))
            case ["files", name, "content"]:
                return 200, state.contents[name]
            case ["files", name] if self.command == "GET":
                return 200, state.files[name]
            case ["files", name] if state.files.pop(name, None):
                return 200, {"id": name, "object": "file", "deleted": True}
            case ["fine_tuning", "jobs"] if creating:
                created = job(f"ftjob-{len(state.jobs) + 1}", json.loads(raw))
                state.jobs[created["id"]] = created
                return 200, state.jobs[created["id"]]
            case ["fine_tuning", "jobs"]:
                return 200, _page(list(reversed(state.jobs.values())))
            case ["fine_tuning", "jobs", name] if name in state.jobs:
                return 200, state.jobs[name]
            case ["fine_tuning", "jobs", name, "cancel"]:
                state.jobs[name]["status"] = "cancelled"
                return 200, state.jobs[name]
            case ["fine_tuning", "jobs", _, "events"]:
                return 200, _page(state.events)
            case ["fine_tuning", "jobs", _, "checkpoints"]:
                return 200, _page([])
            case ["models", *name] if "/".join(name) in state.models:
                return 200, state.models["/".join(name)]
            case ["chat", "completions"]:
                return 200, state.on_chat(json.loads(raw))
        return error(404, "not_found")[:2]

    def _upload(self, raw):
        name = re.search(rb'filename="([^"]+)"', raw)[1].decode()
        content = re.search(rb'filename="[^"]+"\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', raw, re.S)[1]
        created = {
            "id": f"file-{len(self.state.contents) + 1}",
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": name,
            "purpose": "fine-tune",
            "status": "processed",
        }
        self.state.files[created["id"]], self.state.contents[created["id"]] = created, content
        return created


def _page(rows: list) -> dict:
    return {"object": "list", "data": rows, "has_more": False}


def completion(text: str, model: str = "m", fingerprint: str | None = None) -> dict:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "system_fingerprint": fingerprint,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
