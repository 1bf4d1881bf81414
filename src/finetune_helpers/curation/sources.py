"""Fontes: de onde vêm as linhas, sempre em pedaços de bytes e nunca inteiras na memória."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError

CHUNK = 4 * 1024 * 1024
SAMPLE = Path("dados") / "amostra" / "catalogo.jsonl"
_ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


@dataclass(frozen=True)
class Part:
    """Um arquivo de linhas: o nome que aparece nas mensagens e quem abre seus pedaços de bytes, já descompactados.

    ``path`` só existe quando os pedaços são os do próprio arquivo, sem compactação.
    """

    name: str
    chunks: Callable[[], Iterator[bytes]]
    path: Path | None = None


@dataclass(frozen=True)
class Source:
    """O que foi pedido: nome, bytes no disco (None se não há arquivo), se está sem compactação e suas partes."""

    name: str
    size: int | None
    plain: bool
    parts: tuple[Part, ...]


def open_source(source: str | Path) -> Source:
    """Abre um arquivo, um zip, uma pasta, um endereço, um id do Drive, um conjunto do Hub ou ``"amostra"``.

    InputError se nada disso existe, se o arquivo está vazio ou se o zip está danificado; MachineError se o que vem da
    rede não chega.
    """
    text = str(source)
    if text == "amostra":
        return _from_path(find_sample())
    if Path(text).exists():
        return _from_path(Path(text))
    from . import remote

    if remote.is_address(text):
        return _from_path(remote.download(text))
    if remote.is_hub_name(text):
        return Source(text, None, False, (Part(text, lambda: remote.hub_chunks(text)),))
    raise InputError(
        f'A fonte "{text}" não existe. Use um arquivo .json, .jsonl, .gz ou .zip, uma pasta, um endereço http(s), '
        '"drive:ID", "hub:dono/nome", "oficial" ou "amostra".'
    )


def find_sample() -> Path:
    """A amostra do repositório, procurada da pasta atual para cima e ao lado do código; InputError se não está."""
    for folder in (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents):
        if (folder / SAMPLE).is_file():
            return folder / SAMPLE
    raise InputError(f"A amostra {SAMPLE} não foi encontrada. Execute dentro do repositório ou passe outro arquivo.")


def _from_path(path: Path) -> Source:
    if path.is_dir():
        return _from_folder(path)
    size = path.stat().st_size
    if not size:
        raise InputError(f"O arquivo {path} está vazio. Esperava-se um objeto JSON por linha. Baixe-o de novo.")
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        return Source(path.name, size, False, (_inside_zip(path),))
    if magic[:2] == b"\x1f\x8b":
        return Source(path.name, size, False, (Part(path.name, lambda: _gzip_chunks(path)),))
    return Source(path.name, size, True, (Part(path.name, lambda: _plain_chunks(path), path),))


def _from_folder(folder: Path) -> Source:
    found = sorted(path for path in folder.iterdir() if path.name.endswith((*_ENDINGS, ".zip")))
    # A pasta do conjunto oficial traz também o teste e os rótulos; só o arquivo de treino serve de fonte.
    chosen = [path for path in found if path.name.startswith("trn.")][:1] or found
    if not chosen:
        raise InputError(f"A pasta {folder} não tem arquivo {', '.join(_ENDINGS)} nem .zip. Aponte a que tem os dados.")
    opened = [_from_path(path) for path in chosen]
    size, plain = sum(one.size or 0 for one in opened), all(one.plain for one in opened)
    return Source(folder.name, size, plain, tuple(part for one in opened for part in one.parts))


def _plain_chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _gzip_chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from _inflate(file)


def _inflate(file: IO[bytes]) -> Iterator[bytes]:
    """Descompacta um gzip (de um ou mais membros) entregando tudo o que saiu antes de um erro."""
    stream, started = zlib.decompressobj(31), False
    while data := file.read(CHUNK // 4):
        while data:
            started = True
            yield stream.decompress(data, CHUNK)
            data = stream.unconsumed_tail
            if stream.eof:
                data, stream, started = stream.unused_data.lstrip(b"\0"), zlib.decompressobj(31), False
    if started:
        raise EOFError("acaba antes do fim")


def _inside_zip(path: Path) -> Part:
    try:
        with zipfile.ZipFile(path) as archive:
            member = _training_member(path, archive.namelist())
            if archive.getinfo(member).flag_bits & 1:
                raise InputError(f"O zip {path} tem senha. Passe um zip sem senha ou o arquivo já extraído.")
    except zipfile.BadZipFile as error:
        raise InputError(f"O zip {path} está danificado ({error}). Apague-o e baixe de novo.") from None
    return Part(f"{path.name}/{member}", lambda: _zip_chunks(path, member))


def _training_member(path: Path, names: list[str]) -> str:
    found = sorted(name for name in names if name.endswith(_ENDINGS) and not name.startswith("__MACOSX"))
    chosen = [name for name in found if name.rsplit("/", 1)[-1].startswith("trn.")] or found
    if len(chosen) != 1:
        listed = ", ".join(names[:8]) or "nada"
        raise InputError(f"O zip {path} deveria ter trn.json.gz (ou um só arquivo {_ENDINGS[0]}); dentro há: {listed}.")
    return chosen[0]


def _zip_chunks(path: Path, member: str) -> Iterator[bytes]:
    with ExitStack() as stack:
        file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))
        if member.endswith(".gz"):
            yield from _inflate(file)
        else:
            yield from iter(lambda: file.read(CHUNK // 4), b"")
