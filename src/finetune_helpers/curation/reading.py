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


@dataclass(frozen=True)
class Block:
    """Linhas inteiras de um arquivo, ainda em bytes, e o número da primeira."""

    part: str
    first_line: int
    data: bytes


class Reader:
    """Percorre uma fonte e guarda o que já leu: linhas, bytes, SHA-256 e linhas danificadas."""

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

    def blocks(self) -> Iterator[Block]:
        """Os blocos da fonte; quem os decodifica informa o que achou com ``record``."""
        for part in self.source.parts:
            for block in self._blocks_of(part):
                self._hash.update(block.data)
                self.bytes += len(block.data)
                yield block
        self.complete = True

    def __iter__(self) -> Iterator[Columns]:
        for block in self.blocks():
            columns, damages = decode(block)
            self.record(len(columns.titles), damages)
            yield columns
        self.finish()

    def record(self, rows: int, damages: Sequence[Damage]) -> None:
        """Soma as linhas e os danos de um bloco; InputError quando os danos passam do limite."""
        self.rows += rows
        self.damages += damages
        if len(self.damages) > self.damage_limit:
            raise InputError(
                f'{_listed(self.damages)}. Esperava-se, em cada linha, um objeto JSON com "title" e "content" em '
                f"texto. Corrija o arquivo ou aceite pular linhas com damage_limit (agora {self.damage_limit})."
            )

    def finish(self) -> None:
        """Avisa das linhas danificadas que foram puladas; InputError se a fonte toda não tinha linha alguma."""
        if self.complete and not self.rows:
            raise InputError(f"{self.source.name} não tem nenhuma linha com título e conteúdo. Confira o arquivo.")
        if self.damages:
            warnings.warn(f"Linhas danificadas puladas: {len(self.damages)}. {_listed(self.damages)}.", stacklevel=3)

    def _blocks_of(self, part: Part) -> Iterator[Block]:
        rest, line = b"", 1
        try:
            for chunk in part.chunks():
                data, rest = _split_lines(part, line, rest, chunk)
                if data:
                    yield Block(part.name, line, data)
                    line += data.count(b"\n")
        except _BROKEN as error:
            # O que sobrou é meia linha: vale como uma linha danificada, com o lugar em que o arquivo acaba.
            self.record(0, [Damage(part.name, line, f"o arquivo compactado está truncado ou danificado ({error})")])
            return
        if rest:
            yield Block(part.name, line, rest)


def read_rows(source: str | Path, *, damage_limit: int = 0) -> Iterator[dict]:
    """Linhas da fonte, uma a uma, como dicionários com ``title``, ``content`` e, se houver, ``uid``.

    Até ``damage_limit`` linhas danificadas são puladas, com um aviso no fim; InputError na seguinte.
    """
    for columns in Reader(open_source(source), damage_limit):
        for title, content, uid in zip(columns.titles, columns.contents, columns.uids, strict=True):
            yield {"title": title, "content": content} | ({} if uid is None else {"uid": uid})


def decode(block: Block) -> tuple[Columns, list[Damage]]:
    """As linhas de um bloco em colunas, e as que não servem."""
    data = block.data.removeprefix(b"\xef\xbb\xbf") if block.first_line == 1 else block.data
    try:
        rows = _DECODER.decode_lines(data)
    except (ValueError, RecursionError):  # inclui os erros do msgspec e de UTF-8
        return _decode_one_by_one(block, data)
    if len(rows) != data.count(b"\n") + (not data.endswith(b"\n")):
        return _decode_one_by_one(block, data)  # há linhas em branco: os números precisam ser contados
    return _columns(rows, range(block.first_line, block.first_line + len(rows))), []


def _decode_one_by_one(block: Block, data: bytes) -> tuple[Columns, list[Damage]]:
    rows, lines, damages = [], [], []
    for number, line in enumerate(data.split(b"\n"), start=block.first_line):
        if not line.strip():
            continue
        try:
            rows.append(_DECODER.decode(line))
            lines.append(number)
        except (ValueError, RecursionError):
            damages.append(Damage(block.part, number, _problem(line)))
    return _columns(rows, lines), damages


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
    return (b"".join((rest, memoryview(chunk)[:cut])) if cut else b""), rest_is_next


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
