"""Leitura em blocos de linhas inteiras: cada linha danificada é contada, com número e motivo, até um limite."""

import hashlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import InputError
from .sources import Part, Source, open_source

_BROKEN = (EOFError, zlib.error, zipfile.BadZipFile)
_LONGEST_LINE = 64 * 1024 * 1024
_KINDS = {bool: "verdadeiro ou falso", int: "número", float: "número", list: "lista", dict: "objeto"}


class _Row(msgspec.Struct, gc=False):
    # As outras chaves (target_ind, target_rel) são puladas sem virar objetos: é o que torna a leitura rápida.
    title: str | None
    content: str | None
    uid: str | int | None = None


_DECODER = msgspec.json.Decoder(_Row)


@dataclass(frozen=True)
class Damage:
    """Uma linha que não serve: em que arquivo, o número dela (a partir de 1) e o problema."""

    part: str
    line: int
    problem: str


@dataclass(frozen=True)
class Columns:
    """As linhas de um bloco em colunas; um campo nulo vem como texto vazio."""

    titles: list[str]
    contents: list[str]
    uids: list[str | int | None]
    lines: Sequence[int]


class Reader:
    """Percorre uma fonte em ``Columns`` e guarda o que já leu: linhas, bytes, SHA-256 e linhas danificadas."""

    def __init__(self, source: Source, damage_limit: int = 0):
        """InputError, durante a leitura, quando há mais de ``damage_limit`` linhas danificadas."""
        self.source, self.damage_limit = source, damage_limit
        self.rows = self.bytes = 0
        self.complete = False
        self.damages: list[Damage] = []
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 dos bytes lidos até aqui, já descompactados."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Columns]:
        for part in self.source.parts:
            for first_line, data in self._blocks(part):
                self._hash.update(data)
                self.bytes += len(data)
                columns = self._decode(part, first_line, data)
                self.rows += len(columns.titles)
                yield columns
        self.complete = True
        if not self.rows:
            raise InputError(f"{self.source.name} não tem nenhuma linha com título e conteúdo. Confira o arquivo.")

    def warn(self) -> None:
        """Avisa das linhas danificadas que foram puladas; sem nenhuma, não diz nada."""
        if self.damages:
            warnings.warn(f"Linhas danificadas puladas: {len(self.damages)}. {_listed(self.damages)}.", stacklevel=3)

    def _blocks(self, part: Part) -> Iterator[tuple[int, bytes]]:
        rest, line = b"", 1
        try:
            for chunk in part.chunks():
                data, rest = _split_lines(part, line, rest, chunk)
                if data:
                    yield line, data
                    line += data.count(b"\n")
        except _BROKEN as error:
            # O que sobrou é meia linha: vale como uma linha danificada, com o lugar em que o arquivo acaba.
            self._add(Damage(part.name, line, f"o arquivo compactado está truncado ou danificado ({error})"))
            return
        if rest:
            yield line, rest

    def _decode(self, part: Part, first_line: int, data: bytes) -> Columns:
        try:
            rows = _DECODER.decode_lines(data.removeprefix(b"\xef\xbb\xbf") if first_line == 1 else data)
        except (ValueError, RecursionError):  # inclui os erros do msgspec e de UTF-8
            rows = None
        if rows is None or len(rows) != data.count(b"\n") + (not data.endswith(b"\n")):
            return self._decode_one_by_one(part, first_line, data)
        return _columns(rows, range(first_line, first_line + len(rows)))

    def _decode_one_by_one(self, part: Part, first_line: int, data: bytes) -> Columns:
        rows, lines = [], []
        for number, line in enumerate(data.split(b"\n"), start=first_line):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.strip():
                continue
            try:
                rows.append(_DECODER.decode(line))
                lines.append(number)
            except (ValueError, RecursionError):
                self._add(Damage(part.name, number, _problem(line)))
        return _columns(rows, lines)

    def _add(self, damage: Damage) -> None:
        self.damages.append(damage)
        if len(self.damages) <= self.damage_limit:
            return
        raise InputError(
            f'{_listed(self.damages)}. Esperava-se, em cada linha, um objeto JSON com "title" e "content" em texto. '
            f"Corrija o arquivo ou aceite pular linhas com damage_limit (agora {self.damage_limit})."
        )


def read_rows(source: str | Path, *, damage_limit: int = 0) -> Iterator[dict]:
    """Linhas da fonte, uma a uma, como dicionários com ``title``, ``content`` e, se houver, ``uid``.

    Até ``damage_limit`` linhas danificadas são puladas, com um aviso no fim; InputError na seguinte.
    """
    reader = Reader(open_source(source), damage_limit)
    for columns in reader:
        for title, content, uid in zip(columns.titles, columns.contents, columns.uids, strict=True):
            yield {"title": title, "content": content} | ({} if uid is None else {"uid": uid})
    reader.warn()


def _listed(damages: Sequence[Damage]) -> str:
    return "; ".join(f"{one.part}, linha {one.line}: {one.problem}" for one in damages[:5])


def _split_lines(part: Part, line: int, rest: bytes, chunk: bytes) -> tuple[bytes, bytes]:
    """Separa as linhas inteiras do pedaço que ficou pela metade."""
    if line == 1 and not rest and chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        raise InputError(f'{part.name}, linha 1: o arquivo é uma lista JSON ("["); esperava-se um objeto por linha.')
    cut = chunk.rfind(b"\n") + 1
    rest_is_next = chunk[cut:] if cut else rest + chunk
    if len(rest_is_next) > _LONGEST_LINE:
        raise InputError(
            f"{part.name}, linha {line}: mais de {_LONGEST_LINE // 2**20} MB sem quebra; não é JSON Lines."
        )
    return (rest + chunk[:cut] if cut else b""), rest_is_next


def _columns(rows: list[_Row], lines: Sequence[int]) -> Columns:
    titles, contents = [row.title or "" for row in rows], [row.content or "" for row in rows]
    return Columns(titles, contents, [row.uid for row in rows], lines)


def _problem(line: bytes) -> str:
    """Em uma frase, por que a linha não serve."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"UTF-8 inválido no byte {error.start + 1}"
    except (ValueError, RecursionError):
        return f"não é JSON ({line[:40].decode('utf-8', 'replace')!r})"
    if not isinstance(row, dict):
        return f"é {_KINDS.get(type(row), 'um texto')}, não um objeto JSON"
    if missing := [key for key in ("title", "content") if key not in row]:
        return f'falta a chave "{missing[0]}"; as chaves são {", ".join(list(row)[:8]) or "nenhuma"}'
    for key in ("title", "content"):
        if type(row[key]) in _KINDS:
            return f'"{key}" deveria ser texto e é {_KINDS[type(row[key])]}'
    return "tem um número ou um caractere que o JSON não admite"
