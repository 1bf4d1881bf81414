"""Leitura em blocos de linhas inteiras: cada linha danificada é contada, com número e motivo, até um limite."""

import hashlib
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import progress
from ..errors import InputError
from .decoding import Block, Columns, Damage, decode
from .sources import Part, Source, open_source

_BROKEN = (EOFError, zlib.error, zipfile.BadZipFile)
MB = 10**6  # bytes
_LONGEST_LINE = 64 * 1024 * 1024


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
        total = self.source.size // MB if self.source.size and self.source.plain else None
        with progress.bar(f"lendo {self.source.name}", "MB", total, delay=1.0) as bar:
            for part in self.source.parts:
                for block in self._blocks_of(part):
                    yield block
                    bar.update(self.bytes // MB - bar.n)
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
        rest, line, start = b"", 1, 0
        try:
            for chunk in part.chunks():
                _refuse_list(part, start, rest, chunk)
                cut = chunk.rfind(b"\n") + 1
                if not cut:
                    rest = _longer(part, line, rest, chunk)
                    continue
                yield self._block(part, line, start, (rest, memoryview(chunk)[:cut]))
                line, start, rest = line + chunk.count(b"\n", 0, cut), start + len(rest) + cut, chunk[cut:]
        except _BROKEN as error:
            # O que sobrou é meia linha: vale como uma linha danificada, com o lugar em que o arquivo acaba.
            self.record(0, [Damage(part.name, line, f"o arquivo compactado está truncado ou danificado ({error})")])
            return
        if rest:
            yield self._block(part, line, start, (rest,))

    def _block(self, part: Part, line: int, start: int, pieces: tuple) -> Block:
        for piece in pieces:
            self._hash.update(piece)
        size = sum(map(len, pieces))
        self.bytes += size
        if part.path:  # já está no disco: não há por que juntar nem copiar
            return Block(part.name, line, size, path=part.path, start=start)
        return Block(part.name, line, size, b"".join(pieces))


def read_rows(source: str | Path, *, damage_limit: int = 0) -> Iterator[dict]:
    """Linhas da fonte, uma a uma, como dicionários com ``title``, ``content`` e, se houver, ``uid``.

    Até ``damage_limit`` linhas danificadas são puladas, com um aviso no fim; InputError na seguinte.
    """
    for columns in Reader(open_source(source), damage_limit):
        for title, content, uid in zip(columns.titles, columns.contents, columns.uids, strict=True):
            yield {"title": title, "content": content} | ({} if uid is None else {"uid": uid})


def _listed(damages: Sequence[Damage]) -> str:
    return "; ".join(f"{one.part}, linha {one.line}: {one.problem}" for one in damages[:5])


def _refuse_list(part: Part, start: int, rest: bytes, chunk: bytes) -> None:
    if not start and not rest and chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        raise InputError(f'{part.name}, linha 1: o arquivo é uma lista JSON ("["); esperava-se um objeto por linha.')


def _longer(part: Part, line: int, rest: bytes, chunk: bytes) -> bytes:
    if len(rest) + len(chunk) > _LONGEST_LINE:
        limit = _LONGEST_LINE // 2**20
        raise InputError(f"{part.name}, linha {line}: mais de {limit} MB sem quebra; não é JSON Lines.")
    return rest + chunk
