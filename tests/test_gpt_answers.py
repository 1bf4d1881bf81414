"""Respostas pela API: na ordem, retomáveis, com espera nos limites; e o mesmo em lote."""

import json
import threading
import time

import pytest
from gpt_rows import examples
from gpt_server import completion, error, scripted

from finetune_helpers import answers, gpt, prompts
from finetune_helpers.errors import InputError, MachineError
from finetune_helpers.gpt import failures

QUESTIONS = [prompts.question(example) for example in examples(10)]
CHAT = "POST /chat/completions"


@pytest.fixture
def server():
    with scripted() as state:
        state.on_chat = lambda body: completion(body["messages"][-1]["content"].upper())
        yield state


@pytest.fixture
def client(server):
    return gpt.client(gpt.provider("openai", base_url=server.base_url), api_key="k")


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    made = []
    monkeypatch.setattr(failures.retrying, "__kwdefaults__", failures.retrying.__kwdefaults__ | {"sleep": made.append})
    return made


def expected() -> list[str]:
    return [prompts.chat_messages(asked)[-1]["content"].upper() for asked in QUESTIONS]


def test_answers_come_in_the_order_of_the_questions(server, client):
    server.on_chat = lambda body: (
        time.sleep(0.02 * (len(body["messages"][-1]["content"]) % 3))
        or completion(body["messages"][-1]["content"].upper())
    )
    given = gpt.answerer(client, "m", concurrency=5)(QUESTIONS)
    assert [answer.answer for answer in given] == expected()
    assert (given[0].tokens_in, given[0].tokens_out, given[0].finish_reason) == (7, 3, "stop")


def test_temperature_is_zero_and_the_limit_is_sent(server, client):
    gpt.answerer(client, "m", max_tokens=33)(QUESTIONS[:1])
    body = json.loads(server.bodies[-1][1])
    assert (body["temperature"], body["max_tokens"], body["messages"]) == (0, 33, prompts.chat_messages(QUESTIONS[0]))


def test_concurrency_is_bounded(server, client):
    lock, running, peak = threading.Lock(), [0], [0]

    def slow(body):
        with lock:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        time.sleep(0.03)
        with lock:
            running[0] -= 1
        return completion("x")

    server.on_chat = slow
    gpt.answerer(client, "m", concurrency=3)(QUESTIONS)
    assert peak[0] == 3


@pytest.mark.parametrize(
    "failure",
    [
        "cut",
        "garbage",
        error(500, "x"),
        error(429, "rate_limit_exceeded", retry_after="3"),
        (200, {"choices": []}),
        (200, "texto"),
    ],
)
def test_a_passing_failure_loses_and_doubles_nothing(server, client, tmp_path, failure):
    server.script(CHAT, failure, failure)
    rows = answers.answer_all(QUESTIONS, "gpt-base", gpt.answerer(client, "m"), tmp_path / "respostas.jsonl")
    assert sorted(row["answer"] for row in rows) == sorted(expected())


def test_an_interrupted_round_asks_only_for_what_is_missing(server, client, tmp_path):
    path = tmp_path / "respostas.jsonl"
    server.script(CHAT, *[None] * 4, error(401, "invalid_api_key"))
    with pytest.raises(MachineError):
        answers.answer_all(QUESTIONS, "gpt-base", gpt.answerer(client, "m", concurrency=1), path, batch_size=2)
    done = len(answers.read(path))
    server.requests.clear()
    answers.answer_all(QUESTIONS, "gpt-base", gpt.answerer(client, "m", concurrency=1), path, batch_size=2)
    assert (done, server.count(CHAT), len(answers.read(path))) == (4, 6, 10)


def finish_batch(server, drop: int = 0):
    """O serviço responde ao lote, fora de ordem."""
    (batch,) = server.batches.values()
    asked = [json.loads(line) for line in server.contents[batch["input_file_id"]].splitlines()]
    rows = [
        {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": server.on_chat(row["body"])}}
        for row in asked
    ]
    server.contents["file-out"] = "".join(json.dumps(row) + "\n" for row in reversed(rows[drop:])).encode()
    batch |= {"status": "completed", "output_file_id": "file-out", "completed_at": 21}


def test_batch_answers_are_joined_by_id_and_not_by_position(server, client, tmp_path):
    ask = gpt.batch_answerer(client, "m", tmp_path, sleep=lambda seconds: finish_batch(server))
    given = ask(QUESTIONS)
    assert [answer.answer for answer in given] == expected()
    assert given[0].seconds == 2.0


@pytest.mark.parametrize("where", ["nota", "conta"])
def test_a_batch_interrupted_while_waiting_is_found_and_not_paid_again(server, client, tmp_path, where):
    def killed(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gpt.batch_answerer(client, "m", tmp_path, sleep=killed)(QUESTIONS)
    if where == "conta":
        next(tmp_path.glob("lote-*.json")).unlink()
    finish_batch(server)
    assert len(gpt.batch_answerer(client, "m", tmp_path)(QUESTIONS)) == 10
    assert server.count("POST /batches") == 1


def test_a_lost_answer_to_the_batch_request_does_not_create_two(server, client, tmp_path):
    server.script("POST /batches", "lost")
    gpt.batch_answerer(client, "m", tmp_path, sleep=lambda seconds: finish_batch(server))(QUESTIONS)
    assert len(server.batches) == 1


def test_a_batch_with_missing_answers_is_an_instruction(server, client, tmp_path):
    ask = gpt.batch_answerer(client, "m", tmp_path, sleep=lambda seconds: finish_batch(server, drop=2))
    with pytest.raises(InputError, match="não respondeu a 2 de 10"):
        ask(QUESTIONS)


def test_a_failed_batch_is_an_instruction(server, client, tmp_path):
    def fail(seconds):
        next(iter(server.batches.values()))["status"] = "failed"

    with pytest.raises(InputError, match="terminou em failed"):
        gpt.batch_answerer(client, "m", tmp_path, sleep=fail)(QUESTIONS)
