"""Orçamento: o custo é conhecido antes, conta os tokens que serão cobrados, e nada se envia sem ele."""

from datetime import date

import pytest
from gpt_rows import chat_file
from gpt_server import caller, error, job

from finetune_helpers import gpt, prices
from finetune_helpers.errors import InputError, MachineError
from finetune_helpers.gpt import budget, validation

MINI = "gpt-4o-mini-2024-07-18"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TODAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return chat_file(tmp_path_factory.mktemp("dados") / "treino.jsonl")


@pytest.fixture
def server(service):
    return service.reset()


@pytest.fixture
def openai(server):
    return caller(server.base_url), gpt.provider("openai", base_url=server.base_url)


def words(rows: list[dict]) -> list[int]:
    """Um tokenizador de brinquedo: uma palavra, um token."""
    return [sum(len(message["content"].split()) for message in row["messages"]) for row in rows]


PARTS = {"provider": "openai", "model": "m", "examples": 1, "n_epochs": 3, "training_tokens": 12345, "exact": True}
PARTS |= {"questions": 2, "tokens_in": 1000, "tokens_out": 1512, "training_usd": 1.5, "answering_usd": 0.25}
COUNTED = "tokens cobrados (contados pelo o200k_base; margem de 15 %)"
ANSWERS = "ao modelo base e ao ajustado: em cada um, cerca de 1.000 tokens de entrada e até 1.512 de saída"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"source": "fonte"},
            f"""\
Treino de m: 1 exemplo × 3 épocas = 12.345 tokens cobrados · US$ 1,50
Respostas: 2 perguntas {ANSWERS} · US$ 0,25
Total: US$ 1,75 · fonte""",
        ),
        (
            {"source": "fonte", "exact": False, "examples": 20, "n_epochs": 1, "questions": 1},
            f"""\
Treino de m: 20 exemplos × 1 época = cerca de 12.345 {COUNTED} · US$ 1,50
Respostas: 1 pergunta {ANSWERS} · US$ 0,25
Total: cerca de US$ 1,75 · fonte""",
        ),
        (
            {"source": "sem cobrança: em casa", "training_usd": 0.0, "answering_usd": 0.0},
            f"""\
Treino de m: 1 exemplo × 3 épocas = 12.345 tokens cobrados · sem cobrança
Respostas: 2 perguntas {ANSWERS} · sem cobrança
Total: sem cobrança: em casa""",
        ),
    ],
    ids=["exata", "cerca de", "sem cobrança"],
)
def test_an_estimate_is_read_in_three_lines(changes, said):
    assert str(budget.Estimate(**PARTS | changes)) == said


def test_the_provider_of_a_model_is_ones_own_machine_before_a_paid_one(file):
    models = ("gpt-oss-20b", LLAMA, MINI, "inventado")
    assert [gpt.estimate(file, model, 1).provider for model in models] == ["local", "nebius", "openai", "openai"]


def test_tokens_are_multiplied_by_the_dated_price_of_training_and_of_both_models_answers(file):
    terms = gpt.Terms(questions=100, answer_tokens=200)
    estimate = gpt.estimate(file, MINI, 3, provider=gpt.provider("openai"), terms=terms)
    assert estimate.training_tokens == 3 * sum(validation.example_tokens(validation.read_rows(file)))
    assert estimate.training_usd == pytest.approx(estimate.training_tokens * 3.00 / 1e6, rel=1e-9)
    expected = (estimate.tokens_in * (0.15 + 0.30) + estimate.tokens_out * (0.60 + 1.20)) / 1e6
    assert estimate.answering_usd == pytest.approx(expected, rel=1e-9)
    assert estimate.total_usd == pytest.approx(expected + estimate.training_usd)
    assert estimate.work == ("openai", estimate.training_tokens + 2 * 100 * 200)
    said = str(estimate)
    assert "21/11/2026" in said and "https://" in said and "cerca de" not in said.split("·")[0]


def test_tokens_are_counted_by_the_counter_of_the_model_that_is_billed(file):
    terms = gpt.Terms(token_counter=words)
    estimate = gpt.estimate(file, "SmolLM2-135M-Instruct", 2, terms=terms)
    assert estimate.training_tokens == 2 * sum(words(validation.read_rows(file)))
    assert estimate.exact and "cerca de" not in str(estimate).split("·")[0]


@pytest.mark.parametrize("model", ["SmolLM2-135M-Instruct", LLAMA])
def test_an_unknown_tokenizer_is_said_with_its_margin(file, model):
    estimate = gpt.estimate(file, model, 1)
    assert not estimate.exact and "cerca de" in str(estimate) and "margem de 15 %" in str(estimate)


def test_the_margin_counts_against_the_limit(file):
    provider = gpt.provider("nebius")
    estimate = gpt.estimate(file, LLAMA, 1, provider=provider, terms=gpt.Terms(own_prices="10 0 0"))
    assert estimate.most_usd == pytest.approx(1.15 * estimate.total_usd)
    gpt.check_budget(estimate, provider, estimate.most_usd)
    with pytest.raises(InputError, match="passa de `budget_usd`"):
        gpt.check_budget(estimate, provider, estimate.total_usd)


def test_local_training_is_free_needs_no_budget_and_each_model_has_its_pace(file):
    local = gpt.provider("local")
    usual, other = (gpt.estimate(file, model, provider=local) for model in (local.default_model, "outro"))
    gpt.check_budget(usual, local, 0)
    assert usual.total_usd == 0 and "sem cobrança" in usual.cost and "US$" not in str(usual)
    assert (usual.work[0], other.work[0]) == ("local", "local outro")


@pytest.mark.parametrize(
    ("name", "model", "limit", "text"),
    [
        ("openai", MINI, 0, "nada foi enviado"),
        (
            "openai",
            MINI,
            0.0001,
            r"A estimativa \(US\$ 0,01\) passa de `budget_usd` = 0,0001: nada foi enviado\. Aumente",
        ),
        ("nebius", LLAMA, 50, "`own_prices`"),
    ],
)
def test_a_paid_provider_is_refused_without_budget_or_price(file, name, model, limit, text):
    chosen = gpt.provider(name)
    with pytest.raises(InputError, match=text):
        gpt.check_budget(gpt.estimate(file, model, 3, provider=chosen), chosen, limit)


def test_prices_given_by_the_user_are_used_if_all_three_come(file):
    terms = gpt.Terms(questions=5, answer_tokens=10, own_prices="10 1 2,5")
    estimate = gpt.estimate(file, LLAMA, 2, terms=terms)
    assert estimate.training_usd == pytest.approx(estimate.training_tokens * 10 / 1e6)
    assert estimate.source == "preços informados por você"
    assert gpt.estimate(file, LLAMA, 2).cost == "preço desconhecido"
    assert estimate.answering_usd == pytest.approx(2 * (estimate.tokens_in * 1 + 50 * 2.5) / 1e6)
    with pytest.raises(InputError, match="três números"):
        gpt.estimate(file, LLAMA, 2, terms=gpt.Terms(own_prices="10 1"))


def test_the_day_the_model_ends_comes_from_the_prices_and_is_said_beside_the_price(file, monkeypatch):
    monkeypatch.setattr(prices, "ends_on", lambda sku: "2027-01-14" if sku == MINI else "")
    assert "deixa de responder em 14/01/2027" in str(gpt.estimate(file, MINI, 1))
    assert gpt.provider("openai").tunable(MINI).ends_on == date(2027, 1, 14)
    assert gpt.provider("local").tunable("gpt-oss-20b").ends_on is None


def test_unknown_provider_is_an_instruction():
    with pytest.raises(InputError, match="local, openai, azure, nebius"):
        gpt.provider("groq")


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("openai", MachineError, "OPENAI_API_KEY"),
        ("local", InputError, "local_finetune_api"),
        ("azure", InputError, "RECURSO"),
    ],
)
def test_client_without_key_or_address_is_an_instruction(monkeypatch, name, kind, text):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(kind, match=text):
        gpt.client(gpt.provider(name))


def test_a_local_folder_or_gguf_is_called_by_its_name_and_offered(tmp_path):
    local, paid = gpt.provider("local"), gpt.provider("openai")
    folder, gguf = tmp_path / "meu modelo", tmp_path / "outro.gguf"
    folder.mkdir()
    gguf.touch()
    given = ["", "GPT-OSS-20b", "dono/modelo", str(folder), str(gguf)]
    assert [local.called(text) for text in given] == [
        "SmolLM2-135M-Instruct", "GPT-OSS-20b", "dono/modelo", "meu modelo", "outro"
    ]  # fmt: skip
    assert [local.to_offer(text) for text in given] == [(), (), ("dono/modelo",), (str(folder),), (str(gguf),)]
    assert (paid.called(str(folder)), paid.to_offer(str(folder))) == (str(folder), ())


def test_preflight_of_an_account_that_never_trained_says_no(server, openai):
    server.models[MINI] = {"id": MINI, "object": "model", "created": 1, "owned_by": "o"}
    server.models[MINI] |= {"shutdown_date": "2027-02-14T00:00:00Z"}  # a API sabe mais do que a tabela
    assert gpt.preflight(*openai, MINI, today=date(2026, 12, 15)) == (
        f"{MINI}: não pode treinar; a conta nunca treinou, e a OpenAI não aceita contas novas desde 07/05/2026. "
        "O modelo responde até 14/02/2027 (61 dias)."
    )


@pytest.mark.parametrize(
    ("today", "says"),
    [
        (
            TODAY,
            "pode treinar; a conta tem acesso à API de treinos até 05/01/2027. "
            "O modelo responde até 14/01/2027 (54 dias).",
        ),
        (date(2027, 1, 5), ": pode treinar"),
        (date(2027, 1, 6), ": não pode treinar"),
        (date(2027, 1, 14), "responde até 14/01/2027 (0 dias)"),
        (date(2027, 1, 15), "deixou de responder em 14/01/2027"),
    ],
)
def test_preflight_is_read_as_a_sentence_on_each_side_of_each_date(server, openai, monkeypatch, today, says):
    monkeypatch.setattr(prices, "ends_on", lambda sku: "2027-01-14")
    server.jobs["ftjob-1"] = job("ftjob-1", {})
    assert says in gpt.preflight(*openai, MINI, today=today)


def test_preflight_does_not_guess_of_a_paid_model_nobody_lists_and_any_local_one_can_train(server, openai):
    said = gpt.preflight(*openai, "gpt-inventado", today=TODAY)
    assert "sem como saber" in said and MINI in said and "não tem data de fim" in said
    assert gpt.preflight(caller(server.base_url, "local"), gpt.provider("local"), "dono/modelo") == (
        "dono/modelo: pode treinar; a conta tem acesso à API de treinos. O modelo não tem data de fim."
    )


def test_preflight_with_a_refused_key_says_which_key_to_check(server, openai):
    server.script("GET /models/.*", error(401, "invalid_api_key"))
    with pytest.raises(MachineError, match="chave"):
        gpt.preflight(*openai, MINI, today=TODAY)
