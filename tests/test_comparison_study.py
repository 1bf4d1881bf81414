"""Uma rodada inventada com arquivos da forma verdadeira, e o que a comparação lê dela."""

import random

import pytest

from finetune_helpers import answers, prompts, records
from finetune_helpers.comparison import flexibility, study
from finetune_helpers.errors import InputError, RunMismatchError

MODELS = {"llama3": "llama-3-8b-bnb-4bit", "gpt": "gpt-4o-mini-2024-07-18"}
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
    arm, _, role = system.rpartition("-")
    adapter = "ab" * 6 if role == "tuned" else ""
    shape = {"item_id": item_id, "system": system, "suite": suite, "prompt_fingerprint": prompts.fingerprint()}
    return shape | {
        "answer": text,
        "tokens_in": 60 + len(item_id) % 7,
        "tokens_out": len(text.split()) + 3,
        "seconds": 0.5 + len(text) / 400,
        "finish_reason": "stop",
        "model_id": answers.model_id(MODELS.get(arm, arm), "0123456789abcdef", adapter),
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
        good = flexibility.find(asked.item_id).good
        for kind, chance in (("base", 0.7), ("tuned", 0.4)):
            text = good if rng.random() < chance else "I would rather talk about the weather."
            rows.append(answer_row(asked.item_id, f"{arm}-{kind}", text, flexibility.SUITE))
    return rows


def losses(item: dict, rng: random.Random) -> dict:
    """O ajuste tira 0,5 nats da perda, 0,1 deles do título."""
    base, noise = 4.1 + rng.random(), rng.gauss(0, 0.05)
    size = {"item_id": item["item_id"], "tokens": 90, "characters": len(item["content"])}
    other = {"base_other_loss": base + 0.02, "tuned_other_loss": base - 0.38 + rng.gauss(0, 0.05)}
    return size | {"base_loss": base, "tuned_loss": base - 0.5 + noise} | other


def report(arm: str, items: list[dict], rng: random.Random) -> dict:
    local = arm == "llama3"
    curve = [
        {"step": step, "seconds": 6.0 * step, "loss": 4.2 - 0.05 * step + rng.random() / 9} for step in range(1, 13)
    ]
    return {
        "engine": "unsloth" if local else "api-local",
        "model": f"unsloth/{MODELS['llama3']}" if local else MODELS["gpt"],
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
        "heldout": [losses(item, rng) for item in items] if local else [],
        "billed_tokens": None if local else 34500,
        "gpu_hours": 0.026 if local else None,
        "price_sku": "T4" if local else MODELS["gpt"],
        "profile": {"name": "demo"},
        "adapter_sha256": "ab" * 32,
        "prompt_fingerprint": prompts.fingerprint(),
    }


def rewrite(run, arm: str, change) -> None:
    """Troca cada linha de respostas de uma trilha por ``change(linha)``."""
    path = run / arm / "respostas.jsonl"
    records.write_jsonl(path, [change(row) for row in records.read_jsonl(path)])


def test_nearest_training_description_comes_from_training(tmp_path):
    found = study.read_study(make_run(tmp_path))
    known = {pair.content for pair in found.train}
    for reference in ("ref-copia", "ref-aleatoria"):
        assert {row.answer for row in found.answers[reference].values()} <= known


def test_training_rows_of_both_arms_are_one_example_each(tmp_path):
    assert len(study.read_study(make_run(tmp_path)).train) == 60


def test_role_and_model_are_two_things(tmp_path):
    systems = {system.name: system for system in study.read_study(make_run(tmp_path, arms=("llama3",))).systems}
    tuned = systems["llama3-tuned"]
    assert (tuned.label, tuned.role, tuned.model) == ("Trilha LLaMA, ajustado", "ajustado", "llama-3-8b-bnb-4bit")
    assert systems["gpt-tuned"].model == "não executado"
    assert systems["ref-titulo"].role == "referência" and systems["ref-titulo"].model == ""


def test_without_a_report_the_model_is_named_by_its_answers(tmp_path):
    run = make_run(tmp_path)
    (run / "gpt" / "treino.json").unlink()
    assert study.read_study(run).system("gpt-base").model == "gpt-4o-mini-2024-07-18"


def test_contrasts_begin_with_the_two_tuned(tmp_path):
    own = [("llama3-tuned", "llama3-base"), ("gpt-tuned", "gpt-base")]
    assert study.read_study(make_run(tmp_path)).pairs() == [("llama3-tuned", "gpt-tuned"), *own]


def test_missing_answers_are_named_by_id(tmp_path):
    found = study.read_study(make_run(tmp_path, skip=3))
    assert found.missing("llama3-tuned") == list(found.items)[:3]
    assert any(next(iter(found.items)) in notice for notice in found.notices())


def test_another_folder_joins_by_being_dropped_in(tmp_path):
    run = make_run(tmp_path)
    rows = records.read_jsonl(run / "gpt" / "respostas.jsonl")
    other = [row | {"system": "mistral-tuned"} for row in rows if row["system"] == "gpt-tuned"]
    records.write_jsonl(run / "antiga" / "respostas.jsonl", [*other, *rows])
    found = study.read_study(run)
    assert {"mistral-tuned", "antiga/gpt-tuned", "gpt-tuned"} <= set(found.answers)
    assert found.system("gpt-tuned").arm == "gpt" and found.system("antiga/gpt-tuned").arm == "antiga"


@pytest.mark.parametrize(("share", "alarm"), [(0.95, False), (0.975, True)])
def test_equal_tuned_and_base_raise_an_alarm_past_95_percent(tmp_path, share, alarm):
    run = make_run(tmp_path, arms=("llama3",), suite=False)
    base = [row for row in records.read_jsonl(run / "llama3" / "respostas.jsonl") if row["system"] == "llama3-base"]
    text = {row["item_id"]: row["answer"] for row in base[: round(share * len(base))]}
    rewrite(run, "llama3", lambda row: row | {"answer": text.get(row["item_id"], row["answer"] + row["system"])})
    assert any("adaptador" in notice for notice in study.read_study(run).notices()) is alarm


def test_a_system_that_mixes_two_models_is_refused(tmp_path):
    run = make_run(tmp_path)
    seen = []
    rewrite(run, "gpt", lambda row: row | {"model_id": row["model_id"] + ("x" if seen.append(0) or len(seen) == 3 else "")})
    with pytest.raises(RunMismatchError, match=r"gpt-base vêm de dois modelos.*apague"):
        study.read_study(run)


def test_base_and_tuned_of_different_bases_are_refused(tmp_path):
    run = make_run(tmp_path)
    tuned = {"model_id": answers.model_id("outro-modelo", "fedcba9876543210", "cd" * 6)}
    rewrite(run, "llama3", lambda row: row | (tuned if row["system"] == "llama3-tuned" else {}))
    with pytest.raises(RunMismatchError, match="llama3-tuned.*outro-modelo@fedcba987654"):
        study.read_study(run)


def test_an_old_run_is_read_with_a_notice(tmp_path):
    run = make_run(tmp_path)
    assert study.read_study(run).notices() == []
    rewrite(run, "llama3", lambda row: row | {"model_id": "embutido"})
    found = study.read_study(run)
    assert "revisão do modelo" in found.notices()[0] and found.system("llama3-base").model_id == "embutido"


def test_two_prompts_and_leaks_are_noticed(tmp_path):
    run = make_run(tmp_path)
    rewrite(run, "gpt", lambda row: row | {"prompt_fingerprint": "outro"})
    records.write_json(tmp_path / "dados" / "r1" / "llama" / "curadoria.json", {"leaks": ["a", "b"]})
    leaks, fingerprints = study.read_study(run).notices()
    assert "2 títulos" in leaks and "2 prompts" in fingerprints


def test_a_run_without_test_items_says_what_to_do(tmp_path):
    (tmp_path / "resultados" / "r1").mkdir(parents=True)
    with pytest.raises(InputError, match=r"teste\.jsonl"):
        study.read_study(tmp_path / "resultados" / "r1")
