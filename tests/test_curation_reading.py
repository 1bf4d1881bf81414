"""Fontes e leitura: as mesmas linhas por qualquer caminho, e uma mensagem para cada dano."""

import gzip
import io
import json
import warnings
import zipfile
from pathlib import Path

import duckdb
import pytest
from curation_rows import REAL_ROWS, count_words, good_row, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import curation
from finetune_helpers.curation import reading, rules, sources
from finetune_helpers.errors import InputError

ROWS = [good_row(seed) for seed in range(30)] + [{"title": "é “x”", "content": None}]
GOOD = json.dumps(good_row(1)).encode()


def zip_of(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


ZIP = zip_of({"trn.json": GOOD + b"\n"})
CHANGED_ZIP = ZIP.replace(b"river", b"RIVER", 1).replace(b"author", b"AUTHOR", 1)
FLAG = ZIP.rfind(b"PK\x01\x02") + 8  # a marca de arquivo cifrado, no diretório do zip
LOCKED_ZIP = ZIP[:FLAG] + bytes([ZIP[FLAG] | 1]) + ZIP[FLAG + 1 :]
CUT_GZIP = gzip.compress(b"\n".join(json.dumps(good_row(seed)).encode() for seed in range(40)))[:-300]
LINES = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in ROWS).encode()
CONTAINERS = {
    "arquivo": {"linhas.jsonl": LINES},
    # Dois membros seguidos, como faz quem junta arquivos com cat.
    "gzip": {"linhas.json.gz": gzip.compress(LINES[:1000]) + gzip.compress(LINES[1000:])},
    # A forma do zip oficial: trn.json.gz dentro de uma pasta, com os rótulos ao lado.
    "zip": {
        "oficial.zip": zip_of(
            {
                "LF-Amazon-1.3M/lbl.json.gz": gzip.compress(b'{"title": "rotulo", "content": ""}\n'),
                "LF-Amazon-1.3M/trn.json.gz": gzip.compress(LINES),
            }
        )
    },
    "pasta": {"trn.json": LINES, "tst.json": b'{"title": "teste", "content": ""}\n'},
}


@pytest.mark.parametrize("files", CONTAINERS.values(), ids=CONTAINERS)
def test_every_container_gives_the_same_rows(files, tmp_path):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    expected = [{key: row[key] or "" for key in ("title", "content", "uid") if key in row} for row in ROWS]
    assert list(curation.read_rows(tmp_path / name if len(files) == 1 else tmp_path)) == expected


def lines_kept(path: Path, damage_limit: int = 0) -> list[int]:
    """Os números, no arquivo, das linhas em que o leitor do DuckDB vê os dois textos preenchidos."""

    def work(reader: reading.Reader) -> list[int]:
        rows = (row for block in reader.blocks((rules.COMPLETE,), 1) for row in block)
        kept = [at for at, (passed, _, _) in enumerate(rows, start=1) if passed]
        size, lines, _ = reader.digest()
        reader.refuse_blank(lines)
        assert size == reader.source.path.stat().st_size
        return [reader.line(at) for at in kept]

    return reading.reading(path, damage_limit, work)


def test_byte_order_mark_blank_lines_and_windows_line_ends(tmp_path):
    path = tmp_path / "w.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + GOOD)
    assert lines_kept(path) == [1, 3]


def test_blank_lines_that_the_database_skips_do_not_shift_the_numbers(tmp_path):
    path = write_rows(tmp_path / "b.jsonl", [good_row(1), "", "  ", *(good_row(seed) for seed in range(2, 9))])
    made = curation.curate(path, model="gpt", token_counter=count_words, n_train=4, n_test=2)
    assert made.report()["treino"] | {"tokens": 0} == {"linhas": 4, "tokens": 0, "primeira_linha": 1, "ultima_linha": 6}
    assert made.dropped_examples["excedente"][0]["line"] == 9
    assert made.report()["fonte"]["bytes_lidos"] == path.stat().st_size


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from(["bom", "nulo", "branco", "lixo", "número", "metade", "cortada"]), min_size=1, max_size=25)
)
def test_the_database_reads_the_lines_that_python_reads(tmp_path_factory, kinds):
    texts = {"bom": good_row(1), "nulo": good_row(1) | {"title": None}, "branco": " ", "lixo": "lixo"}
    texts |= {
        "número": good_row(1) | {"content": 7},
        "metade": '{"title": "\\ud83d", "content": "b"}',
        "cortada": '{"ti',
    }
    path = write_rows(tmp_path_factory.mktemp("h") / "h.jsonl", [texts[kind] for kind in kinds])
    good = [number for number, kind in enumerate(kinds, start=1) if kind == "bom"]
    damaged = [number for number, kind in enumerate(kinds, start=1) if kind not in ("bom", "nulo", "branco")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if set(kinds) <= {"branco", "lixo", "número", "metade", "cortada"}:
            with pytest.raises(InputError, match="não tem nenhuma linha"):
                lines_kept(path, damage_limit=25)
        else:
            assert lines_kept(path, damage_limit=25) == good
    if damaged:
        with pytest.raises(InputError, match=f"linha {damaged[:5][-1]}: "):
            lines_kept(path, damage_limit=len(damaged) - 1)


DAMAGED = {
    "vazio": (b"", r"está vazio\. Esperava-se um objeto JSON por linha"),
    "só linhas em branco": (b"\n \n", "não tem nenhuma linha com título e conteúdo"),
    "linha que não é JSON": (GOOD + b"\nola\n", r"linha 2: não é JSON \('ola'\)"),
    "linha cortada": (GOOD + b"\n" + GOOD[:30], "linha 2: não é JSON"),
    "aspas simples": (b"{'title': 'a', 'content': 'b'}\n", "linha 1: não é JSON"),
    "UTF-8 inválido": (GOOD + b"\n" + GOOD.replace(b"The", b"\xffhe") + b"\n", r"linha 2: UTF-8 inválido no byte \d+"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "linha 1: UTF-8 inválido no byte 1"),
    "lista": (b"[" + GOOD + b"]", "o arquivo é uma lista JSON"),
    "vetor na linha": (GOOD + b'\n["a", "b"]\n', "linha 2: é lista, não um objeto JSON"),
    "número na linha": (GOOD + b"\n42\n", "linha 2: é número, não um objeto JSON"),
    "texto na linha": (GOOD + b'\n"a"\n', "linha 2: é um texto, não um objeto JSON"),
    "outras chaves": (b'{"nome": "a", "texto": "b"}\n', 'linha 1: falta a chave "title"; as chaves são nome, texto'),
    "sem conteúdo": (GOOD + b'\n{"title": "a"}\n', 'linha 2: falta a chave "content"; as chaves são title'),
    "objeto vazio": (b"{}\n", "as chaves são nenhuma"),
    "número no título": (b'{"title": 7, "content": "b"}\n', 'linha 1: "title" deveria ser texto e é número'),
    "lista no conteúdo": (b'{"title": "a", "content": ["b"]}\n', '"content" deveria ser texto e é lista'),
    "verdadeiro no título": (b'{"title": true, "content": "b"}\n', "é verdadeiro ou falso"),
    "metade de caractere": (b'{"title": "\\ud800", "content": "b"}\n', "linha 1: tem a metade de um caractere"),
    "objeto em duas linhas": (b'{"title": "a",\n"content": "b"}\n', "linha 1: não é JSON"),
    "aninhado demais": (b'{"title": "a", "content": "b", "z": ' + b"[" * 9000 + b"\n", "linha 1: não é JSON"),
    "gzip truncado": (CUT_GZIP, r"dano.jsonl está truncado ou danificado \(acaba antes do fim\)\. Apague-o"),
    "gzip com lixo": (gzip.compress(GOOD + b"\n") + b"lixo", "está truncado ou danificado .*Apague-o e baixe de novo"),
    "zip cortado": (ZIP[:-40], "danificado .*not a zip file.*Apague-o e baixe de novo"),
    "zip com conteúdo trocado": (CHANGED_ZIP, "está truncado ou danificado .*CRC"),
    "zip com senha": (LOCKED_ZIP, "tem senha"),
    "zip sem dados": (zip_of({"leia.txt": b"oi"}), "deveria ter trn.json.gz .*dentro há: leia.txt"),
    "zip com dois arquivos": (zip_of({"a.json": GOOD, "b.json": GOOD}), "dentro há: a.json, b.json"),
}


@pytest.mark.parametrize(("content", "said"), DAMAGED.values(), ids=DAMAGED)
def test_each_damage_has_its_message(content, said, tmp_path):
    path = tmp_path / "dano.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        list(curation.read_rows(path))
    with pytest.raises(InputError, match=said):
        lines_kept(path)


def test_damaged_lines_are_skipped_up_to_the_limit_with_a_warning(tmp_path):
    path = write_rows(tmp_path / "d.jsonl", [good_row(1), "lixo", good_row(2), "{}", good_row(3)])
    with pytest.warns(UserWarning, match=r"puladas: 2\. d\.jsonl, linha 2: .*linha 4"):
        assert len(list(curation.read_rows(path, damage_limit=2))) == 3
    with pytest.raises(InputError, match=r"linha 4.*Corrija o arquivo ou apague essas linhas"):
        list(curation.read_rows(path, damage_limit=1))


def test_a_source_is_unpacked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "linhas.json.gz"
    packed.write_bytes(gzip.compress(LINES))
    first, second = (sources.open_source(packed) for _ in range(2))
    assert first.path == second.path and first.path.read_bytes() == LINES


def test_a_parquet_of_the_hub_and_a_folder_of_pieces_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "it's"))  # o apóstrofo fecharia um texto do SQL
    frame = duckdb.sql("SELECT 'a' AS title, 'é' AS content, 1 AS other UNION ALL SELECT NULL, 'b', 2")  # noqa: F841
    duckdb.sql(f"COPY frame TO '{tmp_path}/train.parquet' (FORMAT parquet)")
    assert [row["content"] for row in curation.read_rows(tmp_path / "train.parquet")] == ["é", "b"]
    (tmp_path / "pedaços").mkdir()
    for at in (1, 2):
        write_rows(tmp_path / "pedaços" / f"parte-{at}.jsonl", [good_row(at)])
    assert [row["uid"] for row in curation.read_rows(tmp_path / "pedaços")] == ["0000000001", "0000000002"]


def test_unknown_source_and_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r'"nada\.jsonl" não existe\. Em `source`, use um arquivo'):
        list(curation.read_rows("nada.jsonl"))
    with pytest.raises(InputError, match=r"não tem arquivo \.jsonl"):
        list(curation.read_rows(tmp_path))


def test_the_sample_is_found_from_inside_the_repository():
    assert all(row.keys() >= {"title", "content"} for row in curation.read_rows("amostra"))


@pytest.mark.skipif(not REAL_ROWS.is_dir(), reason=f"as linhas reais não estão em {REAL_ROWS}")
def test_real_rows_are_read_whole():
    counts = {path.name: sum(1 for _ in curation.read_rows(path)) for path in REAL_ROWS.glob("*.jsonl")}
    assert counts == {
        "livros_750.jsonl": 750,
        "primeiras_500.jsonl": 500,
        "primeiras_1000_cortadas.jsonl": 1000,
        "linhas_brutas_2.jsonl": 2,
    }


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 5000)
    path = tmp_path / "uma.jsonl"
    path.write_bytes(GOOD + b"\n" + b"x" * 20_000)
    with pytest.raises(InputError, match=r"linha 2: mais de \d+ MB sem quebra; não é JSON Lines"):
        list(curation.read_rows(path))
