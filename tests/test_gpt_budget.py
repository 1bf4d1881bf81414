"""Orçamento: o custo é conhecido antes e nada se envia sem ele."""

from datetime import date

import pytest
from gpt_rows import chat_file

from finetune_helpers import gpt
from finetune_helpers.errors import InputError, MachineError
from finetune_helpers.gpt import data

MINI = "gpt-4o-mini-2024-07-18"
MODERN = "gpt-4.1-mini-2025-04-14"


def test_estimate_multiplies_tokens_by_the_dated_price(tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    estimate = gpt.estimate(path, MINI, 3, provider=gpt.provider("openai"))
    assert estimate.training_tokens == 3 * sum(data.example_tokens(data.rows(path)))
    assert estimate.training_usd == pytest.approx(estimate.training_tokens * 3.00 / 1e6)
    assert "21/11/2026" in str(estimate)
    assert "https://" in str(estimate)


def test_answers_cost_base_plus_tuned_and_half_in_batch(tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    given = {"provider": gpt.provider("openai"), "questions": 100, "answer_tokens": 200}
    whole, half = gpt.estimate(path, MINI, 1, **given), gpt.estimate(path, MINI, 1, batch=True, **given)
    expected = (whole.tokens_in * (0.15 + 0.30) + whole.tokens_out * (0.60 + 1.20)) / 1e6
    assert whole.answering_usd == pytest.approx(expected)
    assert half.answering_usd == pytest.approx(expected / 2)


def test_local_training_is_free_and_needs_no_budget(tmp_path):
    local = gpt.provider("local")
    estimate = gpt.estimate(chat_file(tmp_path / "treino.jsonl"), local.default_model)
    assert estimate.total_usd == 0
    gpt.check_budget(estimate, local, 0)


@pytest.mark.parametrize(
    ("name", "model", "limit", "text"),
    [
        ("openai", MINI, 0, "nada foi enviado"),
        ("openai", MINI, 0.0001, "passa de ORCAMENTO_USD"),
        ("nebius", "meta-llama/Llama-3.1-8B-Instruct", 50, "Não há preço"),
    ],
)
def test_a_paid_provider_is_refused_without_budget_or_price(tmp_path, name, model, limit, text):
    chosen = gpt.provider(name)
    estimate = gpt.estimate(chat_file(tmp_path / "treino.jsonl"), model, 3, provider=chosen)
    with pytest.raises(InputError, match=text):
        gpt.check_budget(estimate, chosen, limit)


def test_a_price_given_by_the_user_is_used(tmp_path):
    chosen = gpt.provider("nebius")
    path = chat_file(tmp_path / "treino.jsonl")
    estimate = gpt.estimate(path, chosen.default_model, 2, provider=chosen, own_prices={"train": 10})
    assert estimate.total_usd == pytest.approx(estimate.training_tokens * 10 / 1e6)
    gpt.check_budget(estimate, chosen, 1)
    asked = gpt.estimate(path, chosen.default_model, 2, provider=chosen, own_prices={"train": 10}, questions=5)
    with pytest.raises(InputError, match="own_prices"):
        gpt.check_budget(asked, chosen, 1)


def test_cost_of_answers_is_counted_from_usage():
    rows = [{"tokens_in": 1_000_000, "tokens_out": 0}, {"tokens_in": 0, "tokens_out": 1_000_000}]
    assert gpt.answering_cost(rows, MODERN, tuned=True) == pytest.approx(0.80 + 3.20)
    assert gpt.answering_cost(rows, MODERN, tuned=False, batch=True) == pytest.approx((0.40 + 1.60) / 2)


def test_unknown_provider_is_an_instruction():
    with pytest.raises(InputError, match="local, openai, azure, nebius"):
        gpt.provider("groq")


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("openai", MachineError, "OPENAI_API_KEY"),
        ("local", InputError, "local_api.running"),
        ("azure", InputError, "RECURSO"),
    ],
)
def test_client_without_key_or_address_is_an_instruction(monkeypatch, name, kind, text):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(kind, match=text):
        gpt.client(gpt.provider(name))


def test_every_paid_model_has_an_end_date_or_none_and_no_model_outlives_its_answers():
    for chosen in gpt.PROVIDERS.values():
        for model in chosen.models:
            assert model.create_until is None or model.create_until <= model.answers_until
    assert gpt.provider("openai").tunable(MINI).answers_until == date(2027, 1, 14)
