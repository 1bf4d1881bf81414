"""Uma rodada pequena, escrita nos formatos do projeto, para os testes da comparação."""

import random
from pathlib import Path

from finetune_helpers import prompts, records

HEROES = ("orphan", "sailor", "baker", "painter", "detective", "gardener", "widow", "pilot", "teacher", "miner")
PLACES = ("Lisbon", "a northern harbour", "the desert", "an old library", "a mountain village", "the river delta")
DEEDS = (
    "finds a hidden map",
    "rebuilds a ruined house",
    "solves a quiet crime",
    "learns to forgive",
    "writes a letter",
)
MODELS = {"llama3": "Qwen-Pequeno-0.5B@8f3a12bc0011", "gpt": "SmolLM2-135M-Instruct@77aa01cd22ee"}
ADAPTERS = {"llama3": "+adadad000111", "gpt": "+bebebe000222"}


def description(rng: random.Random, length: int = 4) -> str:
    """Uma descrição em inglês de ``length`` frases."""
    return " ".join(
        f"In this story a {rng.choice(HEROES)} from {rng.choice(PLACES)} {rng.choice(DEEDS)} "
        f"after {rng.randint(2, 40)} winters."
        for _ in range(length)
    )


def example(number: int, rng: random.Random, length: int = 4) -> dict:
    """Um item de teste com identidade verdadeira."""
    title = f"The {rng.choice(HEROES).title()} of the {rng.choice(('Salt', 'Paper', 'Glass'))} Road, Volume {number}"
    content = description(rng, length)
    return {
        "item_id": records.item_id(title, content),
        "title": title,
        "content": content,
        "regime": "longo",
        "cluster": "",
    }


def answer_row(item_id: str, system: str, text: str, suite: str = "teste") -> dict:
    """Uma linha de ``respostas.jsonl``."""
    arm = system.split("-")[0]
    model = MODELS.get(arm, "outro@000000000000") + (ADAPTERS.get(arm, "") if system.endswith("-tuned") else "")
    return {
        "item_id": item_id,
        "system": system,
        "suite": suite,
        "prompt_fingerprint": prompts.fingerprint(),
        "answer": text,
        "tokens_in": 60 + len(item_id) % 7,
        "tokens_out": len(text.split()) + 3,
        "seconds": 0.5 + len(text) / 400,
        "finish_reason": "length" if len(text) % 5 == 0 else "stop",
        "model_id": model,
    }


def make_run(folder, n=24, *, arms=("llama3", "gpt"), suite=True, length=4, training=40, few_shot=True):
    """Escreve ``dados/r1`` e ``resultados/r1`` em ``folder`` e devolve a pasta da rodada."""
    rng = random.Random(7)
    items = [
        example(number, rng, length) | {"cluster": f"g{number // 2 if number < 6 else number}"} for number in range(n)
    ]
    pairs = [
        records.Example(row["title"], row["content"])
        for row in (example(1000 + k, rng, length) for k in range(training))
    ]
    data, run = folder / "dados" / "r1", folder / "resultados" / "r1"
    records.write_jsonl(data / "comparacao" / "teste.jsonl", items)
    records.write_jsonl(data / "llama" / "treino.jsonl", [prompts.to_alpaca(pair) for pair in pairs])
    records.write_jsonl(data / "gpt" / "treino.jsonl", [prompts.to_chat(pair) for pair in pairs[: len(pairs) // 2]])
    steps = {"02_treino_llama3": {"parametros": {"lr": 1e-3}, "versoes": {"torch": "2.13"}}}
    records.write_json(run / "rodada.json", {"passos": steps})
    for arm in arms:
        rows = [answer_row(item["item_id"], f"{arm}-base", description(rng, length // 2)) for item in items]
        rows += [answer_row(item["item_id"], f"{arm}-tuned", _reply(item, rng)) for item in items]
        if few_shot:
            rows += [answer_row(item["item_id"], f"{arm}-fewshot", description(rng, 2)) for item in items]
        records.write_jsonl(run / arm / "respostas.jsonl", rows + (_suite_rows(arm, rng) if suite else []))
        records.write_json(run / arm / "treino.json", _report(arm, items, rng))
    return run


def _reply(item: dict, rng: random.Random) -> str:
    kept = item["content"].split(". ")
    return rng.choice((". ".join(kept[:2]) + ".", description(rng), "", item["title"], "I have read this book. " * 9))


def _suite_rows(arm: str, rng: random.Random) -> list[dict]:
    from finetune_helpers.comparison import flexibility

    suite = Path(__file__).parent / "suite" / "respostas.jsonl"
    known = {row["id"]: (row["good"][0][1], row["bad"][0][1]) for row in records.read_jsonl(suite)}
    rows = []
    for asked in flexibility.questions(per_family=2):
        for kind, chance in (("base", 0.7), ("tuned", 0.4)):
            text = known[asked.item_id][rng.random() > chance]
            rows.append(answer_row(asked.item_id, f"{arm}-{kind}", text, flexibility.SUITE))
    return rows


def _report(arm: str, items: list[dict], rng: random.Random) -> dict:
    local = arm == "llama3"
    curve = [
        {"step": step, "seconds": 6.0 * step, "loss": 4.2 - 0.05 * step + rng.random() / 9} for step in range(1, 13)
    ]
    heldout = [
        {"item_id": item["item_id"], "tokens": 90, "characters": 420}
        | {"base_loss": 4.1 + rng.random() / 2, "tuned_loss": 3.4 + rng.random() / 2}
        | {"base_other_loss": 4.4 + rng.random() / 2, "tuned_other_loss": 4.0 + rng.random() / 2}
        for item in items
    ]
    return {
        "engine": "unsloth" if local else "api-local",
        "model": MODELS[arm].partition("@")[0],
        "base_id": MODELS[arm],
        "model_id": MODELS[arm] + ADAPTERS[arm],
        "device": "Tesla T4" if local else "hospedado",
        "seconds": {"load": 13.0, "train": 72.5, "evaluate": 8.0},
        "peak_gpu_gb": 7.5 if local else None,
        "peak_rss_gb": 1.8,
        "trainable_parameters": 41943040,
        "steps": 12,
        "examples_seen": 48,
        "tokens_seen": 11500,
        "tokens_per_second": 158.6,
        "loss_curve": curve,
        "heldout_curve": curve[::4],
        "heldout": heldout if local else [],
        "billed_tokens": None if local else 34500,
        "gpu_hours": 0.026 if local else None,
        "price_sku": "T4" if local else "gpt-4o-mini-2024-07-18",
        "profile": {"name": "demo"},
        "prompt_fingerprint": prompts.fingerprint(),
    }
