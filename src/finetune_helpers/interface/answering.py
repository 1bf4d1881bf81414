"""Uma resposta do começo ao fim: confere a pergunta, espera a vez, entrega o texto aos poucos e explica as falhas."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

from .. import prompts
from ..errors import FinetuneError, InputError
from ..local_api.process_environment import trace, without_paths
from ..portuguese import number
from ..prompts import Question
from .systems import System

TITLE, FREE = "Título de um livro", "Pergunta livre"
LONGEST_QUESTION, LONGEST_ANSWER, USUAL_ANSWER = 1000, 512, 128
log = logging.getLogger("finetune_helpers.interface")


@dataclass(frozen=True)
class Progress:
    """Até onde a resposta foi: o texto, uma frase para o visitante e o estado.

    ``state`` é ``waiting``, ``writing``, ``done``, ``stopped`` ou ``failed``; os três últimos são o fim.
    """

    text: str
    status: str
    state: str

    @property
    def over(self) -> bool:
        """Se não vem mais nada."""
        return self.state in ("done", "stopped", "failed")


def question(text: str, kind: str) -> Question:
    """A pergunta que vai ao modelo: um título, com a instrução do treino, ou um texto livre.

    InputError se o texto está vazio ou passa de ``LONGEST_QUESTION`` caracteres.
    """
    # Uma metade solta de caractere faria o tokenizador falhar.
    clean = str(text or "").encode("utf-8", "ignore").decode().strip()
    if not clean:
        raise InputError("Escreva um título ou uma pergunta.")
    if len(clean) > LONGEST_QUESTION:
        raise InputError(
            f"A pergunta tem {number(len(clean))} caracteres e o limite é {number(LONGEST_QUESTION)}. Encurte-a."
        )
    if kind == FREE:
        return Question("pergunta", clean, suite="flexibilidade")
    return Question("pergunta", prompts.INSTRUCTION, clean)


def answer(system: System, asked: Question, max_tokens: float, cancelled: Event) -> Iterator[Progress]:
    """Espera a vez e transmite a resposta; uma falha vira a última ``Progress``, com o que já tinha saído."""
    text = ""
    try:
        ticket = system.turn.enter()
    except InputError as error:
        yield Progress("", str(error), "failed")
        return
    started = time.monotonic()
    assert system.stream  # só quem responde chega aqui
    try:
        yield from _wait(system, ticket, cancelled)
        yield Progress("", "Preparando o modelo: a primeira pergunta demora mais.", "waiting")
        for piece in [] if cancelled.is_set() else system.stream(asked, _bounded(max_tokens), cancelled):
            text += piece
            yield Progress(text, "Escrevendo…", "writing")
        yield _end(text, time.monotonic() - started, cancelled)
    except Exception as error:
        yield Progress(text, _explained(error, text), "failed")
    finally:
        system.turn.leave(ticket)


def _wait(system: System, ticket: object, cancelled: Event) -> Iterator[Progress]:
    shown = 0
    while (ahead := system.turn.ahead(ticket)) and not cancelled.is_set():
        if ahead != shown:
            people = "1 pessoa" if ahead == 1 else f"{ahead} pessoas"
            yield Progress("", f"Na fila: {people} à frente.", "waiting")
        shown = ahead
        cancelled.wait(0.1)


def _bounded(max_tokens: float) -> int:
    return max(1, min(int(max_tokens), LONGEST_ANSWER))


def _end(text: str, seconds: float, cancelled: Event) -> Progress:
    if cancelled.is_set():
        return Progress(text, "Resposta interrompida.", "stopped")
    if not text.strip():
        return Progress("", "O modelo terminou sem escrever nada.", "done")
    return Progress(text, f"Pronto em {number(seconds, 1)} s.", "done")


def _explained(error: Exception, text: str) -> str:
    log.error("a resposta falhou:\n%s", trace(error))
    known = without_paths(str(error)) if isinstance(error, FinetuneError) else "O modelo parou por uma falha."
    kept = " O que ele já tinha escrito está acima." if text else ""
    return f"{known}{kept} Tente de novo; se repetir, o motivo está no registro de quem abriu a página."
