"""Exemplos, identidade dos itens e gravação segura de JSON e JSONL, também quando o disco enche ou some."""

import errno
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from .errors import FinetuneError, InputError, RunBusyError, StorageError

_watched: dict[Path, str] = {}


@dataclass(frozen=True)
class Example:
    """Um produto do catálogo: título, conteúdo e, no conjunto de comparação, faixa de tamanho e quase duplicatas."""

    title: str
    content: str
    regime: str = ""
    cluster: str = ""

    @cached_property
    def item_id(self) -> str:
        """Identidade do item: hash do título e do conteúdo normalizados."""
        return item_id(self.title, self.content)


def normalise(text: str) -> str:
    """Forma de comparar textos: NFKC, sem diferença de caixa, espaços reduzidos a um."""
    # A dobra de caixa pode desfazer a composição (`ΐ`): por isso a normalização vem antes e depois dela.
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def item_id(title: str, content: str) -> str:
    """Dezesseis dígitos hexadecimais do SHA-256 de título e conteúdo normalizados."""
    text = f"{normalise(title)}\x1f{normalise(content)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def sha256_file(path: Path) -> str:
    """SHA-256 de um arquivo, lido em blocos."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def watch(mark: Path, owner: str = "") -> None:
    """Passa a conferir, ao ler e gravar na pasta de uma rodada, que o arquivo ``mark`` está lá e traz ``owner``."""
    _watched[mark] = owner


def unwatch(mark: Path) -> None:
    """Deixa de conferir ``mark``."""
    _watched.pop(mark, None)


def check_present(path: Path | str) -> None:
    """StorageError se a rodada em que ``path`` fica sumiu (um Drive que cai deixa outra pasta, vazia, no lugar).

    RunBusyError se outro caderno ficou com ela.
    """
    for mark, owner in _watched.items():
        folder = mark.parent
        root = folder.parents[1] if folder.parent.name == "resultados" else folder
        if not Path(path).resolve().is_relative_to(root):
            continue
        if not mark.is_file():
            raise StorageError(
                f"A pasta {folder} sumiu ou não pode ser lida (falta {mark.name}). Se ela fica no Drive, "
                "monte-o de novo; depois execute o caderno outra vez: ele continua de onde parou."
            )
        if owner and owner not in mark.read_text(encoding="utf-8"):
            raise RunBusyError(f"Outro caderno ficou com a rodada {folder.name}. Feche um dos dois e execute o outro.")


@contextmanager
def storage(path: Path | str) -> Iterator[None]:
    """Confere que as pastas abertas estão lá e traduz o que o disco negar dentro do bloco (StorageError)."""
    check_present(path)
    try:
        yield
    except FinetuneError:
        raise
    except Exception as error:  # o safetensors conta um disco cheio com uma exceção só dele
        check_present(path)
        code = error.errno if isinstance(error, OSError) else None
        # safetensors e torch contam a falha só em texto.
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            advice = f"Disco cheio ao gravar {path}. Libere espaço e execute de novo: continua de onde parou."
        elif code in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.EROFS):
            folder, why = Path(path).parent, os.strerror(code)
            advice = f"A pasta {folder} não pode ser usada ({why}). Se é do Drive, monte-o de novo."
        else:
            raise
        raise StorageError(advice) from error


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO]:
    """Abre um arquivo que só passa a existir, inteiro, quando o bloco termina sem erro."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.parcial")
    # Uma metade solta de caractere sai como \ud83d, que o JSON lê de volta; sem isto a gravação pararia.
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, mode, **text) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> Path:
    """Grava um JSON legível, de forma atômica."""
    with atomic_write(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
    return Path(path)


def read_json(path: Path) -> Any:
    """Lê um JSON; InputError diz o arquivo e a linha quando ele está danificado ou não existe."""
    try:
        return json.loads(_bytes(path).decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"O arquivo {path} não é um JSON válido ({error}). Apague-o e refaça o passo que o escreve."
        ) from None


def _bytes(path: Path | str) -> bytes:
    with storage(path):
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise InputError(
                f"O arquivo {path} não existe. Execute antes o caderno que o escreve. No Colab, cada caderno tem a sua "
                "máquina: deixe `use_drive` marcado em todos, ou envie para esta sessão (painel Arquivos) o .zip que a "
                "última célula do caderno anterior oferece, e execute de novo."
            ) from None


def write_jsonl(path: Path, rows: Iterable[dict]) -> Path:
    """Grava um objeto JSON por linha, de forma atômica."""
    with atomic_write(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Path(path)


def read_jsonl(path: Path, *, growing: bool = False) -> list[dict]:
    """Lê um JSONL inteiro; InputError aponta a primeira linha que não é um objeto JSON.

    ``growing`` é para um arquivo a que se acrescentam linhas: a última, se ficou sem fim, não conta, e o que ainda não
    existe não tem nenhuma.
    """
    data, rows = b"" if growing and not path.is_file() else _bytes(path), []
    for number, line in enumerate((data[: data.rfind(b"\n") + 1] if growing else data).splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}, linha {number}: não é um objeto JSON. Corrija ou apague essa linha.")
        rows.append(row)
    return rows


def read_items(path: Path) -> list[Example]:
    """Os itens de ``comparacao/teste.jsonl``, com regime e grupo."""
    return [Example(row["title"], row["content"], row["regime"], row["cluster"]) for row in read_jsonl(path)]


def drop_truncated_tail(path: Path) -> None:
    """Retira a última linha de um JSONL quando ela ficou pela metade, como depois de uma queda de energia."""
    data = Path(path).read_bytes() if Path(path).is_file() else b""
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Acrescenta linhas e só volta quando elas estão no disco; se não couberem todas, não fica nenhuma."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "backslashreplace")
    with storage(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                while lines:
                    lines = lines[file.write(lines) :]
            except OSError:
                file.truncate(before)
                raise
            os.fsync(file.fileno())
