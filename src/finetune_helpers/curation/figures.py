"""Figuras da curadoria, em PNG de 1600 pixels: tokens, funil e a estrutura de uma linha de treino."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
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
_BINS = 60
# Os nomes das regras são chaves sem acento; na figura eles voltam a ser português.
_ACCENTS = {"conteudo": "conteúdo", "titulo": "título", "apos": "após", "palavra": "palavra-", "chave": "chave"}
# De cada modelo: as chaves da linha de treino, ou os papéis das mensagens, e o que cada parte é.
_PARTS = {
    "llama": (
        ("instruction", GREEN, "a tarefa, igual em todas as linhas"),
        ("input", BLUE, "o título do produto: o que o modelo lê"),
        ("output", VERMILION, "a descrição: o que o modelo aprende a escrever"),
    ),
    "gpt": (
        ("system", PURPLE, "sistema: como responder, igual em todas as linhas"),
        ("user", BLUE, "usuário: a tarefa e o título do produto"),
        ("assistant", VERMILION, "assistente: a descrição que o modelo aprende a escrever"),
    ),
}


@contextmanager
def _drawing(path: str | Path, height: float) -> Iterator[Figure]:
    """Figura em branco, de ``height`` polegadas, gravada em PNG de forma atômica quando o bloco termina."""
    with rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15, hspace=0.03)
        figure = Figure(figsize=(10, height), dpi=160, layout=layout)
        yield figure
        with atomic_write(Path(path), "wb") as file:
            # Sem data nem versão nos metadados: a mesma entrada dá o mesmo arquivo.
            figure.savefig(file, format="png", metadata={"Software": None})


def token_overview(curations: Sequence[Curation], path: str | Path) -> Path:
    """Tokens de título + conteúdo antes da regra de tokens, um quadro por tokenizador, com a fronteira 256/257."""
    with _drawing(path, 4.1 * len(curations)) as figure:
        for at, curation in enumerate(curations, start=1):
            axes = figure.add_subplot(len(curations), 1, at)
            _overview(axes, curation)
        axes.set_xlabel("tokens (título + conteúdo)")
    return Path(path)


def short_examples(curation: Curation, path: str | Path) -> Path:
    """Linhas de até 256 tokens, por tamanho, com a quantidade e a parte que são das que chegam à regra de tokens."""
    counts = {tokens: rows for tokens, rows in curation.token_histogram.items() if tokens <= BORDER}
    share = sum(counts.values()) / sum(curation.token_histogram.values())
    with _drawing(path, 4.6) as figure:
        axes = figure.add_subplot()
        _bars(axes, counts, BORDER + 1)
        axes.set_title(
            f"Até {BORDER} tokens ({NAMES[curation.model]}): {number(sum(counts.values()))} exemplos, "
            f"{percent(share)} dos que chegam à regra"
        )
        axes.set_xlabel("tokens (título + conteúdo)")
    return Path(path)


def _overview(axes: Axes, curation: Curation) -> None:
    histogram = curation.token_histogram
    total, below = sum(histogram.values()), sum(rows for tokens, rows in histogram.items() if tokens <= BORDER)
    every = np.repeat([*histogram], [*histogram.values()])
    _bars(axes, histogram, max(int(np.quantile(every, 0.99, method="inverted_cdf")), 2 * BORDER))
    axes.axvline(BORDER + 0.5, color=BLACK, linestyle="--", linewidth=1.5)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    sides = ((BLUE, f"até {BORDER}", below), (ORANGE, f"{BORDER + 1} ou mais", total - below))
    named = [
        Patch(color=colour, label=f"{word}: {number(rows)} linhas ({percent(rows / total)})")
        for colour, word, rows in sides
    ]
    # O fundo opaco impede que a fronteira atravesse as letras.
    axes.legend(handles=named, loc="upper right", facecolor="white", edgecolor="none", framealpha=1)
    axes.set_title(f"Tokenizador do {NAMES[curation.model]}: {number(total)} linhas antes da regra de tokens")


def _bars(axes: Axes, histogram: Mapping[int, int], high: int) -> None:
    """Barras de largura igual; a última junta tudo o que passa de ``high``; a cor muda na fronteira."""
    width = max(1, -(-high // _BINS))
    # As barras começam a contar da fronteira, para que nenhuma a atravesse.
    edges = BORDER + 0.5 + width * np.arange(-(BORDER // width) - 1, (high - BORDER) // width + 2)
    tokens = np.minimum([*histogram], high)
    heights, _ = np.histogram(tokens, edges, weights=[*histogram.values()])
    colours = np.where(edges[:-1] <= BORDER, BLUE, ORANGE)
    axes.bar(edges[:-1], heights, width=width * 0.92, align="edge", color=colours)
    axes.set_ylabel("linhas")
    axes.set_xlim(0, high + width + 1)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.locator_params(axis="y", integer=True)
    if histogram and max(histogram) > high:
        axes.text(high + width, 0, f"{number(high)} ou + ▸", ha="right", va="bottom", fontsize=10, color=BLACK)


def funnel(curations: Sequence[Curation], path: str | Path) -> Path:
    """O funil de cada curadoria: em azul as linhas que ficam depois de cada regra, em cinza as que caem nela."""
    steps = max(len(one.funnel) for one in curations)
    with _drawing(path, (0.42 * steps + 1.3) * len(curations)) as figure:
        for at, curation in enumerate(curations, start=1):
            _funnel(figure.add_subplot(len(curations), 1, at), curation)
    return Path(path)


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


def training_structure(example: Example, model: str, path: str | Path) -> Path:
    """Uma linha do arquivo de treino de ``"llama"`` ou ``"gpt"``, com o papel de cada parte."""
    lines = _lines(example, model)
    step = min(0.045, 0.9 / len(lines))
    with _drawing(path, 8.2) as figure:
        axes = figure.add_subplot()
        axes.axis("off")
        title = f"Uma linha de treino do {NAMES[model]}"
        axes.text(0, 1, title, fontsize=22, weight="bold", va="top", transform=axes.transAxes)
        for at, (text, colour) in enumerate(lines):
            font: dict[str, Any] = {"style": "italic"} if "←" in text[:3] else {"family": "monospace"}
            axes.text(0, 0.9 - at * step, text, color=colour, va="top", transform=axes.transAxes, fontsize=13, **font)
    return Path(path)


def _lines(example: Example, model: str) -> list[tuple[str, str]]:
    """As linhas da figura e a cor de cada uma."""
    llama = model == "llama"
    texts = (
        prompts.to_alpaca(example)
        if llama
        else {one["role"]: one["content"] for one in prompts.to_chat(example)["messages"]}
    )
    lines = [("{" if llama else '{"messages": [', BLACK)]
    for name, colour, says in _PARTS[model]:
        lines.append((f"  ← {says}", colour))
        if not llama:
            lines.append((f'  {{"role": "{name}",', colour))
        end = ("" if llama else "}") + ("," if name != _PARTS[model][-1][0] else "")
        value = texts[name]
        shown = value if len(value) <= _LONGEST else textwrap.shorten(value, _LONGEST, placeholder=" […]")
        field = f'"{name if llama else "content"}": {json.dumps(shown, ensure_ascii=False)}{end}'
        indent = "  " if llama else "   "
        lines += [(indent + line, colour) for line in textwrap.wrap(field, 80, subsequent_indent="  ")]
    return [*lines, ("}" if llama else "]}", BLACK)]
