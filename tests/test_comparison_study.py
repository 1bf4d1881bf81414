"""Uma rodada de mentira com arquivos da forma verdadeira, e o que a comparação lê dela."""

import json
import random

import pytest

from finetune_helpers import prompts, records
from finetune_helpers.comparison import flexibility, study
from finetune_helpers.errors import InputError

HEROES = ("orphan", "sailor", "baker", "painter", "detective", "gardener", "widow", "pilot", "teacher", "miner")
PLACES = ("Lisbon", "a northern harbour", "the desert", "an old library", "a mountain village", "the river delta")
DEEDS = (
    "finds a hidden map",
    "rebuilds a ruined house",
    "solves a quiet crime",
    "learns to forgive",
    "writes a letter",
)


def sentence(rng: random.Random) -> str:
    hero, place, deed = rng.choice(HEROES), rng.choice(PLACES), rng.choice(DEEDS)
    return f"In this story a {hero} from {place} {deed} after {rng.randint(2, 40)} winters."


def description(rng: random.Random, length: int = 4) -> str:
    return " ".join(sentence(rng) for _ in range(length))


def example(number: int, rng: random.Random, length: int = 4) -> dict:
    road = rng.choice(("Salt", "Paper", "Glass", "Winter"))
    title = f"The {rng.choice(HEROES).title()} of the {road} Road, Volume {number}"
    content = description(rng, length)
    return {
        "item_id": records.item_id(title, content),
        "title": title,
        "content": content,
        "regime": "longo",
        "cluster": "",
    }


def answer_row(item_id: str, system: str, text: str, suite: str = "teste") -> dict:
    shape = {"item_id": item_id, "system": system, "suite": suite, "prompt_fingerprint": prompts.fingerprint()}
    return shape | {
        "answer": text,
        "tokens_in": 60 + len(item_id) % 7,
        "tokens_out": len(text.split()) + 3,
        "seconds": 0.5 + len(text) / 400,
        "finish_reason": "stop",
        "model_id": f"modelo-de-{system}",
    }


def make_run(folder, n=40, *, arms=("llama3", "gpt"), suite=True, seed=7, skip=0, length=4, training=60):
    """Escreve ``dados/r1`` e ``resultados/r1`` em ``folder`` e devolve a pasta da rodada."""
    rng = random.Random(seed)
    items = [
        example(number, rng, length) | {"cluster": f"g{number // 2 if number < 8 else number}"} for number in range(n)
    ]
    train = [example(1000 + number, rng, length) for number in range(training)]
    data, run = folder / "dados" / "r1", folder / "resultados" / "r1"
    records.write_jsonl(data / "comparacao" / "teste.jsonl", items)
    pairs = [records.Example(row["title"], row["content"]) for row in train]
    records.write_jsonl(data / "llama" / "treino.jsonl", [prompts.to_alpaca(pair) for pair in pairs])
    records.write_jsonl(data / "gpt" / "treino.jsonl", [prompts.to_chat(pair) for pair in pairs[: len(pairs) // 2]])
    records.write_json(run / "rodada.json", {"passos": {"02": {"parametros": {"lr": 1e-3}, "versoes": {"torch": "2"}}}})
    for arm in arms:
        rows = [answer_row(item["item_id"], f"{arm}-base", description(rng, length // 2)) for item in items]
        tuned = [reply(item, rng, arm) for item in items[skip:]]
        records.write_jsonl(run / arm / "respostas.jsonl", rows + tuned + (suite_rows(arm, rng) if suite else []))
        records.write_json(run / arm / "treino.json", report(arm, items, rng))
    return run


def reply(item: dict, rng: random.Random, arm: str) -> dict:
    kept = item["content"].split(". ")
    text = rng.choice(
        (". ".join(kept[:2]) + ".", description(rng), "", f"{item['title']}", "I have read this book. " * 9)
    )
    return answer_row(item["item_id"], f"{arm}-tuned", text)


def suite_rows(arm: str, rng: random.Random) -> list[dict]:
    rows = []
    for asked in flexibility.questions(per_family=2):
        prompt = flexibility.find(asked.item_id)
        for kind, chance in (("base", 0.7), ("tuned", 0.4)):
            text = prompt.good if rng.random() < chance else prompt.bad
            rows.append(answer_row(asked.item_id, f"{arm}-{kind}", text, flexibility.SUITE))
    return rows


def report(arm: str, items: list[dict], rng: random.Random) -> dict:
    local = arm == "llama3"
    curve = [
        {"step": step, "seconds": 6.0 * step, "loss": 4.2 - 0.05 * step + rng.random() / 9} for step in range(1, 13)
    ]
    return {
        "engine": "unsloth" if local else "api-local",
        "model": "unsloth/llama-3-8b-bnb-4bit" if local else "gpt-4o-mini-2024-07-18",
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
        "heldout": [
            {
                "item_id": item["item_id"],
                "tokens": 90,
                "base_loss": 4.1 + rng.random(),
                "tuned_loss": 3.4 + rng.random(),
            }
            for item in items
        ]
        if local
        else [],
        "billed_tokens": None if local else 34500,
        "gpu_hours": 0.026 if local else None,
        "price_sku": "T4" if local else "gpt-4o-mini-2024-07-18",
        "profile": {"name": "demo"},
        "adapter_sha256": "ab" * 32,
        "prompt_fingerprint": prompts.fingerprint(),
    }


def test_references_never_show_an_item_its_own_description(tmp_path):
    found = study.read_study(make_run(tmp_path))
    others = found.answers["ref-aleatoria"]
    assert all(row["answer"] != found.items[key]["content"] for key, row in others.items()) and len(others) == 40


def test_nearest_training_description_comes_from_training(tmp_path):
    found = study.read_study(make_run(tmp_path))
    known = {pair.content for pair in found.train}
    assert {row["answer"] for row in found.answers["ref-copia"].values()} <= known


def test_training_rows_of_both_arms_are_one_example_each(tmp_path):
    assert len(study.read_study(make_run(tmp_path)).train) == 60


def test_missing_answers_are_named_by_id(tmp_path):
    found = study.read_study(make_run(tmp_path, skip=3))
    assert found.missing("llama3-tuned") == list(found.items)[:3]
    assert any(next(iter(found.items)) in notice for notice in found.notices())


def test_another_folder_joins_by_being_dropped_in(tmp_path):
    run = make_run(tmp_path)
    (run / "antiga").mkdir()
    rows = [json.loads(line) for line in (run / "gpt" / "respostas.jsonl").read_text(encoding="utf-8").splitlines()]
    other = [row | {"system": "mistral-tuned"} for row in rows if row["system"] == "gpt-tuned"]
    records.write_jsonl(run / "antiga" / "respostas.jsonl", [*other, *rows])
    found = study.read_study(run)
    assert {"mistral-tuned", "antiga/gpt-tuned", "gpt-tuned"} <= set(found.answers)
    assert found.arms["gpt-tuned"] == "gpt"


def test_equal_tuned_and_base_raise_an_alarm(tmp_path):
    run = make_run(tmp_path, arms=("llama3",), suite=False)
    rows = [json.loads(line) for line in (run / "llama3" / "respostas.jsonl").read_text(encoding="utf-8").splitlines()]
    same = [row for row in rows if row["system"] == "llama3-base"]
    records.write_jsonl(run / "llama3" / "respostas.jsonl", same + [row | {"system": "llama3-tuned"} for row in same])
    assert "adaptador" in study.read_study(run).alarms()[0]


def test_a_run_without_test_items_says_what_to_do(tmp_path):
    (tmp_path / "resultados" / "r1").mkdir(parents=True)
    with pytest.raises(InputError, match=r"teste\.jsonl"):
        study.read_study(tmp_path / "resultados" / "r1")
