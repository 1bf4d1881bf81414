"""Fontes da rede: um servidor de verdade em loopback, e as bibliotecas do Drive e do Hub trocadas na fronteira."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gdown
import huggingface_hub
import pytest
from curation_rows import good_row, write_rows

from finetune_helpers import curation
from finetune_helpers.curation import sources
from finetune_helpers.errors import InputError, MachineError

ID = sources.OFFICIAL_DRIVE_ID


class _Handler(SimpleHTTPRequestHandler):
    def log_request(self, *_):
        self.server.requests.append(self.command)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fontes"


@pytest.fixture
def rows(tmp_path) -> Path:
    return write_rows(tmp_path / "a.jsonl", [good_row(seed) for seed in range(20)])


@pytest.fixture
def server(rows):
    one = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=rows.parent))
    one.url, one.requests = f"http://127.0.0.1:{one.server_port}/{rows.name}", []
    threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def test_an_address_gives_its_rows_and_is_fetched_once(server):
    assert len(list(curation.read_rows(server.url))) == 20
    asked = len(server.requests)
    assert len(list(curation.read_rows(server.url))) == 20
    assert len(server.requests) == asked and server.requests.count("GET") == 1


@pytest.mark.parametrize(
    ("page", "said"),
    [("<html>Quota exceeded: too many users", "cota de downloads"), ("\n<!DOCTYPE html>Entre", "com uma página")],
)
def test_a_page_instead_of_the_file(server, rows, cache, page, said):
    rows.write_text(page)
    with pytest.raises(MachineError, match=said):
        sources.download(server.url)
    assert list(cache.iterdir()) == []


def test_a_missing_file_and_a_server_that_is_down_say_what_to_check(server):
    for address in (f"{server.url}x", "http://127.0.0.1:9/x.jsonl"):
        with pytest.raises(MachineError, match="Confira o endereço e a rede"):
            sources.download(address)


def test_an_address_with_a_password_is_refused_without_repeating_it():
    with pytest.raises(InputError, match="usuário e senha") as caught:
        sources.download("https://" + "ana:segredo" + "@exemplo.com/linhas.jsonl")
    assert "segredo" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "oficial",
        ID,
        f"drive:{ID}",
        f"https://drive.google.com/file/d/{ID}/view?usp=sharing",
        f"https://drive.google.com/uc?id={ID}",
    ],
)
def test_every_form_of_the_drive_file_is_the_official_one(source, monkeypatch, rows):
    def fetch(*, id, output, resume):
        assert (id, resume) == (ID, True)
        Path(output).write_bytes(rows.read_bytes())

    monkeypatch.setattr(gdown, "download", fetch)
    monkeypatch.setitem(sources.KNOWN_SIZES, ID, rows.stat().st_size)
    assert sources.is_address(source)
    assert sources.download(source).read_bytes() == rows.read_bytes()


def test_a_wrong_size_is_refused_and_erased(monkeypatch, cache):
    monkeypatch.setattr(gdown, "download", lambda *, id, output, resume: Path(output).write_bytes(b"{}"))
    with pytest.raises(MachineError, match=r"trouxe 2 bytes e deviam ser 889\.969\.656"):
        sources.download("oficial")
    assert list(cache.iterdir()) == []


def test_the_quota_of_the_drive_says_what_to_do(monkeypatch):
    def refuse(**_):
        raise gdown.exceptions.FileURLRetrievalError("Too many users have viewed or downloaded this file recently.")

    monkeypatch.setattr(gdown, "download", refuse)
    with pytest.raises(MachineError, match=r"cota de downloads .* espelho do Hub"):
        sources.download("oficial")


def test_hub_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dados").mkdir()
    assert sources.is_hub_name("hub:dono/nome") and sources.is_hub_name("dono/LF-Amazon-1")
    assert not sources.is_hub_name("dados/arquivo") and not sources.is_hub_name("dono/linhas.jsonl")


def test_of_a_hub_set_only_the_training_file_comes(monkeypatch, rows):
    monkeypatch.setattr(
        huggingface_hub, "list_repo_files", lambda name, repo_type: ["tst.json", "trn.json", "LEIAME.md"]
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file, repo_type: {"trn.json": rows}[file])
    assert len(list(curation.read_rows("hub:dono/nome"))) == 20


@pytest.mark.parametrize(
    ("files", "said"), [(["LEIAME.md"], "não tem arquivos"), (None, r"não abriu \(ConnectionError")]
)
def test_a_hub_set_that_does_not_come_says_so(monkeypatch, files, said):
    def listed(name, repo_type):
        if files is None:
            raise ConnectionError("sem rede")
        return files

    monkeypatch.setattr(huggingface_hub, "list_repo_files", listed)
    with pytest.raises(MachineError, match=said):
        list(curation.read_rows("hub:dono/nome"))
