"""O protocolo da OpenAI, rota por rota, com o cliente de verdade e HTTP de verdade."""

import concurrent.futures
import os
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest
from gpt_rows import chat_file
from local_api_server import never, serving, trained
from local_api_tour import tour

from finetune_helpers import gpt
from finetune_helpers.local_api import store

MODEL = "smollm2-135m-instruct"
PREVIOUS = Path(os.environ.get("OPENAI_ANTERIOR", Path(sys.prefix) / "openai-2.54"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def busy(tmp_path):
    """Servidor cujos treinos nunca acabam sozinhos."""
    with serving(tmp_path / "api", work=never) as running:
        yield running


def connect(running) -> openai.OpenAI:
    return openai.OpenAI(base_url=running.base_url, api_key=running.api_key, max_retries=0)


def submit(client, path: Path, **changes):
    with open(path, "rb") as file:
        sent = client.files.create(file=file, purpose="fine-tune")
    return client.fine_tuning.jobs.create(model=MODEL, training_file=sent.id, **changes)


def wait(client, job, *states):
    deadline = time.time() + 20
    while (found := client.fine_tuning.jobs.retrieve(job.id)).status not in states:
        assert time.time() < deadline, f"{found.status}, esperava {states}"
        time.sleep(0.01)
    return found


def test_every_route_answers_the_installed_client(server, tmp_path):
    tour(server.base_url, server.api_key, str(chat_file(tmp_path / "treino.jsonl")))


@pytest.mark.skipif(not PREVIOUS.is_dir(), reason="openai 2.54 não está instalado ao lado (veja OPENAI_ANTERIOR)")
def test_every_route_answers_the_previous_major_version(server, tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    command = [
        sys.executable,
        str(Path(__file__).with_name("local_api_tour.py")),
        server.base_url,
        server.api_key,
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PREVIOUS)})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "openai 2.5" in done.stdout


def test_responses_have_every_key_of_the_published_types(server, tmp_path):
    """Os tipos do pacote openai são gerados da descrição publicada: toda chave obrigatória tem de vir."""
    client = connect(server)
    job = submit(client, chat_file(tmp_path / "treino.jsonl"))
    type(job).model_validate(job.model_dump())
    done = wait(client, job, "succeeded")
    type(done).model_validate(done.model_dump())
    for rows in (client.files.list(), client.fine_tuning.jobs.list_events(job.id), client.models.list()):
        for row in rows:
            type(row).model_validate(row.model_dump())


def test_pages_cover_every_job_once_newest_first(busy, tmp_path):
    client = connect(busy)
    made = [submit(client, chat_file(tmp_path / "treino.jsonl")).id for _ in range(5)]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == made[::-1]
    first = client.fine_tuning.jobs.list(limit=2)
    assert first.has_more
    assert not client.fine_tuning.jobs.list(limit=5).has_more


@pytest.mark.parametrize("after", ["ftjob-000000000000000000000000", "../../etc"])
def test_a_page_after_an_unknown_id_is_not_found(server, after):
    with pytest.raises(openai.NotFoundError):
        connect(server).fine_tuning.jobs.list(after=after)


def test_an_empty_id_is_the_first_page(server, tmp_path):
    client = connect(server)
    made = submit(client, chat_file(tmp_path / "treino.jsonl")).id
    page = [job.id for job in client.fine_tuning.jobs.list(after="").data]
    assert page[0] == made
    assert page == [job.id for job in client.fine_tuning.jobs.list().data]


def test_a_file_with_a_bad_line_fails_the_job_naming_it(server, tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    path.write_text(path.read_text() + '{"messages": [{"content": "x"}]}\n')
    job = wait(connect(server), submit(connect(server), path), "failed")
    assert job.error.code == "invalid_training_file"
    assert job.error.param == "training_file"
    assert "linha 13 · papel" in job.error.message


def test_a_running_job_can_be_cancelled_and_the_next_one_runs(busy, tmp_path):
    client = connect(busy)
    first, second = (submit(client, chat_file(tmp_path / "treino.jsonl")) for _ in range(2))
    wait(client, first, "running")
    assert client.fine_tuning.jobs.retrieve(second.id).status in ("validating_files", "queued")
    assert client.fine_tuning.jobs.cancel(first.id).status == "cancelled"
    wait(client, second, "running")
    with pytest.raises(openai.BadRequestError, match="cancelar um treino que está em cancelled"):
        client.fine_tuning.jobs.cancel(first.id)


def test_a_job_can_be_paused_and_resumed(busy, tmp_path):
    client = connect(busy)
    job = submit(client, chat_file(tmp_path / "treino.jsonl"))
    wait(client, job, "running")
    post = client.with_options(max_retries=0).post
    post(f"/fine_tuning/jobs/{job.id}/pause", cast_to=object)
    wait(client, job, "paused")
    post(f"/fine_tuning/jobs/{job.id}/resume", cast_to=object)
    wait(client, job, "running")


def test_the_same_idempotency_key_never_makes_two_jobs(busy, tmp_path):
    client = connect(busy)
    with open(chat_file(tmp_path / "treino.jsonl"), "rb") as file:
        sent = client.files.create(file=file, purpose="fine-tune")

    def create(_):
        headers = {"Idempotency-Key": "uma-chave"}
        return client.fine_tuning.jobs.create(model=MODEL, training_file=sent.id, extra_headers=headers).id

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(16)))) == 1
    assert len(list(client.fine_tuning.jobs.list())) == 1


def test_two_notebooks_at_once_share_one_job(busy, tmp_path):
    provider = gpt.provider("local", base_url=busy.base_url)
    path = chat_file(tmp_path / "treino.jsonl")

    def ask(number: int) -> str:
        client = gpt.client(provider, api_key=busy.api_key)
        return gpt.find_or_create(client, tmp_path / str(number), path, provider=provider).id

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1


def test_a_file_in_use_cannot_be_deleted(busy, tmp_path):
    job = submit(connect(busy), chat_file(tmp_path / "treino.jsonl"))
    with pytest.raises(openai.ConflictError):
        connect(busy).files.delete(job.training_file)


def test_a_base_model_cannot_be_deleted(server):
    with pytest.raises(openai.PermissionDeniedError):
        connect(server).models.delete(MODEL)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": "gpt-4o"}, "model"),
        ({"training_file": "file-000000000000000000000000"}, "training_file"),
        ({"training_file": "../../../etc/passwd"}, "training_file"),
        ({"validation_file": "nada"}, "validation_file"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"integrations": []}, "integrations"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {}, "method": {"type": "supervised"}}, "hyperparameters"),
    ],
)
def test_a_bad_job_request_names_the_parameter(server, tmp_path, changes, param):
    client = connect(server)
    with open(chat_file(tmp_path / "treino.jsonl"), "rb") as file:
        sent = client.files.create(file=file, purpose="fine-tune")
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(**({"model": MODEL, "training_file": sent.id} | changes))
    assert caught.value.param.startswith(param)


def test_the_job_queue_is_bounded(tmp_path):
    with serving(tmp_path / "api", work=never, max_jobs_waiting=2) as running:
        client = connect(running)
        path = chat_file(tmp_path / "treino.jsonl")
        wait(client, submit(client, path), "running")
        submit(client, path), submit(client, path)
        with pytest.raises(openai.RateLimitError, match="fila de treinos"):
            submit(client, path)


def test_a_restart_puts_the_running_job_back_and_finishes_it(tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    with serving(tmp_path / "api", work=never) as running:
        job = submit(connect(running), path)
        wait(connect(running), job, "running")
    with serving(tmp_path / "api") as running:
        done = wait(connect(running), job, "succeeded")
        messages = [event.message for event in connect(running).fine_tuning.jobs.list_events(job.id, limit=100)]
    assert done.fine_tuned_model
    assert any("volta à fila" in message for message in messages)


def test_a_worker_that_always_dies_fails_the_job_honestly(tmp_path):
    async def dies(scheduler, job):
        return 137

    with serving(tmp_path / "api", work=dies) as running:
        job = wait(connect(running), submit(connect(running), chat_file(tmp_path / "treino.jsonl")), "failed")
    assert (job.error.code, "3 vezes" in job.error.message) == ("worker_died", True)


def test_a_defect_in_one_job_does_not_stop_the_queue(tmp_path):
    calls = []

    async def first_breaks(scheduler, job):
        calls.append(job["id"])
        if len(calls) == 1:
            raise RuntimeError("defeito em /pasta/secreta/x.py")
        return await trained(scheduler, job)

    with serving(tmp_path / "api", work=first_breaks) as running:
        client = connect(running)
        bad, good = (submit(client, chat_file(tmp_path / "treino.jsonl")) for _ in range(2))
        assert wait(client, bad, "failed").error.code == "server_error"
        assert wait(client, good, "succeeded").fine_tuned_model


def test_a_half_written_event_is_dropped_on_restart(tmp_path):
    with serving(tmp_path / "api") as running:
        job = submit(connect(running), chat_file(tmp_path / "treino.jsonl"))
        wait(connect(running), job, "succeeded")
    path = store.job_folder(tmp_path / "api", job.id) / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "ftev')
    with serving(tmp_path / "api") as running:
        list(connect(running).fine_tuning.jobs.list_events(job.id))
    assert path.read_bytes() == whole


def test_a_checkpoint_answers_as_a_model(server, tmp_path):
    client = connect(server)
    job = wait(client, submit(client, chat_file(tmp_path / "treino.jsonl")), "succeeded")
    points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    name = points[-1].fine_tuned_model_checkpoint
    given = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "oi"}])
    assert (given.model, given.choices[0].message.content) == (name, "oi")


def test_health_needs_no_key(server):
    import urllib.request

    with urllib.request.urlopen(server.base_url.replace("/v1", "/healthz")) as answer:
        assert answer.status == 200
