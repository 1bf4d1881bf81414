"""Figuras da curadoria, em PNG: tokens, funil e a estrutura de uma linha de treino."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..portuguese import number, percent
from .drawing import BLACK, BLUE, GREY, NAMES, ORANGE, drawing
from .result import Curation
from .rules import BORDER
from .structure_figure import training_structure

__all__ = ["funnel", "short_examples", "token_overview", "training_structure"]

_BINS = 60
# Os nomes das regras são chaves sem acento; na figura eles voltam a ser português.
_ACCENTS = {"conteudo": "conteúdo", "titulo": "título", "apos": "após", "palavra": "palavra-", "chave": "chave"}


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
