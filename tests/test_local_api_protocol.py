"""O protocolo da OpenAI, rota por rota, com o cliente de verdade e HTTP de verdade."""

import concurrent.futures
import threading
from pathlib import Path

import openai
import pytest
from gpt_rows import chat_file
from local_api_server import MODEL, ask, connect, never, serving, submit, trained, until, wait

from finetune_helpers import gpt
from finetune_helpers.errors import StorageError
from local_finetune_api import store


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def file_id(server):
    return connect(server).files.create(file=("treino.jsonl", b"{}"), purpose="fine-tune").id


@pytest.fixture
def busy(tmp_path):
    """Servidor cujos treinos nunca acabam sozinhos."""
    with serving(tmp_path / "api", work=never) as running:
        yield running


def test_every_route_answers_the_installed_client(server, tmp_path):
    client = connect(server)
    job = files_and_jobs(client, chat_file(tmp_path / "treino.jsonl"))
    models_and_chat(client, job)
    with pytest.raises(openai.NotFoundError, match="treino com o id 'ftjob-x'"):
        client.fine_tuning.jobs.retrieve("ftjob-x")
    with pytest.raises(openai.NotFoundError, match="modelo com o id 'nada'"):
        client.models.retrieve("nada")


def files_and_jobs(client, training_file: Path):
    sent = client.files.create(file=training_file, purpose="fine-tune")
    assert client.files.retrieve(sent.id) == sent
    assert sent.id in [file.id for file in client.files.list(purpose="fine-tune")]
    assert client.files.content(sent.id).content == training_file.read_bytes()
    chosen = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": "auto"}
    job = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=sent.id,
        method={"type": "supervised", "supervised": {"hyperparameters": chosen}},
        seed=7,
        suffix="Meu Teste",
        metadata={"a": "b"},
    )
    assert (job.status, job.seed, job.metadata) == ("validating_files", 7, {"a": "b"})
    job = wait(client, job, "succeeded")
    assert job.hyperparameters.batch_size == job.method.supervised.hyperparameters.batch_size == 4
    assert job.fine_tuned_model.startswith(f"ft:{MODEL}:local:meu-teste:")
    assert job.id in [known.id for known in client.fine_tuning.jobs.list(limit=1)]
    found = client.fine_tuning.jobs.list(metadata={"a": "b"}, limit=100)
    assert job.id in [known.id for known in found]
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert len(events) == len({event.id for event in events}) >= 5
    assert [event.data["step"] for event in events if event.type == "metrics"] == [2, 1]
    points = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [point.step_number for point in points] == [2, 1]
    assert "train_loss" in client.files.content(job.result_files[0]).text
    client.files.delete(sent.id)
    return job


def models_and_chat(client, job) -> None:
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    assert client.models.retrieve(job.fine_tuned_model).owned_by == "local"
    ask = {"model": job.fine_tuned_model, "messages": [{"role": "user", "content": "um dois três"}], "temperature": 0}
    given = client.chat.completions.create(**ask, max_tokens=2, n=1, top_p=0.9)
    assert given.system_fingerprint
    assert (given.choices[0].message.content, given.choices[0].finish_reason) == ("um dois", "length")
    assert given.usage.total_tokens == given.usage.prompt_tokens + given.usage.completion_tokens
    stream = client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    pieces = list(stream)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert (text, pieces[-2].choices[0].finish_reason) == ("um dois três", "stop")
    assert pieces[-1].usage.completion_tokens == 3
    assert client.models.delete(job.fine_tuned_model).deleted
    assert job.fine_tuned_model not in [model.id for model in client.models.list()]


def test_what_is_only_the_servers_never_leaves_it(server, tmp_path):
    client = connect(server)
    job = wait(client, submit(client, tmp_path), "succeeded")
    point = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    sent = [job, point, client.files.retrieve(job.training_file), client.models.retrieve(job.fine_tuned_model)]
    for answer in sent:
        assert not answer.model_extra, answer.model_extra
        type(answer).model_validate(answer.model_dump())  # toda chave obrigatória do tipo publicado veio


def test_pages_cover_every_job_once_newest_first(busy, tmp_path):
    client = connect(busy)
    ids = [submit(client, tmp_path).id for _ in range(5)][::-1]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == ids
    assert [client.fine_tuning.jobs.list(limit=limit).has_more for limit in (4, 5)] == [True, False]
    assert [job.id for job in client.fine_tuning.jobs.list(after="").data] == ids
    for unknown in ("ftjob-000000000000000000000000", "../../etc"):
        with pytest.raises(openai.NotFoundError):
            client.fine_tuning.jobs.list(after=unknown)


def test_a_file_with_a_bad_line_fails_the_job_naming_it(server, tmp_path):
    path = chat_file(tmp_path / "ruim.jsonl")
    path.write_text(path.read_text() + '{"messages": [{"content": "x"}]}\n')
    client = connect(server)
    sent = client.files.create(file=path, purpose="fine-tune")
    job = wait(client, submit(client, tmp_path, training_file=sent.id), "failed")
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "linha 13 · papel" in job.error.message


def test_a_running_job_is_paused_resumed_and_cancelled_and_the_next_one_runs(busy, tmp_path):
    client = connect(busy)
    first, second = (submit(client, tmp_path) for _ in range(2))
    wait(client, first, "running")
    client.post(f"/fine_tuning/jobs/{first.id}/pause", cast_to=object)
    wait(client, second, "running")
    assert client.fine_tuning.jobs.retrieve(first.id).status == "paused"
    client.post(f"/fine_tuning/jobs/{first.id}/resume", cast_to=object)
    assert client.fine_tuning.jobs.cancel(second.id).status == "cancelled"
    wait(client, first, "running")
    with pytest.raises(openai.ConflictError):
        client.files.delete(first.training_file)
    client.fine_tuning.jobs.cancel(first.id)
    client.files.delete(first.training_file)
    with pytest.raises(openai.BadRequestError, match="cancelar um treino que está em cancelled"):
        client.fine_tuning.jobs.cancel(first.id)


def test_the_same_idempotency_key_never_makes_two_jobs(busy, tmp_path):
    client = connect(busy)
    file_id = submit(client, tmp_path).training_file

    def create(number: int) -> str:
        headers = {"Idempotency-Key": f"chave-{number % 2}"}
        return client.fine_tuning.jobs.create(model=MODEL, training_file=file_id, extra_headers=headers).id

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(16)))) == 2
    assert len(list(client.fine_tuning.jobs.list())) == 3


def test_two_notebooks_at_once_share_one_job(busy, tmp_path):
    provider = gpt.provider("local", base_url=busy.base_url)
    path = chat_file(tmp_path / "treino.jsonl")

    def create(number: int) -> str:
        client = gpt.client(provider, api_key=busy.api_key)
        return gpt.find_or_create(client, tmp_path / str(number), gpt.Request(path), provider=provider).id

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(create, range(4)))) == 1


def test_a_base_model_cannot_be_deleted_and_answers_to_its_old_name(server):
    with pytest.raises(openai.PermissionDeniedError):
        connect(server).models.delete(MODEL)
    assert connect(server).models.retrieve("smollm2-135m-instruct").id == MODEL


RATE = "hyperparameters.learning_rate_multiplier"


@pytest.mark.parametrize(
    ("changes", "param", "text"),
    [
        ({"model": "gpt-4o"}, "model", "Use um destes: SmolLM2-135M-Instruct, gpt-oss-20b"),
        ({"training_file": "../../../etc/passwd"}, "training_file", "não existe"),
        ({"validation_file": "file-000000000000000000000000"}, "validation_file", "não existe"),
        ({"suffix": "x" * 65}, "suffix", "use no máximo 64 caracteres"),
        ({"seed": -1}, "seed", "use 0 ou mais"),
        ({"integrations": []}, "integrations", "não aceita"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "serve: use 1 ou mais."),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "serve: use no máximo 50."),
        ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs", "serve: use um número inteiro."),
        ({"hyperparameters": {"n_epochs": "x"}}, "hyperparameters.n_epochs", "use 'auto' ou um número inteiro."),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, RATE, "mais que 0"),
        ({"hyperparameters": {}, "method": {"type": "supervised"}}, "hyperparameters", "não os dois"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "use no máximo 512 caracteres"),
    ],
)
def test_a_bad_job_request_names_the_parameter_and_what_it_takes(server, file_id, changes, param, text):
    body = {"model": MODEL, "training_file": file_id} | changes
    with pytest.raises(openai.BadRequestError) as caught:
        connect(server).post("/fine_tuning/jobs", body=body, cast_to=object)
    assert (caught.value.param, text in caught.value.body["message"]) == (param, True), caught.value.body


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_completion_tokens", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "missing_required_parameter"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        *(
            ({name: value}, name, "unsupported_parameter")
            for name, value in {"n": 2, "logprobs": True, "tools": [], "stop": ["x"], "seed": 1}.items()
        ),
    ],
)
def test_a_bad_chat_request_names_the_parameter(server, changes, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(connect(server), "oi", **changes)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert "Input should" not in caught.value.message


def test_the_job_queue_is_bounded(tmp_path):
    with serving(tmp_path / "api", work=never, max_jobs_waiting=2) as running:
        client = connect(running)
        wait(client, submit(client, tmp_path), "running")
        for _ in range(2):
            submit(client, tmp_path)
        with pytest.raises(openai.RateLimitError, match="fila de treinos"):
            submit(client, tmp_path)


def test_a_restart_puts_the_running_job_back_and_finishes_it(tmp_path):
    with serving(tmp_path / "api", work=never) as running:
        job = submit(connect(running), tmp_path)
        wait(connect(running), job, "running")
    path = store.job_folder(tmp_path / "api", job.id) / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "ftev')  # a queda cortou um evento
    with serving(tmp_path / "api") as running:
        done = wait(connect(running), job, "succeeded")
        messages = [event.message for event in connect(running).fine_tuning.jobs.list_events(job.id, limit=100)]
    assert done.fine_tuned_model
    assert any("volta à fila" in message for message in messages)


@pytest.mark.parametrize(("deaths", "status"), [(1, "succeeded"), (9, "failed")])
def test_a_worker_that_dies_is_started_again_three_times_at_most(tmp_path, deaths, status):
    starts = []

    async def dies(scheduler, job):
        starts.append(job["id"])
        return 137 if len(starts) <= deaths else await trained(scheduler, job)

    with serving(tmp_path / "api", work=dies) as running:
        job = wait(connect(running), submit(connect(running), tmp_path), status)
    assert len(starts) == min(deaths + 1, 3)
    assert status == "succeeded" or (job.error.code, "3 vezes" in job.error.message) == ("worker_died", True)


def test_a_defect_in_one_job_does_not_stop_the_queue(tmp_path):
    calls = []

    async def first_breaks(scheduler, job):
        calls.append(job["id"])
        if len(calls) == 1:
            raise RuntimeError("defeito em /pasta/secreta/x.py")
        return await trained(scheduler, job)

    with serving(tmp_path / "api", work=first_breaks) as running:
        client = connect(running)
        bad, good = (submit(client, tmp_path) for _ in range(2))
        assert wait(client, bad, "failed").error.code == "server_error"
        assert wait(client, good, "succeeded").fine_tuned_model


def test_a_full_disk_is_told_as_507_and_the_queue_goes_on_when_there_is_room(tmp_path):
    room = threading.Event()

    async def full(scheduler, job):
        if not room.is_set():
            raise StorageError("Disco cheio ao gravar /pasta/secreta/x.")
        return await trained(scheduler, job)

    with serving(tmp_path / "api", work=full, storage_retry=0.2) as running:
        client = connect(running)
        job = submit(client, tmp_path)
        with pytest.raises(openai.InternalServerError, match="Disco cheio") as caught:
            wait(client, job, "succeeded")
        assert (caught.value.status_code, "secreta" in caught.value.message) == (507, False)
        room.set()
        until(lambda: not running.app.state.scheduler.trouble)
        wait(client, job, "succeeded")
