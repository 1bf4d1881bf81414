"""Respostas pela API: na ordem, retomáveis, com espera nos limites e com o nome de quem respondeu."""

import json
import threading

import pytest
from gpt_rows import examples
from gpt_server import caller, completion, error
from openai.types.chat import ChatCompletion

from finetune_helpers import answers, gpt, prompts
from finetune_helpers.errors import MachineError, RunMismatchError
from finetune_helpers.gpt import chat

QUESTIONS = [prompts.question(example) for example in examples(10)]
CHAT = "POST /chat/completions"


@pytest.fixture
def server(service):
    service.reset().on_chat = lambda body: completion(body["messages"][-1]["content"].upper())
    return service


@pytest.fixture
def client(server):
    return caller(server.base_url)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """As esperas entre repetições não dormem."""
    monkeypatch.setattr(chat.time, "sleep", lambda seconds: None)


def expected() -> list[str]:
    return [prompts.chat_messages(asked)[-1]["content"].upper() for asked in QUESTIONS]


def test_answers_come_in_the_order_of_the_questions_greedy_and_limited(server, client):
    first = threading.Event()

    def last_one_first(body):
        text = body["messages"][-1]["content"].upper()
        first.set() if text == expected()[1] else first.wait(60)
        return completion(text)

    server.on_chat = lambda body: completion("pronto") if body["max_tokens"] == 1 else last_one_first(body)
    replies = gpt.answerer(client, "m", concurrency=5, max_tokens=33)(QUESTIONS)
    assert [answer.answer for answer in replies] == expected()
    sent = [json.loads(raw) for _, raw, _ in server.bodies[1:]]
    assert {(body["temperature"], body["max_tokens"]) for body in sent} == {(0, 33)}
    assert (replies[0].tokens_in, replies[0].tokens_out, replies[0].finish_reason) == (7, 3, "stop")


def test_concurrency_is_bounded_and_used(server, client):
    meeting, running, peak = threading.Barrier(3, timeout=60), [], []

    def together(body):
        running.append(body)
        meeting.wait()
        peak.append(len(running))
        meeting.wait()
        running.remove(body)
        return completion("x")

    server.on_chat = lambda body: completion("pronto") if body["max_tokens"] == 1 else together(body)
    gpt.answerer(client, "m", concurrency=3)(QUESTIONS[:9])
    assert set(peak) == {3}


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
    assert sorted(row.answer for row in rows) == sorted(expected())


def test_an_interrupted_round_asks_only_for_what_is_missing(server, client, tmp_path):
    path = tmp_path / "respostas.jsonl"
    server.script(CHAT, *[None] * 5, error(401, "invalid_api_key"))  # o primeiro pedido carrega o modelo
    with pytest.raises(MachineError):
        answers.answer_all(QUESTIONS, "gpt-base", gpt.answerer(client, "m", concurrency=1), path, batch_size=2)
    done = len(answers.read(path))
    server.requests.clear()
    answers.answer_all(QUESTIONS, "gpt-base", gpt.answerer(client, "m", concurrency=1), path, batch_size=2)
    assert (done, server.count(CHAT), len(answers.read(path))) == (4, 1 + 6, 10)


@pytest.mark.parametrize(
    ("model", "served", "fingerprint", "base", "expected"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "fp_1", "", "gpt-4o-mini@2024-07-18"),
        ("ft:gpt-4o-mini-2024-07-18:org::id", "outro", "fp_2", "gpt-4o-mini", "gpt-4o-mini@2024-07-18+"),
        ("implantado", "x", None, "gpt-4.1-mini-2025-04-14", "gpt-4.1-mini@2025-04-14+"),
        ("meta/Llama", "meta/Llama", "", "", "meta/Llama@sem-revisão"),
        ("ft:x", "ft:x", "SmolLM2@abc+def", "SmolLM2", "SmolLM2@abc+def"),
    ],
)
def test_each_answer_says_which_weights_wrote_it(model, served, fingerprint, base, expected):
    reply = ChatCompletion.model_validate(completion("x", served, fingerprint))
    identity = chat.read(reply, model, base).model_id
    adapter = identity.removeprefix(expected)
    assert identity.startswith(expected) and len(adapter) == (12 if expected.endswith("+") else 0)
    assert answers.base_of(identity) == expected.partition("+")[0]


def test_two_tuned_models_of_one_base_are_two_models_with_one_base():
    first, second = (chat.model_id(f"ft:gpt-4o-mini-2024-07-18:o::{name}") for name in ("a", "b"))
    assert first != second and answers.base_of(first) == answers.base_of(second)


def test_answers_of_another_base_are_refused(server, client, tmp_path):
    path = tmp_path / "respostas.jsonl"
    server.on_chat = lambda body: completion("x", "gpt-4o-mini-2024-07-18")
    answers.answer_all(QUESTIONS[:1], "gpt-base", gpt.answerer(client, "gpt-4o-mini"), path)
    server.on_chat = lambda body: completion("x", "ft:gpt-4o-mini-2024-07-18:o::a")
    answers.answer_all(QUESTIONS[:1], "gpt-tuned", gpt.answerer(client, "ft:gpt-4o-mini-2024-07-18:o::a"), path)
    server.on_chat = lambda body: completion("x", "gpt-4.1-2025-04-14")
    with pytest.raises(RunMismatchError, match=r"gpt-4\.1@2025-04-14"):
        answers.answer_all(QUESTIONS[:2], "gpt-base", gpt.answerer(client, "gpt-4.1"), path)


@pytest.mark.parametrize(("loopback", "sent"), [(chat.LOOPBACK, [1, 256, 256, 256, 256]), ((), [256] * 4)])
def test_only_the_local_api_loads_the_model_before_the_first_answer_and_only_once(
    server, client, monkeypatch, loopback, sent
):
    monkeypatch.setattr(chat, "LOOPBACK", loopback)
    ask = gpt.answerer(client, "m")
    ask(QUESTIONS[:2])
    ask(QUESTIONS[2:4])
    assert [json.loads(raw)["max_tokens"] for _, raw, _ in server.bodies] == sent


def test_pieces_of_an_answer_arrive_in_order(server, client):
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    texts = [{"role": "assistant", "content": ""}, {"content": "Uma "}, {"content": "frase"}, {}]
    lines = [json.dumps(chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in texts]
    server.on_chat = lambda body: "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
    assert list(chat.stream(client, "m", QUESTIONS[0], 9)) == ["Uma ", "frase"]
    body = json.loads(server.bodies[-1][1])
    assert (body["stream"], body["max_tokens"]) == (True, 9)


def test_a_refused_stream_is_an_instruction(server, client):
    server.script(CHAT, error(401, "invalid_api_key"))
    with pytest.raises(MachineError, match="chave"):
        list(chat.stream(client, "m", QUESTIONS[0], 9))
