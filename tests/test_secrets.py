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
from planted_keys import NAMES, leaks, new_key

import local_finetune_api
from finetune_helpers import answers, colab, comparison, gpt, prompts, records, runs
from finetune_helpers.comparison.judge import Judge
from finetune_helpers.errors import FinetuneError, MachineError
from finetune_helpers.gpt import failures

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
    b"|".join(
        [
            rb"(?:extra-)?index-ur" + rb"l",
            rb"trusted-ho" + rb"st",
            rb"py"
            + rb"pi\.org|python"
            + rb"hosted\.o"
            + rb"rg|download\.pytor"
            + rb"ch\.org|conda\.anacon"
            + rb"da\.org",
            rb"artifacto" + rb"ry|jfr" + rb"og\.io|\bnexus[.-]\w+\.",
            rb"://[^\s/\"']*:[^\s/\"']*@",
            rb"://[\w.-]+\.(?:intern" + rb"al|corp|lan|intranet)\b",
        ]
    )
)


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
    monkeypatch.setattr(failures.time, "sleep", lambda seconds: None)
    changed = failures.retrying.__kwdefaults__ | {"sleep": lambda seconds: None}
    monkeypatch.setattr(failures.retrying, "__kwdefaults__", changed)


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


def in_a_fake_colab(monkeypatch, stored: dict[str, str]) -> None:
    module, userdata = types.ModuleType("google.colab"), types.ModuleType("google.colab.userdata")
    userdata.SecretNotFoundError = type("SecretNotFoundError", (Exception,), {})
    userdata.NotebookAccessError = type("NotebookAccessError", (Exception,), {})
    userdata.get, module.userdata = stored.__getitem__, userdata
    monkeypatch.setitem(sys.modules, "google.colab", module)


@pytest.mark.parametrize("name", ["openai", "azure", "nebius"])
def test_each_place_is_read_in_order_and_none_is_shown(monkeypatch, keys, server, capsys, caplog, name):
    caplog.set_level(logging.DEBUG)
    provider = gpt.provider(name, base_url=server.base_url)
    given, stored = new_key(), new_key()
    assert colab.secret(provider.key_name) == keys[provider.key_name]
    in_a_fake_colab(monkeypatch, {provider.key_name: stored})
    assert colab.secret(provider.key_name) == stored
    assert colab.secret(provider.key_name, given) == given
    for api_key in ("", stored, given):
        client = gpt.client(provider, api_key=api_key)
        gpt.preflight(client, provider, MINI)
        used = api_key or keys[provider.key_name]
        assert server.bodies[-1][2]["authorization"] == f"Bearer {used}"
        assert leaks(keys | {"dado": given, "guardado": stored}, repr(client), repr(provider), str(provider)) == []
    assert leaks(keys | {"dado": given, "guardado": stored}, "".join(capsys.readouterr()), caplog.text) == []


def test_what_holds_a_key_does_not_show_it(tmp_path):
    key = new_key()
    server = local_finetune_api.Server("http://127.0.0.1:1/v1", key, None)
    settings = local_finetune_api.Settings(tmp_path, key)
    assert server.api_key == settings.api_key == key
    assert leaks({"K": key}, repr(server), str(server), repr(settings), str(settings), f"{[server]}{(settings,)}") == []


# Serviços que repetem a chave na resposta ----------------------------------------------------------------------------

STATUSES = [400, 401, 403, 404, 409, 413, 422, 429, 500, 503]


def calls(client, server, folder: Path) -> dict:
    """Tudo o que o projeto pede a um serviço, pelo nome."""
    provider = gpt.provider("openai", base_url=server.base_url)
    asked = [prompts.question(one) for one in examples(3)]
    path = chat_file(folder / "treino.jsonl")
    request, terms = gpt.Request(path, model=MINI, n_epochs=1), gpt.Terms(5.0)
    done = types.SimpleNamespace(id="ftjob-1", result_files=["file-r"])
    judge = Judge(client, "juiz", 1.0, 0.1, 0.5)
    return {
        "preflight": lambda: gpt.preflight(client, provider, MINI),
        "find_or_create": lambda: gpt.find_or_create(client, folder, request, provider=provider, terms=terms),
        "follow": lambda: gpt.follow(client, "ftjob-1"),
        "cancel": lambda: gpt.cancel(client, "ftjob-1"),
        "answerer": lambda: gpt.answerer(client, MINI)(asked),
        "training_report": lambda: gpt.training_report(client, done, provider=provider),
        "judge_pairs": lambda: comparison.judge_pairs(folder / "resultados" / "r1", judge),
    }


@pytest.mark.parametrize("status", STATUSES)
def test_an_answer_that_repeats_the_key_is_never_repeated(tmp_path, keys, server, capfd, caplog, status):
    caplog.set_level(logging.INFO)
    make_run(tmp_path, n=4, suite=False)
    key = keys["OPENAI_API_KEY"]
    client = gpt.client(gpt.provider("openai", base_url=server.base_url))
    seen = {}
    for name, call in calls(client, server, tmp_path).items():
        server.failures[".*"] = [error(status, "um_codigo", f"Incorrect API key provided: {key} (Bearer {key})")] * 99
        try:
            call()
        except FinetuneError as caught:
            seen[name] = shown(caught)
    assert len(seen) >= (6 if status in (400, 403, 404) else 7), f"só falharam {sorted(seen)}"
    assert leaks(keys, tmp_path, "\n".join(seen.values()), *capfd.readouterr(), caplog.text) == []


def test_the_page_says_nothing_of_the_key(tmp_path, keys, server, caplog):
    from finetune_helpers.interface import systems

    server.failures[".*"] = [error(401, "invalid_api_key", f"Incorrect API key provided: {keys['OPENAI_API_KEY']}")]
    client = gpt.client(gpt.provider("openai", base_url=server.base_url))
    with pytest.raises(MachineError) as caught:
        systems.hosted_writer(lambda: client, MINI)(prompts.question(examples(1)[0]), 8, print, threading.Event())
    answer = systems.explained(caught.value, "")
    assert "A chave não foi aceita" in answer and "A chave não foi aceita" in caplog.text
    assert leaks(keys, shown(caught.value), answer, caplog.text) == []


def test_an_answer_that_is_not_json_and_repeats_the_key(keys, server, tmp_path, monkeypatch):
    key = keys["OPENAI_API_KEY"]
    server.on_chat = lambda asked: {"id": "x", "erro": f"a chave {key} não serve"}
    with pytest.raises(MachineError) as caught:
        gpt.answerer(gpt.client(gpt.provider("openai", base_url=server.base_url)), MINI)(
            [prompts.question(one) for one in examples(1)]
        )
    assert leaks(keys, shown(caught.value)) == []


def test_the_hub_that_repeats_the_token(keys, server, tmp_path, monkeypatch, capfd):
    from huggingface_hub import constants

    from finetune_helpers.training import export

    token = keys["HF_TOKEN"]
    monkeypatch.setattr(constants, "ENDPOINT", server.base_url.removesuffix("/v1/"))
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", server.base_url.removesuffix("/v1/"), raising=False)
    server.failures[".*"] = [
        (401, {"error": f"Invalid token {token}"}, {"X-Error-Message": f"Invalid token {token}"})
    ] * 9
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
        given = keys | {"sorteada": server.api_key, "errada": other}
        url = server.base_url
        answers = [
            ask(f"{url}/models", other),
            ask(f"{url}/models", server.api_key),
            ask(f"{url}/nada", server.api_key),
        ]
        answers += [ask(f"{url}/chat/completions", server.api_key, body) for body in (b"{", b'{"model": 1}', b"[]")]
        answers.append(ask(f"{url}/models?api_key={quote(server.api_key, safe='')}", other))
        client = openai.OpenAI(base_url=url, api_key=server.api_key, max_retries=0)
        with open(chat_file(tmp_path / "treino.jsonl"), "rb") as file:
            client.files.create(file=file, purpose="fine-tune")
        with pytest.raises(openai.BadRequestError) as caught:
            client.fine_tuning.jobs.create(model="nenhum", training_file="file-x")
        answers += [repr(server), shown(caught.value)]
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


def test_a_paid_round_leaves_no_key(keys, paid, tmp_path, capfd, caplog):
    caplog.set_level(logging.INFO)
    run = make_run(tmp_path, n=6, arms=("llama3",), suite=False)
    output, path = run / "gpt", chat_file(tmp_path / "treino.jsonl")
    asked = [
        prompts.question(one) for one in records.read_items(tmp_path / "dados" / "r1" / "comparacao" / "teste.jsonl")
    ]
    provider = gpt.provider("openai", base_url=paid.base_url)
    client, judge = gpt.client(provider), openai.OpenAI(base_url=paid.base_url, api_key=keys["JUIZ_API_KEY"])
    runs.open_run(run, "03_treino_gpt", {"PROVEDOR": "openai"}, output=output)
    seen = [gpt.estimate(path, MINI, 1, provider=provider), gpt.preflight(client, provider, MINI)]
    answers.answer_all(asked, "gpt-base", gpt.answerer(client, MINI), output / "respostas.jsonl")
    request = gpt.Request(path, model=MINI, n_epochs=1)
    job = gpt.find_or_create(client, output, request, provider=provider, terms=gpt.Terms(5.0))
    job = gpt.follow(client, job.id)
    tuned = gpt.answerer(client, job.fine_tuned_model, base=MINI)
    given = answers.answer_all(asked, "gpt-tuned", tuned, output / "respostas.jsonl")
    gpt.finish(gpt.training_report(client, job, provider=provider), given, output / "treino.json")
    comparison.judge_pairs(run, Judge(judge, "juiz", 1.0, 0.1, 0.5), limit=2)
    results = comparison.score(run)
    seen += [
        comparison.write_workbook(run),
        comparison.figures.write_figures(results),
        comparison.headline(run),
        job,
        client,
    ]
    runs.close_run(run)
    used = {headers["authorization"] for route, _, headers in paid.bodies if "chat" in route}
    assert used == {f"Bearer {keys[name]}" for name in ("OPENAI_API_KEY", "JUIZ_API_KEY")}
    assert leaks(keys, tmp_path, f"{seen} {[str(one) for one in seen]}", *capfd.readouterr(), caplog.text) == []


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


def inside(path: Path) -> bytes:
    """O conteúdo de um arquivo, com os membros de uma planilha por extenso."""
    content = path.read_bytes()
    if content[:2] != b"PK":
        return content
    with zipfile.ZipFile(path) as archive:
        return b"\n".join(archive.read(name) for name in archive.namelist())


EXAMPLES = {"tests/test_local_api_safety.py"}  # caminhos inventados, para provar que são retirados das mensagens


@pytest.mark.parametrize("pattern", [KEY_LIKE, MACHINE_PATH, REGISTRY], ids=["chave", "caminho", "registro de pacotes"])
def test_no_tracked_file_shows_a_key_a_machine_or_a_registry(pattern):
    paths = [path for path in tracked() if str(path.relative_to(ROOT)) not in EXAMPLES and path.suffix != ".png"]
    assert len(paths) > 100
    found = {str(path.relative_to(ROOT)): pattern.findall(inside(path))[:3] for path in paths}
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
