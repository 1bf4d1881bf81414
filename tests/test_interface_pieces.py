"""A página sem navegador: a fila, a pergunta, as respostas aos poucos e o que a rodada tem para responder."""

import json
import re
import subprocess
import sys
import threading
from itertools import islice
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interface_systems import ROOT, dying, echo, patient, published, script, together
from local_api_server import serving

from finetune_helpers import interface, prompts
from finetune_helpers.errors import InputError, MachineError
from finetune_helpers.interface import answering, hosted, local_model, systems
from finetune_helpers.interface.sources import Source
from finetune_helpers.interface.turns import Turn, Visits

ASKED = answering.question("The Clockmaker", answering.TITLE)


def last(system, **changes):
    """O fim de uma resposta."""
    *_, ended = answering.answer(system, ASKED, changes.get("max_tokens", 32), changes.get("cancelled", Event()))
    return ended


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 3))
def test_the_turn_serves_in_order_and_never_more_than_its_width(moves, width):
    turn, waiting = Turn(width, room=50), []
    for enters in moves:
        if enters:
            waiting.append(turn.enter())
        elif waiting:
            turn.leave(waiting.pop(0))
        assert [turn.ahead(ticket) for ticket in waiting] == [max(0, at + 1 - width) for at in range(len(waiting))]


def test_a_full_turn_refuses_and_a_free_place_accepts():
    turn = Turn(room=2)
    first, _ = turn.enter(), turn.enter()
    with pytest.raises(InputError, match="fila está cheia: 2 pessoas"):
        turn.enter()
    turn.leave(first)
    assert turn.ahead(turn.enter()) == 1


def test_a_new_answer_stops_the_old_one_of_the_same_visitor_only():
    visits = Visits()
    mine, other = visits.start("eu"), visits.start("outra")
    newer = visits.start("eu")
    assert (mine.is_set(), other.is_set(), newer.is_set()) == (True, False, False)
    visits.stop_all()
    assert other.is_set() and newer.is_set()


@pytest.mark.parametrize(("text", "message"), [("", "Escreva"), (" \n", "Escreva"), ("a" * 1001, "1.001 caracteres")])
def test_a_question_has_limits(text, message):
    with pytest.raises(InputError, match=message):
        answering.question(text, answering.FREE)


def test_a_title_carries_the_instruction_of_the_training_and_a_free_question_does_not():
    assert prompts.alpaca_prompt(ASKED) == prompts.alpaca_prompt(
        prompts.Question("outro", prompts.INSTRUCTION, "The Clockmaker")
    )
    free = prompts.chat_messages(answering.question("What is a\ud83d lighthouse?", answering.FREE))
    assert free == [{"role": "user", "content": "What is a lighthouse?"}]


def test_an_answer_arrives_in_pieces_and_says_when_it_is_over():
    states = [step.state for step in answering.answer(script("a", echo), ASKED, 32, Event())]
    assert states == ["waiting", "writing", "done"]
    assert last(script("a", echo)).text == "The Clockmaker"


def test_a_model_that_dies_keeps_what_it_wrote_and_says_nothing_of_the_machine(caplog):
    ended = last(script("a", dying))
    assert (ended.text, ended.state) == ("The beginning of ", "failed")
    assert "já tinha escrito" in ended.status
    assert not any(secret in ended.status for secret in (str(ROOT), "RuntimeError", "CUDA", "segredo"))
    assert "CUDA" in caplog.text and str(ROOT) not in caplog.text


def test_who_waits_hears_how_many_are_ahead_and_can_give_up():
    turn = Turn()
    slow, cancelled = script("a", patient, turn), Event()
    running = answering.answer(slow, ASKED, 32, cancelled)
    assert next(islice(running, 2, None)).state == "writing"
    waiting_stop = Event()
    waiting = answering.answer(slow, ASKED, 32, waiting_stop)
    assert next(waiting).status == "Na fila: 1 pessoa à frente."
    waiting_stop.set()
    assert [step.state for step in waiting][-1] == "stopped"
    running.close()
    assert last(script("b", echo, turn)).state == "done"


def test_the_length_asked_is_bounded_whatever_the_browser_sends():
    asked = []

    def noting(question, max_tokens, cancelled):
        asked.append(max_tokens)
        yield "ok"

    for tokens in (-5, 10**9, 64.0):
        last(script("a", noting), max_tokens=tokens)
    assert asked == [1, answering.LONGEST_ANSWER, 64]


@pytest.mark.parametrize("tuned", [True, False])
def test_the_streamed_answer_is_the_answer_of_the_run(toy_tuned, tuned):
    from finetune_helpers.training import inference

    expected = inference.answerer(*toy_tuned, "brinquedo", max_new_tokens=24, adapter=tuned)([ASKED])[0].answer
    ended = last(script("a", local_model.stream(lambda: toy_tuned, tuned)), max_tokens=24)
    assert ended.state == "done" and ended.text.strip() == expected


def test_base_and_tuned_come_from_one_model_and_differ(toy_tuned):
    base, tuned = (last(script("a", local_model.stream(lambda: toy_tuned, on)), max_tokens=24) for on in (False, True))
    assert base.text != tuned.text


def test_stopping_ends_the_generation_itself(toy_tuned):
    before, cancelled = threading.active_count(), Event()
    steps = answering.answer(script("a", local_model.stream(lambda: toy_tuned, True)), ASKED, 512, cancelled)
    next(step for step in steps if step.text)
    assert threading.active_count() > before
    cancelled.set()
    ended = [*steps][-1]
    assert ended.state == "stopped" and threading.active_count() == before
    assert len(toy_tuned[1](ended.text)["input_ids"]) < 400


def test_a_question_longer_than_the_model_reads_is_refused(toy_tuned):
    long = answering.question("é" * 1000, answering.FREE)
    model, tokenizer = toy_tuned
    model.config.max_position_embeddings, kept = 64, model.config.max_position_embeddings
    *_, ended = answering.answer(script("a", local_model.stream(lambda: (model, tokenizer), True)), long, 8, Event())
    model.config.max_position_embeddings = kept
    assert ended.state == "failed" and "não sobra lugar" in ended.status


def test_a_run_without_weights_says_which_notebook_makes_them(tmp_path):
    found = systems.find(published(tmp_path))
    reasons = {one.name: one.reason for one in found.every}
    assert list(reasons) == ["llama3-base", "llama3-tuned", "gpt-base", "gpt-tuned"] and not found.ready
    assert "caderno 02" in reasons["llama3-base"] and "caderno 03" in reasons["gpt-tuned"]


def hosted_run(tmp_path, provider="openai"):
    """A pasta de uma rodada cujo GPT foi treinado num provedor."""
    folder = published(tmp_path) / "gpt"
    job = json.loads((folder / "trabalho.json").read_text())
    (folder / "trabalho.json").write_text(json.dumps(job | {"request": job["request"] | {"provider": provider}}))
    return folder.parent


def test_a_paid_provider_needs_a_key_and_leave_to_spend(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    run = hosted_run(tmp_path)
    assert "PERGUNTAS_PAGAS" in systems.find(run, secret=lambda name: "chave").every[2].reason
    assert "OPENAI_API_KEY" in systems.find(run, paid_questions=5).every[2].reason
    ready = systems.find(run, secret=lambda name: "chave-secreta", paid_questions=5).ready
    assert [one.name for one in ready] == ["gpt-base", "gpt-tuned"]
    assert "até 5 perguntas" in ready[0].detail and "chave-secreta" not in repr(ready)


def test_an_arm_that_never_answered_says_so(tmp_path):
    run = hosted_run(tmp_path)
    (run / "gpt" / "respostas.jsonl").unlink()
    found = systems.find(run, secret=lambda name: "chave", paid_questions=5)
    assert "Execute o caderno 03" in found.every[3].reason


def served(run, server):
    """O sistema gpt-base da rodada, com a API local de teste no lugar do provedor."""
    return systems.find(run, address=server.base_url, secret=lambda name: server.api_key, paid_questions=2).named(
        "gpt-base"
    )


def test_an_api_answers_in_pieces_until_the_paid_questions_end(tmp_path):
    with serving(tmp_path / "api") as server:
        system = served(hosted_run(tmp_path, "nebius"), server)
        steps = list(answering.answer(system, ASKED, 32, Event()))
        assert [step.state for step in steps].count("writing") > 3 and steps[-1].text.endswith("The Clockmaker")
        assert last(system).state == "done"
        assert "2 perguntas pagas desta página acabaram" in last(system).status


async def falling(engine, batch):
    """Um gerador que cai no meio."""
    batch[0].deltas.put_nowait({"delta": "The begin"})
    raise OSError("caiu")


def test_an_api_that_fails_midway_keeps_what_came(tmp_path):
    with serving(tmp_path / "api", exchange=falling) as server:
        ended = last(served(hosted_run(tmp_path, "nebius"), server))
    assert (ended.text, ended.state) == ("The begin", "failed") and server.api_key not in ended.status


async def dripping(engine, batch):
    """Um gerador que só acaba quando ninguém mais o ouve."""
    import asyncio

    while not batch[0].cancelled:
        batch[0].deltas.put_nowait({"delta": "word "})
        await asyncio.sleep(0.02)


def test_stopping_hangs_up_on_the_api(tmp_path):
    with serving(tmp_path / "api", exchange=dripping) as server:
        cancelled = Event()
        steps = answering.answer(served(hosted_run(tmp_path, "nebius"), server), ASKED, 32, cancelled)
        next(step for step in steps if step.text)
        cancelled.set()
        assert [*steps][-1].state == "stopped"


def test_an_answer_nobody_hears_is_told_to_stop_once(tmp_path):
    import asyncio

    from finetune_helpers.local_api.engine import Chat, Engine
    from finetune_helpers.local_api.settings import Settings

    class Process:
        """O processo gerador: escreve três trechos e o fim; guarda o que lhe mandam."""

        returncode = None

        def __init__(self):
            self.stdin, self.stdout, self.heard = self, asyncio.StreamReader(), []
            for message in [{"row": 0, "delta": "a"}] * 3 + [{"row": 0, "text": "aaa"}, {"done": True}]:
                self.stdout.feed_data(json.dumps(message).encode() + b"\n")

        def write(self, line):
            self.heard.append(json.loads(line))

        async def drain(self):
            pass

    async def talk(cancelled):
        engine, chat = Engine(Settings(tmp_path, "x" * 16)), Chat(("m", "", 0.0, 1.0, None), {}, cancelled=cancelled)
        engine._process = Process()
        await engine._exchange([chat])
        return [message for message in engine._process.heard if "stop" in message]

    assert asyncio.run(talk(cancelled=False)) == []
    assert asyncio.run(talk(cancelled=True)) == [{"stop": True}]


@pytest.mark.treino
def test_the_generator_of_the_local_api_stops_when_told(toy_model):
    from finetune_helpers.local_api.process_environment import environment

    row = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1500, "stop": [], "stream": True}
    request = {"base": "toy", "adapter": "", "temperature": 0.0, "top_p": 1.0, "seed": None, "rows": [row]}
    command = [sys.executable, "-m", "finetune_helpers.local_api.generation"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        process.stdin.write(json.dumps(request | {"local_models": [["toy", str(toy_model)]]}) + "\n")
        process.stdin.flush()
        assert "delta" in process.stdout.readline()
        process.stdin.write('{"stop": true}\n')
        process.stdin.close()
        ended = [json.loads(line) for line in process.stdout]
    assert ended[-1] == {"done": True} and ended[-2]["tokens_out"] < 1400


def test_the_key_is_not_shown_by_anything_the_page_prints(tmp_path):
    provider, client = hosted.door(
        tmp_path, {"request": {"provider": "nebius"}}, together().closing, "", lambda name: "chave-secreta", 1
    )
    assert "chave-secreta" not in repr(provider) + repr(client)


def source(content):
    return Source("id", "Título", content, 0.5)


def test_the_copied_words_are_marked_and_nothing_is_lost():
    from finetune_helpers.interface.tab_ask import highlighted

    text = "It says the quick brown fox jumps over them. The end of the story comes soon & fast"
    pieces = highlighted(text, [source("the quick brown fox jumps"), source("the end of the story")])
    assert "".join(part for part, _ in pieces) == text
    assert [part for part, label in pieces if label] == ["the quick brown fox jumps", "The end of the story"]
    assert highlighted("nada em comum aqui", [source("outra coisa")]) == [("nada em comum aqui", None)]


def test_the_sides_are_drawn_and_only_known_pairs_compete():
    from finetune_helpers.interface.tab_compare import DRAWN, drawn

    ready = [script(name, echo) for name in ("a", "b", "c")]
    orders = {tuple(one.name for one in drawn(ready, "a|b")) for _ in range(60)}
    assert orders == {("a", "b"), ("b", "a")}
    assert len({frozenset(one.name for one in drawn(ready, DRAWN)) for _ in range(200)}) == 3
    for wrong in ("a|x", "a", "a|a", "", None):
        with pytest.raises(InputError, match="par da lista"):
            drawn(ready, wrong)


def test_a_run_that_does_not_exist_ends_in_one_message(tmp_path):
    command = [sys.executable, "-m", "finetune_helpers.interface", "inexistente", "--pasta", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("Erro: A rodada inexistente não existe")
    assert "Traceback" not in done.stderr


def test_the_command_opens_the_page_of_a_folder_and_closes_it_by_itself(tmp_path, capsys):
    import urllib.request

    from finetune_helpers.interface.__main__ import main

    run = tmp_path / "resultados" / "vazia"
    run.mkdir(parents=True)
    assert main(["vazia", "--pasta", str(tmp_path), "--segundos", "0.5"]) == 0
    address = re.fullmatch(r"Página em (http://127\.0\.0\.1:\d+/)\n", capsys.readouterr().out)[1]
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=2)


def test_a_page_in_use_of_the_port_says_so(tmp_path):
    import socket

    run = tmp_path / "resultados" / "vazia"
    run.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(MachineError, match="ocupada"):
        interface.open_page(run, systems=together(), port=taken.getsockname()[1], inline=False)
