"""Fontes: de onde vêm as linhas; toda fonte vira um arquivo local, sem compactação, com um objeto JSON por linha."""

import gzip
import hashlib
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import progress
from ..errors import InputError, MachineError
from ..portuguese import number
from ..records import atomic_write
from ..runs import cache_folder, need_disk, refuse_credentials

SAMPLE = Path("dados") / "amostra" / "catalogo.jsonl"
OFFICIAL_DRIVE_ID = "12zH4mL2RX8iSvH0VCNnd3QxO4DzuHWnK"  # LF-Amazon-1.3M.raw.zip
KNOWN_SIZES = {OFFICIAL_DRIVE_ID: 889_969_656}  # bytes
LONGEST_LINE = 16 * 1024 * 1024  # bytes: o que o DuckDB aceita num objeto
MB = 10**6  # bytes
_ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".zip", ".parquet")
_DRIVE_ID = re.compile(r"(?:drive:|https?://drive\.google\.com/\S*?(?:/d/|[?&]id=))([\w-]{20,})")
_QUOTA = (
    "O Google Drive atingiu a cota de downloads deste arquivo hoje. Tente amanhã, copie-o para o seu Drive e "
    'use "drive:ID" da cópia em `source`, ou um espelho do Hub, como "hub:rrantz/LF-Amazon-1.3M".'
)


@dataclass(frozen=True)
class Source:
    """O que foi pedido: o nome nas mensagens, os bytes no disco e o arquivo a ler."""

    name: str
    size: int
    path: Path


def open_source(source: str | Path) -> Source:
    """Abre um arquivo, um zip, uma pasta, um endereço, um id do Drive, um conjunto do Hub ou ``"amostra"``.

    O que vem da rede e o que está compactado passa antes por um arquivo no cache. InputError se nada disso existe, se
    o arquivo está vazio, se o zip está danificado ou se não é JSON Lines; MachineError se o que vem da rede não chega.
    """
    text = str(source)
    path = find_sample() if text == "amostra" else Path(text)
    if path.is_dir():
        files = [path / name for name in _with_rows(file.name for file in path.iterdir())]
        if not files:
            raise InputError(f"A pasta {path} não tem arquivo {', '.join(_ENDINGS)}. Aponte a que tem os dados.")
    elif path.exists():
        files = [path]
    elif is_address(text):
        files = [download(text)]
    elif is_hub_name(text):
        files = _from_hub(text)
    else:
        raise InputError(
            f'A fonte "{text}" não existe. Em `source`, use um arquivo .json, .jsonl, .gz, .zip ou .parquet, uma '
            'pasta, um endereço http(s), "drive:ID", "hub:dono/nome", "oficial" ou "amostra".'
        )
    return _ready(path.name if path.is_dir() else files[0].name, files)


def find_sample() -> Path:
    """A amostra do repositório, procurada da pasta atual para cima e ao lado do código; InputError se não está."""
    for folder in (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents):
        if (folder / SAMPLE).is_file():
            return folder / SAMPLE
    raise InputError(f"A amostra {SAMPLE} não foi encontrada. Execute dentro do repositório ou passe outro arquivo.")


# O que está aqui -----------------------------------------------------------------------------------------------------


def _with_rows(names: Iterable[str]) -> list[str]:
    """Dos arquivos de um zip, de uma pasta ou de um conjunto, os que têm linhas de treino, em ordem."""
    readable = sorted(name for name in names if name.endswith(_ENDINGS) and not name.startswith("__MACOSX"))
    # O conjunto oficial traz também o teste e os rótulos; só o arquivo de treino serve de fonte.
    official = [name for name in readable if name.rsplit("/", 1)[-1].startswith("trn.")][:1]
    return official or [name for name in readable if "train" in name] or readable


def _ready(name: str, files: list[Path]) -> Source:
    """A fonte pronta para ler: o próprio arquivo ou, se são vários ou estão compactados, um só no cache."""
    kinds, size = [_kind(path) for path in files], sum(path.stat().st_size for path in files)
    path = files[0]
    if kinds != ["linhas"]:
        key = "\n".join(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
        path = cache_folder() / "fontes" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"
        if not path.exists():
            _from_parquet(files, path) if set(kinds) == {"parquet"} else _unpack(name, files, path)
    with open(path, "rb") as file:
        if file.readline(LONGEST_LINE).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
            raise InputError(f'{name}, linha 1: o arquivo é uma lista JSON ("["); esperava-se um objeto por linha.')
    return Source(name, size, path)


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        magic = file.read(4)
    if not magic:
        raise InputError(f"O arquivo {path} está vazio. Esperava-se um objeto JSON por linha. Baixe-o de novo.")
    kinds = {b"PK": "zip", b"\x1f\x8b": "gzip"}
    return "parquet" if magic == b"PAR1" else kinds.get(magic[:2], "linhas")


def _unpack(name: str, files: list[Path], path: Path) -> None:
    """Escreve em ``path`` as linhas dos arquivos, seguidas; InputError se um deles está danificado."""
    with atomic_write(path, "wb") as target, progress.bar(f"descompactando {name}", "MB", None, delay=1.0) as bar:
        for file in files:
            try:
                with _opened(file) as stream:
                    while chunk := stream.read(MB):
                        last = target.write(chunk) and chunk[-1:]
                        bar.update(target.tell() // MB - bar.n)
            except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
                said = "acaba antes do fim" if isinstance(error, EOFError) else error
                raise InputError(f"{file} está truncado ou danificado ({said}). Apague-o e baixe de novo.") from None
            if len(files) > 1 and last != b"\n":
                target.write(b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Os bytes de um arquivo, descompactados."""
    kind = _kind(path)
    with ExitStack() as stack:
        file: Any = stack.enter_context(open(path, "rb"))
        if kind == "zip":
            archive = stack.enter_context(zipfile.ZipFile(file))
            member = _member(path, archive)
            file, kind = stack.enter_context(archive.open(member)), "gzip" if member.endswith(".gz") else ""
        if kind == "gzip":
            file = stack.enter_context(gzip.open(file))
        yield file


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    members = _with_rows(name for name in names if not name.endswith((".zip", ".parquet")))
    if len(members) != 1:
        raise InputError(
            f"O zip {path} deveria ter trn.json.gz (ou um só arquivo .jsonl); dentro há: "
            f"{', '.join(names[:8]) or 'nada'}."
        )
    if archive.getinfo(members[0]).flag_bits & 1:
        raise InputError(f"O zip {path} tem senha. Passe um zip sem senha ou o arquivo já extraído.")
    return members[0]


def _from_parquet(files: list[Path], path: Path) -> None:
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as database:
        table = database.read_parquet([str(file) for file in files])
        if missing := {"title", "content"} - set(table.columns):
            raise InputError(f"{files[0].name} não tem a coluna {min(missing)}; há {', '.join(table.columns)}.")
        texts = table.project("coalesce(title, '') AS title, coalesce(content, '') AS content")
        target = f"{path}.parcial".replace("'", "''")
        database.execute(f"COPY ({texts.sql_query()}) TO '{target}' (FORMAT json)")
    Path(f"{path}.parcial").replace(path)


# O que está na rede --------------------------------------------------------------------------------------------------


def is_address(source: str) -> bool:
    """Se a fonte é um endereço http(s), ``drive:ID``, um id do Drive sozinho ou ``"oficial"``."""
    return source == "oficial" or source.startswith(("http://", "https://", "drive:")) or source in KNOWN_SIZES


def is_hub_name(source: str) -> bool:
    """Se a fonte é ``hub:dono/nome``, ou ``dono/nome`` quando não há aqui uma pasta ``dono``."""
    match = re.fullmatch(r"(hub:)?([\w.-]+)/[\w.-]+", source)
    return match is not None and (bool(match[1]) or not (Path(match[2]).exists() or Path(source).suffix))


def download(source: str) -> Path:
    """Traz a fonte para o cache, uma vez só, e devolve o arquivo.

    MachineError se a rede falha, se não há espaço, se vem uma página no lugar do arquivo (como a da cota do Drive) ou
    se o tamanho não é o esperado; InputError se o endereço traz usuário e senha.
    """
    match = _DRIVE_ID.match(source)
    drive_id = match[1] if match else OFFICIAL_DRIVE_ID if source in ("oficial", OFFICIAL_DRIVE_ID) else ""
    refuse_credentials("A fonte", source)
    folder = cache_folder() / "fontes"
    folder.mkdir(parents=True, exist_ok=True)
    name = "drive" if drive_id else re.sub(r"[^\w.-]", "_", Path(urllib.parse.urlparse(source).path).name) or "fonte"
    path = folder / f"{hashlib.sha256((drive_id or source).encode()).hexdigest()[:12]}_{name}"
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.parcial")
    try:
        _from_drive(drive_id, partial) if drive_id else _from_address(source, partial)
    except MachineError:
        raise
    except Exception as error:  # gdown e fsspec deixam passar erros de várias bibliotecas de rede
        if re.search("many users|quota", str(error), re.IGNORECASE):
            raise MachineError(_QUOTA) from None
        raise MachineError(
            f"{source} não respondeu como devia ({type(error).__name__}: {error}). Confira o endereço e a rede e "
            "execute de novo."
        ) from None
    if problem := _unexpected(partial, KNOWN_SIZES.get(drive_id)):
        partial.unlink()
        raise MachineError(problem if problem == _QUOTA else f"{source} {problem}")
    return partial.replace(path)


def _from_drive(name: str, partial: Path) -> None:
    import gdown

    need_disk(partial.parent, KNOWN_SIZES.get(name, 0) / 1e9 + 0.1, "baixar a fonte")
    gdown.download(id=name, output=str(partial), resume=True)


def _from_address(url: str, partial: Path) -> None:
    import fsspec  # type: ignore[import-untyped]  # o fsspec não traz tipos
    from fsspec.callbacks import TqdmCallback  # type: ignore[import-untyped]  # o mesmo

    files, path = fsspec.core.url_to_fs(url)
    need_disk(partial.parent, (files.info(path).get("size") or 0) / 1e9 + 0.1, "baixar a fonte")

    def bar(total: int | None = None, **_: object):
        return progress.bar("baixando", "B", total, delay=1.0)

    files.get_file(path, str(partial), callback=TqdmCallback(tqdm_cls=bar))


def _unexpected(path: Path, expected: int | None) -> str:
    """O que há de errado no que veio: uma página em vez do arquivo, ou outro tamanho; vazio se está certo."""
    with open(path, "rb") as file:
        page = file.read(200_000).lstrip().lower()
    if page.startswith((b"<!doctype html", b"<html")):
        quota = re.search(rb"quota|too many users|cota", page)
        return _QUOTA if quota else "respondeu com uma página, não com o arquivo. Confira o endereço do download."
    size = path.stat().st_size
    if expected and size != expected:
        return f"trouxe {number(size)} bytes e deviam ser {number(expected)}. Foi apagado; execute de novo."
    return ""


def _from_hub(source: str) -> list[Path]:
    """Os arquivos de treino de um conjunto do Hub, no cache da biblioteca; MachineError se não vêm."""
    name = source.removeprefix("hub:")
    try:
        from huggingface_hub import hf_hub_download, list_repo_files

        files = _with_rows(list_repo_files(name, repo_type="dataset"))
        paths = [Path(hf_hub_download(name, file, repo_type="dataset")) for file in files]
    except Exception as error:  # a biblioteca deixa passar erros de rede de vários tipos
        raise MachineError(
            f'O conjunto "{source}" do Hub não abriu ({type(error).__name__}: {error}). Confira o nome e a rede, ou '
            "baixe o arquivo e use-o em `source`."
        ) from None
    if not paths:
        raise MachineError(f'O conjunto "{source}" do Hub não tem arquivos .json, .jsonl, .gz, .zip nem .parquet.')
    return paths
