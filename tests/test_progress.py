"""As barras de progresso: caladas sem terminal; nele, uma linha em português com o tempo que falta."""

import io
import re
import sys
import time

import pytest
from local_api_server import until

from finetune_helpers import progress

LINE = re.compile(r"lendo: +\d+ % ?\|.*\| (\d+) de 4 linhas · \d\d:\d\d, faltam (?:\d\d:\d\d|\?)")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch) -> Terminal:
    """Um terminal no lugar da saída de erros; numa fixture o pytest o trocaria de volta antes do teste."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def shown(terminal) -> list[str]:
    """As linhas que a barra desenhou, em ordem."""
    return [line.strip() for line in re.split(r"[\r\n]", terminal.getvalue()) if line.strip()]


def test_it_is_silent_where_nobody_would_see_it(capfd):
    assert list(progress.bar("lendo", "linhas", items=range(4))) == [0, 1, 2, 3]
    with progress.bar("lendo", "linhas", 4) as bar:
        bar.update(4 - bar.n)
        bar.refresh()
    with progress.waiting("esperando", 1):
        pass
    assert capfd.readouterr() == ("", "")


def test_it_says_in_portuguese_how_much_is_left_and_counts_what_is_done(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with progress.bar("lendo", "linhas", 4, initial=3) as bar:
        bar.update(1)
    lines = shown(terminal)
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert (LINE.fullmatch(lines[0])[1], LINE.fullmatch(lines[-1])[1]) == ("3", "4")


def test_what_is_quick_shows_nothing(monkeypatch):
    terminal = open_terminal(monkeypatch)
    assert list(progress.bar("lendo", "linhas", items=range(4), delay=60.0)) == [0, 1, 2, 3]
    assert shown(terminal) == []


def test_a_wait_fills_with_the_clock_stops_with_the_work_and_lets_its_error_through(monkeypatch):
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(progress, "TICK", 0.02)
    with pytest.raises(KeyError), progress.waiting("carregando", 3):
        until(lambda: "3 de 3 s" in terminal.getvalue())
        raise KeyError("x")
    lines = shown(terminal)
    assert lines and lines[-1].startswith("carregando: 100 %") and "3 de 3 s" in lines[-1]
    before = len(terminal.getvalue())
    time.sleep(0.1)
    assert len(terminal.getvalue()) == before
