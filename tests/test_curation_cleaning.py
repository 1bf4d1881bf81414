"""Limpeza: o que muda, o que nunca muda e as caudas com nome."""

import unicodedata
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune_helpers.curation.cleaning import TAILS, clean

CASES = {
    "entidade": ("Judith Kerr&#8217;s cat", "Judith Kerr’s cat"),
    "duas vezes codificada": ("Tom &amp;amp; Jerry &amp;eacute;", "Tom & Jerry é"),
    "número de Windows-1252": ("2007&#151;2008 &#x92;", "2007—2008 ’"),
    "nome sem ponto e vírgula": ("AT&T, R&Design &copy 2001", "AT&T, R&Design &copy 2001"),
    "nome que só começa igual": ("&notit; &ntildeera;", "&notit; &ntildeera;"),
    "espaços": ("  a\u00a0b\r\n\tc\u2003d ", "a b c d"),
    "controle": ("a\x00b\u200bc\ufeff\x93d\x94", "a bc“d”"),
    "metade de caractere": ("a\ud800b", "a\ufffdb"),
    "fronteira certa": ("It was needed.The author wrote.", "It was needed. The author wrote."),
    "fronteira incerta": ("Node.Js and Amazon.Com and e.g.This one", "Node.Js and Amazon.Com and e.g.This one"),
    "resenha no meio": (
        "Good.Copyright 1988 Reed Business Information, Inc.--This text refers to an out of print or unavailable "
        "edition of this title.  When a host",
        "Good. When a host",
    ),
    "direitos com símbolo": (
        "Out.(Jan.)Copyright &copy; Reed Business Information, a division of Reed Elsevier Inc. All rights reserved.",
        "Out.(Jan.)",
    ),
    "direitos que são assunto": ("How to Fix Copyright is smart.", "How to Fix Copyright is smart."),
}


@pytest.mark.parametrize(("raw", "cleaned"), CASES.values(), ids=CASES)
def test_cases(raw, cleaned):
    assert clean(raw) == cleaned


TAIL_SAMPLES = {
    "outra_edicao": "A fine book.|--This text refers to theHardcoveredition.",
    "direitos_com_simbolo": "Visit the site of the maker.|© Copyright Pearson Education. All rights reserved.",
    "direitos_de_resenha": "Recommended for all libraries.|Copyright 1989 Reed Business Information, Inc.",
    "direitos_de_revista": "Give it a place in any collection.|(c) Copyright 2011. Library Journals LLC, a wholly "
    "owned subsidiary of Media Source, Inc. No redistribution permitted.",
    "material_protegido": "A long feud lies at its centre.|(c) Copyrighted material. All rights reserved.",
}


@pytest.mark.parametrize("name", TAILS)
def test_each_tail_has_a_sample_that_loses_only_the_tail(name):
    kept, tail = TAIL_SAMPLES[name].split("|")
    assert TAILS[name][1].search(tail)
    assert clean(kept + tail) == kept


DIRTY = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["&amp;", "&", "amp;", "#8217;", "&#x92;", "é", "’", "'", ".The ", "word", "\x85", "\u0301", "&lt;", "--"]
            + [sample.split("|")[1] for sample in TAIL_SAMPLES.values()]
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=150)
@given(DIRTY)
@example("&amp;amp;amp;amp;quot;")
def test_cleaning_twice_changes_nothing(text):
    assert clean(clean(text)) == clean(text)


@settings(max_examples=150)
@given(st.text(st.characters(exclude_characters="&", exclude_categories=("Cs", "Cc")), max_size=60))
def test_letters_accents_apostrophes_and_punctuation_stay(text):
    def marks(value: str) -> Counter:
        return Counter(char for char in value if unicodedata.category(char)[0] in "LMNPS")

    assert marks(clean(text)) == marks(text)
