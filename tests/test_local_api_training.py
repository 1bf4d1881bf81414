"""A API local treinando de verdade um modelo minúsculo: aprende, responde, continua depois de kill -9."""

import asyncio
import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import openai
import psutil
import pytest
from gpt_rows import chat_file
from local_api_server import ask, connect, serving, submit, until, wait
from tiny_llama import NAME, tiny_model

import local_finetune_api
from finetune_helpers import answers
from finetune_helpers.records import read_jsonl, write_json
from local_finetune_api import base_models, generation, store, worker
from local_finetune_api.chat import request_of

pytestmark = pytest.mark.treino
TOY = "llama-de-brinquedo"  # a pasta do modelo de todos os testes, que é o nome dele na API
REPORT_KEYS = (
    "engine model base_id model_id device seconds peak_gpu_gb peak_rss_gb trainable_parameters steps examples_seen "
    "tokens_seen tokens_per_second loss_curve heldout_curve heldout billed_tokens gpu_hours price_sku profile "
    "prompt_fingerprint trained_tokens hyperparameters"
)


async def train_here(scheduler, job: dict) -> int:
    """O treino de verdade, sem o processo: num fio deste."""
    outcome = await asyncio.to_thread(lambda: worker.train(worker.read(scheduler.root, job["id"], 0.0)))
    write_json(store.job_folder(scheduler.root, job["id"]) / "outcome.json", outcome)
    return 0


def answer_here():
    """A geração de verdade, sem o processo; um modelo base fica carregado, como nele."""
    loaded: dict = {}

    async def exchange(engine, batch: list) -> None:
        loop = asyncio.get_running_loop()

        def send(message: dict) -> None:
            if "row" in message:
                loop.call_soon_threadsafe(batch[message["row"]].deltas.put_nowait, message)

        await asyncio.to_thread(generation.answer, loaded, request_of(batch), send, threading.Event())

    return exchange


@pytest.fixture(scope="module")
def server(tmp_path_factory, toy_model):
    """A API com um modelo minúsculo; o motor é o que não precisa ser importado antes de todos."""
    profile = base_models.profile

    def plain(base, *rest):
        return profile(replace(base, changes={"engine": "transformers"}), *rest)

    doubles = {"work": train_here, "exchange": answer_here(), "models": (str(toy_model),)}
    with pytest.MonkeyPatch.context() as patch, serving(tmp_path_factory.mktemp("api"), **doubles) as running:
        patch.setattr(base_models, "profile", plain)
        yield running


@pytest.fixture(scope="module")
def client(server):
    return connect(server)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rodada")
    return chat_file(folder / "treino.jsonl", 12), chat_file(folder / "validacao.jsonl", 4, start=50)


@pytest.fixture(scope="module")
def job(client, files):
    """Um treino de duas épocas, com validação, até o fim."""
    sent = [client.files.create(file=path, purpose="fine-tune").id for path in files]
    chosen = {"n_epochs": 2, "batch_size": 6, "learning_rate_multiplier": 50.0}
    pair = {"training_file": sent[0], "validation_file": sent[1]}
    created = client.fine_tuning.jobs.create(model=TOY, hyperparameters=chosen, suffix="teste", **pair)
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
    assert (report["model"], report["steps"], report["examples_seen"], len(report["loss_curve"])) == (TOY, 4, 24, 4)
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


def test_billed_tokens_are_the_counted_and_the_seen_ones(job, files, toy_model, results):
    count = local_finetune_api.token_counter(str(toy_model))
    counts = count(read_jsonl(files[0]))
    assert len(counts) == 12 and min(counts) > 0
    assert job.trained_tokens == 2 * sum(counts) == json.loads(results["training_report.json"])["tokens_seen"]
    long = {"messages": [{"role": "user", "content": "oi"}, {"role": "assistant", "content": "rio " * 1100}]}
    assert count([long]) == [0]


def test_each_epoch_left_a_checkpoint_that_answers_with_its_own_identity(client, job):
    points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [point.step_number for point in points] == [4, 2]
    names = [TOY, job.fine_tuned_model, points[0].fine_tuned_model_checkpoint, points[1].fine_tuned_model_checkpoint]
    base, tuned, last, first = (ask(client, "rivers", model=name, max_tokens=6).system_fingerprint for name in names)
    assert base.startswith(f"{TOY}@") and tuned == last != first
    assert {answers.base_of(name) for name in (tuned, first)} == {base}


def test_base_and_tuned_answer_differently_from_one_process(client, job):
    titles = ("rivers", "harbours", "bees", "clocks", "winter light", "old roads")
    base, tuned, again = (
        [ask(client, title, model=name, max_tokens=24) for title in titles] for name in (TOY, job.fine_tuned_model, TOY)
    )
    texts = [[reply.choices[0].message.content for reply in replies] for replies in (base, tuned, again)]
    assert texts[0] == texts[2] != texts[1]
    assert {reply.system_fingerprint for reply in base} & {reply.system_fingerprint for reply in tuned} == set()


def test_a_conversation_over_the_context_is_refused_and_the_next_works(client):
    with pytest.raises(openai.BadRequestError, match="aceita 2048") as caught:
        ask(client, "rio " * 3000, model=TOY)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert ask(client, "rio", model=TOY, max_tokens=1).usage.completion_tokens == 1


@pytest.mark.falhas
def test_kill_minus_9_of_worker_and_server_continues_the_same_job_and_the_model_answers(tmp_path):
    """Os processos de verdade: o que treina, o que serve e o que responde."""
    folder, broken = tmp_path / "api", tmp_path / "quebrado"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(bytes(8) + b"{}")
    model = tiny_model(tmp_path / NAME)
    options = {"models": [str(model), f"quebrado={broken}"], "save_minutes": 1e-4}
    first = local_finetune_api.running(folder, **options)
    chosen = {"n_epochs": 4, "batch_size": 6}
    created = submit(connect(first), tmp_path, model=str(model), hyperparameters=chosen, seed=1)
    until(lambda: steps(folder, created.id) >= 2)
    os.kill(processes("worker", created.id)[0], signal.SIGKILL)
    until(lambda: resumed(folder, created.id) == 1)  # o mesmo servidor recomeça o processo que morreu
    until(lambda: steps(folder, created.id) >= 4)
    for pid in (first.process.pid, *processes("worker", created.id)):
        os.kill(pid, signal.SIGKILL)
    first.stop()
    with local_finetune_api.running(folder, **options) as second:
        client = connect(second)
        done = wait(client, created, "succeeded", "failed")
        assert done.status == "succeeded", done.error
        metrics = client.files.content(done.result_files[0]).text.splitlines()[1:]
        points = client.fine_tuning.jobs.checkpoints.list(created.id).data
        answers_in_pieces(client, done.fine_tuned_model)
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "oi", model="quebrado")
        assert caught.value.code == "generation_failed" and "/" not in caught.value.message
        cancelled = submit(client, tmp_path, model=NAME)
        wait(client, cancelled, "running")
        assert client.fine_tuning.jobs.cancel(cancelled.id).status == "cancelled"
        until(lambda: not processes("worker", cancelled.id))
    assert resumed(folder, created.id) == 2
    assert [row.split(",")[0] for row in metrics] == [str(step) for step in range(1, 9)]
    assert [point.step_number for point in points] == [8, 6, 4]
    assert [row["id"] for row in store.jobs(folder)] == [cancelled.id, created.id]


def steps(folder: Path, job_id: str) -> int:
    return max((row["data"].get("step", 0) for row in store.events(folder, job_id)), default=0)


def resumed(folder: Path, job_id: str) -> int:
    return sum("Continua do passo" in row["message"] for row in store.events(folder, job_id))


def answers_in_pieces(client, model: str) -> None:
    """Em fluxo, o mesmo texto que de uma vez, e os mesmos pesos."""
    whole = ask(client, "rivers", model=model, max_tokens=10)
    chunks = list(ask(client, "rivers", model=model, max_tokens=10, stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content and len(pieces) > 1
    assert chunks[-1].system_fingerprint == whole.system_fingerprint
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (10, "length")


def test_an_epoch_whose_checkpoint_the_crash_took_is_saved_on_return(tmp_path, toy_tuned):
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


def processes(*words: str) -> list[int]:
    """Processos da API local cuja linha de comando tem todas as palavras."""
    lines = {process.pid: " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])}
    return [pid for pid, line in lines.items() if all(word in line for word in ("local_finetune_api", *words))]
