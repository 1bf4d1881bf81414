"""Leitura: o DuckDB percorre o arquivo na ordem; cada linha danificada tem número e motivo, até um limite."""

import hashlib
import json
import re
import tempfile
import warnings
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from .. import progress
from ..errors import InputError
from ..runs import cache_folder
from .rules import Rule, passed_sql
from .sources import LONGEST_LINE, Source, open_source

BLOCK = 2048  # linhas
_KINDS = {bool: "verdadeiro ou falso", int: "número", float: "número", list: "lista", dict: "objeto", str: "um texto"}
Done = TypeVar("Done")
Row = tuple[int, str | None, str | None]  # regras por que passa, título e conteúdo (None se não precisam ser vistos)


@dataclass(frozen=True)
class Damage:
    """Uma linha que não serve: em que arquivo, o número dela (a partir de 1) e o problema."""

    part: str
    line: int
    problem: str


class Untidy(Exception):
    """O arquivo tem linhas em branco, nulas ou danificadas: é preciso ler uma cópia sem elas."""


@dataclass
class Reader:
    """Percorre um arquivo em que cada linha é um objeto com os dois textos, e conta o que já leu.

    ``lines`` e ``damages`` vêm com uma cópia: o número de cada linha no original e as linhas que ficaram fora dela.
    """

    source: Source
    path: Path
    damage_limit: int = 0
    lines: "array[int] | None" = None
    damages: Sequence[Damage] = ()
    rows: int = 0
    complete: bool = False

    def blocks(self, rules: Sequence[Rule], needed: int, size: int = BLOCK) -> Iterator[list[Row]]:
        """As linhas, em ordem e em blocos de ``size``; o texto só vem em quem passa pelas ``needed`` primeiras regras.

        Untidy se é preciso uma cópia; InputError, no fim, se as linhas danificadas passam do limite ou não há linhas.
        """
        import duckdb

        try:
            with (
                duckdb.connect() as database,
                progress.bar(f"lendo {self.source.name}", "linhas", self._expected_rows(), delay=1.0) as bar,
            ):
                database.execute(_query(self.path, rules, (1 << needed) - 1))
                while block := database.fetchmany(size):
                    if min([row[0] for row in block]) < 0:
                        raise Untidy
                    self.rows += len(block)
                    yield block
                    bar.update(len(block))
        except duckdb.InvalidInputException as error:
            if self.lines is None:
                raise Untidy from error
            raise InputError(f"{self.source.name} não pôde ser lido ({error}). Confira o arquivo.") from None
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            said = str(error).splitlines()[0]
            raise InputError(f"O DuckDB não entende a condição de uma regra ({said}). Corrija a regra.") from None
        self.complete = True
        _refuse(self.source, self.rows, self.damages, self.damage_limit)

    def line(self, row: int) -> int:
        """O número, no arquivo original, da linha de ordem ``row`` (a partir de 1)."""
        return row if self.lines is None else self.lines[row - 1]

    def texts(self, rows: Collection[int]) -> dict[int, dict[str, str]]:
        """Título e conteúdo das linhas pedidas pela ordem; lê só até a última delas."""
        with open(self.path, "rb") as file:
            lines = enumerate(islice(file, max(rows, default=0)), start=1)
            wanted = {row: json.loads(line) for row, line in lines if row in rows}
        return {row: {key: values[key] for key in ("title", "content")} for row, values in wanted.items()}

    def digest(self, last: int | None = None) -> tuple[int, int, str]:
        """Bytes, linhas e SHA-256 do original (descompactado), inteiro ou até a linha ``last``.

        Untidy se entre as linhas pedidas há uma em branco.
        """
        sha, size, newlines, piece = hashlib.sha256(), 0, 0, b""
        with open(self.source.path, "rb") as file:
            for piece in islice(file, last) if last else iter(lambda: file.read(1 << 22), b""):
                if last and self.lines is None and piece.isspace():
                    raise Untidy
                sha.update(piece)
                size, newlines = size + len(piece), newlines + piece.count(b"\n")
        return size, newlines + (not piece.endswith(b"\n")), sha.hexdigest()

    def refuse_blank(self, lines: int) -> None:
        """Untidy se em ``lines`` linhas do original o DuckDB viu menos linhas: ele pula as que estão em branco."""
        if self.lines is None and lines != self.rows:
            raise Untidy

    def skipped(self) -> list[Damage]:
        """As linhas danificadas até onde se leu."""
        return [one for one in self.damages if self.complete or one.line <= self.line(self.rows)]

    def _expected_rows(self) -> int:
        with open(self.path, "rb") as file:
            first = [len(line) for line in islice(file, BLOCK)]
        return max(1, self.path.stat().st_size * len(first) // max(1, sum(first)))


def reading(source: str | Path, damage_limit: int, work: Callable[[Reader], Done]) -> Done:
    """Faz ``work`` com o leitor da fonte: no próprio arquivo ou, se é preciso, numa cópia só com as linhas boas."""
    opened = open_source(source)
    try:
        return work(Reader(opened, opened.path, damage_limit))
    except Untidy:
        pass
    lines, damages = array("q"), list[Damage]()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        path = Path(folder) / "linhas.jsonl"
        # A cópia acaba na linha danificada que passa do limite: quem chega ao fim dela reclama.
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            for number, row in _good_lines(opened, damages, damage_limit):
                lines.append(number)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        reader = Reader(opened, path, damage_limit, lines, damages)
        done = work(reader)
    _warn(reader.skipped())
    return done


def read_rows(source: str | Path, *, damage_limit: int = 0) -> Iterator[dict]:
    """Linhas da fonte, uma a uma, como dicionários com ``title``, ``content`` e, se houver, ``uid``.

    Até ``damage_limit`` linhas danificadas são puladas, com um aviso no fim; InputError na seguinte.
    """
    opened, damages, rows = open_source(source), list[Damage](), 0
    for _, row in _good_lines(opened, damages, damage_limit):
        rows += 1
        yield row
    _refuse(opened, rows, damages, damage_limit)
    _warn(damages)


def _query(path: Path, rules: Sequence[Rule], needed: int) -> str:
    file = str(path).replace("'", "''")
    # Como JSON, e não VARCHAR, a coluna diz se o valor era mesmo um texto: um número viraria texto sem aviso.
    return f"""
        WITH texts AS (
            SELECT left(title, 1) = '"' AND left(content, 1) = '"' AS are_texts,
                   json_extract_string(title, '$') AS title, json_extract_string(content, '$') AS content
            FROM read_json('{file}', format = 'newline_delimited', compression = 'uncompressed',
                           columns = {{'title': 'JSON', 'content': 'JSON'}})
        ), judged AS (
            SELECT CASE WHEN are_texts THEN {passed_sql(rules)} ELSE -1 END AS passed, title, content FROM texts
        )
        SELECT passed, CASE WHEN passed & {needed} = {needed} THEN title END,
               CASE WHEN passed & {needed} = {needed} THEN content END
        FROM judged
    """


def _good_lines(source: Source, damages: list[Damage], limit: int) -> Iterator[tuple[int, dict]]:
    """Número e textos de cada linha boa; junta as danificadas em ``damages`` e acaba na que passa de ``limit``."""
    with open(source.path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            if len(line) > LONGEST_LINE:
                most = LONGEST_LINE // 2**20
                raise InputError(f"{source.name}, linha {number}: mais de {most} MB sem quebra; não é JSON Lines.")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            row = _row(line) if line.strip() else None
            if isinstance(row, dict):
                yield number, row
            elif row:
                damages.append(Damage(source.name, number, row))
                if len(damages) > limit:
                    return


def _row(line: bytes) -> dict | str:
    """O objeto de uma linha, com os textos nulos vazios; ou, em uma frase, por que ela não serve."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"UTF-8 inválido no byte {error.start + 1}"
    except (ValueError, RecursionError):
        return f"não é JSON ({line[:40].decode('utf-8', 'replace').rstrip()!r})"
    if not isinstance(row, dict):
        return f"é {_KINDS.get(type(row), 'nulo')}, não um objeto JSON"
    texts = {}
    for key in ("title", "content"):
        if key not in row:
            return f'falta a chave "{key}"; as chaves são {", ".join(list(row)[:8]) or "nenhuma"}'
        texts[key] = "" if row[key] is None else row[key]
        if not isinstance(texts[key], str):
            return f'"{key}" deveria ser texto e é {_KINDS[type(row[key])]}'
        if not texts[key].isprintable() and re.search("[\ud800-\udfff]", texts[key]):
            return "tem a metade de um caractere (como \\ud800), que o UTF-8 não admite"
    return texts | ({"uid": row["uid"]} if row.get("uid") is not None else {})


def _refuse(source: Source, rows: int, damages: Sequence[Damage], limit: int) -> None:
    if len(damages) > limit:
        raise InputError(
            f'{_listed(damages)}. Esperava-se, em cada linha, um objeto JSON com "title" e "content" em texto. '
            "Corrija o arquivo ou apague essas linhas dele."
        )
    if not rows:
        raise InputError(f"{source.name} não tem nenhuma linha com título e conteúdo. Confira o arquivo.")


def _warn(damages: Sequence[Damage]) -> None:
    if damages:
        warnings.warn(f"Linhas danificadas puladas: {len(damages)}. {_listed(damages)}.", stacklevel=3)


def _listed(damages: Sequence[Damage]) -> str:
    return "; ".join(f"{one.part}, linha {one.line}: {one.problem}" for one in damages[:5])
