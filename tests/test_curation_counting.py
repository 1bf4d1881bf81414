"""Contagem por palavra: o mesmo número que o tokenizador inteiro dá."""

import pytest
from curation_rows import REAL_ROWS
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import curation, tokens
from finetune_helpers.curation import counting

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(
            [" ", "  ", "\n", " \n", "\u00a0", "don't", "'S", "1989", " 12345", "...", "/", "\r", "é", "word"]
        ),
        st.sampled_from(["<|endoftext|>", "ﬁ", "👍🏽", "e\u0301", "HTMLParser", "—", "’re", "\u3000", "$5.00"]),
    ),
    max_size=14,
).map("".join)


@pytest.mark.parametrize("model", ["llama", "gpt"])
def test_words_add_up_to_the_whole_text(model):
    whole = tokens.counter(model)
    by_word = counting.WordCounts(whole)

    @settings(max_examples=400, deadline=None)
    @given(st.lists(TEXTS, max_size=3))
    def check(texts):
        assert by_word(texts) == whole(texts)

    check()


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(counting, "_MOST_WORDS", 10)
    by_word = counting.WordCounts(lambda texts: [len(text) for text in texts])
    for start in range(0, 200, 7):
        text = " ".join(map(str, range(start, start + 7)))
        assert by_word([text]) == [len(text)]
        assert len(by_word._first) + len(by_word._rest) <= 18


@pytest.mark.skipif(not REAL_ROWS.is_dir(), reason=f"as linhas reais não estão em {REAL_ROWS}")
@pytest.mark.parametrize("model", ["llama", "gpt"])
def test_real_rows_count_the_same(model):
    texts = [row["content"] for row in curation.read_rows(REAL_ROWS / "livros_750.jsonl")]
    texts += [curation.clean(text) for text in texts]
    assert counting.WordCounts(tokens.counter(model))(texts) == tokens.counter(model)(texts)
