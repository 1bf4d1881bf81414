"""O exame de um bloco de linhas, do JSON aos tokens: uma função pura, que corre aqui ou em dois processos."""

import multiprocessing
import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from ..errors import MachineError
from .cleaning import clean
from .decoding import Block, Columns, Damage, decode
from .funnel import Candidate, Tally
from .rules import Plan, count_pairs

WORKERS = 2


@dataclass(frozen=True)
class Outcome:
    """O que um bloco deixou: linhas lidas, danos, quem passou por todas as regras, contagens e tokens."""

    rows: int
    damages: list[Damage]
    kept: list[Candidate]
    tally: Tally
    histogram: Counter[int]


def screen(block: Block, chosen: Plan, counter: Callable[[list[str]], list[int]]) -> Outcome:
    """Aplica a um bloco as regras de texto (no bruto e no limpo) e, só em quem sobra, as de tokens."""
    columns, damages = decode(block)
    tally = Tally((rule.name, rule.says) for rule in chosen.rules)
    rows = _screen_texts(columns, chosen, tally)
    counts = count_pairs(counter, [row.title for row in rows], [row.content for row in rows])
    masks = [rule.keeps_counts(counts) for rule in chosen.tokens]
    kept = tally.sift([rule.name for rule in chosen.tokens], masks, len(rows), rows.__getitem__)
    counted = [Candidate(rows[at].line, rows[at].title, rows[at].content, counts[at]) for at in kept]
    return Outcome(len(columns.titles), damages, counted, tally, Counter(counts))


def screen_all(
    blocks: Iterable[Block], chosen: Plan, counter: Callable[[list[str]], list[int]], parallel: bool
) -> Iterator[Outcome]:
    """Os resultados dos blocos, na ordem deles; com ``parallel``, dois processos examinam e este só junta.

    MachineError se um dos processos morre.
    """
    if parallel and can_fork():
        try:
            yield from _in_processes(blocks, chosen, counter)
        except BrokenProcessPool:
            raise MachineError(
                "Um dos processos da curadoria foi encerrado pelo sistema, quase sempre por falta de memória. Feche "
                "outros programas e execute de novo."
            ) from None
    else:
        yield from (screen(block, chosen, counter) for block in blocks)


def can_fork() -> bool:
    """Se vale abrir processos: há mais de um núcleo, e o sistema os abre sem importar tudo de novo."""
    return sys.platform == "linux" and (os.cpu_count() or 1) > 1


_remembered: tuple = ()


def _remember(*what) -> None:
    global _remembered
    _remembered = what


def _screen_remembered(block: Block) -> Outcome:
    return screen(block, *_remembered)


def _in_processes(blocks: Iterable[Block], chosen: Plan, counter) -> Iterator[Outcome]:
    context = multiprocessing.get_context("fork")  # as regras são funções: com "spawn" não passariam
    waiting: deque = deque()
    with ProcessPoolExecutor(WORKERS, context, initializer=_remember, initargs=(chosen, counter)) as pool:
        for block in blocks:
            waiting.append(_submit(pool, block))
            if len(waiting) > WORKERS + 1:  # poucos blocos em voo: a memória não cresce com o arquivo
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _submit(pool: ProcessPoolExecutor, block: Block):
    with warnings.catch_warnings():
        # O Python avisa do fork com várias linhas de execução; os filhos não usam nada que as outras possam travar.
        warnings.simplefilter("ignore", DeprecationWarning)
        return pool.submit(_screen_remembered, block)


def _screen_texts(columns: Columns, chosen: Plan, tally: Tally) -> list[Candidate]:
    titles, contents, lines = columns.titles, columns.contents, columns.lines
    kept = _sift(tally, chosen.raw, titles, contents, lambda at: Candidate(lines[at], titles[at], contents[at]))
    if not chosen.cleans:
        return [Candidate(lines[at], titles[at], contents[at]) for at in kept]
    rows = [Candidate(lines[at], clean(titles[at]), clean(contents[at])) for at in kept]
    cleaned = [row.title for row in rows], [row.content for row in rows]
    return [rows[at] for at in _sift(tally, chosen.cleaned, *cleaned, rows.__getitem__)]


def _sift(tally: Tally, rules, titles: list[str], contents: list[str], row) -> list[int]:
    masks = [rule.keeps(titles, contents) for rule in rules]
    return tally.sift([rule.name for rule in rules], masks, len(titles), row)
