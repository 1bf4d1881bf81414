"""A amostra do repositório: o tamanho que promete, uma linha para cada motivo de corte e nada repetido por acaso."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest

from finetune_helpers import curation
from finetune_helpers.curation import clean, duplicates, filter_frame
from finetune_helpers.curation.selection import REPEATS, SURPLUS
from finetune_helpers.errors import InputError
from finetune_helpers.records import Example, normalise

SAMPLE = Path(__file__).resolve().parents[1] / "dados" / "amostra" / "catalogo.jsonl"
ENTITY = re.compile(r"&(?:[A-Za-z]+|#[0-9]+|#x[0-9A-Fa-f]+);")
TAILS = ["This text refers to", "Reed Business Information", "All rights reserved"]
SIZES = {"llama": (75, 15), "gpt": (125, 25)}
NOTEBOOK_SIZE = (56, 16)  # o que o caderno 01 pede à amostra
REASONS = {rule.name for model in SIZES for rule in curation.plan(model, "recomendada").rules} | {*SURPLUS, *REPEATS}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """As linhas brutas, na ordem do arquivo."""
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


def test_the_rows_have_the_shape_of_the_real_file_and_no_uid_twice(rows):
    assert SAMPLE.read_bytes().endswith(b"}\n")
    assert {tuple(row) for row in rows} == {("uid", "title", "content", "target_ind", "target_rel")}
    assert len({row["uid"] for row in rows}) == len(rows) >= 400
    for row in rows:
        assert isinstance(row["title"], str) and isinstance(row["content"], str)
        assert len(row["target_ind"]) == len(row["target_rel"])
        assert all(0 <= at < len(rows) for at in row["target_ind"])


@pytest.mark.parametrize(("model", "sizes"), SIZES.items())
def test_the_curation_finds_the_promised_rows(model, sizes):
    made = curation.curate(SAMPLE, model=model, n_train=sizes[0], n_test=sizes[1])
    assert (len(made.train), len(made.test)) == sizes
    assert len({example.item_id for example in (*made.train, *made.test)}) == sum(sizes)


def test_the_reader_of_notebook_01_sees_every_reason_at_work():
    n_train, n_test = NOTEBOOK_SIZE
    made = [curation.curate(SAMPLE, model=model, n_train=n_train, n_test=n_test) for model in SIZES]
    steps = [step for one in made for step in one.funnel]
    assert {step.rule for step in steps} == REASONS == {step.rule for step in steps if step.dropped}


@pytest.mark.parametrize("mode", ["recomendada", "original"])
@pytest.mark.parametrize("if_short", ["parar", "desligar_tokens"])
@pytest.mark.parametrize("sizes", [NOTEBOOK_SIZE, (100, 40)])
def test_every_choice_of_the_notebook_ends_or_stops_at_the_first_cell(tmp_path, mode, if_short, sizes):
    choices = {"mode": mode, "if_short": if_short, "n_train": sizes[0], "n_test": sizes[1]}
    if sizes != NOTEBOOK_SIZE and if_short == "parar":
        with pytest.raises(InputError, match=r"Use `n_train` = .*, que cabem"):
            curation.curate(SAMPLE, model="llama", **choices)
        return
    made = [curation.curate(SAMPLE, model=model, **choices) for model in SIZES]
    for one in made:
        curation.write(one, tmp_path / one.model)
    curation.write_comparison(made, tmp_path / "comparacao")
    checks = curation.check_leaks(tmp_path)
    assert [check.leaks for check in checks if check.test.startswith("comparacao")] == [0, 0]
    assert sum(check.leaks for check in checks) == sum(len(one.leaks) for one in made)
    assert bool(sum(check.leaks for check in checks)) is (mode == "original")


@pytest.mark.parametrize(
    ("column", "dirt"),
    [("title", ENTITY), ("content", ENTITY), *(("content", re.compile(re.escape(tail))) for tail in TAILS)],
)
def test_raw_rows_have_entities_and_tails_and_clean_ones_do_not(rows, column, dirt):
    dirty = [row[column] for row in rows if dirt.search(row[column])]
    assert dirty and not [text for text in map(clean, dirty) if dirt.search(text)]


def test_there_are_near_300_books_and_no_two_share_eight_words(rows):
    plan = curation.plan("llama", "recomendada")
    passed = filter_frame(pd.DataFrame(rows), plan.raw)
    cleaned = filter_frame(passed[["title", "content"]].map(clean), plan.cleaned)
    books = [Example(title, content) for title, content in cleaned.itertuples(index=False)]
    groups = duplicates.clusters(books)
    assert len(set(groups)) >= 260
    titles, owners = {}, defaultdict(set)
    for book, group in zip(books, groups, strict=True):
        titles.setdefault(group, book.title)
        words = re.findall(r"\w+", normalise(book.content))
        for at in range(len(words) - 7):
            owners[" ".join(words[at : at + 8])].add(group)
    shared = {words: sorted(titles[one] for one in groups) for words, groups in owners.items() if len(groups) > 1}
    assert shared == {}
