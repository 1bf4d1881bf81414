"""Nenhuma chave sai: são plantadas em todo lugar de onde podem vir e procuradas em tudo o que se grava e se mostra."""

import base64
import gzip
import json
import logging
import re
import subprocess
import sys
import threading
import traceback
import types
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import quote

import nbformat
import openai
import pytest
from comparison_run import make_run
from gpt_rows import chat_file, examples
from gpt_server import completion, error, scripted
from planted_keys import NAMES, leaks, new_key, unpacked

import local_finetune_api
from finetune_helpers import comparison, gpt, prompts
from finetune_helpers.comparison.judge import Judge
from finetune_helpers.errors import FinetuneError, MachineError
from finetune_helpers.gpt import chat

ROOT = Path(__file__).resolve().parents[1]
MINI = "gpt-4o-mini-2024-07-18"
CSV = b"step,train_loss,train_accuracy,valid_loss\n1,2.5,0.4,\n2,2.0,0.5,2.2\n"
KEY_LIKE = re.compile(
    rb"\b(?:sk-(?!\+)[\w-]{20,}|hf_[A-Za-z0-9]{20,}|AIza[\w-]{30,}|gh[pousr]_\w{30,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    rb"|xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|eyJ[\w-]{16,}\.eyJ[\w-]{16,}\.)|-----BEGIN [A-Z ]*PRIVATE KEY"
)
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:home|root|Users|work|workspace|tmp|mnt|srv)/[\w.-]+/?[\w.-]*")
# Escritos em partes: este arquivo também é examinado.
REGISTRY = re.compile(
    rb"(?:extra-)?index-ur" + rb"l|trusted-ho" + rb"st|artifacto" + rb"ry|jfr" + rb"og\.io|\bnexus[.-]\w+\."
    rb"|py" + rb"pi\.org|python" + rb"hosted\.o" + rb"rg|download\.pytor" + rb"ch\.org|conda\.anacon" + rb"da\.org"
    rb"|://[^\s/\"']*:[^\s/\"']*@|://[\w.-]+\.(?:intern" + rb"al|corp|lan|intranet)\b"
)  # fmt: skip


@pytest.fixture
def keys(monkeypatch) -> dict[str, str]:
    """Uma chave em cada variável de ambiente que o projeto e os seus pacotes leem."""
    planted = {name: new_key() for name in NAMES}
    for name, key in planted.items():
        monkeypatch.setenv(name, key)
    return planted


@pytest.fixture
def server():
    with scripted() as state:
        state.on_chat = lambda asked: completion("A quiet story about rivers and the people met on the way.", MINI)
        yield state


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """As esperas entre repetições não dormem."""
    monkeypatch.setattr(chat.time, "sleep", lambda seconds: None)


def shown(caught: BaseException) -> str:
    """Tudo o que alguém poderia ver de uma exceção, no terminal ou no caderno."""
    rendered = caught._render_traceback_() if isinstance(caught, FinetuneError) else []
    return "\n".join([str(caught), repr(caught), *rendered, *traceback.format_exception(caught)])


# A busca ------------------------------------------------------------------------------------------------------------


def test_the_search_finds_every_form(tmp_path):
    key = new_key()
    with zipfile.ZipFile(tmp_path / "planilha.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", f"<t>{key}</t>")
    (tmp_path / "linhas.gz").write_bytes(gzip.compress(f"?key={quote(key, safe='')}&x=1".encode()))
    for before in ("", "Bearer ", "x:"):
        (tmp_path / f"b64-{len(before)}").write_bytes(base64.b64encode(f"{before}{key} fim".encode()))
    (tmp_path / "limpo.txt").write_text("nada", encoding="utf-8")
    found = leaks({"K": key}, tmp_path, f"saída com {key}", "limpa")
    places = {re.sub(r".*/(?=b64|linhas|planilha)", "", where.removeprefix("K em ")) for where in found}
    assert places == {"planilha.xlsx/xl/sharedStrings.xml", "linhas.gz (gzip)", "b64-0", "b64-7", "b64-2", "saída"}


# De onde uma chave vem -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", "azure", "nebius"])
def test_the_key_goes_to_its_service_and_nowhere_else(keys, server, capsys, caplog, name):
    caplog.set_level(logging.DEBUG)
    provider, given = gpt.provider(name, base_url=server.base_url), new_key()
    for api_key in ("", given):
        client = gpt.client(provider, api_key=api_key)
        gpt.preflight(client, provider, MINI)
        assert server.bodies[-1][2]["authorization"] == f"Bearer {api_key or keys[provider.key_name]}"
        assert leaks(keys | {"dado": given}, repr(client), repr(provider), str(provider)) == []
    assert leaks(keys | {"dado": given}, "".join(capsys.readouterr()), caplog.text) == []


# Serviços que repetem a chave na resposta ----------------------------------------------------------------------------


def calls(client, server, folder: Path) -> dict:
    """Tudo o que o projeto pede a um serviço, pelo nome."""
    from finetune_helpers.interface import systems

    provider = gpt.provider("openai", base_url=server.base_url)
    asked = [prompts.question(one) for one in examples(3)]
    request, terms = gpt.Request(chat_file(folder / "treino.jsonl"), model=MINI, n_epochs=1), gpt.Terms(5.0)
    done = types.SimpleNamespace(id="ftjob-1", result_files=["file-r"])
    judge, page = Judge(client, "juiz", 1.0, 0.1, 0.5), systems.hosted_writer(lambda: client, MINI)
    return {
        "preflight": lambda: gpt.preflight(client, provider, MINI),
        "find_or_create": lambda: gpt.find_or_create(client, folder, request, provider=provider, terms=terms),
        "follow": lambda: gpt.follow(client, "ftjob-1"),
        "cancel": lambda: gpt.cancel(client, "ftjob-1"),
        "answerer": lambda: gpt.answerer(client, MINI)(asked),
        "training_report": lambda: gpt.training_report(client, done, provider=provider),
        "judge_pairs": lambda: comparison.judge_pairs(folder / "resultados" / "r1", judge),
        "page": lambda: page(asked[0], 8, print, threading.Event()),
    }


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
def test_an_answer_that_repeats_the_key_is_never_repeated(tmp_path, keys, server, capfd, caplog, status):
    caplog.set_level(logging.INFO)
    make_run(tmp_path, n=4, suite=False)
    key, seen = keys["OPENAI_API_KEY"], {}
    client = gpt.client(gpt.provider("openai", base_url=server.base_url))
    for name, call in calls(client, server, tmp_path).items():
        server.failures[".*"] = [error(status, "um_codigo", f"Incorrect API key provided: {key} (Bearer {key})")] * 99
        try:
            call()
        except FinetuneError as caught:
            seen[name] = shown(caught)
    assert len(seen) >= (7 if status in (400, 403, 404) else 8), f"só falharam {sorted(seen)}"
    assert leaks(keys, tmp_path, "\n".join(seen.values()), *capfd.readouterr(), caplog.text) == []


def test_an_answer_that_is_not_json_and_repeats_the_key(keys, server):
    server.on_chat = lambda asked: {"id": "x", "erro": f"a chave {keys['OPENAI_API_KEY']} não serve"}
    client = gpt.client(gpt.provider("openai", base_url=server.base_url))
    with pytest.raises(MachineError) as caught:
        gpt.answerer(client, MINI)([prompts.question(examples(1)[0])])
    assert leaks(keys, shown(caught.value)) == []


def test_the_hub_that_repeats_the_token(keys, server, tmp_path, monkeypatch, capfd):
    from huggingface_hub import constants

    from finetune_helpers.training import export

    token = keys["HF_TOKEN"]
    for place in (f"{constants.__name__}.ENDPOINT", "huggingface_hub.hf_api.ENDPOINT"):
        monkeypatch.setattr(place, server.base_url.removesuffix("/v1/"), raising=False)
    said = f"Invalid token {token}"
    server.failures[".*"] = [(401, {"error": said}, {"X-Error-Message": said})] * 9
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(MachineError, match="HF_TOKEN") as caught:
        export.push(tmp_path, "dono/nome", token)
    assert server.requests, "o pedido não chegou ao serviço do teste"
    assert leaks(keys, tmp_path, shown(caught.value), *capfd.readouterr()) == []


# A API local ---------------------------------------------------------------------------------------------------------


def ask(url: str, key: str, body: bytes | None = None) -> str:
    """Um pedido qualquer, e o que a API responde a ele."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data=body, headers=headers), timeout=30) as answer:
            return answer.read().decode() + str(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.read().decode() + str(refused.headers)


def test_the_local_api_keeps_no_key(keys, tmp_path, capfd):
    other, folder = new_key(), tmp_path / "api"
    with local_finetune_api.running(folder) as server:
        given, url = keys | {"sorteada": server.api_key, "errada": other}, server.base_url
        asked = [("models", other), ("models", server.api_key), ("nada", server.api_key)]
        asked.append((f"models?api_key={quote(server.api_key, safe='')}", other))
        answers = [ask(f"{url}/{path}", key) for path, key in asked]
        answers += [ask(f"{url}/chat/completions", server.api_key, body) for body in (b"{", b'{"model": 1}', b"[]")]
        client = openai.OpenAI(base_url=url, api_key=server.api_key, max_retries=0)
        client.files.create(file=chat_file(tmp_path / "treino.jsonl"), purpose="fine-tune")
        with pytest.raises(openai.BadRequestError) as caught:
            client.fine_tuning.jobs.create(model="nenhum", training_file="file-x")
        settings = local_finetune_api.Settings(folder, server.api_key)
        answers += [repr(server), repr(settings), shown(caught.value)]
    assert (folder / "servidor.log").exists()
    assert leaks(given, tmp_path, *answers, *capfd.readouterr()) == []


def test_a_server_that_does_not_start_says_why_without_keys(keys, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "quebrado"))
    (tmp_path / "quebrado" / "uvicorn").mkdir(parents=True)
    (tmp_path / "quebrado" / "uvicorn" / "__init__.py").write_text("raise RuntimeError('quebrado')", encoding="utf-8")
    with pytest.raises(MachineError, match="não subiu") as caught:
        local_finetune_api.running(tmp_path / "api", wait_seconds=20)
    assert leaks(keys, tmp_path, shown(caught.value)) == []


# O que fica na rodada ------------------------------------------------------------------------------------------------


class Succeeding(dict):
    """Os treinos do serviço: o que é criado já aparece terminado na consulta seguinte."""

    def __setitem__(self, name, made):
        done = {"status": "succeeded", "fine_tuned_model": f"ft:{MINI}", "trained_tokens": 990, "finished_at": 2000}
        super().__setitem__(name, made | done | {"result_files": ["file-r"]})


def verdict(asked: dict) -> dict:
    """O serviço responde a perguntas e julga pares."""
    if asked["model"] != "juiz":
        return completion("A quiet story about rivers.", asked["model"])
    judged = {"reason": "r", "facts_a": "ok", "facts_b": "ok", "relevance_a": 4, "relevance_b": 3, "winner": "A"}
    return completion(json.dumps(judged), "juiz")


@pytest.fixture
def paid(server):
    """O serviço pronto para uma rodada inteira."""
    server.on_chat, server.jobs, server.contents["file-r"] = verdict, Succeeding(), CSV
    return server


def notebooks(folder: Path, *names: str, **given) -> subprocess.CompletedProcess:
    """Os cadernos, como ``make demo`` os executa, com a variável HOME e o cache de quem chama."""
    parts = [part for name, value in given.items() for part in ("-p", name, str(value))]
    command = [sys.executable, "colab/executar.py", "--pasta", str(folder), "--cadernos", *names, *parts]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_the_notebooks_with_a_paid_provider_leave_no_key(keys, paid, tmp_path):
    short = {"N_TREINO": 17, "N_TESTE": 5, "PROVEDOR": "openai", "ENDERECO": paid.base_url, "TETO_USD": 5.0}
    short |= {"SEMELHANCA": "False", "JUIZ_MODELO": "juiz", "JUIZ_ENDERECO": paid.base_url, "JUIZ_TETO_USD": 1.0}
    echo = error(401, "invalid_api_key", f"Incorrect API key provided: {keys['OPENAI_API_KEY']}")
    paid.failures[".*/chat/completions"] = [echo]
    refused = notebooks(tmp_path, "01_curadoria", "03_treino_gpt", **short)
    assert refused.returncode == 1 and "A chave não foi aceita (401)" in refused.stderr, refused.stderr[-2000:]
    executed = tmp_path / "resultados" / "demonstracao" / "cadernos" / "03_treino_gpt.ipynb"
    outputs = [one for cell in nbformat.read(executed, 4).cells for one in cell.get("outputs", [])]
    errors = [one for one in outputs if one.output_type == "error"]
    assert [len(one.traceback) for one in errors] == [1] and errors[0].traceback[0].startswith("Erro: A chave não")
    assert leaks(keys, tmp_path, refused.stdout, refused.stderr) == []

    paid.failures.clear()
    done = notebooks(tmp_path, "03_treino_gpt", "04_comparacao", **short)
    assert done.returncode == 0, done.stderr[-3000:]
    used = {headers["authorization"] for route, _, headers in paid.bodies if "chat" in route}
    assert used == {f"Bearer {keys[name]}" for name in ("OPENAI_API_KEY", "JUIZ_API_KEY")}
    run = tmp_path / "resultados" / "demonstracao"
    assert (run / "comparacao.xlsx").exists() and (run / "juiz.jsonl").exists()
    assert leaks(keys, tmp_path, done.stdout, done.stderr) == []


@pytest.mark.treino
@pytest.mark.longo
def test_the_notebooks_with_the_local_api_leave_no_key(keys, tmp_path):
    short = {"N_TREINO": 17, "N_TESTE": 2, "TOKENS_RESPOSTA": 8, "FLEXIBILIDADE_POR_FAMILIA": 1}
    done = notebooks(tmp_path, "01_curadoria", "03_treino_gpt", **short)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "resultados" / "demonstracao" / "gpt" / "treino.json").exists()
    assert leaks(keys, tmp_path, done.stdout, done.stderr) == []


# O repositório -------------------------------------------------------------------------------------------------------


def tracked() -> list[Path]:
    """Os arquivos que o git guarda, e os novos que ele guardaria."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("sem git não há lista de arquivos")
    return [path for name in listed.stdout.split(b"\0") if name and (path := ROOT / name.decode()).is_file()]


EXAMPLES = {"tests/test_local_api_safety.py"}  # caminhos inventados, para provar que são retirados das mensagens


@pytest.mark.parametrize("pattern", [KEY_LIKE, MACHINE_PATH, REGISTRY], ids=["chave", "caminho", "registro de pacotes"])
def test_no_tracked_file_shows_a_key_a_machine_or_a_registry(pattern):
    paths = [path for path in tracked() if str(path.relative_to(ROOT)) not in EXAMPLES and path.suffix != ".png"]
    assert len(paths) > 100
    found = {
        where: pattern.findall(content)[:3]
        for path in paths
        for where, content in unpacked(str(path.relative_to(ROOT)), path.read_bytes())
    }
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (KEY_LIKE, "api_key='" + "sk-" + "proj-" + "a1B2" * 6 + "'"),
        (KEY_LIKE, "token: " + "hf_" + "a1B2" * 8),
        (MACHINE_PATH, "em " + "/ho" + "me/ana/projeto/x.py"),
        (REGISTRY, "--extra-" + "index-ur" + "l x"),
        (REGISTRY, "https://ana:senha" + "@pacotes.exemplo/simple"),
    ],
)
def test_the_patterns_see_what_they_are_for(pattern, text):
    assert pattern.search(text.encode())
