"""Discos que os testes enchem e pastas montadas que eles tiram; pula onde não se pode montar."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, what: str | Path) -> Iterator[Path]:
    """Monta em ``place`` um tmpfs do tamanho dado (``"8m"``) ou a pasta ``what``; desmonta no fim."""
    place.mkdir(parents=True, exist_ok=True)
    kind = ["--bind", str(what)] if isinstance(what, Path) else ["-t", "tmpfs", "-o", f"size={what}", "falhas"]
    done = subprocess.run(["mount", *kind, str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"não se pode montar aqui: {done.stderr.strip()}")
    try:
        yield place
    finally:
        unmount(place)


def unmount(place: Path) -> None:
    """Tira o que está montado em ``place``, mesmo em uso, como um Drive que cai; não é erro se já saiu."""
    subprocess.run(["umount", "-l", str(place)], capture_output=True)


@contextmanager
def fill(folder: Path) -> Iterator[None]:
    """Deixa o disco de ``folder`` sem um byte livre durante o bloco."""
    filler = folder / "enchimento"
    with open(filler, "wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(b"\0" * size):
                    continue
            except OSError:
                continue
    try:
        yield
    finally:
        filler.unlink()
