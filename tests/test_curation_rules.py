"""Regras: uma linha de exemplo por motivo, e o mesmo resultado em linha, quadro e partições do dask."""

import pandas as pd
import pytest
from curation_rows import count_words, good_row
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers.curation import frames, rules
from finetune_helpers.errors import InputError

PLAN = rules.plan("llama", "recomendada", count_words)
SHORT = "An author's note."


def rule(name: str, model: str = "llama"):
    return next(one for one in rules.plan(model, "recomendada", count_words).rules if one.name == name)


REASONS = [
    ("incompleto", {"title": "A title", "content": " \t"}, {"title": "A title", "content": "x"}),
    ("incompleto", {"title": None, "content": "x"}, {"title": "t", "content": "x"}),
    ("incompleto", {"content": "x"}, {"title": "t", "content": "x"}),
    ("conteudo_igual_ao_titulo", {"title": "A B", "content": "a  b "}, {"title": "A B", "content": "a c"}),
    ("titulo_curto", {"title": "t" * 40, "content": ""}, {"title": "t" * 41, "content": ""}),
    ("conteudo_curto", {"title": "", "content": "c" * 400}, {"title": "", "content": "c" * 401}),
    ("sem_palavra_chave", {"title": "Auth or", "content": "copy right"}, {"title": "", "content": "AUTHORity"}),
    ("sem_palavra_chave", {"title": "autho", "content": "r"}, {"title": "CopyRight", "content": ""}),
    ("titulo_curto_apos_limpeza", {"title": "t" * 40, "content": ""}, {"title": "t" * 41, "content": ""}),
    ("conteudo_curto_apos_limpeza", {"title": "", "content": "c" * 400}, {"title": "", "content": "c" * 401}),
    ("poucos_tokens", {"title": "a " * 56, "content": "b " * 200}, {"title": "a " * 57, "content": "b " * 200}),
    ("muitos_tokens", {"title": "a " * 57, "content": "b " * 200}, {"title": "a " * 56, "content": "b " * 200}),
]


@pytest.mark.parametrize(("name", "dropped", "kept"), REASONS)
def test_each_reason_drops_its_sample_and_keeps_the_neighbour(name, dropped, kept):
    one = rule(name, "gpt" if name == "muitos_tokens" else "llama")
    assert not frames.keep_row(one, dropped)
    assert frames.keep_row(one, kept)


def test_every_text_and_token_rule_has_a_sample():
    named = {one.name for model in ("llama", "gpt") for one in rules.plan(model, "recomendada", count_words).rules}
    assert named == {name for name, _, _ in REASONS}


@pytest.mark.parametrize(
    ("options", "text", "kept"),
    [
        ({}, "the authority", True),
        ({"whole_word": True}, "the authority", False),
        ({"whole_word": True}, "the Author, again", True),
        ({"every": True}, "the author", False),
        ({"every": True}, "the author holds copyright", True),
        ({"every": True, "whole_word": True}, "the author holds copyrights", False),
    ],
)
def test_keyword_readings(options, text, kept):
    one = rules.with_keyword(rules.KEYWORDS, **options)
    assert frames.keep_row(one, {"title": "", "content": text}) is kept


def test_original_mode_has_exactly_the_rules_of_the_project():
    names = [one.name for one in rules.plan("gpt", "original", count_words).rules]
    assert names == ["incompleto", "titulo_curto", "conteudo_curto", "sem_palavra_chave", "muitos_tokens"]


def test_a_rule_can_be_switched_off():
    assert "titulo_curto" not in [one.name for one in PLAN.without("titulo_curto").rules]
    with pytest.raises(InputError, match=r'Não há regra "titulo_longo".*incompleto'):
        PLAN.without("titulo_longo")


@pytest.mark.parametrize(("model", "mode", "said"), [("bert", "original", 'Modelo "bert"'), ("gpt", "x", 'Modo "x"')])
def test_unknown_model_or_mode(model, mode, said):
    with pytest.raises(InputError, match=said):
        rules.plan(model, mode, count_words)


TEXTS = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=60),
    st.text(alphabet="aA uthorcpyig\u00a0", max_size=60),
    st.sampled_from(["x" * 40, "x" * 41, "c" * 400, "c" * 401, "author", "Copyright ©", "a " * 257, "\u2003", SHORT]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12))
def test_row_and_frame_agree(pairs):
    rows = [{"title": title, "content": content} for title, content in pairs]
    frame = pd.DataFrame(rows, columns=["title", "content"], dtype=object)
    for one in (*PLAN.rules, rule("muitos_tokens", "gpt"), rules.with_keyword(("author",), whole_word=True)):
        assert frames.keep_frame(one, frame).tolist() == [frames.keep_row(one, row) for row in rows]


def test_frame_without_a_column_says_which():
    with pytest.raises(InputError, match=r'Falta a coluna "content".*title'):
        frames.keep_frame(PLAN.raw[0], pd.DataFrame({"title": ["a"]}))


def test_dask_runs_the_filters_unchanged():
    dask = pytest.importorskip("dask.dataframe", reason="o dask não está instalado")
    rows = [good_row(seed, 300 if seed % 3 else 5) for seed in range(40)] + [{"title": "", "content": ""}]
    frame = pd.DataFrame(rows, columns=["title", "content"])
    ours = frames.filter_frame(frame, PLAN.rules)
    theirs = dask.from_pandas(frame, npartitions=4).map_partitions(frames.filter_frame, PLAN.rules).compute()
    assert 0 < len(ours) < len(frame)
    pd.testing.assert_frame_equal(theirs, ours, check_dtype=False)
