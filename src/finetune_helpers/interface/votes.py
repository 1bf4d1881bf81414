"""Os votos da página: um JSONL a que só se acrescenta, de qualquer número de processos ao mesmo tempo."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from ..errors import InputError
from ..records import append_jsonl, drop_truncated_tail, read_jsonl, storage

FILE = "votos.jsonl"
CHOICES = ("A", "B", "empate", "ambas_ruins")
LONGEST = {"question": 4_000, "system_a": 200, "system_b": 200, "answer_a": 20_000, "answer_b": 20_000}


@dataclass(frozen=True)
class Vote:
    """Uma escolha entre duas respostas à mesma pergunta; ``at`` é a hora ISO e ``choice`` um de ``CHOICES``."""

    vote_id: str
    at: str
    question: str
    system_a: str
    system_b: str
    answer_a: str
    answer_b: str
    choice: str


def append(run_folder: Path | str, vote: Vote) -> None:
    """Acrescenta o voto a ``votos.jsonl`` e só volta quando ele está no disco; um ``vote_id`` já gravado não se repete.

    InputError se a pasta não existe ou se um campo do voto não serve; StorageError se o disco não aceita a gravação.
    Nada é gravado então.
    """
    path = Path(run_folder) / FILE
    if problem := _problem(asdict(vote)):
        raise InputError(f"O voto não foi gravado: {problem}")
    if not path.parent.is_dir():
        raise InputError(f"A pasta {run_folder} não existe. Confira o nome da rodada (`run`).")
    with storage(path):
        path.touch()
        with _locked(path):
            # Dentro de um texto o JSON escapa as aspas: este começo só existe no começo de uma linha.
            if f'{{"vote_id": "{vote.vote_id}",'.encode() not in path.read_bytes():
                append_jsonl(path, [asdict(vote)])


def read(run_folder: Path | str) -> list[Vote]:
    """Votos da rodada, na ordem em que chegaram; lista vazia se ninguém votou.

    InputError aponta a primeira linha que não é um voto.
    """
    path = Path(run_folder) / FILE
    if not path.is_file():
        return []
    with _locked(path):
        rows = read_jsonl(path)
    for number, row in enumerate(rows, start=1):
        if problem := _problem(row):
            raise InputError(f"{path}, linha {number}: {problem} Corrija ou apague essa linha.")
    return [Vote(**{field.name: row[field.name] for field in fields(Vote)}) for row in rows]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Um de cada vez, entre processos e entre linhas de execução; o fim que um processo morto deixou é consertado."""
    import fcntl

    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with suppress(ValueError):  # a linha inteira que só perdeu o fim, como num editor, fica
                json.loads(data.rpartition(b"\n")[2])
                with open(path, "ab") as mended:
                    mended.write(b"\n")
            drop_truncated_tail(path)
        yield


def _problem(row: dict) -> str:
    """O que não serve num voto e o que se esperava; vazio se tudo serve."""
    for field in fields(Vote):
        if not isinstance(row.get(field.name), str):
            return f"falta o texto de {field.name}."
    if row["choice"] not in CHOICES:
        return f"choice é {row['choice'][:40]!r} e se esperava um de {', '.join(CHOICES)}."
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", row["vote_id"]):
        return "vote_id deve ter de 1 a 64 letras, números, hifens ou sublinhados."
    if row["system_a"] == row["system_b"]:
        return "os dois lados são do mesmo sistema; escolha dois diferentes."
    try:
        datetime.fromisoformat(row["at"])
    except ValueError:
        return f"at é {row['at'][:40]!r} e se esperava uma hora ISO, como 2026-11-22T14:30:00+00:00."
    for name, limit in LONGEST.items():
        if len(row[name]) > limit:
            return f"{name} tem {len(row[name])} caracteres e o limite é {limit}."
        # Uma resposta vazia é um resultado; uma pergunta ou um sistema sem nome, não.
        if not name.startswith("answer") and not row[name].strip():
            return f"{name} está vazio."
    return ""
