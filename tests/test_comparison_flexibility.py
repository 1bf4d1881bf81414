"""A suíte de flexibilidade contra quem tenta enganá-la: respostas escritas à mão, mutações e texto degenerado."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import prompts, records
from finetune_helpers.comparison import checks, flexibility
from finetune_helpers.errors import InputError

CATALOGUE = Path(__file__).parents[1] / "dados" / "amostra" / "catalogo.jsonl"
SUITE = Path(__file__).parent / "suite"


def read(name):
    return [json.loads(line) for line in (SUITE / name).read_text(encoding="utf-8").splitlines()]


# De cada pergunta, as respostas certas e as erradas: pares (de que tipo é, o texto).
ANSWERS = {row["id"]: row for row in read("respostas.jsonl")}
CHECKS = read("verificacoes.jsonl")
DEGENERATE = [*read("degeneradas.jsonl"), "[" * 9000, "1" * 9000]
ROWS = flexibility.load()
RAMBLE = " It is a story of love and loss, and the author has a gift for the quiet moments that make up a life. " * 3


def passed(prompt, answer):
    return flexibility.passes(prompt.id, answer).passed


def form(prompt):
    return prompt.checks[0]["name"]


every_prompt = pytest.mark.parametrize("prompt", ROWS, ids=lambda prompt: prompt.id)


@every_prompt
def test_written_answers_of_several_kinds_are_told_apart(prompt):
    for side, known in (("good", prompt.good), ("bad", prompt.bad)):
        kinds, answers = zip(*ANSWERS[prompt.id][side], strict=True)
        assert known in answers and len(set(answers)) >= 4 and len(set(kinds)) >= 3
        assert [answer for answer in answers if passed(prompt, answer) != (side == "good")] == []


@every_prompt
def test_wrapping_does_not_change_the_verdict(prompt):
    good = prompt.good
    wrapped = [f"\n\n {good} \n", f"```\n{good}\n```", f"{good}\n\n### Instruction:\nWrite.", f"{good}<|eot_id|>"]
    if form(prompt) not in ("fields", "listing", "sentence"):
        wrapped += [f"**{good}**", f"“{good}”", f"`{good}`", f"{good.rstrip('.')}."]
        wrapped += [f"Answer: {good}", f"The answer is {good}", f"A resposta é {good}"]
    if form(prompt) not in ("fields", "text"):
        wrapped += [good.upper(), good.lower()]
    assert [answer for answer in wrapped if not passed(prompt, answer)] == []


@every_prompt
def test_right_value_inside_a_wrong_answer_fails(prompt):
    good, asked = prompt.good, f"{prompt.instruction}\n\n{prompt.input}".strip()
    others = [row.good for row in ROWS if form(row) == form(prompt) and not passed(prompt, row.good)][:5]
    wrong = [joint.join([good] * times) for times in (2, 20) for joint in ("\n", " ", ", ", ". ", "; ")]
    wrong += [f"{good}{joint}{other}" for other in others for joint in (" or ", "\n", "\n\nNo, the answer is ", ", ")]
    wrong += [good + RAMBLE, f"{good}\n\n{RAMBLE}", RAMBLE + good, f"It is not {good}", f"{good} is wrong.", f"{good}?"]
    wrong += [asked, prompt.instruction, f"{asked}\n{good}", f"{good}\n\n### Response:\n{good}", f"Sure! {good}"]
    assert [answer for answer in wrong if passed(prompt, answer)] == []


@pytest.mark.parametrize("answer", DEGENERATE, ids=lambda text: repr(text[:20]))
def test_degenerate_text_never_passes(answer):
    assert [prompt.id for prompt in ROWS if passed(prompt, answer)] == []


@settings(max_examples=60, deadline=None)
@given(
    piece=st.one_of(st.sampled_from([prompt.good for prompt in ROWS]), st.text(min_size=1, max_size=12)),
    joint=st.sampled_from(["", " ", ", ", "\n", ". ", " and "]),
    times=st.integers(3, 40),
)
def test_repetition_never_passes(piece, joint, times):
    answer = joint.join([piece] * times)
    # O que se abre como turno novo não é resposta: antes dele, o pedaço aparece uma vez só.
    if not checks.TURN.search(answer):
        assert [prompt.id for prompt in ROWS if passed(prompt, answer)] == []


@settings(max_examples=150, deadline=None)
@given(prompt=st.sampled_from(ROWS), text=st.text(max_size=40))
def test_any_text_is_judged_without_an_error(prompt, text):
    verdict = flexibility.passes(prompt.id, text)
    assert verdict.passed == (verdict.failed == ())


def test_no_constant_answer_does_well():
    constants = {prompt.good for prompt in ROWS} | {prompt.input for prompt in ROWS} | set("ABCDEF")
    assert max(sum(passed(prompt, answer) for prompt in ROWS) for answer in constants) <= 0.07 * len(ROWS)


@pytest.mark.parametrize("row", CHECKS, ids=lambda row: row["check"])
def test_check_tells_right_from_wrong(row):
    decide = getattr(checks, row["check"])
    assert [answer for answer in row["good"] if not decide(answer, **row["args"])] == []
    assert [answer for answer in row["bad"] if decide(answer, **row["args"])] == []


def test_every_check_of_the_suite_has_its_examples():
    assert {check["name"] for prompt in ROWS for check in prompt.checks} == {row["check"] for row in CHECKS}


def test_failed_names_the_checks_that_refused():
    answer = "In 1987 a clockmaker set the clock right, but the mayor complained."
    verdict = flexibility.passes("summary-clock-1987", answer)
    assert verdict == flexibility.Verdict(False, "summary", ("facts", "avoids"))
    assert flexibility.passes("genre-the-well", "D") == flexibility.Verdict(True, "genre", ())


def test_rows_are_distinct_complete_and_short():
    assert len({(prompt.instruction, prompt.input) for prompt in ROWS}) == len(ROWS)
    assert list(ANSWERS) == [prompt.id for prompt in ROWS]
    for prompt in ROWS:
        assert re.fullmatch(rf"{prompt.family}(-[a-z0-9]+)+", prompt.id)
        assert prompt.cluster and prompt.note and prompt.instruction != prompts.INSTRUCTION
        assert prompt.lang == {"portuguese": "pt", "spanish": "es"}.get(prompt.family, "en")
        asked = prompts.alpaca_prompt(prompts.Question(prompt.id, prompt.instruction, prompt.input))
        assert len(re.findall(r"\w+|[^\w\s]", asked)) <= 220
        assert len(re.findall(r"\w+|[^\w\s]", prompt.good)) <= 48


def test_families_come_in_order_and_none_is_small():
    sizes = Counter(prompt.family for prompt in ROWS)
    assert list(sizes) == list(flexibility.FAMILIES)
    assert min(sizes.values()) >= 8
    assert set(sizes) > flexibility.FORGETTING_FAMILIES


def test_prompts_that_share_a_text_share_a_cluster():
    clusters = {}
    for prompt in ROWS:
        if len(prompt.input) > 25:
            clusters.setdefault(prompt.input, set()).add(prompt.cluster)
    # O mesmo título pode servir a duas perguntas independentes; um texto, nunca.
    assert [text for text, names in clusters.items() if len(names) > 1] == []


def test_questions_are_the_whole_suite_or_a_spread_of_it():
    whole = [question.item_id for question in flexibility.questions()]
    assert whole == [prompt.id for prompt in ROWS] == [question.item_id for question in flexibility.questions(99)]
    some = flexibility.questions(5)
    assert Counter(question.item_id.split("-")[0] for question in some) == dict.fromkeys(flexibility.FAMILIES, 5)
    reading = [flexibility.find(question.item_id) for question in some if question.item_id.startswith("reading")]
    assert len({prompt.cluster for prompt in reading}) == 5
    assert {question.suite for question in some} == {flexibility.SUITE}


@pytest.mark.parametrize("per_family", [0, -1])
def test_questions_refuse_a_size_below_one(per_family):
    with pytest.raises(InputError, match="`per_family`"):
        flexibility.questions(per_family)


def test_item_of_another_version_is_refused_with_the_version():
    with pytest.raises(InputError, match=f"{flexibility.version()}.*talk-01"):
        flexibility.passes("talk-01", "Hello.")


def test_no_title_is_in_the_sample_catalogue():
    from rapidfuzz import fuzz, process

    known = [row.get("title") or "" for row in records.read_jsonl(CATALOGUE)]
    titled = ("other_products", "paraphrase", "invented", "famous")
    titles = [prompt.input for prompt in ROWS if prompt.family in titled]
    matches = [process.extractOne(title, known, scorer=fuzz.token_sort_ratio, score_cutoff=90) for title in titles]
    assert not any(matches)
