"""Um treino por impressão digital, contra um serviço que falha de todas as maneiras conhecidas."""

import io
import json
from dataclasses import replace
from datetime import datetime

import pytest
from gpt_rows import chat_file
from gpt_server import caller, completion, error, event, job
from tqdm import tqdm

from finetune_helpers import gpt
from finetune_helpers.errors import FinetuneError, InputError, MachineError, RunMismatchError
from finetune_helpers.gpt import chat, providers, validation
from finetune_helpers.prompts import Question
from finetune_helpers.records import read_json

MINI = "gpt-4o-mini-2024-07-18"
CREATE = "POST /fine_tuning/jobs"


@pytest.fixture
def server(service):
    return service.reset()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """As esperas viram uma lista: nenhum teste dorme."""
    waited = []
    monkeypatch.setattr(chat.time, "sleep", waited.append)
    return waited


@pytest.fixture
def client(server):
    return caller(server.base_url)


@pytest.fixture
def ask(server, tmp_path):
    """Pede um treino pago de 3 épocas, com orçamento; aceita mudanças do pedido e das condições."""

    def ask(name="openai", folder=tmp_path, terms=None, **changes):
        provider = gpt.provider(name, base_url=server.base_url)
        request = gpt.Request(chat_file(tmp_path / "treino.jsonl"), model=MINI, n_epochs=3)
        request, terms = replace(request, **changes), terms or gpt.Terms(5.0)
        return gpt.find_or_create(caller(server.base_url, name), folder, request, provider=provider, terms=terms)

    return ask


def created_body(server) -> dict:
    return json.loads(next(raw for route, raw, _ in server.bodies if route == CREATE))


def test_running_again_or_on_a_new_machine_finds_the_same_job(server, ask, tmp_path):
    first = ask()
    assert read_json(tmp_path / "trabalho.json")["job_id"] == first.id == "ftjob-1"
    moved = chat_file(tmp_path / "outra" / "pasta.jsonl")
    again = [ask(), ask(terms=gpt.Terms(0)), ask(training_file=moved), ask(folder=tmp_path / "outra-maquina")]
    assert {known.id for known in again} == {first.id}
    assert (server.count(CREATE), server.count("POST /files")) == (1, 1)
    assert str(tmp_path) not in (tmp_path / "trabalho.json").read_text()


def test_another_request_in_the_same_folder_is_refused_with_the_difference(server, ask, tmp_path):
    ask()
    with pytest.raises(RunMismatchError, match="`epochs`: era 3, agora 2"):
        ask(n_epochs=2)
    with pytest.raises(RunMismatchError, match="arquivo de treino: era '"):
        ask(training_file=chat_file(tmp_path / "outro.jsonl", start=50))
    assert server.count(CREATE) == 1


@pytest.mark.parametrize("budget", [0, 0.0001])
def test_without_budget_no_byte_is_sent(server, ask, budget):
    with pytest.raises(InputError, match="nada foi enviado"):
        ask(terms=gpt.Terms(budget))
    assert server.requests == []


@pytest.mark.parametrize("kind", ["training_file", "validation_file"])
def test_an_invalid_file_is_refused_before_sending(server, ask, tmp_path, kind):
    path = tmp_path / "ruim.jsonl"
    path.write_text("{}\n" * 12)
    with pytest.raises(InputError, match="linha 1 · sem_mensagens"):
        ask(**{kind: path})
    assert server.requests == []


def test_a_short_validation_file_is_sent_with_the_job(server, ask, tmp_path):
    ask(validation_file=chat_file(tmp_path / "validacao.jsonl", 3))
    assert created_body(server)["validation_file"] == "file-2"


def test_each_provider_gets_the_body_it_understands(server, ask, tmp_path):
    bodies = {}
    own = gpt.Terms(5.0, own_prices="5 1 1")
    for name, changes in {"openai": {}, "azure": {"model": "gpt-4.1-mini-2025-04-14"}, "nebius": {}}.items():
        server.bodies.clear()
        ask(name, tmp_path / name, own, **changes)
        bodies[name] = created_body(server)
    for name in ("openai", "azure"):
        method = bodies[name]["method"]
        assert method["type"] == "supervised" and method["supervised"]["hyperparameters"]["n_epochs"] == 3
        assert "hyperparameters" not in bodies[name]
    assert bodies["nebius"]["hyperparameters"]["n_epochs"] == 3 and "method" not in bodies["nebius"]
    assert [bodies[name].get("trainingType") for name in bodies] == [None, "GlobalStandard", None]
    marked = [server.contents[f"file-{at}"].startswith(validation.BOM) for at in (1, 2, 3)]
    assert marked == [False, True, False]


def test_the_suffix_goes_with_the_request_and_makes_another_job(server, ask, tmp_path):
    ask(folder=tmp_path / "a")
    ask(folder=tmp_path / "b", suffix="livros")
    sent = [(json.loads(raw), headers) for route, raw, headers in server.bodies if route == CREATE]
    assert [body.get("suffix") for body, _ in sent] == [None, "livros"]
    assert all(headers["idempotency-key"] == f"{body['metadata']['impressao']}-0" for body, headers in sent)


@pytest.mark.parametrize("gone", [False, True], ids=["apagados agora", "já apagados"])
@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "training_not_available", '`provider` = "local"'),
        (429, "insufficient_quota", "Acabou o crédito"),
        (400, "invalid_training_file", "recusou o pedido"),
    ],
)
def test_a_refused_job_is_asked_once_its_files_go_and_the_way_out_is_said(server, ask, status, code, text, gone):
    server.script(CREATE, error(status, code))
    server.script("DELETE /files/.*", *[error(404, "not_found")] * gone)
    with pytest.raises(FinetuneError, match=text):
        ask()
    assert server.count(CREATE) == 1 and (server.files == {} or gone)


@pytest.mark.parametrize("failure", ["cut", "garbage", error(500, "server_error"), error(503, "busy"), "lost"])
def test_a_passing_failure_creates_exactly_one_job(server, ask, failure):
    server.script(CREATE, failure, failure if failure != "lost" else None)
    assert ask().status == "running"
    assert len(server.jobs) == 1


def test_an_upload_whose_answer_was_lost_is_not_sent_twice(server, ask):
    server.script("POST /files", "lost")
    ask()
    assert len(server.contents) == 1


def test_a_pending_file_is_waited_for(server, ask):
    pending = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "purpose": "fine-tune", "filename": "x"}
    server.files["file-1"] = pending | {"status": "processed"}
    server.script("POST /files", (200, pending | {"status": "pending"}))
    ask()
    assert server.count("GET /files/file-1") == 1


def test_retry_after_is_obeyed_and_retries_are_bounded(server, ask, waits):
    server.script(CREATE, error(429, "rate_limit_exceeded", retry_after="7"))
    ask()
    assert waits == [7.0]
    server.script("GET /fine_tuning/jobs/ftjob-1", *[error(500, "x")] * 50)
    with pytest.raises(MachineError, match="5xx"):
        ask()
    assert server.count("GET /fine_tuning/jobs/ftjob-1") == chat.ATTEMPTS == len(waits)
    assert waits[1:] == sorted(waits[1:]) and waits[-1] <= chat.LONGEST_WAIT


@pytest.mark.parametrize(
    ("status", "text"), [(401, "chave"), (403, "permissão"), (404, "não existe"), (400, "recusou"), (409, "conflita")]
)
def test_each_refusal_is_an_instruction(server, client, status, text):
    server.script("GET /fine_tuning/jobs/.+", error(status, "x"))
    with pytest.raises(FinetuneError, match=text):
        gpt.follow(client, "ftjob-1")


def test_a_failed_job_is_not_paid_again_unless_asked(server, ask):
    created = ask()
    server.jobs[created.id]["status"] = "failed"
    assert ask().id == created.id
    assert ask(terms=gpt.Terms(5.0, again=True)).id != created.id
    assert server.count(CREATE) == 2


def test_a_noted_job_the_service_no_longer_knows_is_created_again(server, ask):
    ask()
    server.jobs.clear()
    assert (ask().id, server.count(CREATE)) == ("ftjob-1", 2)


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("invalid_training_file", "Example 100, message 2 Discriminator 'role' is missing", "a validação aponta"),
        ("invalid_training_file", "moderation checks. Flagged lines: 4, 13, 14.", "linhas 4, 13, 14, que"),
        ("blocked", "blocked by our moderation API", "moderação recusou o arquivo"),
        ("exceeded_quota", "You exceeded your current quota", "Acrescente crédito"),
        ("model_not_available", "gone", "Escolha outro `model`"),
        ("", "", r"\(sem código\): sem explicação\nVeja os eventos"),
    ],
)
def test_each_failed_job_says_the_next_step_and_its_files_go(server, ask, client, code, message, advice):
    created = ask()
    server.jobs[created.id] |= {"status": "failed", "error": {"code": code, "message": message, "param": None}}
    with pytest.raises(InputError, match=advice):
        gpt.follow(client, created.id)
    assert server.files == {}


def test_files_of_a_job_created_elsewhere_are_never_deleted(server, client):
    server.files["file-alheio"] = {"id": "file-alheio", "filename": "x"}
    failed = {"code": "x", "message": "y", "param": None}
    server.jobs["ftjob-9"] = job("ftjob-9", {"training_file": "file-alheio"}, status="failed", error=failed)
    with pytest.raises(InputError):
        gpt.follow(client, "ftjob-9")
    assert "file-alheio" in server.files


def test_a_cancelled_job_says_how_to_start_over(server, ask, client):
    assert gpt.cancel(client, ask().id).status == "cancelled"
    with pytest.raises(InputError, match="marque `again`"):
        gpt.follow(client, "ftjob-1")


def test_cancelling_a_job_that_ends_meanwhile_tells_how_it_ended(server, client, ask):
    created = ask()

    def ended(_):
        server.jobs[created.id]["status"] = "succeeded"
        return error(400, "job_already_ended")

    server.script("POST /fine_tuning/jobs/.*/cancel", ended)
    assert gpt.cancel(client, created.id).status == "succeeded"


@pytest.mark.parametrize(("chosen", "pause"), [({}, 1.0), ({"poll_seconds": 9}, 9)], ids=["na API local", "a pedida"])
def test_following_survives_cuts_shows_each_event_once_and_waits(
    server, ask, client, capsys, monkeypatch, chosen, pause
):
    created, waited = ask(), []
    server.events = [event(2, step=1, total_steps=2, train_loss=2.5), event(1, "Começou bem")]
    server.script(f"GET /fine_tuning/jobs/{created.id}", "cut", error(502, "x"), "garbage")

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 6:
            server.jobs[created.id]["status"] = "succeeded"

    monkeypatch.setattr(chat.time, "sleep", sleep)
    assert gpt.follow(client, created.id, **chosen).status == "succeeded"
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("Começou bem") == 1 and waited[3:] == [pause] * 3


def test_an_event_is_a_line_or_a_step_of_the_bar(server, client, ask, capsys):
    created, bar, seen, beside = ask(), tqdm(total=5, file=io.StringIO()), set(), []
    # O serviço devolve os mais novos primeiro.
    server.events = [event(3, step=4, total_steps=8), event(2, step=3, train_loss=2.5), event(1, "Começou bem")]
    running = client.fine_tuning.jobs.retrieve(created.id)
    running.estimated_finish = int(datetime(2026, 11, 29, 12, 30).timestamp())
    told = gpt.job._new_events(client, created.id, seen)
    for fresh in told:
        gpt.job._show(bar, [fresh], running, "chave")
        beside.append(bar.postfix)
    assert [fresh.id for fresh in told] == [sent["id"] for sent in reversed(server.events)]
    assert capsys.readouterr().out[9:] == "Começou bem\n" and (bar.n, bar.total) == (4, 8)
    assert beside == [None, "perda 2,50 · fim previsto 12:30:00", "fim previsto 12:30:00"]
    assert gpt.job._new_events(client, created.id, seen) == []


def test_a_key_in_an_event_or_in_the_failure_is_not_shown(server, ask, client, capsys):
    created, said = ask(), f"chave {client.api_key} recusada"
    server.events = [event(1, said)]
    server.jobs[created.id] |= {"status": "failed", "error": {"code": "x", "message": said, "param": None}}
    with pytest.raises(InputError, match="chave … recusada") as caught:
        gpt.follow(client, created.id)
    shown = capsys.readouterr()
    assert "chave … recusada" in shown.out + shown.err
    assert client.api_key not in shown.out + shown.err + str(caught.value)


def test_one_provider_more_is_one_value_and_the_rest_of_the_way_knows_it(server, tmp_path, monkeypatch):
    """A receita: um ``Provider`` em ``PROVIDERS``; validação, orçamento, treino e respostas valem para ele."""
    model = providers.Tunable("modelo-exemplo")
    new = providers.Provider("exemplo", server.base_url, "EXEMPLO_API_KEY", paid=True, models=(model,))
    monkeypatch.setitem(gpt.PROVIDERS, "exemplo", new)
    monkeypatch.setenv("EXEMPLO_API_KEY", "k")
    chosen = gpt.provider("exemplo")
    client = gpt.client(chosen)
    terms = gpt.Terms(budget_usd=1, own_prices="1 1 1")
    request = gpt.Request(chat_file(tmp_path / "treino.jsonl"), n_epochs=1)
    created = gpt.find_or_create(client, tmp_path / "gpt", request, provider=chosen, terms=terms)
    server.jobs[created.id] |= {"status": "succeeded", "fine_tuned_model": "ajustado", "trained_tokens": 9}
    server.on_chat = lambda body: completion("Oi", body["model"])
    done = gpt.follow(client, created.id)
    (reply,) = gpt.answerer(client, done.fine_tuned_model, base=done.model)([Question("1", "Olá")])
    report = gpt.training_report(client, done, provider=chosen)
    assert (created_body(server)["model"], reply.answer, report["billed_tokens"]) == ("modelo-exemplo", "Oi", 9)
    assert reply.model_id == report["model_id"] and "não mede" in gpt.learned(report)


def test_a_local_job_is_created_without_counting_its_price(server, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune_helpers.gpt.budget.estimate", None)
    local = replace(gpt.provider("local"), base_url=server.base_url)
    request = gpt.Request(chat_file(tmp_path / "treino.jsonl"), multiplier=2.0)
    gpt.find_or_create(caller(server.base_url, "local"), tmp_path, request, provider=local)
    chosen = created_body(server)["method"]["supervised"]["hyperparameters"]
    assert chosen == {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": 2.0}
