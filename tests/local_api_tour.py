"""Percorre todas as rotas da API local com o cliente ``openai`` instalado; roda também com a versão maior anterior.

Uso: python local_api_tour.py BASE_URL CHAVE ARQUIVO_DE_TREINO
"""

import sys
import time
from functools import partial

import openai

MODEL = "SmolLM2-135M-Instruct"


def tour(base_url: str, key: str, training_file: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    job = files_and_jobs(client, training_file)
    models_and_chat(client, job)
    errors(client, base_url)


def files_and_jobs(client, training_file: str):
    with open(training_file, "rb") as file:
        sent = client.files.create(file=file, purpose="fine-tune")
    assert client.files.retrieve(sent.id) == sent
    assert sent.id in [file.id for file in client.files.list(purpose="fine-tune")]
    with open(training_file, "rb") as file:
        assert client.files.content(sent.id).content == file.read()
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
    deadline = time.time() + 60
    while (job := client.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed"):
        assert time.time() < deadline, job.status
        time.sleep(0.02)
    assert job.status == "succeeded", job.error
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


def errors(client, base_url: str) -> None:
    refused(openai.NotFoundError, "fine_tune_not_found", lambda: client.fine_tuning.jobs.retrieve("ftjob-x"))
    refused(openai.NotFoundError, "model_not_found", lambda: client.models.retrieve("nada"))
    bad = openai.OpenAI(base_url=base_url, api_key="errada", max_retries=0)
    refused(openai.AuthenticationError, "invalid_api_key", bad.models.list)
    ask = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    for name, value in (("logprobs", True), ("tools", []), ("stop", ["x"]), ("seed", 1), ("n", 2)):
        call = partial(client.chat.completions.create, **ask, **{name: value})
        error = refused(openai.BadRequestError, "unsupported_parameter", call)
        assert error.param == name, error.param


def refused(kind, code, call):
    try:
        call()
    except kind as error:
        assert code in (None, error.code), error.code
        return error
    raise AssertionError(f"esperava {kind.__name__}")


if __name__ == "__main__":
    tour(*sys.argv[1:4])
    print("percurso completo com openai", openai.__version__)
