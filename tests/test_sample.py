"""A amostra do repositório: o tamanho que promete, uma linha para cada motivo de corte e nada repetido por acaso."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest

from finetune_helpers import curation, tokens
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


@pytest.fixture(scope="module")
def curated() -> dict[str, curation.Curation]:
    """A curadoria da amostra para cada modelo, no modo recomendado, com as linhas que ela promete."""
    return {
        model: curation.curate(SAMPLE, model=model, n_train=n_train, n_test=n_test)
        for model, (n_train, n_test) in SIZES.items()
    }


@pytest.fixture(scope="module")
def in_notebook() -> list[curation.Curation]:
    """As curadorias do caderno 01, do mesmo tamanho."""
    n_train, n_test = NOTEBOOK_SIZE
    return [curation.curate(SAMPLE, model=model, n_train=n_train, n_test=n_test) for model in SIZES]


@pytest.fixture(scope="module")
def kept(rows) -> dict[str, list[Example]]:
    """Os exemplos limpos que passam por todas as regras de texto, reunidos por grupo de quase duplicatas."""
    plan = curation.plan("llama", "recomendada")
    passed = filter_frame(pd.DataFrame(rows), plan.raw)
    cleaned = filter_frame(passed[["title", "content"]].map(clean), plan.cleaned)
    examples = [Example(title, content) for title, content in cleaned.itertuples(index=False)]
    groups = defaultdict(list)
    for example, group in zip(examples, duplicates.clusters(examples), strict=True):
        groups[group].append(example)
    return dict(groups)


def test_the_rows_have_the_shape_of_the_real_file_and_no_uid_twice(rows):
    assert SAMPLE.read_bytes().endswith(b"}\n")
    assert {tuple(row) for row in rows} == {("uid", "title", "content", "target_ind", "target_rel")}
    assert len({row["uid"] for row in rows}) == len(rows) >= 400
    for row in rows:
        assert isinstance(row["title"], str) and isinstance(row["content"], str)
        assert len(row["target_ind"]) == len(row["target_rel"])
        assert all(0 <= at < len(rows) for at in row["target_ind"])


def test_each_regime_has_enough_different_books(kept):
    assert len(kept) >= 260
    first = [group[0] for group in kept.values()]
    sizes = {}
    for model in SIZES:
        counter = tokens.counter(model)
        titles, contents = counter([one.title for one in first]), counter([one.content for one in first])
        sizes[model] = [title + content for title, content in zip(titles, contents, strict=True)]
    assert sum(size >= 257 for size in sizes["llama"]) >= 90
    assert sum(size <= 256 and len(one.content) > 400 for one, size in zip(first, sizes["gpt"], strict=True)) >= 150


@pytest.mark.parametrize("model", SIZES)
def test_the_curation_finds_the_promised_rows(curated, model):
    made = curated[model]
    assert (len(made.train), len(made.test)) == SIZES[model]
    assert len({example.item_id for example in (*made.train, *made.test)}) == sum(SIZES[model])


def test_the_reader_of_notebook_01_sees_every_reason_at_work(in_notebook):
    steps = [step for made in in_notebook for step in made.funnel]
    assert {step.rule for step in steps} == REASONS == {step.rule for step in steps if step.dropped}


@pytest.mark.parametrize("mode", ["recomendada", "original"])
@pytest.mark.parametrize(
    ("if_short", "sizes"),
    [
        ("parar", NOTEBOOK_SIZE),
        ("desligar_tokens", NOTEBOOK_SIZE),
        ("parar", (100, 40)),
        ("desligar_tokens", (100, 40)),
    ],
)
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


def test_two_different_books_share_no_eight_words(kept):
    owners = defaultdict(set)
    for group, examples in kept.items():
        for example in examples:
            words = re.findall(r"\w+", normalise(example.content))
            for at in range(len(words) - 7):
                owners[" ".join(words[at : at + 8])].add(group)
    titles = {group: examples[0].title for group, examples in kept.items()}
    shared = {words: sorted(titles[one] for one in groups) for words, groups in owners.items() if len(groups) > 1}
    assert shared == {}
