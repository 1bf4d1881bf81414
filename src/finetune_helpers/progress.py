"""Barras de progresso em português: uma linha, com o tempo que falta; caladas onde ninguém as veria."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

TICK = 1.0  # segundos
FORMAT = "{desc}: {percentage:3.0f} %|{bar}| {n_fmt} de {total_fmt} {unit} · {elapsed}, faltam {remaining}{postfix}"


def bar(doing: str, unit: str, total: int | None = None, *, items: Iterable | None = None, **options: Any) -> "tqdm":
    """Barra de uma tarefa (``doing``, no gerúndio) com ``total`` unidades (None: não se sabe), ou sobre ``items``.

    Só aparece num terminal ou caderno e, com ``delay``, depois desses segundos: o que é rápido não enche a tela. As
    ``options`` (``initial``, ``delay``) são as do ``tqdm``.
    """
    from tqdm.auto import tqdm

    in_notebook = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)
    hidden = not (in_notebook or sys.stderr.isatty())
    return tqdm(items, desc=doing, unit=unit, total=total, bar_format=FORMAT, disable=hidden, **options)


@contextmanager
def waiting(doing: str, seconds: float) -> Iterator[None]:
    """Barra de uma espera que não se conta em passos: enche com o relógio, até os ``seconds`` que ela costuma levar."""
    expected, done = max(1, round(seconds)), threading.Event()
    with bar(doing, "s", expected, delay=1.0) as shown:

        def tick() -> None:
            while not done.wait(TICK):
                # Passado o tempo esperado, a barra fica cheia, mas o relógio dela continua.
                shown.update(1) if shown.n < expected else shown.refresh()

        clock = threading.Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield
        finally:
            done.set()
            clock.join()
