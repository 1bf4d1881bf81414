"""O processo que responde, pelo protocolo dele: um lote por linha na entrada, um JSON por linha na saída."""

import json
import subprocess
import sys

import pytest
from tiny_llama import NAME, tiny_model

from finetune_helpers.local_api.process_environment import environment

pytestmark = pytest.mark.treino
LONG = "palavra " * 3000


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """O que o processo escreve, do começo ao fim, para quatro pedidos; e como ele termina."""
    folder = str(tiny_model(tmp_path_factory.mktemp("modelo")))

    def request(*rows, base=NAME, temperature=0.0, seed=None):
        sampling = {"temperature": temperature, "top_p": 0.9, "seed": seed}
        return {"base": base, "adapter": "", "local_models": [[NAME, folder]], "rows": list(rows), **sampling}

    def row(text, stream=False):
        return {"messages": [{"role": "user", "content": text}], "max_tokens": 6, "stop": [], "stream": stream}

    asked = [
        request(row("Olá"), row(LONG), row("Olá", stream=True)),
        request(row("Olá"), temperature=1.0, seed=3),
        request(row("Olá"), temperature=1.0, seed=3),
        request(row("Olá"), base="modelo que não há"),
        request(row("depois da falha")),
    ]
    command = [sys.executable, "-m", "finetune_helpers.local_api.generation"]
    given = "".join(json.dumps(one) + "\n" for one in asked)
    done = subprocess.run(command, input=given, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()], folder


@pytest.fixture(scope="module")
def batches(answered):
    """As linhas da saída, separadas por lote."""
    found = [[]]
    for message in answered[0]:
        found[-1].append(message)
        if message.get("done"):
            found.append([])
    return found


def texts(batch):
    return {message["row"]: message["text"] for message in batch if "text" in message}


def test_a_conversation_over_the_context_is_refused_alone(batches):
    refused = [message for message in batches[0] if "too_long" in message]
    assert [message["row"] for message in refused] == [1] and refused[0]["too_long"] > refused[0]["limit"] == 2048
    assert texts(batches[0]).keys() == {0, 2}


def test_pieces_add_up_to_the_answer_and_come_only_when_asked(batches):
    pieces = [message for message in batches[0] if "delta" in message]
    assert {message["row"] for message in pieces} == {2}
    assert "".join(message["delta"] for message in pieces) == texts(batches[0])[2] == texts(batches[0])[0]


def test_the_same_seed_gives_the_same_answer(batches):
    assert texts(batches[1]) == texts(batches[2]) != {}


def test_tokens_are_counted_and_the_limit_is_told(batches):
    ends = [message for message in batches[1] if "finish_reason" in message]
    assert [(end["finish_reason"], end["tokens_out"]) for end in ends] == [("length", 6)] and ends[0]["tokens_in"] > 0


def test_a_failure_ends_the_process_with_an_instruction_and_no_path(answered, batches):
    messages, folder = answered
    assert list(batches[3][0]) == ["failed"] and len(messages) == sum(map(len, batches[:4]))
    assert "/" not in batches[3][0]["failed"] and folder not in json.dumps(messages)
