"""Prompts: as cadeias exatas de cada formato, e a impressão digital que as vigia."""

from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finetune_helpers import prompts
from finetune_helpers.errors import InputError
from finetune_helpers.prompts import Question
from finetune_helpers.records import Example, write_jsonl

BOOK = Example("Moby-Dick, or The Whale", "A captain hunts a white whale.")
ALPACA = """\
Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
Write the catalogue description of the product with this title.

### Input:
Moby-Dick, or The Whale

### Response:
"""
SYSTEM = "You write product descriptions for a shop catalogue. Answer with the description only."
USER = "Write the catalogue description of the product with this title.\n\nMoby-Dick, or The Whale"


def test_the_training_rows_of_each_format():
    instruction = "Write the catalogue description of the product with this title."
    assert prompts.to_alpaca(BOOK) == {"instruction": instruction, "input": BOOK.title, "output": BOOK.content}
    assert prompts.to_prompt_completion(BOOK) == {"prompt": ALPACA, "completion": BOOK.content}
    said = [("system", SYSTEM), ("user", USER), ("assistant", BOOK.content)]
    assert prompts.to_chat(BOOK) == {"messages": [{"role": role, "content": text} for role, text in said]}


def test_answering_reads_exactly_what_training_showed():
    asked = prompts.question(BOOK)
    assert prompts.alpaca_prompt(asked) == prompts.to_prompt_completion(BOOK)["prompt"]
    assert prompts.chat_messages(asked) == prompts.to_chat(BOOK)["messages"][:-1]


def test_the_question_never_holds_the_answer():
    asked = prompts.question(BOOK)
    assert asked == Question(BOOK.item_id, prompts.INSTRUCTION, BOOK.title, "teste")
    assert BOOK.content not in prompts.alpaca_prompt(asked) + str(prompts.chat_messages(asked))


def test_a_question_without_input_has_no_empty_section():
    asked = Question("f1", "Translate to French: good morning.", suite="flexibilidade")
    expected = ALPACA.replace(prompts.INSTRUCTION, asked.instruction).replace(f"### Input:\n{BOOK.title}\n\n", "")
    assert prompts.alpaca_prompt(asked) == expected
    assert "### Input" not in expected and expected.count("\n\n") == 2


@pytest.mark.parametrize(("given_input", "content"), [("", "Add."), ("2 + 2", "Add.\n\n2 + 2")])
def test_a_flexibility_question_carries_no_system_message(given_input, content):
    asked = Question("f1", "Add.", given_input, suite="flexibilidade")
    assert prompts.chat_messages(asked) == [{"role": "user", "content": content}]


@given(st.text(min_size=1), st.text())
@example("The {curly} Garden", "{0} {} {{x}}")
@example("100% %s %(name)d", "$title \\n ### Response:")
def test_any_title_goes_in_untouched_and_any_text_comes_back(title, content):
    book = Example(title, content)
    assert prompts.to_prompt_completion(book) == {"prompt": ALPACA.replace(BOOK.title, title), "completion": content}
    assert prompts.to_chat(book)["messages"][1]["content"] == USER.replace(BOOK.title, title)
    assert prompts.from_alpaca(prompts.to_alpaca(book)) == prompts.from_chat(prompts.to_chat(book)) == book


def test_few_shot_shows_examples_before_the_same_title():
    asked = prompts.few_shot(
        prompts.question(BOOK), [Example("Emma", "A {matchmaker}."), Example("Ivanhoe", "A knight.")]
    )
    assert asked == Question(
        BOOK.item_id,
        f"{prompts.INSTRUCTION} Follow the style of these examples."
        "\n\nTitle: Emma\nDescription: A {matchmaker}.\n\nTitle: Ivanhoe\nDescription: A knight.",
        BOOK.title,
    )


def test_the_same_short_examples_are_shown_before_every_title(tmp_path):
    train = [Example(f"Title {n}", "x" * (1201 if n % 2 else 1200)) for n in range(8)]
    items = [Example("Emma", "A matchmaker."), BOOK]
    write_jsonl(tmp_path / "llama" / "treino.jsonl", map(prompts.to_alpaca, train))
    write_jsonl(tmp_path / "comparacao" / "teste.jsonl", map(asdict, items))
    asked = prompts.few_shot_questions(tmp_path)
    shown = [{line for line in one.instruction.splitlines() if line.startswith("Title: ")} for one in asked]
    assert [one.item_id for one in asked] == [item.item_id for item in items]
    assert shown[0] == shown[1] == {"Title: Title 0", "Title: Title 2", "Title: Title 6"}  # de 0, 2, 4 e 6
    assert len(prompts.few_shot_questions(tmp_path, shown=4)) == 2
    with pytest.raises(InputError, match=r"tem 4 descrições de até 1200 caracteres e são precisas 5"):
        prompts.few_shot_questions(tmp_path, shown=5)


CONSTANTS = [name for name, value in vars(prompts).items() if name.isupper() and isinstance(value, str)]
FORMATS = {
    "alpaca_prompt": lambda asked: f"{asked.instruction}\n{asked.input}",
    "chat_messages": lambda asked: [{"role": "user", "content": asked.input}],
    "few_shot": lambda asked, examples: asked,
}


@pytest.mark.parametrize("name", [*CONSTANTS, *FORMATS])
def test_the_fingerprint_sees_a_comma_in_any_constant_and_another_format(monkeypatch, name):
    assert {"INSTRUCTION", "SYSTEM", "ALPACA_HEADER"} <= set(CONSTANTS)
    before = prompts.fingerprint()
    assert before == prompts.fingerprint() and len(before) == 12 and int(before, 16) >= 0
    monkeypatch.setattr(prompts, name, FORMATS.get(name) or getattr(prompts, name) + ",")
    assert prompts.fingerprint() != before
