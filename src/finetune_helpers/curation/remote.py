"""Fontes que vêm da rede: endereço http(s), arquivo do Google Drive e conjunto do Hub; o que chega fica em cache."""

import hashlib
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import progress
from ..errors import MachineError
from ..runs import cache_folder, need_disk, refuse_credentials
from .sources import CHUNK

OFFICIAL_DRIVE_ID = "12zH4mL2RX8iSvH0VCNnd3QxO4DzuHWnK"  # LF-Amazon-1.3M.raw.zip
KNOWN_SIZES = {OFFICIAL_DRIVE_ID: 889_969_656}  # bytes
ATTEMPTS = 5
MB = 10**6  # bytes
_DRIVE_ID = re.compile(r"drive:([\w-]{20,})|https?://drive\.google\.com/\S*?(?:/d/|[?&]id=)([\w-]{20,})")
_NETWORK = (urllib.error.URLError, ConnectionError, TimeoutError)


def is_address(source: str) -> bool:
    """Se a fonte é um endereço http(s), ``drive:ID``, um id do Drive sozinho ou ``"oficial"``."""
    return source == "oficial" or source.startswith(("http://", "https://", "drive:")) or source in KNOWN_SIZES


def is_hub_name(source: str) -> bool:
    """Se a fonte é ``hub:dono/nome``, ou ``dono/nome`` quando não há aqui uma pasta ``dono``."""
    found = re.fullmatch(r"(hub:)?([\w.-]+)/[\w.-]+", source)
    return found is not None and (bool(found[1]) or not (Path(found[2]).exists() or Path(source).suffix))


def download(source: str, folder: Path | None = None) -> Path:
    """Traz a fonte para o cache (ou ``folder``), retomando de onde parou, e devolve o arquivo.

    MachineError se a rede falha, se não há espaço, se o Drive responde com a página de cota ou se o tamanho não é o
    esperado; InputError se o endereço traz usuário e senha.
    """
    url, size = _address(source)
    folder = folder or cache_folder() / "fontes"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^\w.-]", "_", Path(urllib.parse.urlparse(url).path).name) or "fonte"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}_{name}"
    if not path.exists():
        partial = path.with_name(f"{path.name}.parcial")
        _fetch(url, partial, size)
        partial.replace(path)
    return path


def hub_chunks(name: str) -> Iterator[bytes]:
    """As linhas da parte de treino de um conjunto do Hub, em pedaços de JSON Lines, sem baixar tudo antes.

    MachineError se falta o pacote datasets ou se o conjunto não abre.
    """
    try:
        from datasets import load_dataset

        yield from _encoded(load_dataset(name.removeprefix("hub:"), split="train", streaming=True))
    except ImportError:
        raise MachineError("Falta o pacote datasets. Instale os pacotes de requirements/, como diz o README.") from None
    except Exception as error:  # o datasets deixa passar erros de várias bibliotecas de rede
        raise MachineError(
            f'O conjunto "{name}" do Hub não abriu ({error}). Confira o nome e a rede, ou baixe o arquivo e passe-o.'
        ) from None


def _encoded(rows: Iterable[dict]) -> Iterator[bytes]:
    import msgspec

    encoder, buffer = msgspec.json.Encoder(), bytearray()
    for row in rows:
        buffer += encoder.encode({key: row[key] for key in ("uid", "title", "content") if key in row}) + b"\n"
        if len(buffer) >= CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _address(source: str) -> tuple[str, int | None]:
    """Endereço a baixar e tamanho esperado em bytes (None quando não se sabe)."""
    found = _DRIVE_ID.match(source)
    drive_id = OFFICIAL_DRIVE_ID if source == "oficial" else source if source in KNOWN_SIZES else None
    drive_id = drive_id or (found and (found[1] or found[2]))
    if not drive_id:
        refuse_credentials("A fonte", source)
        return source, None
    query = urllib.parse.urlencode({"id": drive_id, "export": "download", "confirm": "t"})
    return f"https://drive.usercontent.google.com/download?{query}", KNOWN_SIZES.get(drive_id)


def _fetch(url: str, partial: Path, size: int | None) -> None:
    """Tenta até ``ATTEMPTS`` vezes seguidas sem avanço; cada tentativa continua do que já está no disco."""
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            announced = _fetch_rest(url, partial, size)
            break
        except _NETWORK as error:
            failures = 0 if partial.exists() and partial.stat().st_size > before else failures + 1
            if failures >= ATTEMPTS or _is_refusal(error):
                raise MachineError(
                    f"{url} não respondeu como devia ({error}). O que já chegou está guardado: confira a rede e "
                    "execute de novo para continuar."
                ) from None
            time.sleep(failures)
    expected = size or announced
    if expected and partial.stat().st_size != expected:
        found = partial.stat().st_size
        partial.unlink()
        raise MachineError(f"{url} trouxe {found} bytes e deviam ser {expected}. Foi apagado; execute de novo.")


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code < 500


def _fetch_rest(url: str, partial: Path, size: int | None) -> int | None:
    """Baixa o que falta e devolve o tamanho total que o servidor anuncia; ConnectionError se ele corta no meio."""
    done = partial.stat().st_size if partial.exists() else 0
    if size and done == size:
        return size
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # 416: o servidor não tem mais nada depois do que já está aqui; o tamanho diz se é o fim mesmo.
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isdigit() else size
    with response:
        _refuse_page(url, response)
        if response.status != 206:
            done = 0  # o servidor não retoma: recomeça
        return _save(response, partial, done)


def _save(response, partial: Path, done: int) -> int | None:
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    need_disk(partial.parent, (int(length) if length else 0) / 1e9 + 0.1, "baixar a fonte")
    bar = progress.bar("baixando", "MB", total and total // MB, initial=done // MB)
    with bar, open(partial, "ab" if done else "wb") as file:
        while chunk := response.read(1 << 20):
            file.write(chunk)
            done += len(chunk)
            bar.update(done // MB - bar.n)
    if total and done < total:
        raise ConnectionError(f"a conexão caiu em {done} de {total} bytes")
    return total


def _refuse_page(url: str, response) -> None:
    """MachineError quando vem uma página em vez do arquivo; a da cota do Drive tem conselho próprio."""
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return
    page = response.read(200_000).decode("utf-8", "replace").lower()
    if "quota" in page or "too many users" in page or "cota" in page:
        raise MachineError(
            "O Google Drive atingiu a cota de downloads deste arquivo hoje. Tente amanhã, copie-o para o seu Drive e "
            'passe "drive:ID" da cópia, ou use um espelho do Hub, como "hub:rrantz/LF-Amazon-1.3M".'
        )
    raise MachineError(f"{url} respondeu com uma página, não com o arquivo. Confira se o endereço é o do download.")
