"""O disco em dias ruins: cheio, sem a pasta ou fora do ar, cada um com a sua instrução."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FinetuneError, StorageError

_watched: dict[Path, Path] = {}


def watch(mark: Path) -> None:
    """Passa a conferir, ao ler e gravar na pasta de trabalho de uma rodada, que o arquivo ``mark`` dela está lá."""
    folder = mark.parent
    _watched[mark] = folder.parents[1] if folder.parent.name == "resultados" else folder


def unwatch(mark: Path) -> None:
    """Deixa de conferir ``mark``."""
    _watched.pop(mark, None)


def check_present(path: Path | str) -> None:
    """StorageError se a pasta aberta em que ``path`` fica sumiu: um Drive desmontado deixa outra, vazia, no lugar."""
    for mark, root in _watched.items():
        if Path(path).resolve().is_relative_to(root) and not mark.is_file():
            raise StorageError(
                f"A pasta {mark.parent} sumiu ou não pode ser lida (falta {mark.name}). Se ela fica no Drive, "
                "monte-o de novo; depois execute o caderno outra vez: ele continua de onde parou."
            )


@contextmanager
def storage(path: Path | str) -> Iterator[None]:
    """Confere que as pastas abertas estão lá e traduz o que o disco negar dentro do bloco (StorageError)."""
    check_present(path)
    try:
        yield
    except FinetuneError:
        raise
    except Exception as error:
        check_present(path)
        if advice := _storage_advice(error, Path(path)):
            raise StorageError(advice) from error
        raise


def _storage_advice(error: Exception, path: Path) -> str:
    """A instrução para uma falha do disco; vazia se a falha é outra."""
    code, said = (error.errno, error.strerror) if isinstance(error, OSError) else (None, "")
    # safetensors e torch contam a falha em texto, ou só que a escrita não coube.
    if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error) or (code is None and _full(path)):
        return f"Disco cheio ao gravar {path}. Libere espaço e execute de novo: continua de onde parou."
    lost = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ETIMEDOUT, errno.EROFS, errno.EACCES)
    if code in lost:
        return f"A pasta {path.parent} não pode ser usada ({said}). Se é do Drive, monte-o de novo."
    return ""


def _full(path: Path) -> bool:
    return path.parent.is_dir() and shutil.disk_usage(path.parent).free < 2**16
