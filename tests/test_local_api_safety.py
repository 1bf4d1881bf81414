"""Segurança: chave, tamanhos, nomes, mensagens, e o servidor como processo."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import openai
import psutil
import pytest
from gpt_rows import chat_file
from local_api_server import KEY, MODEL, connect, serving, until

import local_finetune_api
from finetune_helpers.errors import MachineError
from local_finetune_api import Settings
from local_finetune_api import __main__ as command
from local_finetune_api.server import environment, without_paths


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api"), max_upload=50_000, max_body=20_000) as running:
        yield running


def request(base_url: str, method: str, path: str, body=b"", key: str | None = KEY, **headers):
    """Um pedido cru; devolve código e corpo como JSON."""
    link = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=600)
    sent = ({"Authorization": f"Bearer {key}"} if key is not None else {}) | headers
    link.request(method, path, body, sent, encode_chunked="Transfer-Encoding" in sent)
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    return answer.status, json.loads(text) if text else {}


def test_nothing_answers_without_the_key(server):
    for path in ("/v1/models", "/v1/files", "/openapi.json", "/qualquer"):
        for key in (None, "", "errada", KEY + "x", KEY[:-1], "\xff" * 9):
            status, body = request(server.base_url, "GET", path, key=key)
            assert (status, body["error"]["code"]) == (401, "invalid_api_key"), (path, key)
            assert KEY not in json.dumps(body)


def chunks(size: int):
    yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    for _ in range(size // 1000):
        yield b"x" * 1000
    yield b"\r\n--b--\r\n"


def test_a_large_body_is_cut_by_its_declared_size_or_while_it_arrives(server):
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    chunked = multipart | {"Transfer-Encoding": "chunked"}
    long = b'{"model": "' + b"x" * 30_000 + b'"}'
    sent = [
        request(server.base_url, "POST", "/v1/files", b"x" * 200_000, **multipart),
        request(server.base_url, "POST", "/v1/files", chunks(200_000), **chunked),
        request(server.base_url, "POST", "/v1/files", chunks(51_000), **chunked),
        request(server.base_url, "POST", "/v1/chat/completions", long),
    ]
    assert {(status, body["error"]["code"]) for status, body in sent} == {(413, "payload_too_large")}
    assert request(server.base_url, "POST", "/v1/files", chunks(50_000), **chunked)[0] == 200


@pytest.mark.parametrize(
    "name", ["../../../tmp/fora.jsonl", "/etc/passwd", "..", "a\\..\\b.jsonl", "x" * 400, "ç ã.jsonl"]
)
def test_a_file_name_is_never_a_path(server, name):
    client = connect(server)
    folder = server.app.state.settings.folder
    before = set(folder.iterdir())
    sent = client.files.create(file=(name, b"conteudo"), purpose="fine-tune")
    assert client.files.content(sent.id).content == b"conteudo"
    assert set(folder.iterdir()) == before | {folder / "files"}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v1/files/..%2f..%2fetc%2fpasswd/content", b"", 404),
        ("GET", "/v1/files/%2e%2e/content", b"", 404),
        ("GET", "/v1/files/file-../content", b"", 404),
        ("GET", "/v1/fine_tuning/jobs/..%2f..", b"", 404),
        ("GET", "/v1/fine_tuning/jobs/%00", b"", 404),
        ("GET", "/v1/models/..%2f..%2fx", b"", 404),
        ("GET", "/v1/nada", b"", 404),
        ("PUT", "/v1/files", b"", 405),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b'{"model": 1}', 400),
        ("GET", "/v1/files?limit=x", b"", 400),
        ("POST", "/v1/files", b"zzz", 400),
    ],
)
def test_every_refusal_has_the_published_shape_and_no_identifier_is_a_path(server, method, path, body, expected):
    status, answer = request(server.base_url, method, path, body, **{"Content-Type": "application/json"})
    assert status == expected
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_an_unexpected_failure_shows_neither_path_nor_key(tmp_path, capfd):
    async def breaks(engine, batch):
        raise RuntimeError(f"segredo em {tmp_path}/pasta/arquivo.py com {KEY}")

    with serving(tmp_path, exchange=breaks) as running:
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x"}]})
        answers = [
            request(running.base_url, "POST", "/v1/chat/completions", body, **{"Content-Type": "application/json"})
        ]
        (tmp_path / "files").write_text("no lugar da pasta dos arquivos")
        headers = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
        answers.append(request(running.base_url, "POST", "/v1/files", chunks(1000), **headers))
    assert [status for status, _ in answers] == [500, 500]
    shown = json.dumps(answers) + "".join(capfd.readouterr())
    assert str(tmp_path) not in shown and KEY not in shown


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


@pytest.mark.parametrize(
    ("key", "arguments", "text"),
    [
        ("", [], "LOCAL_API_KEY"),
        ("x" * 15, [], "LOCAL_API_KEY"),
        ("ç" * 16, [], "LOCAL_API_KEY"),
        (KEY, ["--port", "{taken}"], "ocupada"),
        (KEY, ["--model", "/pasta/que/nao/existe"], "não é um modelo"),
    ],
)
def test_what_prevents_the_server_from_starting_is_an_instruction(tmp_path, monkeypatch, capsys, key, arguments, text):
    monkeypatch.setenv("LOCAL_API_KEY", key)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = [argument.format(taken=port) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["local_finetune_api", "--dir", str(tmp_path), *given])
        assert command.main() == 2
    assert text in capsys.readouterr().err


def test_the_server_listens_only_on_this_machine_and_sigterm_ends_it_clean(tmp_path):
    line = [sys.executable, "-m", "local_finetune_api", "--dir", str(tmp_path), "--port", "0"]
    environ = environment() | {"LOCAL_API_KEY": "x" * 16}
    process = subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = process.stdout.readline()
    assert "http://127.0.0.1:" in said
    assert request(said.split()[-1], "GET", "/v1/models", key="x" * 16)[0] == 200
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert (process.returncode in (0, -signal.SIGTERM), error) == (True, "")


def test_a_folder_has_one_server_that_ends_with_who_started_it_and_keeps_what_it_stored(tmp_path, monkeypatch):
    folder, path = tmp_path / "api", chat_file(tmp_path / "treino.jsonl")
    code = (
        "import sys, local_finetune_api; "
        f"s = local_finetune_api.running({str(folder)!r}); print(s.process.pid, s.base_url, s.api_key, flush=True); "
        "sys.stdin.read()"
    )
    notebook = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, base_url, key = notebook.stdout.readline().split()
    serving_process = psutil.Process(int(pid))
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    sent = client.files.create(file=path, purpose="fine-tune")
    monkeypatch.setattr(command, "LOCK_WAIT", 0.1)
    with pytest.raises(MachineError, match="Outro servidor"):
        command.serve(Settings(folder, KEY), "127.0.0.1", 0)
    notebook.kill()
    notebook.wait()
    until(lambda: not serving_process.is_running() or serving_process.status() == psutil.STATUS_ZOMBIE)
    with local_finetune_api.running(folder) as second:
        assert connect(second).files.content(sent.id).content == path.read_bytes()
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=second.base_url, api_key=key, max_retries=0).models.list()


def test_a_server_that_cannot_start_tells_why(tmp_path):
    with pytest.raises(MachineError, match="não é um modelo"):
        local_finetune_api.running(tmp_path, models=["/pasta/que/nao/existe"])
