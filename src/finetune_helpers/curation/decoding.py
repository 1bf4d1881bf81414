"""De bytes a colunas: cada linha que não serve é nomeada pelo número e pelo problema."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

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
    """Linhas inteiras de um arquivo, ainda em bytes, e o número da primeira.

    Com ``path`` os bytes ficam no disco (``size`` deles, a partir de ``start``): o bloco passa leve a outro processo.
    """

    part: str
    first_line: int
    size: int
    data: bytes = b""
    path: Path | None = None
    start: int = 0

    def load(self) -> bytes:
        """Os bytes do bloco."""
        if self.path is None:
            return self.data
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def decode(block: Block) -> tuple[Columns, list[Damage]]:
    """As linhas de um bloco em colunas, e as que não servem."""
    data = block.load()
    data = data.removeprefix(b"\xef\xbb\xbf") if block.first_line == 1 else data
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
