"""Chaves plantadas em todo lugar de onde uma chave pode vir, e a busca delas em arquivos e saídas."""

import base64
import gzip
import io
import json
import secrets
import zipfile
from pathlib import Path
from urllib.parse import quote, quote_plus

NAMES = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "NEBIUS_API_KEY", "LOCAL_API_KEY", "JUIZ_API_KEY", "HF_TOKEN")
NAMES += ("HUGGING_FACE_HUB_TOKEN",)


def new_key() -> str:
    """Uma chave que não existe em nenhum outro lugar; os sinais a fazem mudar de forma num endereço."""
    return f"sk-+/{secrets.token_hex(16)}="


def forms(key: str) -> set[bytes]:
    """A chave como pode aparecer: pura, num endereço, num JSON e em base64, em qualquer alinhamento."""
    texts = {key, quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1].replace("/", "\\/")}
    found = {text.encode() for text in texts} | {key.encode("utf-16-le")}
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + key.encode())
        # Os primeiros e os últimos sinais dependem do que está em volta.
        inner = coded[4 if before else 0 : -4]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def leaks(keys: dict[str, str], *places: Path | str | bytes) -> list[str]:
    """Onde cada chave aparece: pastas inteiras (com o que há dentro de zips e gzips), textos ou bytes."""
    wanted = {name: forms(key) for name, key in keys.items()}
    found = []
    for place in places:
        for where, content in _contents(place):
            found += [f"{name} em {where}" for name, shapes in wanted.items() if any(one in content for one in shapes)]
    return found


def _contents(place: Path | str | bytes):
    if isinstance(place, Path):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            yield str(path), str(path).encode()
            if path.is_file():
                yield from unpacked(str(path), path.read_bytes())
    else:
        yield from unpacked("saída", place.encode() if isinstance(place, str) else place)


def unpacked(where: str, content: bytes):
    """O conteúdo e, se ele é um gzip ou um zip, o que há dentro."""
    yield where, content
    if content[:2] == b"\x1f\x8b":
        yield from unpacked(f"{where} (gzip)", gzip.decompress(content))
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from unpacked(f"{where}/{name}", archive.read(name))
