"""Figuras da curadoria, em PNG de 1600 pixels: tokens, funil e a estrutura de uma linha de treino."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from .. import prompts
from ..portuguese import number, percent
from ..records import Example, atomic_write
from .pipeline import Curation
from .rules import BORDER

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Cores que daltônicos distinguem (Okabe e Ito).
BLUE, ORANGE, GREY, VERMILION, BLACK = "#0072B2", "#E69F00", "#BBBBBB", "#D55E00", "#000000"
GREEN, PURPLE = "#007A5A", "#9B5585"
NAMES = {"llama": "LLaMA 3", "gpt": "GPT"}
_STYLE: "dict[RcKeyType, Any]" = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.parse_math": False,  # títulos do catálogo têm "$"
}
_LONGEST = 480  # caracteres de um campo que a figura mostra
Line = tuple[str, str, bool]  # texto, cor e se é comentário
_BINS = 60
# Os nomes das regras são chaves sem acento; na figura eles voltam a ser português.
_ACCENTS = {"conteudo": "conteúdo", "titulo": "título", "apos": "após", "palavra": "palavra-", "chave": "chave"}


@contextmanager
def drawing(path: str | Path, height: float) -> Iterator[Figure]:
    """Figura em branco, de ``height`` polegadas, gravada em PNG de forma atômica quando o bloco termina."""
    with rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15, hspace=0.03)
        figure = Figure(figsize=(10, height), dpi=160, layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        with atomic_write(Path(path), "wb") as file:
            # Sem data nem versão nos metadados: a mesma entrada dá o mesmo arquivo.
            figure.savefig(file, format="png", metadata={"Software": None})


def token_overview(curations: Sequence[Curation], path: str | Path) -> Path:
    """Tokens de título + conteúdo antes da regra de tokens, um quadro por tokenizador, com a fronteira 256/257."""
    with drawing(path, 4.1 * len(curations)) as figure:
        for at, curation in enumerate(curations, start=1):
            axes = figure.add_subplot(len(curations), 1, at)
            _overview(axes, curation)
        axes.set_xlabel("tokens (título + conteúdo)")
    return Path(path)


def short_examples(curation: Curation, path: str | Path) -> Path:
    """Linhas de até 256 tokens, por tamanho, com a quantidade e a parte que são das que chegam à regra de tokens."""
    counts = {tokens: rows for tokens, rows in curation.token_histogram.items() if tokens <= BORDER}
    share = sum(counts.values()) / max(1, sum(curation.token_histogram.values()))
    with drawing(path, 4.6) as figure:
        axes = figure.add_subplot()
        _bars(axes, counts, 0, BORDER + 1, [BLUE])
        axes.set_title(
            f"Até {BORDER} tokens ({NAMES[curation.model]}): {number(sum(counts.values()))} exemplos, "
            f"{percent(share)} dos que chegam à regra"
        )
        axes.set_xlabel("tokens (título + conteúdo)")
    return Path(path)


def funnel(curations: Sequence[Curation], path: str | Path) -> Path:
    """O funil de cada curadoria: em azul as linhas que ficam depois de cada regra, em cinza as que caem nela."""
    steps = max(len(one.funnel) for one in curations)
    with drawing(path, (0.42 * steps + 1.3) * len(curations)) as figure:
        for at, curation in enumerate(curations, start=1):
            _funnel(figure.add_subplot(len(curations), 1, at), curation)
    return Path(path)


def _overview(axes: Axes, curation: Curation) -> None:
    histogram = curation.token_histogram
    total, below = sum(histogram.values()), sum(rows for tokens, rows in histogram.items() if tokens <= BORDER)
    last = _percentile(histogram, 0.99)
    _bars(axes, histogram, 0, max(last, 2 * BORDER), [BLUE, ORANGE])
    axes.axvline(BORDER + 0.5, color=BLACK, linestyle="--", linewidth=1.5)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    sides = ((BLUE, f"até {BORDER}", below), (ORANGE, f"{BORDER + 1} ou mais", total - below))
    named = [
        Patch(color=colour, label=f"{word}: {number(rows)} linhas ({percent(rows / max(1, total))})")
        for colour, word, rows in sides
    ]
    # O fundo opaco impede que a fronteira atravesse as letras.
    axes.legend(handles=named, loc="upper right", facecolor="white", edgecolor="none", framealpha=1)
    axes.set_title(f"Tokenizador do {NAMES[curation.model]}: {number(total)} linhas antes da regra de tokens")


def _bars(axes: Axes, histogram: Mapping[int, int], low: int, high: int, colours: Sequence[str]) -> None:
    """Barras de largura igual; a última junta tudo o que passa de ``high``; a cor muda na fronteira."""
    width = max(1, -(-(high - low) // _BINS))
    # As barras começam a contar da fronteira, para que nenhuma a atravesse.
    heights: dict[int, int] = {}
    for tokens, rows in histogram.items():
        at = (min(tokens, high) - BORDER - 1) // width
        heights[at] = heights.get(at, 0) + rows
    for at, height in heights.items():
        colour = colours[0] if at < 0 else colours[-1]
        axes.bar(BORDER + 0.5 + at * width, height, width=width * 0.92, align="edge", color=colour)
    axes.set_ylabel("linhas")
    axes.set_xlim(low, high + width + 1)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.locator_params(axis="y", integer=True)
    if histogram and max(histogram) > high:
        axes.text(high + width, 0, f"{number(high)} ou + ▸", ha="right", va="bottom", fontsize=10, color=BLACK)


def _funnel(axes: Axes, curation: Curation) -> None:
    steps = curation.funnel
    names = [readable(step.rule) for step in steps]
    axes.barh(names, [step.rows_in for step in steps], color=GREY, height=0.72)
    axes.barh(names, [step.rows_out for step in steps], color=BLUE, height=0.72)
    axes.invert_yaxis()
    widest = max(step.rows_in for step in steps)
    labels = [
        f"ficam {number(step.rows_out)}" + (f", caem {number(step.dropped)}" if step.dropped else "") for step in steps
    ]
    for at, (step, label) in enumerate(zip(steps, labels, strict=True)):
        axes.text(step.rows_in + widest * 0.012, at, label, va="center", fontsize=12)
    axes.set_xlim(0, widest * (1 + 0.023 * max(map(len, labels))))
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    read = "o arquivo inteiro" if curation.facts["fonte"]["lida_inteira"] else "até completar treino e teste"
    axes.set_title(f"{NAMES[curation.model]}, modo {curation.mode} ({read})", x=-0.33)
    axes.set_ylim(len(steps) - 0.4, -0.6)


def readable(rule: str) -> str:
    """Nome de uma regra como se lê em português: ``titulo_curto`` → ``título curto``."""
    return " ".join(_ACCENTS.get(word, word) for word in rule.split("_")).replace("- ", "-")


def _percentile(histogram: Mapping[int, int], share: float) -> int:
    left = share * sum(histogram.values())
    for tokens, rows in sorted(histogram.items()):
        left -= rows
        if left <= 0:
            return tokens
    return BORDER


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
