"""Um serviço compatível com o da OpenAI, em laço local, que obedece a um roteiro de falhas."""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


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
        state = self.state
        if path == "/files" and self.command == "POST":
            return 200, self._upload(raw)
        if path == "/files":
            return 200, _page([row for row in state.files.values()])
        if match := re.fullmatch(r"/files/([\w-]+)/content", path):
            return 200, state.contents[match[1]]
        if (match := re.fullmatch(r"/files/([\w-]+)", path)) and self.command == "GET":
            return 200, state.files[match[1]]
        if match := re.fullmatch(r"/files/([\w-]+)", path):
            gone = state.files.pop(match[1], None)
            return (200, {"id": match[1], "object": "file", "deleted": True}) if gone else error(404, "not_found")[:2]
        if path == "/fine_tuning/jobs" and self.command == "POST":
            body = json.loads(raw)
            created = job(f"ftjob-{len(state.jobs) + 1}", body)
            state.jobs[created["id"]] = created
            return 200, created
        if path == "/fine_tuning/jobs":
            return 200, _page(list(reversed(state.jobs.values())))
        if match := re.fullmatch(r"/fine_tuning/jobs/([\w-]+)", path):
            return (200, state.jobs[match[1]]) if match[1] in state.jobs else error(404, "not_found")[:2]
        if match := re.fullmatch(r"/fine_tuning/jobs/([\w-]+)/cancel", path):
            state.jobs[match[1]]["status"] = "cancelled"
            return 200, state.jobs[match[1]]
        if re.fullmatch(r"/fine_tuning/jobs/[\w-]+/events", path):
            return 200, _page(state.events)
        if re.fullmatch(r"/fine_tuning/jobs/[\w-]+/checkpoints", path):
            return 200, _page([])
        if match := re.fullmatch(r"/models/(.+)", path):
            return (200, state.models[match[1]]) if match[1] in state.models else error(404, "model_not_found")[:2]
        if path == "/chat/completions":
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
