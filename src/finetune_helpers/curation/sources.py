"""Fontes: de onde vêm as linhas; toda fonte vira um arquivo local, sem compactação, com um objeto JSON por linha."""

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import progress
from ..errors import InputError
from ..records import atomic_write
from ..runs import cache_folder
from . import remote

SAMPLE = Path("dados") / "amostra" / "catalogo.jsonl"
MB = 10**6  # bytes
_ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".zip", ".parquet")
_BROKEN = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile)
_CHUNK = 1024 * 1024
_FIRST_LINE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """O que foi pedido: o nome nas mensagens, os bytes no disco, o arquivo a ler e o que há de errado no fim dele."""

    name: str
    size: int
    path: Path
    problem: str = ""


def open_source(source: str | Path) -> Source:
    """Abre um arquivo, um zip, uma pasta, um endereço, um id do Drive, um conjunto do Hub ou ``"amostra"``.

    O que vem da rede e o que está compactado passa antes por um arquivo no cache. InputError se nada disso existe, se
    o arquivo está vazio, se o zip está danificado ou se não é JSON Lines; MachineError se o que vem da rede não chega.
    """
    text = str(source)
    if text == "amostra":
        return _from_files(text, [find_sample()])
    if Path(text).exists():
        return _from_files(Path(text).name, _inside(Path(text)))
    if remote.is_address(text):
        path = remote.download(text)
        return _from_files(path.name, [path])
    if remote.is_hub_name(text):
        return _from_files(text, remote.from_hub(text, chosen))
    raise InputError(
        f'A fonte "{text}" não existe. Em `source`, use um arquivo .json, .jsonl, .gz, .zip ou .parquet, uma pasta, um '
        'endereço http(s), "drive:ID", "hub:dono/nome", "oficial" ou "amostra".'
    )


def find_sample() -> Path:
    """A amostra do repositório, procurada da pasta atual para cima e ao lado do código; InputError se não está."""
    for folder in (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents):
        if (folder / SAMPLE).is_file():
            return folder / SAMPLE
    raise InputError(f"A amostra {SAMPLE} não foi encontrada. Execute dentro do repositório ou passe outro arquivo.")


def chosen(names: Iterable[str]) -> list[str]:
    """Dos arquivos de um zip, de uma pasta ou de um conjunto, os que têm linhas de treino, em ordem."""
    with_rows = sorted(name for name in names if name.endswith(_ENDINGS) and not name.startswith("__MACOSX"))
    # O conjunto oficial traz também o teste e os rótulos; só o arquivo de treino serve de fonte.
    official = [name for name in with_rows if name.rsplit("/", 1)[-1].startswith("trn.")][:1]
    return official or [name for name in with_rows if "train" in name] or with_rows


def _inside(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [path / name for name in chosen(one.name for one in path.iterdir())]
    if not files:
        raise InputError(f"A pasta {path} não tem arquivo {', '.join(_ENDINGS)}. Aponte a que tem os dados.")
    return files


def _from_files(name: str, files: list[Path]) -> Source:
    kinds = {_kind(path) for path in files}
    size = sum(path.stat().st_size for path in files)
    if kinds == {"linhas"} and len(files) == 1:
        _refuse_other_forms(files[0])
        return Source(files[0].name, size, files[0])
    key = "\n".join(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    path = cache_folder() / "fontes" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"
    if path.exists():
        return Source(name, size, path)
    problem = _from_parquet(files, path) if kinds == {"parquet"} else _unpack(name, files, path)
    if problem:  # o que sobrou serve a esta leitura; a próxima refaz o arquivo
        path = path.replace(path.with_name(f"cortado-{path.name}"))
    _refuse_other_forms(path)
    return Source(name, size, path, problem)


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        magic = file.read(4)
    if not magic:
        raise InputError(f"O arquivo {path} está vazio. Esperava-se um objeto JSON por linha. Baixe-o de novo.")
    kinds = {b"PK": "zip", b"\x1f\x8b": "gzip"}
    return "parquet" if magic == b"PAR1" else kinds.get(magic[:2], "linhas")


def _refuse_other_forms(path: Path) -> None:
    with open(path, "rb") as file:
        first = file.readline(_FIRST_LINE + 1)
    if len(first) > _FIRST_LINE:
        raise InputError(f"{path.name}, linha 1: mais de {_FIRST_LINE // 2**20} MB sem quebra; não é JSON Lines.")
    if first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        raise InputError(f'{path.name}, linha 1: o arquivo é uma lista JSON ("["); esperava-se um objeto por linha.')


def _unpack(name: str, files: list[Path], path: Path) -> str:
    """Escreve em ``path`` as linhas dos arquivos, seguidas; devolve o problema, se um deles está cortado."""
    with atomic_write(path, "wb") as target, progress.bar(f"descompactando {name}", "MB", None, delay=1.0) as bar:
        for file in files:
            try:
                for chunk in _chunks(file):
                    target.write(chunk)
                    bar.update(target.tell() // MB - bar.n)
            except _BROKEN as error:
                said = "acaba antes do fim" if isinstance(error, EOFError) else error
                return f"o arquivo compactado está truncado ou danificado ({said})"
            if len(files) > 1 and not chunk.endswith(b"\n"):
                target.write(b"\n")
    return ""


def _chunks(path: Path) -> Iterator[bytes]:
    """Os bytes de um arquivo, descompactados, até onde for possível."""
    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(open(path, "rb"))
        packed = _kind(path) == "gzip"
        if _kind(path) == "zip":
            member = _zip_member(path)
            file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(member))
            packed = member.endswith(".gz")
        stream: Any = stack.enter_context(gzip.open(file)) if packed else file
        # read1 entrega o que já saiu: com read, o fim de um arquivo cortado se perderia.
        yield from iter(lambda: stream.read1(_CHUNK), b"")


def _zip_member(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            members = chosen(name for name in names if not name.endswith((".zip", ".parquet")))
            if len(members) != 1:
                raise InputError(
                    f"O zip {path} deveria ter trn.json.gz (ou um só arquivo .jsonl); dentro há: "
                    f"{', '.join(names[:8]) or 'nada'}."
                )
            if archive.getinfo(members[0]).flag_bits & 1:
                raise InputError(f"O zip {path} tem senha. Passe um zip sem senha ou o arquivo já extraído.")
    except zipfile.BadZipFile as error:
        raise InputError(f"O zip {path} está danificado ({error}). Apague-o e baixe de novo.") from None
    return members[0]


def _from_parquet(files: list[Path], path: Path) -> str:
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as database:
        table = database.read_parquet([str(file) for file in files])
        if missing := {"title", "content"} - set(table.columns):
            raise InputError(f"{files[0].name} não tem a coluna {min(missing)}; há {', '.join(table.columns)}.")
        texts = table.project("coalesce(title, '') AS title, coalesce(content, '') AS content")
        database.execute(f"COPY ({texts.sql_query()}) TO '{path}.parcial' (FORMAT json)")
    Path(f"{path}.parcial").replace(path)
    return ""
