"""Os votos da página: um JSONL a que só se acrescenta, de qualquer número de processos ao mesmo tempo."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .errors import InputError
from .records import append_jsonl, drop_truncated_tail, read_jsonl, storage

FILE = "votos.jsonl"
CHOICES = {"A": "A é melhor", "B": "B é melhor", "empate": "Empate", "ambas_ruins": "Ambas ruins"}


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
    import fcntl

    path = Path(run_folder) / FILE
    if problem := _problem(asdict(vote)):
        raise InputError(f"O voto não foi gravado: {problem}")
    if not path.parent.is_dir():
        raise InputError(f"A pasta {run_folder} não existe. Confira o nome da rodada (`run`).")
    with storage(path), open(path, "ab") as file:
        # Um de cada vez, entre processos e entre linhas de execução; o que um processo morto deixou pela metade sai.
        fcntl.flock(file, fcntl.LOCK_EX)
        drop_truncated_tail(path)
        # Dentro de um texto o JSON escapa as aspas: este começo só existe no começo de uma linha.
        start = f'{{"vote_id": {json.dumps(vote.vote_id, ensure_ascii=False)},'
        if start.encode() not in path.read_bytes():
            append_jsonl(path, [asdict(vote)])


def read(run_folder: Path | str) -> list[Vote]:
    """Votos da rodada, na ordem em que chegaram; lista vazia se ninguém votou.

    InputError aponta a primeira linha que não é um voto; uma que ainda está sendo gravada não conta.
    """
    path = Path(run_folder) / FILE
    rows = read_jsonl(path, growing=True)
    for number, row in enumerate(rows, start=1):
        if problem := _problem(row):
            raise InputError(f"{path}, linha {number}: {problem} Corrija ou apague essa linha.")
    return [Vote(**{field.name: row[field.name] for field in fields(Vote)}) for row in rows]


def _problem(row: dict) -> str:
    """O que não serve num voto e o que se esperava; vazio se tudo serve."""
    absent = [field.name for field in fields(Vote) if not isinstance(row.get(field.name), str)]
    if absent:
        return f"falta o texto de {absent[0]}."
    if row["choice"] not in CHOICES:
        return f"choice é {row['choice'][:40]!r} e se esperava um de {', '.join(CHOICES)}."
    if row["system_a"] == row["system_b"]:
        return "os dois lados são do mesmo sistema; escolha dois diferentes."
    return ""
