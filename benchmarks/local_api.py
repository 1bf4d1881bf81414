"""Mede a API local: validação, custo de um treino pela API e ganho de responder em lotes.

Uso: ``python benchmarks/local_api.py [--saida medidas.json]``. Treina e responde de verdade com o modelo pequeno; em
dois núcleos leva uns seis minutos. Nada mais deve rodar na máquina enquanto isso.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import local_finetune_api
from finetune_helpers import gpt, prompts
from finetune_helpers.records import Example, write_json, write_jsonl
from local_finetune_api import base_models
from local_finetune_api.server import environment

MODEL = "SmolLM2-135M-Instruct"
WORDS = (
    "river",
    "mountain",
    "history",
    "garden",
    "letter",
    "voyage",
    "music",
    "winter",
    "market",
    "kitchen",
    "painter",
    "harbour",
)


def products(count: int, start: int = 0) -> list[Example]:
    """Produtos inventados, do tamanho dos do catálogo (uns 130 tokens)."""
    return [
        Example(
            f"The {WORDS[n % 12].title()} and the {WORDS[n // 12 % 12].title()}: a Companion, Volume {n}",
            " ".join(
                f"Part {k} tells of the {WORDS[(n * k + 5) % 12]} and the {WORDS[(n + k) % 12]}." for k in range(1, 9)
            ),
        )
        for n in range(start, start + count)
    ]


def validation(folder: Path) -> dict:
    """Segundos para validar 1500 exemplos e contar os seus tokens, num processo novo e depois de aquecido."""
    path = write_jsonl(folder / "mil_e_quinhentos.jsonl", map(prompts.to_chat, products(1500)))
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        problems = gpt.validate(path)
        seconds.append(round(time.perf_counter() - started, 3))
    assert not problems
    return {"first_seconds": seconds[0], "median_seconds": statistics.median(seconds[1:]), "limit_seconds": 2}


def direct(folder: Path) -> None:
    """O mesmo treino, chamado direto (roda num processo próprio, como o da API)."""
    from finetune_helpers import training
    from finetune_helpers.gpt.validation import read_rows

    chosen = {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 2.0}
    profile = base_models.profile(base_models.EMBEDDED, chosen)
    started = time.perf_counter()
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    loaded = time.perf_counter()
    examples = read_rows(folder / "treino.jsonl")
    rows = [turn for row in examples for turn in base_models.turns(tokenizer, row["messages"])]
    trainer = training.trainer(model, tokenizer, profile, (rows, []), folder / "direto")
    trainer.train()
    model.save_pretrained(str(folder / "direto" / "adaptador"))
    write_json(folder / "direto.json", {"load": loaded - started, "train": time.perf_counter() - loaded})


def overhead(folder: Path, client, provider) -> tuple[dict, str]:
    """Segundos de um treino pela API e chamado direto; devolve também o modelo treinado."""
    path = write_jsonl(folder / "treino.jsonl", map(prompts.to_chat, products(48)))
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, __file__, "--direto", str(folder)], check=True, stdout=subprocess.DEVNULL, env=environment()
    )
    called = time.perf_counter() - started
    inside = json.loads((folder / "direto.json").read_text())
    request = gpt.Request(path, model=MODEL, n_epochs=1, batch_size=4, multiplier=2.0)
    job = gpt.find_or_create(client, folder / "rodada", request, provider=provider)
    started = time.perf_counter()
    job = gpt.follow(client, job.id, poll_seconds=0.2)
    by_api = time.perf_counter() - started
    measured = {"direct_seconds": called, "direct_load": inside["load"], "api_seconds": by_api}
    limit = 1.1 * called + inside["load"]
    return measured | {"limit_seconds": limit, "overhead": (by_api - called) / called}, job.fine_tuned_model


def answering(client, model: str, count: int = 50, tokens: int = 32) -> dict:
    """Respostas por segundo: 50 pedidos ao mesmo tempo contra 10 um de cada vez."""
    asked = [prompts.question(example) for example in products(count, 500)]
    one = gpt.answerer(client, model, max_tokens=tokens, concurrency=1)
    many = gpt.answerer(client, model, max_tokens=tokens, concurrency=count)
    one(asked[:1])  # carrega o modelo
    started = time.perf_counter()
    alone = one(asked[:10])
    between = time.perf_counter()
    together = many(asked)
    finished = time.perf_counter()
    slow, fast = 10 / (between - started), count / (finished - between)
    return {
        "one_at_a_time_per_second": slow,
        "fifty_at_once_per_second": fast,
        "gain": fast / slow,
        "wanted_gain": 2,
        "lost": count - len(together),
        "tokens_per_second": sum(answer.tokens_out for answer in together) / (finished - between),
        "same_text": sum(a.answer == b.answer for a, b in zip(alone, together, strict=False)) / 10,
    }


def order_kept(client, model: str, clients: int = 5, each: int = 10) -> dict:
    """Cinco clientes, um pedido a cada 50 ms: quantas respostas passaram à frente de outra do mesmo cliente."""
    ask = gpt.answerer(client, model, max_tokens=4)

    def one(number: int, k: int) -> float:
        time.sleep(0.05 * k)
        ask([prompts.question(products(1, number * 100 + k)[0])])
        return time.perf_counter()

    with ThreadPoolExecutor(clients * each) as pool:
        runs = [[pool.submit(one, number, k) for k in range(each)] for number in range(clients)]
        ends = [[run.result() for run in client_runs] for client_runs in runs]
    # As respostas de um lote saem juntas: até 50 ms entre elas é só o caminho de volta.
    overtaken = sum(later < earlier - 0.05 for row in ends for earlier, later in pairwise(row))
    return {"requests": clients * each, "answered": sum(map(len, ends)), "overtaken": overtaken}


def main() -> None:
    """Mede tudo e mostra."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saida", type=Path)
    parser.add_argument("--direto", type=Path)
    options = parser.parse_args()
    if options.direto:
        return direct(options.direto)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures = {"validation": validation(folder)}
        with local_finetune_api.running(folder / "api") as server:
            provider = gpt.provider("local", base_url=server.base_url)
            client = gpt.client(provider, api_key=server.api_key)
            measures["job"], tuned = overhead(folder, client, provider)
            measures["base_answers"], measures["tuned_answers"] = answering(client, MODEL), answering(client, tuned)
            measures["order"] = order_kept(client, MODEL)
    text = json.dumps(measures, ensure_ascii=False, indent=2, default=lambda value: round(value, 3))
    print(text)
    if options.saida:
        write_json(options.saida, measures)


if __name__ == "__main__":
    main()
