"""A fila de respostas: ordem, lotes, cancelamento, limites e convivência com o treino."""

import asyncio
import concurrent.futures
import threading

import openai
import pytest
from gpt_rows import chat_file
from hypothesis import given, settings
from hypothesis import strategies as st
from local_api_server import echo, never, serving

from finetune_helpers.local_api.api_errors import ApiError
from finetune_helpers.local_api.engine import Chat, Engine
from finetune_helpers.local_api.settings import Settings

MODEL = "smollm2-135m-instruct"


def connect(running) -> openai.OpenAI:
    return openai.OpenAI(base_url=running.base_url, api_key=running.api_key, max_retries=0)


def ask(client, text: str, **changes):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(**({"model": MODEL, "messages": messages, "temperature": 0} | changes))


def test_fifty_at_once_lose_nothing_and_each_gets_its_own(tmp_path):
    sizes = []

    async def slow(engine, batch):
        sizes.append(len(batch))
        await asyncio.sleep(0.02)
        await echo(engine, batch)

    with serving(tmp_path, exchange=slow) as running:
        client = connect(running)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            given = list(pool.map(lambda n: ask(client, f"pedido {n}").choices[0].message.content, range(50)))
    assert given == [f"pedido {n}" for n in range(50)]
    assert max(sizes) > 8


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, 1]), st.booleans()), max_size=40))
def test_batches_keep_the_order_of_arrival_and_never_mix_models(wanted):
    engine = Engine(Settings(None, "k", chat_batch=4))
    chats = [
        Chat((model, "", 1.0, 1.0, seed), {"number": n}, cancelled=gone) for n, (model, seed, gone) in enumerate(wanted)
    ]
    engine.waiting.extend(chats)
    batches = []
    while batch := engine._next_batch():
        batches.append(batch)
    served = [chat for batch in batches for chat in batch]
    assert served == [chat for chat in chats if not chat.cancelled]
    for batch in batches:
        assert len({chat.key for chat in batch}) == 1
        assert len(batch) <= (1 if batch[0].key[-1] is not None else 4)


def test_a_full_queue_says_when_to_come_back():
    engine = Engine(Settings(None, "k", max_chats_waiting=1))
    engine.submit(Chat(("a", "", 0, 1, None), {}))
    with pytest.raises(ApiError) as caught:
        engine.submit(Chat(("a", "", 0, 1, None), {}))
    assert (caught.value.status_code, caught.value.headers["Retry-After"]) == (429, "2")


def test_while_a_job_trains_chats_are_told_to_wait(tmp_path):
    with serving(tmp_path / "api", work=never) as running:
        client = connect(running)
        with open(chat_file(tmp_path / "treino.jsonl"), "rb") as file:
            sent = client.files.create(file=file, purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=sent.id)
        while client.fine_tuning.jobs.retrieve(job.id).status != "running":
            pass
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "oi")
        assert (caught.value.status_code, caught.value.code) == (503, "training_in_progress")
        assert caught.value.response.headers["retry-after"]
        client.fine_tuning.jobs.cancel(job.id)
        while True:
            try:
                assert ask(client, "oi").choices[0].message.content == "oi"
                break
            except openai.InternalServerError:
                continue


def test_accepted_chats_finish_before_a_job_starts(tmp_path):
    order, gate = [], threading.Event()

    async def slow(engine, batch):
        gate.set()
        await asyncio.sleep(0.5)
        order.append("chat")
        await echo(engine, batch)

    async def work(scheduler, job):
        order.append("treino")
        return 1

    with serving(tmp_path / "api", exchange=slow, work=work) as running:
        client = connect(running)
        with open(chat_file(tmp_path / "treino.jsonl"), "rb") as file:
            sent = client.files.create(file=file, purpose="fine-tune")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, client, "oi")
            gate.wait(5)
            client.fine_tuning.jobs.create(model=MODEL, training_file=sent.id)
            assert answer.result().choices[0].message.content == "oi"
    assert order[0] == "chat"


def test_a_dead_generator_is_an_error_and_the_next_request_works(tmp_path):
    calls = []

    async def dies_once(engine, batch):
        calls.append(1)
        if len(calls) == 1:
            raise EOFError
        await echo(engine, batch)

    with serving(tmp_path, exchange=dies_once) as running:
        with pytest.raises(openai.InternalServerError):
            ask(connect(running), "oi")
        assert ask(connect(running), "oi").choices[0].message.content == "oi"


def test_a_conversation_longer_than_the_model_is_refused_by_name(tmp_path):
    async def too_long(engine, batch):
        for chat in batch:
            chat.deltas.put_nowait({"too_long": 9000, "limit": 8192})

    with serving(tmp_path, exchange=too_long) as running, pytest.raises(openai.BadRequestError) as caught:
        ask(connect(running), "oi")
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_a_failure_in_the_middle_of_a_stream_reaches_the_client(tmp_path):
    async def breaks(engine, batch):
        batch[0].deltas.put_nowait({"delta": "começo"})
        raise EOFError

    with serving(tmp_path, exchange=breaks) as running, pytest.raises(openai.APIError, match="Tente de novo"):
        list(ask(connect(running), "oi", stream=True))


def test_messages_in_parts_and_the_developer_role_are_understood(tmp_path):
    seen = []

    async def keep(engine, batch):
        seen.extend(batch[0].row["messages"])
        await echo(engine, batch)

    parts = [{"type": "text", "text": "um "}, {"type": "text", "text": "dois"}]
    messages = [{"role": "developer", "content": "seja breve"}, {"role": "user", "content": parts}]
    with serving(tmp_path, exchange=keep) as running:
        ask(connect(running), "", messages=messages)
    assert seen == [{"role": "system", "content": "seja breve"}, {"role": "user", "content": "um dois"}]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"top_p": 0}, "top_p"),
    ],
)
def test_a_bad_chat_request_names_the_parameter(tmp_path, changes, param):
    with serving(tmp_path) as running, pytest.raises(openai.BadRequestError) as caught:
        ask(connect(running), "oi", **changes)
    assert caught.value.param.startswith(param)
