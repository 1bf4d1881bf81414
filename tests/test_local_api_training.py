"""A API local treinando de verdade um modelo minúsculo: aprende, pausa, continua e sobrevive a kill -9."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest
from gpt_rows import chat_file, examples
from tiny_llama import NAME, tiny_model

from finetune_helpers import answers, gpt, local_api, prompts
from finetune_helpers.local_api import store

pytestmark = pytest.mark.treino
REPORT_KEYS = (
    "engine model device seconds peak_gpu_gb peak_rss_gb trainable_parameters steps examples_seen tokens_seen "
    "tokens_per_second loss_curve heldout_curve heldout billed_tokens gpu_hours price_sku profile adapter_sha256 "
    "prompt_fingerprint"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_model(tmp_path_factory.mktemp("modelo")))


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    with local_api.running(tmp_path_factory.mktemp("api"), models={NAME: model}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return gpt.client(gpt.provider("local", base_url=server.base_url), api_key=server.api_key)


@pytest.fixture(scope="module")
def job(server, client, tmp_path_factory):
    """Um treino de duas épocas, com validação, até o fim."""
    folder = tmp_path_factory.mktemp("rodada")
    made = gpt.find_or_create(
        client,
        folder,
        chat_file(folder / "treino.jsonl", 24),
        provider=gpt.provider("local", base_url=server.base_url),
        model=NAME,
        validation_file=chat_file(folder / "validacao.jsonl", 6, start=50),
        n_epochs=2,
        learning_rate_multiplier=20.0,
        suffix="teste",
    )
    return gpt.follow(client, made.id)


def test_training_lowers_the_loss_of_every_validation_line(client, job):
    ids = [example.item_id for example in examples(6, 50)]
    report = gpt.training_report(client, job, provider=gpt.provider("local"), item_ids=ids)
    assert [row["item_id"] for row in report["heldout"]] == ids
    assert all(row["tuned_loss"] < row["base_loss"] for row in report["heldout"])
    assert set(REPORT_KEYS.split()) <= report.keys()
    assert (report["steps"], report["examples_seen"], len(report["loss_curve"])) == (12, 48, 12)
    assert [point["step"] for point in report["heldout_curve"]] == [0, 6, 12]
    assert (report["billed_tokens"], report["price_sku"]) == (
        None,
        "cpu" if report["device"].startswith("CPU") else report["price_sku"],
    )
    assert json.dumps(report).count(str(Path.home())) == 0


def test_billed_tokens_are_the_tokens_seen(client, job):
    report = gpt.training_report(client, job, provider=gpt.provider("local"))
    assert job.trained_tokens == report["tokens_seen"]


def test_each_epoch_left_a_checkpoint_that_answers(client, job):
    points = gpt.checkpoints(client, job)
    assert [point["step"] for point in points] == [12, 6]
    given = ask(client, points[1]["model"])
    assert given.usage.completion_tokens > 0


def ask(client, model, **changes):
    messages = [{"role": "user", "content": "Tell me about rivers."}]
    return client.chat.completions.create(
        **({"model": model, "messages": messages, "temperature": 0, "max_tokens": 10} | changes)
    )


def test_base_and_tuned_answer_differently_from_one_process(client, job):
    base, tuned, again = (ask(client, name).choices[0].message.content for name in (NAME, job.fine_tuned_model, NAME))
    assert base == again != tuned


def test_the_limit_of_each_request_is_its_own(client, job):
    question = prompts.question(examples(1)[0])
    short, long = (gpt.answerer(client, job.fine_tuned_model, max_tokens=size)([question])[0] for size in (2, 9))
    assert (short.tokens_out, short.finish_reason) == (2, "length")
    assert long.tokens_out > 2


def test_streaming_gives_the_same_text_in_pieces(client, job):
    whole = ask(client, job.fine_tuned_model).choices[0].message.content
    pieces = [piece.choices[0].delta.content or "" for piece in ask(client, job.fine_tuned_model, stream=True)]
    assert "".join(pieces) == whole
    assert sum(1 for piece in pieces if piece) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_text_ends_the_answer_before_it(client, job, stream):
    whole = ask(client, job.fine_tuned_model).choices[0].message.content
    stop = whole[4:7]
    given = ask(client, job.fine_tuned_model, stop=[stop], stream=stream)
    text = "".join(p.choices[0].delta.content or "" for p in given) if stream else given.choices[0].message.content
    assert text == whole[: whole.index(stop)]


def test_a_seed_makes_sampling_repeat_and_another_seed_does_not(client):
    texts = [ask(client, NAME, temperature=1, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_conversation_over_the_context_is_refused_and_the_next_works(client):
    with pytest.raises(openai.BadRequestError, match="aceita 2048"):
        ask(client, NAME, messages=[{"role": "user", "content": "rio " * 3000}])
    assert ask(client, NAME).usage.completion_tokens > 0


def test_a_paused_job_continues_from_its_last_step(client, tmp_path):
    with open(chat_file(tmp_path / "treino.jsonl", 40), "rb") as file:
        sent = client.files.create(file=file, purpose="fine-tune")
    chosen = {"n_epochs": 2, "batch_size": 4}
    made = client.fine_tuning.jobs.create(model=NAME, training_file=sent.id, hyperparameters=chosen, seed=1)
    wait(lambda: steps(client, made.id))
    client.post(f"/fine_tuning/jobs/{made.id}/pause", cast_to=object)
    wait(lambda: any("pausado" in event.message for event in events(client, made.id)))
    assert client.fine_tuning.jobs.retrieve(made.id).status == "paused"
    client.post(f"/fine_tuning/jobs/{made.id}/resume", cast_to=object)
    gpt.follow(client, made.id)
    assert any("Continua do passo" in event.message for event in events(client, made.id))
    assert sorted(steps(client, made.id)) == list(range(1, 21))


def test_a_job_cancelled_as_it_starts_leaves_no_worker(client, server, tmp_path):
    with open(chat_file(tmp_path / "treino.jsonl"), "rb") as file:
        sent = client.files.create(file=file, purpose="fine-tune")
    made = client.fine_tuning.jobs.create(model=NAME, training_file=sent.id)
    wait(lambda: client.fine_tuning.jobs.retrieve(made.id).status == "running")
    assert client.fine_tuning.jobs.cancel(made.id).status == "cancelled"
    wait(lambda: not processes(made.id, ""), 20)
    assert client.fine_tuning.jobs.retrieve(made.id).status == "cancelled"


def events(client, job_id: str) -> list:
    return list(client.fine_tuning.jobs.list_events(job_id, limit=100))


def steps(client, job_id: str) -> list[int]:
    return [event.data["step"] for event in events(client, job_id) if event.type == "metrics"]


def wait(ready, seconds: float = 60) -> None:
    deadline = time.time() + seconds
    while not ready():
        assert time.time() < deadline, "demorou demais"
        time.sleep(0.05)


NOTEBOOK = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from gpt_rows import chat_file, examples
from finetune_helpers import answers, gpt, local_api, prompts
root = Path({root!r})
with local_api.running(root / "api", models={{{name!r}: {model!r}}}) as server:
    provider = gpt.provider("local", base_url=server.base_url)
    client = gpt.client(provider, api_key=server.api_key)
    job = gpt.find_or_create(client, root, root / "treino.jsonl", provider=provider, model={name!r}, n_epochs=2)
    job = gpt.follow(client, job.id)
    questions = [prompts.question(example) for example in examples(6)]
    for system, name in (("gpt-base", {name!r}), ("gpt-tuned", job.fine_tuned_model)):
        ask = gpt.answerer(client, name, max_tokens=4)
        answers.answer_all(questions, system, ask, root / "respostas.jsonl", batch_size=2)
"""


@pytest.mark.falhas
def test_kill_minus_9_anywhere_creates_no_job_twice_and_doubles_no_answer(tmp_path, model):
    chance = random.Random(20261121)
    chat_file(tmp_path / "treino.jsonl", 24)
    code = NOTEBOOK.format(tests=str(Path(__file__).parent), root=str(tmp_path), name=NAME, model=model)
    start = lambda: subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)  # noqa: E731
    for victim in ("local_api.worker", "local_api --port", ""):
        notebook = start()
        time.sleep(chance.uniform(2, 12))
        for pid in processes(victim, tmp_path) if victim else []:
            os.kill(pid, signal.SIGKILL)
        if victim != "local_api.worker":
            time.sleep(chance.uniform(0, 2))
            notebook.kill()
        else:
            notebook.wait(120)
        notebook.communicate()
    last = start()
    error = last.communicate(timeout=120)[1]
    assert last.returncode == 0, error.decode()[-2000:]
    assert [job["status"] for job in store.jobs(tmp_path / "api")] == ["succeeded"]
    rows = answers.read(tmp_path / "respostas.jsonl")
    assert len(rows) == len({(row["system"], row["item_id"]) for row in rows}) == 12


def processes(words: str, folder: Path | str) -> list[int]:
    """Processos deste projeto cuja linha de comando tem ``words`` e a pasta de teste."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if words in command and str(folder) in command and "finetune_helpers" in command:
            found.append(int(entry.parent.name))
    return found
