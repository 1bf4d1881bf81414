"""Fontes da rede, contra um servidor de verdade em loopback: retomada, tamanho e páginas no lugar do arquivo."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from curation_rows import good_row, write_rows

from finetune_helpers import curation
from finetune_helpers.curation import remote
from finetune_helpers.errors import InputError, MachineError


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if server.resumes else 0
        if start >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        rest = server.data[start:]
        self.send_response(server.status or (206 if start else 200))
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        # As primeiras respostas caem no meio; o cliente deve continuar do ponto em que ficou.
        self.wfile.write(rest[: len(rest) // 2] if len(server.ranges) <= server.cuts else rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    one = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    one.data = write_rows(tmp_path / "a.jsonl", [good_row(seed) for seed in range(20)]).read_bytes()
    one.ranges, one.cuts, one.kind, one.status, one.resumes = [], 0, "application/octet-stream", None, True
    one.url = f"http://127.0.0.1:{one.server_port}/linhas.jsonl"
    threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def test_an_address_gives_its_rows_and_is_fetched_once(server):
    assert len(list(curation.read_rows(server.url))) == 20
    assert len(list(curation.read_rows(server.url))) == 20
    assert server.ranges == [None]


def test_a_cut_connection_is_resumed_from_where_it_stopped(server):
    server.cuts = 2
    path = remote.download(server.url)
    assert path.read_bytes() == server.data
    half = len(server.data) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + (len(server.data) - half) // 2}-"]


def test_a_server_that_does_not_resume_starts_again(server):
    server.cuts, server.resumes = 1, False
    assert remote.download(server.url).read_bytes() == server.data


def test_a_partial_file_that_is_already_whole_is_accepted(server, tmp_path):
    first = remote.download(server.url)
    first.rename(first.with_name(f"{first.name}.parcial"))
    assert remote.download(server.url).read_bytes() == server.data
    assert server.ranges == [None, f"bytes={len(server.data)}-"]


def test_a_wrong_size_is_refused_and_erased(server, monkeypatch):
    monkeypatch.setattr(remote, "_address", lambda source: (server.url, 10))
    with pytest.raises(MachineError, match=r"trouxe \d+ bytes e deviam ser 10"):
        remote.download("oficial")
    assert not list(remote.cache_folder().rglob("*.parcial"))


@pytest.mark.parametrize(
    ("page", "said"),
    [("<html>Quota exceeded: too many users", "cota de downloads"), ("<html>Entre na sua conta", "com uma página")],
)
def test_a_page_instead_of_the_file(server, page, said):
    server.data, server.kind = page.encode(), "text/html; charset=utf-8"
    with pytest.raises(MachineError, match=said):
        remote.download(server.url)
    assert not list(remote.cache_folder().rglob("*linhas*"))


def test_a_missing_file_is_not_retried(server):
    server.status = 404
    with pytest.raises(MachineError, match="404"):
        remote.download(server.url)
    assert len(server.ranges) == 1


def test_an_address_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(InputError, match="usuário e senha") as caught:
        remote.download("https://" + "ana:segredo" + "@exemplo.com/linhas.jsonl")
    assert "segredo" not in str(caught.value)


def test_a_server_that_is_down_says_how_to_continue(monkeypatch):
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    with pytest.raises(MachineError, match="execute de novo para continuar"):
        remote.download("http://127.0.0.1:9/x.jsonl")


@pytest.mark.parametrize(
    "source",
    [
        "oficial",
        remote.OFFICIAL_DRIVE_ID,
        f"drive:{remote.OFFICIAL_DRIVE_ID}",
        f"https://drive.google.com/file/d/{remote.OFFICIAL_DRIVE_ID}/view?usp=sharing",
        f"https://drive.google.com/uc?id={remote.OFFICIAL_DRIVE_ID}",
    ],
)
def test_every_form_of_the_drive_file_is_the_official_one(source):
    assert remote.is_address(source)
    url, size = remote._address(source)
    assert f"id={remote.OFFICIAL_DRIVE_ID}&" in url
    assert size == 889_969_656


def test_hub_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dados").mkdir()
    assert remote.is_hub_name("hub:dono/nome") and remote.is_hub_name("dono/LF-Amazon-1")
    assert not remote.is_hub_name("dados/arquivo") and not remote.is_hub_name("dono/linhas.jsonl")


def test_a_hub_set_is_read_as_a_stream(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="o pacote datasets não está instalado")
    rows = [good_row(seed) for seed in range(5)]
    asked = {}

    def load(name, **options):
        asked.update(options, name=name)
        return iter(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row["title"] for row in curation.read_rows("hub:dono/nome")] == [row["title"] for row in rows]
    assert asked == {"name": "dono/nome", "split": "train", "streaming": True}


@pytest.mark.parametrize("rows_before", [0, 3])
def test_a_hub_set_that_does_not_come_says_so(monkeypatch, rows_before):
    datasets = pytest.importorskip("datasets", reason="o pacote datasets não está instalado")

    def load(name, **options):
        yield from (good_row(seed) for seed in range(rows_before))
        raise ConnectionError("sem rede")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(MachineError, match=r'"hub:dono/nome" do Hub não abriu \(sem rede\)'):
        list(curation.read_rows("hub:dono/nome"))
