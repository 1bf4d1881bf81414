"""Respostas retomáveis: acrescenta ao arquivo, pula o que já está lá e nunca mistura dois modelos."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from . import progress, prompts
from .errors import InputError, RunMismatchError
from .prompts import Question
from .records import append_jsonl, drop_truncated_tail, read_json, read_jsonl


@dataclass(frozen=True)
class Answer:
    """Uma linha de ``respostas.jsonl``: quem gera preenche até ``model_id``; ``answer_all``, o resto.

    ``finish_reason`` é ``stop`` ou ``length``.
    """

    answer: str
    tokens_in: int
    tokens_out: int
    seconds: float
    finish_reason: str
    model_id: str
    item_id: str = ""
    system: str = ""
    suite: str = "teste"
    prompt_fingerprint: str = ""


def model_id(name: str, revision: str, adapter: str = "") -> str:
    """Que pesos responderam: ``nome@revisão`` e, se ajustados, ``+`` o hash do adaptador (12 dígitos de cada um)."""
    base = f"{name}@{revision[:12]}" if revision else name
    return f"{base}+{adapter[:12]}" if adapter else base


def base_of(identity: str) -> str:
    """A parte do modelo base de um ``model_id``: ``nome@revisão``."""
    name, at, revision = identity.rpartition("@")
    return f"{name}@{revision.partition('+')[0]}" if at else identity


def model_name(identity: str) -> str:
    """O nome do modelo, sem revisão nem adaptador."""
    return identity.rpartition("@")[0] or identity


def token_limit(run_folder: Path | str, asked: int = 0) -> int:
    """Tokens a que se limita cada resposta: ``asked`` ou, com zero, os da trilha LLaMA da rodada (256, sem o treino).

    Com limites diferentes, uma trilha teria mais respostas cortadas do que a outra só por isso.
    """
    path = Path(run_folder) / "llama3" / "treino.json"
    profile = read_json(path).get("profile", {}) if path.is_file() else {}
    return asked or profile.get("max_new_tokens", 256)


def read(path: Path | str) -> list[Answer]:
    """Linhas de um ``respostas.jsonl``, sem a última se está truncada; nenhuma se ele não existe.

    InputError aponta a linha a que falta um campo.
    """
    rows = read_jsonl(Path(path), growing=True)
    names = [field.name for field in fields(Answer)]
    for number, row in enumerate(rows, start=1):
        if missing := [name for name in names if name not in row]:
            raise InputError(f"{path}, linha {number}: falta {missing[0]!r}. Apague essa linha e execute de novo.")
    return [Answer(**{name: row[name] for name in names}) for row in rows]


def answer_all(
    items: Sequence[Question],
    system: str,
    answer: Callable[[list[Question]], list[Answer]],
    path: Path | str,
    *,
    batch_size: int = 8,
    model_id: str = "",
) -> list[Answer]:
    """Responde ao que falta em ``path`` e devolve uma resposta por item de ``items``, na ordem deles.

    ``answer`` recebe um lote de até ``batch_size`` perguntas de tamanho parecido e devolve uma resposta para cada uma;
    ``model_id`` diz que pesos vão responder. RunMismatchError, antes de perguntar, se o arquivo tem respostas deste
    sistema a outro prompt ou de outros pesos, ou respostas de outro modelo base.
    """
    drop_truncated_tail(Path(path))
    known = read(path)
    _refuse_mixture(path, known, system, model_id)
    done = {(row.suite, row.item_id): row for row in known if row.system == system}
    distinct = {(item.suite, item.item_id): item for item in items}
    ready, mark = len(distinct.keys() & done.keys()), prompts.fingerprint()
    delay = 0.0 if ready < len(distinct) else 1.0
    with progress.bar(f"respondendo ({system})", "respostas", len(distinct), initial=ready, delay=delay) as bar:
        for batch in _batches(distinct.values(), batch_size, done):
            rows = [
                replace(reply, item_id=item.item_id, system=system, suite=item.suite, prompt_fingerprint=mark)
                for item, reply in zip(batch, answer(batch), strict=True)
            ]
            for coming in {row.model_id for row in rows}:
                _refuse_mixture(path, known, system, coming)
            append_jsonl(Path(path), [asdict(row) for row in rows])
            known += rows
            done.update({(row.suite, row.item_id): row for row in rows})
            bar.update(len(rows))
    return [done[item.suite, item.item_id] for item in items]


def _refuse_mixture(path: Path | str, known: Sequence[Answer], system: str, coming: str) -> None:
    # Uma linha de resultados nunca é a média de dois modelos nem de dois prompts.
    before = [row for row in known if row.system == system]
    if {row.prompt_fingerprint for row in before} - {prompts.fingerprint()}:
        raise RunMismatchError(
            f"{path} tem respostas de {system} a outro prompt. "
            "Apague o arquivo para responder de novo ou use outra rodada (`run`)."
        )
    others = [row for row in before if row.model_id != coming]
    others += [row for row in known if base_of(row.model_id) != base_of(coming)]
    if coming and others:
        other = others[0]
        raise RunMismatchError(
            f"{path} tem respostas de {other.system} escritas por {other.model_id}, e agora quem responde é {coming}. "
            "Volte à máquina e aos parâmetros de antes, ou use outra rodada (`run`); para responder tudo de novo com "
            "este modelo, apague o arquivo."
        )


def _batches(items: Iterable[Question], size: int, done: Container[tuple[str, str]]) -> Iterator[list[Question]]:
    # Lotes de tamanho parecido desperdiçam menos padding; os mais longos vêm antes. São os mesmos depois de uma
    # interrupção, sem o que já foi respondido: outros vizinhos mudariam o arredondamento.
    ordered = sorted(items, key=lambda item: (item.suite, -len(item.instruction) - len(item.input), item.item_id))
    for start in range(0, len(ordered), size):
        batch = [item for item in ordered[start : start + size] if (item.suite, item.item_id) not in done]
        if batch:
            yield batch
