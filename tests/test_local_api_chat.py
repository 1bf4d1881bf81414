"""A fila de respostas: ordem, lotes, quem desiste, limites e convivência com o treino."""

import asyncio
import concurrent.futures
import http.client
import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_api_server import KEY, MODEL, ask, connect, echo, never, serving, submit, until, wait

from local_finetune_api import Settings
from local_finetune_api.chat import Chat, Engine
from local_finetune_api.schemas import ApiError


def test_fifty_at_once_lose_nothing_and_each_gets_its_own(tmp_path):
    sizes = []

    async def slow(engine, batch):
        while not sizes and len(batch) + len(engine.waiting) < 50:
            await asyncio.sleep(0.01)
        sizes.append(len(batch))
        await echo(engine, batch)

    with serving(tmp_path, exchange=slow) as running, concurrent.futures.ThreadPoolExecutor(50) as pool:
        client = connect(running)
        replies = list(pool.map(lambda n: ask(client, f"pedido {n}").choices[0].message.content, range(50)))
    assert replies == [f"pedido {n}" for n in range(50)]
    assert (sum(sizes), max(sizes), len(sizes) <= 5) == (50, 16, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.booleans()), max_size=40))
def test_batches_keep_the_order_of_arrival_and_never_mix_models(wanted):
    engine = Engine(Settings(Path("nunca-usada"), KEY, chat_batch=4))
    chats = [Chat((model, "", 1.0, 1.0, False), {"n": n}, cancelled=gone) for n, (model, gone) in enumerate(wanted)]
    engine.waiting.extend(chats)
    batches = []
    while batch := engine._next_batch():
        batches.append(batch)
    assert [chat for batch in batches for chat in batch] == [chat for chat in chats if not chat.cancelled]
    assert all(len({chat.key for chat in batch}) == 1 and len(batch) <= 4 for batch in batches)


def test_a_full_queue_says_when_to_come_back():
    engine = Engine(Settings(Path("nunca-usada"), KEY, max_chats_waiting=1))
    engine.submit(Chat(("a", "", 0, 1, False), {}))
    with pytest.raises(ApiError) as caught:
        engine.submit(Chat(("a", "", 0, 1, False), {}))
    assert (caught.value.status_code, caught.value.headers["Retry-After"]) == (429, "2")


def test_while_a_job_trains_chats_are_told_to_wait(tmp_path):
    with serving(tmp_path / "api", work=never) as running:
        client = connect(running)
        job = submit(client, tmp_path)
        wait(client, job, "running")
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "oi")
        assert (caught.value.status_code, caught.value.code) == (503, "training_in_progress")
        assert caught.value.response.headers["retry-after"]
        client.fine_tuning.jobs.cancel(job.id)
        until(lambda: not running.app.state.engine.training)
        assert ask(client, "oi").choices[0].message.content == "oi"


def test_accepted_chats_finish_before_a_job_starts(tmp_path):
    order, entered = [], threading.Event()

    async def slow(engine, batch):
        entered.set()
        while not engine.training:
            await asyncio.sleep(0.01)
        order.append("resposta")
        await echo(engine, batch)

    async def work(scheduler, job):
        order.append("treino")
        return 1

    with serving(tmp_path / "api", exchange=slow, work=work) as running:
        client = connect(running)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reply = pool.submit(ask, client, "oi")
            assert entered.wait(300)
            submit(client, tmp_path)
            assert reply.result().choices[0].message.content == "oi"
    assert order[0] == "resposta"


@pytest.mark.parametrize("stream", [False, True])
def test_who_gives_up_leaves_the_queue_and_stops_what_is_being_written(tmp_path, stream):
    served, gate = [], threading.Event()

    async def first_is_abandoned(engine, batch):
        served.extend(chat.row["messages"][-1]["content"] for chat in batch)
        gate.set()
        if len(served) == 1:
            while not (batch[0].cancelled and engine.waiting[0].cancelled):  # o "três" pode já estar na fila
                await asyncio.sleep(0.01)
        await echo(engine, batch)

    with serving(tmp_path, exchange=first_is_abandoned) as running:
        links = [send(running, "um", stream)]
        assert gate.wait(300)  # só depois de "um" sair da fila, quem está nela é "dois"
        links.append(send(running, "dois", stream))
        until(lambda: len(running.app.state.engine.waiting) == 1)
        for link in links:
            link.sock.shutdown(2)
            link.close()
        assert ask(connect(running), "três").choices[0].message.content == "três"
    assert served == ["um", "três"]


def send(running, text: str, stream: bool) -> http.client.HTTPConnection:
    """Um pedido de resposta que ninguém fica para ler."""
    link = http.client.HTTPConnection(urlsplit(running.base_url).netloc, timeout=300)
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": stream})
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    link.request("POST", "/v1/chat/completions", body, headers)
    return link


def test_a_dead_generator_is_an_error_and_the_next_request_works(tmp_path):
    calls = []

    async def dies_once(engine, batch):
        calls.append(1)
        if len(calls) < 3:
            batch[0].deltas.put_nowait({"delta": "começo"})
            raise EOFError
        await echo(engine, batch)

    with serving(tmp_path, exchange=dies_once) as running:
        with pytest.raises(openai.InternalServerError):
            ask(connect(running), "oi")
        with pytest.raises(openai.APIError, match="Tente de novo"):
            list(ask(connect(running), "oi", stream=True))
        assert ask(connect(running), "oi").choices[0].message.content == "oi"


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
