"""A API local treinando de verdade um modelo minúsculo: aprende, responde, continua depois de kill -9."""

import json
import os
import signal
from pathlib import Path

import openai
import pytest
from gpt_rows import chat_file
from local_api_server import ask, connect, submit, until, wait
from tiny_llama import NAME, tiny_model

import local_finetune_api
from finetune_helpers import answers
from finetune_helpers.records import read_jsonl
from local_finetune_api import store

pytestmark = pytest.mark.treino
REPORT_KEYS = (
    "engine model base_id model_id device seconds peak_gpu_gb peak_rss_gb trainable_parameters steps examples_seen "
    "tokens_seen tokens_per_second loss_curve heldout_curve heldout billed_tokens gpu_hours price_sku profile "
    "prompt_fingerprint trained_tokens hyperparameters"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("modelo") / NAME))


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    broken = tmp_path_factory.mktemp("quebrado")
    (broken / "model.safetensors").write_bytes(bytes(8) + b"{}")
    with local_finetune_api.running(tmp_path_factory.mktemp("api"), models=[model, f"quebrado={broken}"]) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return connect(server)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rodada")
    return chat_file(folder / "treino.jsonl", 12), chat_file(folder / "validacao.jsonl", 4, start=50)


@pytest.fixture(scope="module")
def job(client, model, files):
    """Um treino de duas épocas, com validação, até o fim; o modelo é pedido pela pasta dele."""
    sent = []
    for path in files:
        with open(path, "rb") as file:
            sent.append(client.files.create(file=file, purpose="fine-tune").id)
    chosen = {"n_epochs": 2, "batch_size": 6, "learning_rate_multiplier": 50.0}
    pair = {"training_file": sent[0], "validation_file": sent[1]}
    created = client.fine_tuning.jobs.create(model=model, hyperparameters=chosen, suffix="teste", **pair)
    done = wait(client, created, "succeeded", "failed")
    assert done.status == "succeeded", done.error
    return done


@pytest.fixture(scope="module")
def results(client, job) -> dict[str, str]:
    return {client.files.retrieve(name).filename: client.files.content(name).text for name in job.result_files}


def test_training_lowers_the_loss_of_every_validation_line(results):
    rows = [json.loads(line) for line in results["validation_losses.jsonl"].splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert set(row) == set(
            ["line", "tokens", "characters", "base_loss", "tuned_loss", "base_other_loss", "tuned_other_loss"]
        )
        assert row["tuned_loss"] < row["base_loss"] and row["tuned_other_loss"] < row["base_other_loss"]
        assert row["tuned_loss"] != row["tuned_other_loss"]


def test_the_report_tells_what_it_took_and_shows_no_folder(results, job):
    report = json.loads(results["training_report.json"])
    assert set(report) == set(REPORT_KEYS.split())
    assert (report["model"], report["steps"], report["examples_seen"], len(report["loss_curve"])) == (NAME, 4, 24, 4)
    assert [point["step"] for point in report["heldout_curve"]] == [0, 2, 4]
    assert set(report["seconds"]) == {"load", "train", "evaluate"} and min(report["seconds"].values()) > 0
    assert answers.base_of(report["model_id"]) == report["base_id"] and report["model_id"].count("+") == 1
    assert "/" not in "".join(results.values()).replace("CPU", "")
    assert str(Path.home()) not in results["training_report.json"]


def test_the_metrics_have_one_row_a_step_and_the_validation_of_each_epoch(results):
    header, *rows = results["step_metrics.csv"].splitlines()
    assert header == "step,train_loss,train_accuracy,full_valid_loss"
    assert [(row.split(",")[0], bool(row.split(",")[3])) for row in rows] == [
        ("1", False), ("2", True), ("3", False), ("4", True)
    ]  # fmt: skip


def test_billed_tokens_are_the_counted_and_the_seen_ones(job, files, model, results):
    counts = local_finetune_api.token_counter(model)(read_jsonl(files[0]))
    assert len(counts) == 12 and min(counts) > 0
    assert job.trained_tokens == 2 * sum(counts) == json.loads(results["training_report.json"])["tokens_seen"]
    long = {"messages": [{"role": "user", "content": "oi"}, {"role": "assistant", "content": "rio " * 1100}]}
    assert local_finetune_api.token_counter(model)([long]) == [0]


def test_each_epoch_left_a_checkpoint_that_answers_with_its_own_identity(client, job):
    points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [point.step_number for point in points] == [4, 2]
    names = [NAME, job.fine_tuned_model, points[0].fine_tuned_model_checkpoint, points[1].fine_tuned_model_checkpoint]
    base, tuned, last, first = (ask(client, "rivers", model=name, max_tokens=6).system_fingerprint for name in names)
    assert base.startswith(f"{NAME}@") and tuned == last != first
    assert {answers.base_of(name) for name in (tuned, first)} == {base}


def test_base_and_tuned_answer_differently_from_one_process(client, job):
    titles = ("rivers", "harbours", "bees", "clocks", "winter light", "old roads")
    base, tuned, again = (
        [ask(client, title, model=name, max_tokens=24) for title in titles]
        for name in (NAME, job.fine_tuned_model, NAME)
    )
    texts = [[reply.choices[0].message.content for reply in replies] for replies in (base, tuned, again)]
    assert texts[0] == texts[2] != texts[1]
    assert {reply.system_fingerprint for reply in base} & {reply.system_fingerprint for reply in tuned} == set()


def test_streaming_gives_the_same_text_in_pieces(client, job):
    whole = ask(client, "rivers", model=job.fine_tuned_model, max_tokens=10)
    chunks = list(ask(client, "rivers", model=job.fine_tuned_model, max_tokens=10, stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content and len(pieces) > 1
    assert chunks[-1].system_fingerprint == whole.system_fingerprint
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (10, "length")


def test_a_conversation_over_the_context_is_refused_and_the_next_works(client):
    with pytest.raises(openai.BadRequestError, match="aceita 2048") as caught:
        ask(client, "rio " * 3000, model=NAME)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert ask(client, "rio", model=NAME, max_tokens=1).usage.completion_tokens == 1


def test_a_model_that_does_not_load_is_an_instruction_without_folders(client, job):
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "oi", model="quebrado")
    assert caught.value.code == "generation_failed" and "/" not in caught.value.message
    assert ask(client, "rio", model=NAME, max_tokens=1).usage.completion_tokens == 1


def test_a_job_cancelled_as_it_starts_leaves_no_worker(client, tmp_path):
    created = submit(client, tmp_path, model=NAME)
    wait(client, created, "running")
    assert client.fine_tuning.jobs.cancel(created.id).status == "cancelled"
    until(lambda: not processes("worker", created.id))
    assert client.fine_tuning.jobs.retrieve(created.id).status == "cancelled"


def test_kill_minus_9_of_worker_and_server_continues_the_same_job_to_the_end(tmp_path, model):
    folder, chosen = tmp_path / "api", {"n_epochs": 4, "batch_size": 6}
    options = {"models": [model], "save_minutes": 1e-4}
    first = local_finetune_api.running(folder, **options)
    created = submit(connect(first), tmp_path, model=NAME, hyperparameters=chosen, seed=1)
    until(lambda: steps(folder, created.id) >= 2)
    os.kill(processes("worker", created.id)[0], signal.SIGKILL)
    until(lambda: resumed(folder, created.id) == 1)
    until(lambda: steps(folder, created.id) >= 4)
    first.process.kill()
    first.stop()
    with local_finetune_api.running(folder, **options) as second:
        client = connect(second)
        done = wait(client, created, "succeeded", "failed")
        metrics = client.files.content(done.result_files[0]).text.splitlines()[1:]
        points = client.fine_tuning.jobs.checkpoints.list(created.id).data
    assert (done.status, resumed(folder, created.id)) == ("succeeded", 2), done.error
    assert [row.split(",")[0] for row in metrics] == [str(step) for step in range(1, 9)]
    assert [point.step_number for point in points] == [8, 6, 4]
    assert [row["id"] for row in store.jobs(folder)] == [created.id]


def test_an_epoch_whose_checkpoint_the_crash_took_is_saved_on_return(tmp_path, toy_tuned):
    from types import SimpleNamespace

    from local_finetune_api.reporting import Reporting

    job = {"id": "ftjob-1", "tuned_name": "ft:modelo"}
    profile = SimpleNamespace(max_length=64, batch_size=1)
    task = SimpleNamespace(folder=tmp_path, job=job, seconds={"evaluate": 0.0}, profile=profile)
    state = SimpleNamespace(global_step=4, max_steps=8, epoch=2.0, log_history=[{"loss": 1.5, "step": 4}])
    reporting = Reporting(task, *toy_tuned, [], None)
    reporting.on_train_begin(None, state, None)
    written = tmp_path / "models" / "step-4" / "checkpoint.json"
    assert json.loads(written.read_text())["metrics"] == {"step": 4, "train_loss": 1.5}
    state.global_step, state.epoch = 5, 2.5
    reporting.on_train_begin(None, state, None)
    assert [path.name for path in tmp_path.glob("models/*")] == ["step-4"]


def steps(folder: Path, job_id: str) -> int:
    return max((row["data"].get("step", 0) for row in store.events(folder, job_id)), default=0)


def resumed(folder: Path, job_id: str) -> int:
    return sum("Continua do passo" in row["message"] for row in store.events(folder, job_id))


def processes(*words: str) -> list[int]:
    """Processos da API local cuja linha de comando tem todas as palavras."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if all(word in command for word in ("local_finetune_api", *words)):
            found.append(int(entry.parent.name))
    return found
