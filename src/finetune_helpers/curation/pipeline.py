"""A curadoria de ponta a ponta: regras baratas em todas as linhas, tokens só nas que sobram, escolha em ordem."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import tokens
from ..errors import InputError
from ..portuguese import number
from . import splits
from .funnel import Step, Tally, as_text
from .reading import Reader
from .result import Curation, result
from .rules import Plan, plan
from .screening import screen_all
from .sources import open_source

SMALL = 64 * 1024 * 1024  # bytes; um arquivo até este tamanho é sempre lido inteiro


def curate(
    source: str | Path,
    *,
    model: str = "llama",
    mode: str = "recomendada",
    n_train: int = 1500,
    n_test: int = 500,
    token_counter: Callable[[list[str]], list[int]] | None = None,
    full_scan: bool = False,
    rules: Plan | None = None,
    damage_limit: int = 0,
    if_short: str = "parar",
) -> Curation:
    """Escolhe ``n_train`` linhas de treino e ``n_test`` de teste, na ordem do arquivo, para ``"llama"`` ou ``"gpt"``.

    Lê até completar a escolha; com ``full_scan``, ou num arquivo de até 64 MB, lê tudo, e o funil conta todas as
    linhas. ``rules`` troca as regras (veja ``plan(...).without(...)``). Se faltam linhas, ``if_short="parar"`` é um
    erro e ``"desligar_tokens"`` recomeça sem a regra de tokens, o que o relatório registra. InputError se a fonte não
    serve, se há mais de ``damage_limit`` linhas danificadas ou se não sobram linhas bastantes.
    """
    if n_train < 1 or n_test < 1:
        raise InputError(f"n_train={n_train} e n_test={n_test}: os dois precisam ser 1 ou mais.")
    if if_short not in ("parar", "desligar_tokens"):
        raise InputError(f'if_short="{if_short}" não existe. Use "parar" ou "desligar_tokens".')
    counter = token_counter or tokens.counter(model)
    chosen = rules or plan(model, mode, counter)
    # O contador de quem chamou pode não suportar outro processo; o nosso suporta.
    attempt = partial(_attempt, source, model, n_train, n_test, counter, full_scan, damage_limit, not token_counter)
    try:
        return attempt(chosen)
    except _TooFewRows:
        if if_short == "parar" or not chosen.tokens:
            raise
    return attempt(chosen.without(*(rule.name for rule in chosen.tokens)))


class _TooFewRows(InputError):
    """As regras deixaram menos linhas do que as pedidas."""


def _attempt(source, model, n_train, n_test, counter, full_scan, damage_limit, may_fork, chosen: Plan) -> Curation:
    started = time.perf_counter()
    reader = Reader(open_source(source), damage_limit)
    tally = Tally(_steps(chosen))
    selection = splits.Selection(n_train, n_test, chosen.unique, tally)
    small = (reader.source.size or SMALL + 1) <= SMALL
    histogram = _run(reader, chosen, counter, tally, selection, full_scan or small, may_fork and not small)
    if not selection.full:
        raise _TooFewRows(_too_few(selection, tally.steps(), reader))
    return result(model, chosen, counter, reader, tally, selection, histogram, started)


def _steps(chosen: Plan) -> list[tuple[str, str]]:
    named = [(rule.name, rule.says) for rule in chosen.rules]
    return [*named, splits.SURPLUS, *(splits.REPEATS if chosen.unique else ())]


def _run(reader, chosen, counter, tally, selection, read_all: bool, parallel: bool) -> Counter:
    """Passa cada bloco pelas regras e oferece à escolha as linhas que ficam; devolve quantas linhas há por tokens."""
    histogram: Counter[int] = Counter()
    # Em paralelo a leitura corre à frente: só quando tudo será lido de qualquer modo.
    for outcome in screen_all(reader.blocks(), chosen, counter, parallel and read_all):
        reader.record(outcome.rows, outcome.damages)
        tally.add(outcome.tally)
        histogram.update(outcome.histogram)
        for row in outcome.kept:
            selection.offer(row)
        if selection.full and not read_all:
            break
    reader.finish()
    return histogram


def _too_few(selection: splits.Selection, steps: tuple[Step, ...], reader: Reader) -> str:
    where, funnel = f"{reader.source.name} ({_rows(reader.rows)} lidas)", f"Funil:\n{as_text(steps)}"
    n_train, n_test = splits.largest_fit(selection)
    if not n_test:
        worst = max(steps, key=lambda step: step.dropped)
        return (
            f"Em {where} as regras deixam {_rows(len(selection.train))}, e são precisas ao menos duas, uma de treino e "
            f'uma de teste. A regra que mais corta é "{worst.rule}" ({worst.says}). Use outra fonte ou mude a regra. '
            f"{funnel}"
        )
    return (
        f"Em {where} há {_rows(len(selection.train))} para o treino e {_rows(len(selection.test))} para o teste; foram "
        f"pedidas {selection.n_train} e {selection.n_test}. Use n_train={n_train} e n_test={n_test} "
        f"(no caderno, N_TREINO e N_TESTE), que cabem, ou uma fonte maior. {funnel}"
    )


def _rows(count: int) -> str:
    return f"{number(count)} linha" + ("" if count == 1 else "s")
