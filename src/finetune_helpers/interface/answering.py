"""Uma resposta do começo ao fim: confere a pergunta, entrega o texto aos poucos e explica as falhas."""

import logging
import time
from collections.abc import Iterator

import local_finetune_api

from .. import prompts
from ..errors import FinetuneError, InputError
from ..portuguese import number
from ..prompts import Question
from .systems import System, said

TITLE, FREE = "Título de um livro", "Pergunta livre"
LONGEST_QUESTION, LONGEST_ANSWER, USUAL_ANSWER = 1000, 512, 128
PREPARING = "Preparando o modelo (a primeira pergunta demora mais)…"
log = logging.getLogger("finetune_helpers.interface")


def question(text: str, kind: str) -> Question:
    """A pergunta que vai ao modelo: um título, com a instrução do treino, ou um texto livre.

    InputError se o texto está vazio ou passa de ``LONGEST_QUESTION`` caracteres.
    """
    # Uma metade solta de caractere faria o tokenizador falhar.
    clean = str(text or "").encode("utf-8", "ignore").decode().strip()
    if not clean:
        raise InputError("Escreva um título ou uma pergunta.")
    if len(clean) > LONGEST_QUESTION:
        size, limit = number(len(clean)), number(LONGEST_QUESTION)
        raise InputError(f"A pergunta tem {size} caracteres e o limite é {limit}. Encurte-a.")
    if kind == FREE:
        return Question("pergunta", clean, suite="flexibilidade")
    return Question("pergunta", prompts.INSTRUCTION, clean)


def answer(system: System, asked: Question, max_tokens: float) -> Iterator[tuple[str, str]]:
    """O texto até aqui e a situação dele, à medida que a resposta sai; uma falha sobe como FinetuneError.

    Fechar o iterador (o botão Parar, ou o visitante que sai) interrompe a geração.
    """
    text, started = "", time.monotonic()
    yield "", PREPARING
    try:
        for piece in system.pieces(asked, max(1, min(int(max_tokens), LONGEST_ANSWER))):
            if piece:
                text += piece
            yield text, "Escrevendo…" if text else PREPARING
    except Exception as error:
        told = explained(error, "O modelo parou por uma falha.")
        kept = " O que ele já tinha escrito está na resposta." if text else ""
        raise FinetuneError(f"{told}{kept} Tente de novo; quem abriu a página tem o motivo no registro.") from None
    seconds = number(time.monotonic() - started, 1)
    yield text, f"Pronto em {seconds} s." if text.strip() else "O modelo terminou sem escrever nada."


def explained(error: Exception, otherwise: str) -> str:
    """O que dizer de uma falha a quem está na página; o rastro inteiro, sem pastas, fica no registro."""
    log.error("a página falhou:\n%s", local_finetune_api.trace(error))
    return said(error) if isinstance(error, FinetuneError) else otherwise
