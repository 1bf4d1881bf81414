"""Fontes da rede, trazidas para o cache: um endereço http(s), um arquivo do Google Drive ou um conjunto do Hub."""

import hashlib
import re
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import progress
from ..errors import MachineError
from ..portuguese import number
from ..runs import cache_folder, need_disk, refuse_credentials

OFFICIAL_DRIVE_ID = "12zH4mL2RX8iSvH0VCNnd3QxO4DzuHWnK"  # LF-Amazon-1.3M.raw.zip
KNOWN_SIZES = {OFFICIAL_DRIVE_ID: 889_969_656}  # bytes
_DRIVE_ID = re.compile(r"drive:([\w-]{20,})|https?://drive\.google\.com/\S*?(?:/d/|[?&]id=)([\w-]{20,})")
_QUOTA = (
    "O Google Drive atingiu a cota de downloads deste arquivo hoje. Tente amanhã, copie-o para o seu Drive e "
    'use "drive:ID" da cópia em `source`, ou um espelho do Hub, como "hub:rrantz/LF-Amazon-1.3M".'
)


def is_address(source: str) -> bool:
    """Se a fonte é um endereço http(s), ``drive:ID``, um id do Drive sozinho ou ``"oficial"``."""
    return source == "oficial" or source.startswith(("http://", "https://", "drive:")) or source in KNOWN_SIZES


def is_hub_name(source: str) -> bool:
    """Se a fonte é ``hub:dono/nome``, ou ``dono/nome`` quando não há aqui uma pasta ``dono``."""
    match = re.fullmatch(r"(hub:)?([\w.-]+)/[\w.-]+", source)
    return match is not None and (bool(match[1]) or not (Path(match[2]).exists() or Path(source).suffix))


def drive_id(source: str) -> str:
    """O id do arquivo do Drive que a fonte nomeia; vazio se ela é outro endereço."""
    match = _DRIVE_ID.match(source)
    return OFFICIAL_DRIVE_ID if source == "oficial" else source if source in KNOWN_SIZES else _named(match)


def _named(match: re.Match[str] | None) -> str:
    return (match[1] or match[2]) if match else ""


def download(source: str) -> Path:
    """Traz a fonte para o cache, uma vez só, e devolve o arquivo.

    MachineError se a rede falha, se não há espaço, se vem uma página no lugar do arquivo (como a da cota do Drive) ou
    se o tamanho não é o esperado; InputError se o endereço traz usuário e senha.
    """
    name = drive_id(source)
    if not name:
        refuse_credentials("A fonte", source)
    folder = cache_folder() / "fontes"
    folder.mkdir(parents=True, exist_ok=True)
    kept = re.sub(r"[^\w.-]", "_", Path(urllib.parse.urlparse(source).path).name) if not name else "drive"
    path = folder / f"{hashlib.sha256((name or source).encode()).hexdigest()[:12]}_{kept or 'fonte'}"
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.parcial")
    try:
        _from_drive(name, partial) if name else _from_address(source, partial)
    except MachineError:
        raise
    except Exception as error:  # gdown e fsspec deixam passar erros de várias bibliotecas de rede
        if "many users" in str(error).lower() or "quota" in str(error).lower():
            raise MachineError(_QUOTA) from None
        raise MachineError(
            f"{source} não respondeu como devia ({type(error).__name__}: {error}). Confira o endereço e a rede e "
            "execute de novo."
        ) from None
    _refuse_page(source, partial)
    _refuse_size(source, partial, KNOWN_SIZES.get(name))
    return partial.replace(path)


def from_hub(source: str, chosen: Callable[[Iterable[str]], list[str]]) -> list[Path]:
    """Os arquivos que ``chosen`` escolhe de um conjunto do Hub, no cache da biblioteca; MachineError se não vêm."""
    name = source.removeprefix("hub:")
    try:
        from huggingface_hub import hf_hub_download, list_repo_files

        files = chosen(list_repo_files(name, repo_type="dataset"))
        paths = [Path(hf_hub_download(name, file, repo_type="dataset")) for file in files]
    except Exception as error:  # a biblioteca deixa passar erros de rede de vários tipos
        raise MachineError(
            f'O conjunto "{source}" do Hub não abriu ({type(error).__name__}: {error}). Confira o nome e a rede, ou '
            "baixe o arquivo e use-o em `source`."
        ) from None
    if not paths:
        raise MachineError(f'O conjunto "{source}" do Hub não tem arquivos .json, .jsonl, .gz, .zip nem .parquet.')
    return paths


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


def _refuse_page(source: str, path: Path) -> None:
    """MachineError quando veio uma página em vez do arquivo; a da cota do Drive tem conselho próprio."""
    with open(path, "rb") as file:
        page = file.read(200_000).lstrip().lower()
    if not page.startswith((b"<!doctype html", b"<html")):
        return
    path.unlink()
    if b"quota" in page or b"too many users" in page or b"cota" in page:
        raise MachineError(_QUOTA)
    raise MachineError(f"{source} respondeu com uma página, não com o arquivo. Confira se o endereço é o do download.")


def _refuse_size(source: str, path: Path, expected: int | None) -> None:
    size = path.stat().st_size
    if expected and size != expected:
        path.unlink()
        raise MachineError(
            f"{source} trouxe {number(size)} bytes e deviam ser {number(expected)}. Foi apagado; execute de novo."
        )
