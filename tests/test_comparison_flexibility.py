"""A suíte de flexibilidade especifica a si mesma: cada verificação e cada prompt separam o certo do errado."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import prompts
from finetune_helpers.comparison import checks, flexibility
from finetune_helpers.errors import InputError

CATALOGUE = Path(__file__).parents[1] / "dados" / "amostra" / "catalogo.jsonl"
SIZES = dict(
    other_products=15,
    paraphrase=15,
    portuguese=10,
    spanish=10,
    reading=15,
    unanswerable=8,
    summary=10,
    length=12,
    format=20,
    invented=15,
    famous=15,
    genre=10,
    extraction=10,
    arithmetic=10,
    translation=6,
    talk=6,
)
# Um modelo ajustado demais responde a tudo com algo assim.
BOOK_DESCRIPTION = (
    "In this moving novel the author tells the story of three generations of women. Each chapter opens a new door, "
    "and the pages turn themselves.\nCopyright 1989 Reed Business Information, Inc."
)
LOOP = "the best book of the year and the best book of the year and " * 12
# Verificação: argumentos, exemplo bom, exemplo ruim.
EXAMPLES = {
    "abstains": ({}, "I’m afraid I don’t know this book.", "I do not know what I would do without this kettle."),
    "affirms": ({}, "A hobbit leaves home.", "I am not familiar with it."),
    "avoids": ({"terms": ["water"]}, "The waterfall is high.", "Clear Water runs."),
    "bullets": ({"count": 2}, "- one\n\n* two", "Here they are:\n- one\n- two"),
    "chooses": ({"options": ["a|an", "the"], "right": "the"}, "The\nan aside", "The or an"),
    "ends_with": ({"text": "END"}, "It is done. END\n", "END"),
    "json_object": ({"keys": ["a", "b"]}, '{"b": 0, "a": "x"}', '{"a": "x", "b": ""}'),
    "language": ({"code": "pt"}, "A casa fica perto do rio e da escola.", "casa rio escola"),
    "lower_case": ({}, "the sea is cold.", "The sea is cold."),
    "mentions": ({"terms": ["Buendia", "two|2"]}, "The BUENDÍA family had 2 sons.", "Buendía, twofold"),
    "no_book_words": ({}, "A kettle with a notebook of recipes.", "The pages, say its readers, fly."),
    "not_degenerate": ({}, "A cat sleeps on the warm wall of the old garden.", "very good book, " * 9),
    "number": ({"value": 1500}, "6 x 250 = 1,500.", "1500 is not it; it is 150.0"),
    "numbered": ({"count": 2}, "1. Wash\n2) Dry", "1. Wash\n3. Dry"),
    "one_line_items": ({"count": 3}, "red, blue, green.", "red, blue,\ngreen"),
    "one_paragraph": ({}, "One. Two.", "One.\n\nTwo."),
    "sentences": ({"exactly": 2}, "Dr. Fors paid 3.50 dollars. She left!", "She paid. She left. Now"),
    "text_silent": ({}, "The passage doesn't say.", "The tower is not open on Mondays."),
    "words": ({"minimum": 2, "maximum": 3}, "well-known sea's end", "one two three four"),
}
ROWS = flexibility.load()
TITLED = ("other_products", "paraphrase", "invented", "famous", "portuguese", "spanish")


def by_id(prompt):
    return prompt.id


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_check_separates_its_examples(name):
    args, good, bad = EXAMPLES[name]
    assert getattr(checks, name)(good, **args)
    assert not getattr(checks, name)(bad, **args)


def test_every_check_is_used_and_has_examples():
    assert {name for prompt in ROWS for name, _ in prompt.checks} == set(EXAMPLES)


@pytest.mark.parametrize("prompt", ROWS, ids=by_id)
def test_prompt_separates_its_answers(prompt):
    good, bad = flexibility.passes(prompt.id, prompt.good), flexibility.passes(prompt.id, prompt.bad)
    assert good == flexibility.Verdict(True, True, prompt.family, ())
    assert not bad.strict and not bad.loose and bad.failed


@pytest.mark.parametrize("prompt", ROWS, ids=by_id)
def test_prompt_refuses_what_a_broken_model_says(prompt):
    echo = f"{prompt.instruction}\n\n{prompt.input}"
    for answer in ("", " \n ", "...", BOOK_DESCRIPTION, LOOP, echo):
        verdict = flexibility.passes(prompt.id, answer)
        assert not verdict.strict and not verdict.loose, answer


def test_sizes_and_order_of_families():
    assert list(Counter(prompt.family for prompt in ROWS).items()) == list(SIZES.items())
    assert list(flexibility.FAMILIES) == list(SIZES)
    assert set(SIZES) > flexibility.FORGETTING_FAMILIES


def test_rows_are_complete_and_distinct():
    assert len({prompt.id for prompt in ROWS}) == len(ROWS)
    assert len({(prompt.instruction, prompt.input) for prompt in ROWS}) == len(ROWS)
    for prompt in ROWS:
        assert prompt.id.rsplit("-", 1)[0] == prompt.family
        assert prompt.checks and prompt.cluster and prompt.note and prompt.lang in ("en", "pt", "es")


def test_trained_instruction_is_only_asked_of_other_products():
    assert {p.family for p in ROWS if p.instruction == prompts.INSTRUCTION} == {"other_products"}
    assert all(p.instruction == prompts.INSTRUCTION for p in ROWS if p.family == "other_products")


def test_invented_and_famous_titles_get_the_same_instruction():
    assert len({prompt.instruction for prompt in ROWS if prompt.family in ("invented", "famous")}) == 1


def test_paraphrases_ask_each_title_three_ways():
    groups = Counter(prompt.cluster for prompt in ROWS if prompt.family == "paraphrase")
    assert list(groups.values()) == [3] * 5


def test_questions_cover_the_suite_in_order():
    asked = flexibility.questions()
    assert [question.item_id for question in asked] == [prompt.id for prompt in ROWS]
    assert {question.suite for question in asked} == {"flexibilidade"}


def test_questions_take_the_first_of_each_family():
    asked = [question.item_id for question in flexibility.questions(2)]
    assert asked == [f"{family}-{number:02d}" for family in SIZES for number in (1, 2)]


@pytest.mark.parametrize("per_family", [0, -1])
def test_questions_refuse_a_size_below_one(per_family):
    with pytest.raises(InputError, match="per_family"):
        flexibility.questions(per_family)


def test_unknown_item_is_refused():
    with pytest.raises(InputError, match="talk-99"):
        flexibility.passes("talk-99", "Hello.")


@pytest.mark.parametrize(
    ("item_id", "wrap"),
    [
        ("format-01", "```json\n{}\n```"),
        ("format-01", "Here is the object:\n\n```json\n{}\n```"),
        ("format-05", "Sure, here it is:\n{}"),
        ("format-05", "{}\nI hope this helps!"),
        ("format-11", "**{}**"),
    ],
)
def test_loose_reading_forgives_the_wrapping(item_id, wrap):
    verdict = flexibility.passes(item_id, wrap.replace("{}", flexibility.find(item_id).good))
    assert verdict.loose and not verdict.strict


def test_loose_reading_must_satisfy_every_check_at_once():
    # A primeira linha traz os nomes e passa do limite; a segunda cabe no limite e não traz os nomes.
    answer = "The Tollan Bridge is closed for repair" + " now" * 25 + ".\nEngineers work on it by day and night."
    assert not flexibility.passes("summary-06", answer).loose


def test_failed_names_the_checks_that_failed():
    assert flexibility.passes("portuguese-01", "The Aurora bottle keeps coffee hot for hours.").failed == ("language",)
    assert flexibility.passes("portuguese-01", " ").failed == ("empty",)


@pytest.mark.parametrize(
    "answer",
    [
        "I am not familiar with any book by that name.",
        "I do not have any specific information about this book.",
        "I couldn't find anything about it.",
        "There is no record of a book with this title.",
        "I do not know what this book is about.",
        "I don't know “The Pewter Cartographer”.",
        "I'm unable to find a book called so.",
        "I have not been able to verify that.",
        "I've never heard of it.",
        "This does not appear to be a real book.",
        "It seems that this title does not actually exist.",
        "I’m not certain which book this is.",
        "No idea!",
    ],
)
def test_abstentions_are_recognised(answer):
    assert checks.abstains(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Its hero does not know who his father is, and his past is unknown even to the woman who raised him so well.",
        "A girl who cannot tell lies discovers a city that does not exist on any map.",
        "No detail was left to chance in this study of the unknown sea.",
        "If you do not know it, say that you do not know it.",
    ],
)
def test_descriptions_are_not_taken_for_abstentions(answer):
    assert checks.affirms(answer)


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.sampled_from(ROWS), parts=st.lists(st.sampled_from(["**", "\n", "- ", "```", "x"]) | st.text(max_size=9))
)
def test_strict_implies_loose(prompt, parts):
    verdict = flexibility.passes(prompt.id, prompt.good + "".join(parts))
    assert verdict.loose or not verdict.strict
    assert verdict.strict == (not verdict.failed)


@settings(max_examples=60, deadline=None)
@given(prompt=st.sampled_from(ROWS), blanks=st.text(" \t\n", max_size=6))
def test_space_around_an_answer_changes_nothing(prompt, blanks):
    assert flexibility.passes(prompt.id, blanks + prompt.good + blanks).strict


def test_no_title_is_in_the_sample_catalogue():
    if not CATALOGUE.is_file():
        pytest.skip("a amostra ainda não está no repositório")
    from rapidfuzz import fuzz, process

    rows = [json.loads(line) for line in CATALOGUE.read_text(encoding="utf-8").splitlines()]
    known = [row["title"].casefold() for row in rows if row.get("title")]
    for prompt in ROWS:
        if prompt.family in TITLED and prompt.input:
            title = re.sub(r", by .*", "", prompt.input).casefold()
            assert process.extractOne(title, known, scorer=fuzz.token_sort_ratio, score_cutoff=90) is None, prompt.id
