"""Segurança: chave, tamanhos, nomes, mensagens e o que sai de uma falha."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import openai
import pytest
from gpt_rows import chat_file
from local_api_server import KEY, serving

from finetune_helpers import local_api
from finetune_helpers.errors import MachineError
from finetune_helpers.local_api.process_environment import environment, without_paths
from finetune_helpers.local_api.settings import Settings


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api"), max_upload=50_000, max_body=20_000) as running:
        yield running


def request(server, method: str, path: str, body=b"", key: str | None = KEY, **headers):
    """Um pedido cru; devolve código e corpo como JSON."""
    link = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=20)
    given = ({"Authorization": f"Bearer {key}"} if key is not None else {}) | headers
    link.request(method, path, body, given, encode_chunked="Transfer-Encoding" in given)
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    return answer.status, json.loads(text) if text else {}


@pytest.mark.parametrize("key", [None, "", "errada", KEY + "x", KEY[:-1], "\xff" * 9])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/openapi.json", "/qualquer"])
def test_nothing_but_health_answers_without_the_key(server, key, path):
    status, body = request(server, "GET", path, key=key)
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert KEY not in json.dumps(body)


def test_a_large_upload_is_cut_by_its_declared_size(server):
    status, body = request(
        server, "POST", "/v1/files", b"x" * 200_000, **{"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert (status, body["error"]["code"]) == (413, "payload_too_large")


def chunks(size: int):
    yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    for _ in range(size // 1000):
        yield b"x" * 1000
    yield b"\r\n--b--\r\n"


def test_a_large_upload_without_declared_size_is_cut_while_it_arrives(server):
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
    status, body = request(server, "POST", "/v1/files", chunks(200_000), **headers)
    assert (status, body["error"]["code"]) == (413, "payload_too_large")
    assert request(server, "POST", "/v1/files", chunks(40_000), **headers)[0] == 200


def test_a_large_json_body_is_refused(server):
    status, body = request(server, "POST", "/v1/chat/completions", b'{"model": "' + b"x" * 30_000 + b'"}')
    assert (status, body["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "name", ["../../../tmp/fora.jsonl", "/etc/passwd", "..", "a\\..\\b.jsonl", "x" * 400, "ç ã.jsonl"]
)
def test_a_file_name_is_never_a_path(server, tmp_path, name):
    client = openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0)
    before = {path for path in server.settings.folder.iterdir()}
    sent = client.files.create(file=(name, b"conteudo"), purpose="fine-tune")
    assert client.files.content(sent.id).content == b"conteudo"
    assert {path for path in server.settings.folder.iterdir()} == before | {server.settings.folder / "files"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/..%2f..%2fetc%2fpasswd/content",
        "/v1/files/%2e%2e/content",
        "/v1/files/file-../content",
        "/v1/fine_tuning/jobs/..%2f..",
        "/v1/fine_tuning/jobs/%00",
        "/v1/models/..%2f..%2fx",
    ],
)
def test_an_identifier_is_never_a_path(server, path):
    status, body = request(server, "GET", path)
    assert status == 404
    assert set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/nada", b""),
        ("PUT", "/v1/files", b""),
        ("POST", "/v1/chat/completions", b"{"),
        ("POST", "/v1/chat/completions", b'{"model": 1}'),
        ("GET", "/v1/files?limit=x", b""),
        ("POST", "/v1/files", b"zzz"),
    ],
)
def test_every_refusal_has_the_published_shape(server, method, path, body):
    status, answer = request(server, method, path, body)
    assert 400 <= status < 500
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_an_unexpected_failure_shows_neither_path_nor_key(tmp_path, capfd):
    async def breaks(engine, batch):
        raise RuntimeError(f"segredo em {tmp_path}/pasta/arquivo.py com {KEY}")

    with serving(tmp_path, exchange=breaks) as running:
        ask = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "x"}]}
        status, body = request(
            running, "POST", "/v1/chat/completions", json.dumps(ask), **{"Content-Type": "application/json"}
        )
        assert status == 500
    shown = json.dumps(body) + "".join(capfd.readouterr())
    assert str(tmp_path) not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("em /home/ana/x/modelo.bin: erro", "em …/modelo.bin: erro"),
        ("em C:\\Users\\ana\\x.bin", "em …/x.bin"),
        ("2/3 e a/b", "2/3 e a/b"),
        ('File "/a/b.py", line 3', 'File "…/b.py", line 3'),
    ],
)
def test_paths_are_removed_from_messages(text, clean):
    assert without_paths(text) == clean


def test_the_key_never_reaches_training_processes_nor_reprs(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCAL_API_KEY", KEY)
    assert KEY not in str(environment())
    assert KEY not in repr(Settings(tmp_path, KEY))


def start(folder, *arguments, key=KEY):
    command = [sys.executable, "-m", "finetune_helpers.local_api", "--dir", str(folder), *arguments]
    env = {name: value for name, value in os.environ.items() if name != "LOCAL_API_KEY"}
    env |= {"LOCAL_API_KEY": key} if key else {}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("key", ["", "curta"])
def test_the_server_does_not_start_without_a_long_key(tmp_path, key):
    process = start(tmp_path, "--port", "0", key=key)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, "LOCAL_API_KEY" in error) == (2, True)


def test_a_busy_port_is_an_instruction(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(tmp_path, "--port", str(taken.getsockname()[1]))
        _, error = process.communicate(timeout=30)
    assert (process.returncode, "ocupada" in error) == (2, True)


def test_the_server_listens_only_on_this_machine_and_sigterm_ends_it_clean(tmp_path):
    process = start(tmp_path, "--port", "0")
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line
    deadline = time.time() + 20
    while time.time() < deadline:
        try:
            socket.create_connection(("127.0.0.1", int(line.rsplit(":", 1)[1].split("/")[0]))).close()
            break
        except OSError:
            time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=20)
    assert (process.returncode in (0, -signal.SIGTERM), error) == (True, "")


def test_two_servers_never_share_a_folder(tmp_path, monkeypatch):
    from finetune_helpers.local_api import server as module

    with local_api.running(tmp_path):
        monkeypatch.setattr(module, "LOCK_WAIT", 0.3)
        with pytest.raises(MachineError, match="Outro servidor"), module._locked(tmp_path):
            raise AssertionError("a trava não segurou")


def test_the_server_ends_with_who_started_it(tmp_path):
    code = (
        "import sys, time; from finetune_helpers import local_api; "
        f"s = local_api.running({str(tmp_path)!r}); print(s.process.pid, flush=True); time.sleep(60)"
    )
    notebook = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(notebook.stdout.readline())
    notebook.kill()
    notebook.wait()
    deadline = time.time() + 20
    while os.path.exists(f"/proc/{pid}") and _alive(pid):
        assert time.time() < deadline, "o servidor ficou para trás"
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_server_that_cannot_start_is_an_instruction(tmp_path):
    with pytest.raises(MachineError, match="não subiu"):
        local_api.running(tmp_path, models={"x": "/pasta/que/nao/existe"})


def test_serving_files_loads_no_torch(tmp_path):
    code = "import sys, finetune_helpers.local_api.app; print('torch' in sys.modules, 'openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_importing_the_wings_loads_nothing_heavy():
    heavy = ["torch", "transformers", "trl", "openai", "fastapi", "uvicorn", "pydantic", "tiktoken", "tqdm"]
    code = (
        f"import sys, finetune_helpers.gpt, finetune_helpers.local_api; print([n for n in {heavy} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_files_survive_in_the_folder(tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    with local_api.running(tmp_path / "api") as first, open(path, "rb") as file:
        client = openai.OpenAI(base_url=first.base_url, api_key=first.api_key)
        sent = client.files.create(file=file, purpose="fine-tune")
    with local_api.running(tmp_path / "api") as second:
        client = openai.OpenAI(base_url=second.base_url, api_key=second.api_key)
        assert client.files.content(sent.id).content == path.read_bytes()
