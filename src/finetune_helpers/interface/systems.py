"""O que a rodada tem para responder: os dois braços, base e ajustado, e por que algum não pode."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from .. import answers
from ..comparison.study import label
from ..errors import FinetuneError
from ..local_api.process_environment import without_paths
from ..prompts import Question
from ..records import read_json
from .turns import Turn

Stream = Callable[[Question, int, Event], Iterator[str]]
Secret = Callable[[str], str]


@dataclass(frozen=True)
class System:
    """Um sistema da rodada: como responde (``stream(pergunta, tokens, parar)``) ou por que não (``reason``)."""

    name: str
    label: str
    detail: str = ""
    reason: str = ""
    stream: Stream | None = None
    turn: Turn = field(default_factory=Turn)


@dataclass(frozen=True)
class Systems:
    """Os sistemas de uma rodada e o que fechar quando a página fecha."""

    every: tuple[System, ...]
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def ready(self) -> list[System]:
        """Os que respondem."""
        return [system for system in self.every if system.stream]

    def named(self, name: str) -> System | None:
        """O sistema ``name``, se ele responde."""
        return next((system for system in self.ready if system.name == name), None)

    def close(self) -> None:
        """Encerra os servidores que as respostas iniciaram."""
        self.closing.close()


def environment_key(name: str) -> str:
    """A chave na variável de ambiente ``name``; vazia se não há."""
    return os.environ.get(name, "")


def find(
    run_folder: Path | str, *, address: str = "", secret: Secret = environment_key, paid_questions: int = 0
) -> Systems:
    """Os quatro sistemas da rodada, na ordem da comparação; nada é carregado antes da primeira pergunta.

    ``address`` é o do provedor do braço GPT, se ele pede um; ``secret`` dá a chave dele pelo nome; ``paid_questions`` é
    quantas perguntas um provedor pago pode receber enquanto a página está aberta.
    """
    run, turn, closing = Path(run_folder), Turn(), ExitStack()

    def local() -> list[System]:
        return _llama(run / "llama3", turn)

    def remote() -> list[System]:
        return _gpt(run / "gpt", turn, closing, address, secret, paid_questions)

    return Systems((*_or_reason("llama3", local), *_or_reason("gpt", remote)), closing)


def _or_reason(arm: str, build: Callable[[], list[System]]) -> list[System]:
    try:
        return build()
    except FinetuneError as error:
        reason = without_paths(str(error))
        return [System(name, label(name), reason=reason) for name in (f"{arm}-base", f"{arm}-tuned")]


def _llama(folder: Path, turn: Turn) -> list[System]:
    from . import local_model

    load, detail = local_model.loader(folder)
    return [
        System(name, label(name), detail, stream=local_model.stream(load, tuned), turn=turn)
        for name, tuned in (("llama3-base", False), ("llama3-tuned", True))
    ]


def _gpt(folder: Path, turn: Turn, closing: ExitStack, address: str, secret: Secret, paid: int) -> list[System]:
    from . import hosted

    job = read_json(folder / hosted.STATE)
    provider, client = hosted.door(folder, job, closing, address, secret, paid)
    turn = Turn(width=4) if provider.paid else turn
    models = {row["system"]: row["model_id"] for row in answers.read(folder / "respostas.jsonl")}
    return [_served(name, models.get(name), provider, client, turn, paid) for name in ("gpt-base", "gpt-tuned")]


def _served(name: str, model: str | None, provider, client, turn: Turn, paid: int) -> System:
    from . import hosted

    if model is None:
        reason = "Este modelo ainda não respondeu nesta rodada. Execute o caderno 03 até o fim."
        return System(name, label(name), reason=reason)
    detail = f"{model}, provedor {provider.name}" + (f", pago: até {paid} perguntas" if provider.paid else "")
    return System(name, label(name), detail, stream=hosted.stream(client, model), turn=turn)
