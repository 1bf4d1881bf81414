"""Registros: ida e volta do JSONL, identidade dos itens, gravação atômica, caudas truncadas e mensagens."""

import hashlib
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetune_helpers import records
from finetune_helpers.errors import InputError
from finetune_helpers.records import Example, atomic_write, item_id, normalise

# Separadores que str.splitlines tomaria por fim de linha, marca de ordem, nulo, aspas e um acento solto.
HOSTILE = ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\ufeff", "\x00", "\ufffe", '"', "\\", "\r\n", "😀", "e\u0301"]
TEXT = st.lists(st.text(max_size=6) | st.sampled_from(HOSTILE), max_size=5).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=6)


@settings(max_examples=40, deadline=None)
@given(ROWS)
@example([{"title": text} for text in HOSTILE])
@example([{"answer": "cortada \ud83d"}])  # uma resposta cortada no meio de um emoji chega assim de uma API
def test_jsonl_gives_back_what_it_got(rows):
    with tempfile.TemporaryDirectory() as folder:
        written = records.write_jsonl(Path(folder) / "escrito.jsonl", rows)
        appended = Path(folder) / "acrescentado.jsonl"
        for row in rows:
            records.append_jsonl(appended, [row])
        assert records.read_jsonl(written) == rows
        assert not rows or appended.read_bytes() == written.read_bytes()


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_json_gives_back_what_it_got(value):
    with tempfile.TemporaryDirectory() as folder:
        assert records.read_json(records.write_json(Path(folder) / "a.json", value)) == value


def test_jsonl_is_utf8_with_one_readable_row_a_line(tmp_path):
    path = records.write_jsonl(tmp_path / "a.jsonl", [{"title": "Ação"}, {"title": "“b”\u2028c"}])
    assert path.read_bytes() == '{"title": "Ação"}\n{"title": "“b”\u2028c"}\n'.encode()
    assert records.sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=100, deadline=None)
@given(TEXT, TEXT, st.sampled_from([" ", "\n", "\t\u00a0", "\u2003 "]))
def test_identity_ignores_case_space_and_unicode_form(title, content, space):
    same = item_id(title, content)
    assert item_id(title.lower(), content.casefold()) == same
    assert item_id(unicodedata.normalize("NFKC", title), unicodedata.normalize("NFD", content)) == same
    assert item_id(f"{space}{space.join(title.split())}{space}", f"{content}{space}") == item_id(title, content)


def test_identity_ignores_the_case_of_every_letter():
    # O ı turco é a exceção do próprio Unicode: a sua maiúscula é o I de todos.
    letters = [chr(code) for code in range(0x110000) if chr(code).upper() != chr(code) != "ı"]
    assert [letter for letter in letters if normalise(letter.upper()) != normalise(letter)] == []


@settings(max_examples=100, deadline=None)
@given(TEXT)
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


def test_identity_is_the_start_of_a_sha256_of_title_border_and_content():
    expected = hashlib.sha256(b"the hobbit\x1fin a hole").hexdigest()[:16]
    assert item_id("The  HOBBIT ", "In a\nhole") == expected == Example("the hobbit", "in a hole", "longo", "g").item_id
    assert item_id("a b", "c") != item_id("a", "b c") and item_id("a", "b") != item_id("b", "a")


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_failed_block_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("antigo")
    with pytest.raises(KeyboardInterrupt), atomic_write(path, mode) as file:
        file.write("novo" if mode == "w" else b"novo")
        file.flush()
        raise KeyboardInterrupt
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "antigo"


def test_a_failed_first_write_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError):
        records.write_jsonl(tmp_path / "novo" / "a.jsonl", ({"n": 1 // n} for n in (1, 0)))
    assert list((tmp_path / "novo").iterdir()) == []


def test_the_new_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("antigo")
    with path.open() as reader:
        with atomic_write(path) as file:
            file.write("novo")
            file.flush()
            assert path.read_text() == "antigo"
        assert reader.read() == "antigo"  # quem já lia não vê o arquivo mudar no meio
    assert path.read_text() == "novo"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


@settings(max_examples=40, deadline=None)
@given(ROWS.filter(bool), st.data())
def test_a_truncated_tail_goes_and_every_whole_line_stays(rows, data):
    with tempfile.TemporaryDirectory() as folder:
        path = records.write_jsonl(Path(folder) / "a.jsonl", rows)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        records.drop_truncated_tail(path)
        records.drop_truncated_tail(path.with_name("não existe.jsonl"))
        assert [one.name for one in path.parent.iterdir()] == ["a.jsonl"]
        assert path.read_bytes() == whole[: whole[:cut].rfind(b"\n") + 1]
        assert records.read_jsonl(path) == rows[: whole[:cut].count(b"\n")]


@pytest.mark.parametrize(
    "line",
    [b'{"a": ', b"", b"[1]", b"3", b"null", b'{"a": "\xff"}', b"{'a': 1}", b"[" * 100_000],
    ids=["cortada", "vazia", "lista", "número", "nulo", "byte solto", "aspas simples", "funda demais"],
)
def test_a_bad_jsonl_line_is_named(tmp_path, line):
    path = tmp_path / "treino.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + line + b'\n{"a": 4}\n')
    with pytest.raises(InputError) as caught:
        records.read_jsonl(path)
    assert str(caught.value) == f"{path}, linha 3: não é um objeto JSON. Corrija ou apague essa linha."


@pytest.mark.parametrize("read", [records.read_json, records.read_jsonl])
def test_a_missing_file_says_what_to_run(tmp_path, read):
    with pytest.raises(
        InputError, match=r"não existe\. Execute antes o caderno que o escreve\..* envie para esta sessão"
    ) as caught:
        read(tmp_path / "treino.json")
    assert str(tmp_path / "treino.json") in str(caught.value)


@pytest.mark.parametrize("content", [b'{\n"a": 1,\n}', b"\n\nx", b'{\n"a":\n"\xff"}'], ids=["vírgula", "solto", "byte"])
def test_a_damaged_json_names_the_file_and_the_place(tmp_path, content):
    path = tmp_path / "rodada.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"não é um JSON válido \(.*(line|position) \d+.*\)\. Apague-o") as caught:
        records.read_json(path)
    assert str(path) in str(caught.value)
