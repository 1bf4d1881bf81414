"""Validação e contagem de tokens antes do envio."""

import json

import pytest
from gpt_rows import chat_file, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_helpers import gpt, prompts
from finetune_helpers.errors import InputError
from finetune_helpers.gpt import validation
from finetune_helpers.records import write_jsonl

GOOD = {"role": "user", "content": "Olá"}
ANSWER = {"role": "assistant", "content": "Oi"}


def with_line(tmp_path, line):
    """Um arquivo bom com a linha 5 trocada por ``line``."""
    lines = [json.dumps(prompts.to_chat(example)).encode() for example in examples(12)]
    lines[4] = line if isinstance(line, bytes) else json.dumps(line).encode()
    path = tmp_path / "treino.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "linha_vazia"),
        (b'{"messages": [', "json"),
        (b"[1, 2]", "sem_mensagens"),
        (b"\xff\xfe{}", "codificacao"),
        (b"[" * 100_000, "json"),
        ({"messages": []}, "sem_mensagens"),
        ({"prompt": "a", "completion": "b"}, "sem_mensagens"),
        ({"messages": [GOOD, "texto"]}, "mensagem"),
        ({"messages": [{"content": "sem papel"}, ANSWER]}, "papel"),
        ({"messages": [{"role": "robot", "content": "x"}, ANSWER]}, "papel"),
        ({"messages": [{"role": "user", "content": None}, ANSWER]}, "conteudo"),
        ({"messages": [{"role": "user", "content": "  "}, ANSWER]}, "conteudo"),
        ({"messages": [{"role": "user", "content": "a\ud800"}, ANSWER]}, "conteudo"),
        ({"messages": [GOOD | {"weight": 1}, ANSWER]}, "weight"),
        ({"messages": [GOOD, ANSWER | {"weight": 0.5}]}, "weight"),
        ({"messages": [GOOD, ANSWER | {"weight": True}]}, "weight"),
        ({"messages": [GOOD, ANSWER | {"weight": 0}]}, "sem_resposta"),
        ({"messages": [ANSWER, GOOD]}, "sem_resposta"),
        ({"messages": [GOOD, ANSWER | {"tool_calls": []}]}, "chave"),
        ({"messages": [GOOD, ANSWER], "tools": []}, "chave"),
        ({"messages": [GOOD, {"role": "assistant", "content": "palavra " * 70_000}]}, "exemplo_longo"),
    ],
)
def test_each_broken_rule_is_reported_with_its_line(tmp_path, line, code):
    found = gpt.validate(with_line(tmp_path, line))
    assert [(problem.line, problem.code, problem.fatal) for problem in found] == [(5, code, True)]


def test_title_that_trips_moderation_is_only_a_warning(tmp_path):
    row = {"messages": [{"role": "user", "content": "Tactical folding Knife"}, ANSWER]}
    (problem,) = gpt.validate(with_line(tmp_path, row))
    assert (problem.line, problem.code, problem.fatal) == (5, "moderacao", False)
    assert "knife, tactical" in problem.message


@pytest.mark.parametrize(
    ("name", "count", "codes"),
    [("a.jsonl", 9, ["poucos_exemplos"]), ("b.jsonl", 10, []), ("treino.json", 10, ["extensao"])],
)
def test_nine_lines_are_too_few_ten_are_enough_and_the_name_counts(tmp_path, name, count, codes):
    assert [problem.code for problem in gpt.validate(chat_file(tmp_path / name, count))] == codes


def test_file_over_the_limit_is_refused_without_reading_it(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "MAX_BYTES", 100)
    assert [p.code for p in gpt.validate(chat_file(tmp_path / "treino.jsonl"))] == ["arquivo_grande"]


def test_byte_order_mark_is_accepted(tmp_path):
    path = chat_file(tmp_path / "treino.jsonl")
    path.write_bytes(validation.BOM + path.read_bytes())
    assert gpt.validate(path) == []
    assert len(validation.read_rows(path)) == 12


def test_a_missing_or_broken_file_is_an_instruction_with_the_first_problems_in_line_order(tmp_path):
    path = tmp_path / "treino.jsonl"
    with pytest.raises(InputError, match="Execute antes o caderno 01"):
        gpt.validate(path)
    path.write_text("x\n" + "{}\n" * 11)
    with pytest.raises(InputError, match=r"linha 1 · json(?s:.)*linha 10 · sem_mensagens(?s:.)*mais 2"):
        validation.check(path)


def test_the_bill_of_the_original_run_is_reproduced(tmp_path):
    """1.500 exemplos de duas mensagens e 3 épocas cobraram 990.507 tokens: 9 além do conteúdo em cada exemplo."""
    extra, rest = divmod(990_507 // 3 - 9 * 1500 - 2 * 1500, 1500)
    rows = [
        {"messages": [{"role": "user", "content": "hello"}, ANSWER | {"content": "hello" + " hello" * (extra + more)}]}
        for more in [1] * rest + [0] * (1500 - rest)
    ]
    path = write_jsonl(tmp_path / "treino.jsonl", rows)
    assert gpt.estimate(path, "gpt-4o-mini-2024-07-18", 3).training_tokens == 990_507


def test_overhead_is_nine_for_two_messages_and_four_for_each_one_more():
    two = {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]}
    three = {"messages": [{"role": "system", "content": ""}, *two["messages"]]}
    assert validation.example_tokens([two, three]) == [9, 13]


def test_an_example_is_not_billed_past_the_limit(tmp_path, monkeypatch):
    path = chat_file(tmp_path / "treino.jsonl", 10)
    size = validation.example_tokens(validation.read_rows(path))[0]
    monkeypatch.setattr(validation, "MAX_EXAMPLE_TOKENS", size)
    whole = gpt.estimate(path, "gpt-4o-mini-2024-07-18", 2).training_tokens
    assert (whole, {problem.code for problem in gpt.validate(path)}) == (20 * size, set())
    monkeypatch.setattr(validation, "MAX_EXAMPLE_TOKENS", size - 1)
    assert {problem.code for problem in gpt.validate(path)} == {"exemplo_longo"}


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 10), (4, 25), (33, 3), (34, 3), (1500, 3), (8334, 2), (50_000, 1)]
)
def test_auto_epochs_follow_the_published_rule(examples, epochs):
    assert validation.default_epochs(examples) == epochs


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)
turns = st.lists(st.builds(lambda text: {"role": "user", "content": text}, texts), min_size=1, max_size=3)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(lambda before, text: {"messages": [*before, {"role": "assistant", "content": text}]}, turns, texts),
        min_size=10,
        max_size=12,
    )
)
def test_any_text_makes_a_valid_file_that_reads_back_equal(tmp_path, rows):
    path = write_jsonl(tmp_path / "treino.jsonl", rows)
    assert [problem for problem in gpt.validate(path) if problem.fatal] == []
    assert validation.read_rows(path) == rows


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_are_reported_and_never_crash(tmp_path, content):
    path = tmp_path / "treino.jsonl"
    path.write_bytes(content)
    assert any(problem.fatal for problem in gpt.validate(path))
