"""Os defeitos de forma e os fatos inventados, medidos em respostas rotuladas e em descrições verdadeiras."""

import hashlib
import html
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from curation_rows import REAL_ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from finetune_helpers.comparison import rules, statistics
from finetune_helpers.records import read_jsonl

ROOT = Path(__file__).parents[1]
LABELS = ROOT / "tests/rotulos"
TITLE = "Silas Marner: The Weaver of Raveloe by George Eliot (Unabridged Paperback)"
REFERENCE = "A weaver of Raveloe loses his gold in 1803. Eppie, found by Silas Marner, has three aunts in Warwickshire."


@cache
def labelled() -> list[dict]:
    return read_jsonl(LABELS / "publicada.jsonl") + read_jsonl(LABELS / "gerada.jsonl")


def reported(row: dict) -> bool:
    return int(hashlib.sha256(row["answer"].encode()).hexdigest(), 16) % 2 == 1


def is_description(row: dict) -> bool:
    # Há linhas sem conteúdo, com o título no lugar dele ou só com o nome de um formato ou coleção (até cinco palavras).
    content = (row["content"] or "").strip()
    return bool(row["title"]) and len(content.split()) > 5 and content.casefold() != row["title"].strip().casefold()


@cache
def sample() -> list[dict]:
    return [row for row in read_jsonl(ROOT / "dados/amostra/catalogo.jsonl") if is_description(row)]


def interval(passed: int, total: int, alpha: float = 0.05) -> tuple[float, float]:
    return proportion_confint(passed, total, alpha, method="wilson")


def written(passed: int, total: int) -> str:
    low, high = interval(passed, total)
    return f"{passed / total:.1%} [{low:.1%}; {high:.1%}] de {total}"


# --- medida em respostas rotuladas


def test_two_readings_agree_beyond_chance():
    kappa = statistics.kappa(*([bool(row[reading]) for row in labelled()] for reading in ("pass1", "pass2")))
    print(f"kappa de Cohen entre as duas leituras de {len(labelled())} respostas: {kappa:.3f}")
    assert len(labelled()) >= 392 and kappa > 0.9


def test_form_defects_are_found_and_not_invented_on_the_reported_half():
    systems = defaultdict(lambda: [0, 0, 0, 0])
    for row in filter(reported, labelled()):
        fired = bool(rules.problems(row["answer"], row["title"]))
        systems[row["system"].split()[0]][2 * bool(row["defects"]) + fired] += 1
    true, missed, false, _ = (sum(counts[place] for counts in systems.values()) for place in (3, 2, 1, 0))
    recall, precision = true / (true + missed), true / (true + false)
    print("\nachados:", written(true, true + missed), "· certos:", written(true, true + false))
    for system, (_, _, lost, hits) in systems.items():
        if lost + hits:
            print(f"  {system}: {written(hits, lost + hits)}")
            low, high = interval(hits, lost + hits, alpha=0.05 / len(systems))  # tantos sistemas, tantos acasos
            assert low <= recall <= high, f"{system}: o achado difere dos outros além do acaso"
    assert recall >= 0.90 and precision >= 0.97


def tokens(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", re.sub(r"['’]s\b", "", text.casefold()))) - {"the", "of", "a", "an", "and", "ad"}


def same(one: str, other: str) -> bool:
    return tokens(one) <= tokens(other) or tokens(other) <= tokens(one)


def test_invented_specifics_are_found_and_not_invented_on_the_reported_half():
    references = {html.unescape(row["title"]).casefold(): row["content"] for row in sample()}
    expected, given_back, hits, right = 0, 0, 0, 0
    rows = [row for row in labelled() if "specifics" in row]
    assert len(rows) >= 120
    for row in filter(reported, rows):
        reference = references[html.unescape(row["title"]).casefold()]
        listed = rules.unsupported(row["answer"], row["title"], reference)
        expected, given_back = expected + len(row["specifics"]), given_back + len(listed)
        hits += sum(any(same(label, item) for item in listed) for label in row["specifics"])
        right += sum(any(same(label, item) for label in row["specifics"]) for item in listed)
    print("\nachados:", written(hits, expected), end=" · ")
    print("certos:", written(right, given_back))
    assert hits / expected >= 0.85 and right / given_back >= 0.90


# --- descrições verdadeiras nunca disparam


def assert_quiet(content: str, title: str, cuts: range) -> None:
    split = html.unescape(content).split()
    for text in (content, " ".join(split), *(" ".join(split[:cut]) for cut in cuts if cut < len(split))):
        assert rules.problems(text, title) == (), text[:200]


def test_no_rule_fires_on_a_sample_description_whole_or_cut():
    for row in sample():
        assert_quiet(row["content"], row["title"], range(40, 161, 24))


@pytest.mark.skipif(not REAL_ROWS.is_dir(), reason="as linhas reais do AmazonTitles não estão nesta máquina")
@pytest.mark.parametrize("name", ["livros_750", "primeiras_500", "primeiras_1000_cortadas"])
def test_no_rule_fires_on_a_real_description_whole_or_cut(name: str):
    for row in filter(is_description, read_jsonl(REAL_ROWS / f"{name}.jsonl")):
        assert_quiet(row["content"], row["title"], range(40, 161, 60))


def test_a_reference_supports_itself():
    for row in sample():
        assert rules.unsupported(row["content"], row["title"], row["content"]) == []


# --- cada tipo, dos dois lados do limite

NOVEL = "A linen weaver hoards gold in a lonely cottage until a golden-haired child comes to his hearth."


FIRES = [
    ("vazia", "A book."),
    ("repeticao", "the old old old old weaver of the village"),
    ("repeticao", "lost his gold lost his gold lost his gold"),
    ("repeticao", f"{NOVEL} {NOVEL}"),
    ("repeticao", "Born in 1831, moved in 1832, wed in 1833, " * 3),
    ("repeticao", "Printed for readers in 1983, 1984, 1985, 1986, again"),
    ("eco_titulo", "The Silas Marner: The Weaver of Raveloe by George Eliot"),
    ("eco_titulo", f"{TITLE}\n\n{NOVEL}"),
    ("fala_da_tarefa", "The catalogue description of the product with this title is a novel."),
    ("fala_da_tarefa", f"{NOVEL} This is a response that completes the request."),
    ("fala_da_tarefa", "I'm ready to help you with your next question."),
    ("fala_da_tarefa", "I have read the novel twice, and the weaver moved me."),
    ("fala_da_tarefa", "What is the best way to sell a novel?"),
    ("instrucao", "Write a response that appropriately completes it. A weaver loses gold."),
    ("estrutura", f"Title: Silas Marner\nDescription: {NOVEL}"),
    ("estrutura", f"### Output:\n{NOVEL}"),
    ("estrutura", f"**{NOVEL}**"),
    ("enumeracao", "The book has\n- gold\n- a child"),
    ("enumeracao", "1. Gold is lost. 2. A child is found."),
    ("outra_lingua", "Um tecelão perde o seu ouro e encontra uma criança diante da lareira."),
    ("ilegivel", "A weaver loses his 金 and finds a child."),
    ("ilegivel", "A weaver loses his gold_bag and finds a child."),
]
QUIET = [
    "A good book.",
    "the old old old weaver of the village",
    "lost his gold lost his gold in the night",
    f"{NOVEL} A linen weaver hoards gold.",
    "Born in 1831, he moved in 1832 and wed in 1833.",
    "Printed for readers in 1983, 1984, 1985, again",
    "Silas Marner is a novel by George Eliot.",
    "His request is granted, and he is ready to die for his child.",
    "'I have read it twice.' The Times",
    "What does a miser want? Gold, and then a child.",
    "There is one title: miser. He earned it, in house No. #3.",
    "***** The Times: 'a joy from end to end'",
    "The book has\n- gold and a child",
    "Chapter 1. Gold is lost on a winter night.",
    "Silas e a Menina, a novel with his café and his gold-bag.",
]


@pytest.mark.parametrize(("kind", "answer"), FIRES)
def test_each_kind_fires(kind: str, answer: str):
    assert kind in rules.problems(answer, TITLE)


@pytest.mark.parametrize("answer", QUIET)
def test_an_answer_just_short_of_a_defect_is_quiet(answer: str):
    assert rules.problems(answer, TITLE) == ()


def test_a_cut_answer_is_told_apart_and_is_no_defect():
    assert rules.problems(NOVEL[:60], TITLE) == ()
    assert rules.is_cut(NOVEL[:60], "length")
    assert not rules.is_cut(NOVEL, "stop")
    assert not rules.is_cut(" ", "length")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It was written in 1861, and again in 1861.", ["1861"]),
        ("It was written in 1803 by George Eliot.", []),
        ("The bishop died in 1066.", ["1066"]),
        ("Set in the nineteenth century, and in the 1800s.", []),
        ("Set in the 17th century.", ["17th century"]),
        ("On 4 May 1803 the gold is stolen.", ["4 May 1803"]),
        ("Silas has two children.", ["two children"]),
        ("Eppie has three aunts, and the two parts tell of them.", []),
        ("It costs $12.99 and has 240 pages.", ["$12.99", "240"]),
        ("ISBN 978-0-393-00000-0.", ["978-0-393-00000-0"]),
        ("The weaver moves to Manchester.", ["Manchester"]),
        ("Marner's gold lies hidden in WARWICKSHIRE, as Eliots know.", []),
        ("Everybody knows the weaver, an Italian.", []),
        ("The story of Hannah Blackwood. Blackwood is a widow.", ["Hannah Blackwood"]),
        ('The author of "The Great Gatsby" wrote it.', ["The Great Gatsby"]),
        ("It was published by Penguin Books and died in 18", ["Penguin Books"]),
    ],
)
def test_specifics_are_listed_once_and_only_without_support(answer: str, expected: list[str]):
    assert rules.unsupported(answer, TITLE, REFERENCE) == expected


# --- propriedades


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_looped_phrase_of_the_sample_fires(data: st.DataObject):
    row = data.draw(st.sampled_from(sample()))
    content = row["content"].split()
    start = data.draw(st.integers(0, max(0, len(content) - 14)))
    phrase = " ".join(content[start : start + data.draw(st.integers(3, 14))])
    assert "repeticao" in rules.problems(f"{phrase} " * data.draw(st.integers(4, 9)), row["title"])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), year=st.integers(1000, 2099))
def test_a_new_invented_year_adds_exactly_one(data: st.DataObject, year: int):
    rows = [row for row in labelled() if "specifics" in row and str(year) not in row["title"] + row["answer"]]
    row = data.draw(st.sampled_from(rows))
    reference = "The weaver loses his gold and finds a child."
    before = rules.unsupported(row["answer"], row["title"], reference)
    # À frente: no fim, o que parecia número cortado deixaria de ser.
    longer = f"It was printed in {year}, and once more in {year}.\n{row['answer']}"
    after = rules.unsupported(longer, row["title"], reference)
    assert len(after) == len(before) + 1
