"""A figura de uma linha de treino, com o papel de cada parte."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from .. import prompts
from ..records import Example
from .drawing import BLACK, BLUE, GREEN, NAMES, PURPLE, VERMILION, drawing

_LONGEST = 480  # caracteres de um campo que a figura mostra
Line = tuple[str, str, bool]  # texto, cor e se é comentário


def training_structure(example: Example, model: str, path: str | Path) -> Path:
    """Uma linha do arquivo de treino de ``"llama"`` ou ``"gpt"``, com o papel de cada parte."""
    llama = model == "llama"
    lines = list(_alpaca_lines(prompts.to_alpaca(example)) if llama else _chat_lines(prompts.to_chat(example)))
    with drawing(path, 8.2) as figure:
        axes = figure.add_subplot()
        axes.axis("off")
        axes.text(
            0,
            1,
            f"Uma linha de treino do {NAMES[model]}",
            fontsize=22,
            weight="bold",
            va="top",
            transform=axes.transAxes,
        )
        _write_lines(axes, lines)
    return Path(path)


def _alpaca_lines(row: dict[str, str]) -> Iterator[Line]:
    yield "{", BLACK, False
    parts = (
        ("instruction", GREEN, "a tarefa, igual em todas as linhas"),
        ("input", BLUE, "o título do produto: o que o modelo lê"),
        ("output", VERMILION, "a descrição: o que o modelo aprende a escrever"),
    )
    for at, (key, colour, says) in enumerate(parts):
        yield f"  ← {says}", colour, True
        yield from _field(f'  "{key}": ', row[key], "," if at < 2 else "", colour)
    yield "}", BLACK, False


def _chat_lines(row: dict) -> Iterator[Line]:
    parts = (
        (PURPLE, "sistema: como responder, igual em todas as linhas"),
        (BLUE, "usuário: a tarefa e o título do produto"),
        (VERMILION, "assistente: a descrição que o modelo aprende a escrever"),
    )
    yield '{"messages": [', BLACK, False
    for at, (message, (colour, says)) in enumerate(zip(row["messages"], parts, strict=True)):
        yield f"  ← {says}", colour, True
        yield f'  {{"role": "{message["role"]}",', colour, False
        yield from _field('   "content": ', message["content"], "}" + ("," if at < 2 else ""), colour)
    yield "]}", BLACK, False


def _field(label: str, value: str, end: str, colour: str) -> Iterator[Line]:
    shown = value if len(value) <= _LONGEST else textwrap.shorten(value, _LONGEST, placeholder=" […]")
    quoted = json.dumps(shown, ensure_ascii=False)
    indent = " " * (len(label) - len(label.lstrip()))
    for line in textwrap.wrap(f"{label.strip()} {quoted}{end}", 80, subsequent_indent="  "):
        yield indent + line, colour, False


def _write_lines(axes: Axes, lines: Sequence[Line]) -> None:
    step = min(0.045, 0.9 / max(1, len(lines)))
    for at, (text, colour, is_note) in enumerate(lines):
        font: dict[str, Any]
        font = {"style": "italic", "fontsize": 13} if is_note else {"family": "monospace", "fontsize": 13}
        axes.text(0, 0.9 - at * step, text, color=colour, va="top", transform=axes.transAxes, **font)
