"""Respostas retomáveis: acrescenta ao arquivo, pula o que já está lá e sobrevive a interrupções."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import progress, prompts
from .errors import RunMismatchError
from .prompts import Question
from .records import append_jsonl, drop_truncated_tail, read_jsonl


@dataclass(frozen=True)
class Answer:
    """O que um sistema respondeu e quanto custou: tokens, segundos e motivo do fim (``stop`` ou ``length``)."""

    answer: str
    tokens_in: int
    tokens_out: int
    seconds: float
    finish_reason: str
    model_id: str


def read(path: Path | str) -> list[dict]:
    """Linhas de um ``respostas.jsonl``; lista vazia se ele não existe; uma última linha truncada não conta."""
    return read_jsonl(Path(path), growing=True) if Path(path).is_file() else []


def answer_all(
    items: Sequence[Question],
    system: str,
    answer: Callable[[list[Question]], list[Answer]],
    path: Path | str,
    *,
    batch_size: int = 8,
) -> list[dict]:
    """Responde ao que falta em ``path`` e devolve uma linha por item de ``items``, na ordem deles.

    ``answer`` recebe um lote de até ``batch_size`` perguntas de tamanho parecido e devolve uma resposta para cada uma.
    RunMismatchError se o arquivo guarda respostas deste sistema a outro prompt.
    """
    drop_truncated_tail(Path(path))
    done = _answered(path, system)
    distinct = {(item.suite, item.item_id): item for item in items}
    pending = [item for key, item in distinct.items() if key not in done]
    doing, ready, delay = f"respondendo ({system})", len(distinct) - len(pending), 0.0 if pending else 1.0
    with progress.bar(doing, "respostas", len(distinct), initial=ready, delay=delay) as bar:
        for batch in _batches(distinct.values(), batch_size, done):
            rows = [_row(item, system, given) for item, given in zip(batch, answer(batch), strict=True)]
            append_jsonl(Path(path), rows)
            done.update({(row["suite"], row["item_id"]): row for row in rows})
            bar.update(len(rows))
    return [done[item.suite, item.item_id] for item in items]


def _batches(items: Iterable[Question], size: int, done: Container[tuple[str, str]]) -> Iterator[list[Question]]:
    """Lotes de tamanho parecido desperdiçam menos preenchimento; os mais longos vêm antes.

    São os mesmos depois de uma interrupção, sem o que já foi respondido: outros vizinhos mudariam o arredondamento.
    """
    ordered = sorted(items, key=lambda item: (item.suite, -len(item.instruction) - len(item.input), item.item_id))
    for start in range(0, len(ordered), size):
        batch = [item for item in ordered[start : start + size] if (item.suite, item.item_id) not in done]
        if batch:
            yield batch


def _answered(path: Path | str, system: str) -> dict[tuple[str, str], dict]:
    rows = {(row["suite"], row["item_id"]): row for row in read(path) if row["system"] == system}
    if any(row["prompt_fingerprint"] != prompts.fingerprint() for row in rows.values()):
        raise RunMismatchError(
            f"{path} guarda respostas de {system} a outro prompt. "
            "Apague o arquivo para responder de novo ou use outra rodada."
        )
    return rows


def _row(item: Question, system: str, given: Answer) -> dict:
    identity = {
        "item_id": item.item_id,
        "system": system,
        "suite": item.suite,
        "prompt_fingerprint": prompts.fingerprint(),
    }
    return identity | asdict(given)
