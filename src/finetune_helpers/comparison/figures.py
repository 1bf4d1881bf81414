"""As figuras da comparação em PNG, com rótulos em português e as cores da planilha."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from .. import portuguese
from ..portuguese import number
from ..records import atomic_write
from . import flexibility
from .judgements import Review
from .metrics import METRICS
from .results import Results
from .statistics_sheets import effects
from .study import ARMS
from .tables import GREY, INK
from .wording import TONES, answered, colour, labels
from .workbook import quality_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = {"diferencas": (7, 4.8), "flexibilidade": (8, 6)}  # em polegadas


def write_figures(results: Results, review: Review | None = None) -> list[Path]:
    """Grava em ``figuras/`` as figuras que têm dados e devolve os caminhos; a que não tem dados é apagada."""
    drawn: dict[str, Callable[[Axes], bool]] = {
        "perda": lambda axes: losses(results, axes),
        "diferencas": lambda axes: differences(results, axes),
        "flexibilidade": lambda axes: families(results, axes),
        "custo_qualidade": lambda axes: cost_and_quality(results, review, axes),
        "preferencia": lambda axes: preference(results, review, axes),
    }
    paths = [_save(results.study.run / "figuras" / f"{name}.png", draw) for name, draw in drawn.items()]
    return [path for path in paths if path is not None]


def _save(path: Path, draw: "Callable[[Axes], bool]") -> Path | None:
    """Desenha sem tela e grava de forma atômica; None, sem arquivo, se não há o que desenhar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZES.get(path.stem, (7.4, 4.2)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(portuguese.plain)
    axes.yaxis.set_major_formatter(portuguese.plain)
    if not draw(axes):
        path.unlink(missing_ok=True)
        return None
    if names := axes.get_legend_handles_labels()[1]:
        columns = 2 if max(map(len, names)) < 40 else 1  # dois nomes de modelo na mesma linha não cabem
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def _titled(axes: "Axes", title: str, xlabel: str, rows: Sequence[str] = ()) -> None:
    """Título à esquerda, o nome do eixo e, numa figura de linhas, o nome de cada uma, a primeira em cima."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(xlabel)
    if rows:
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.invert_yaxis()


def _interval(axes: "Axes", place: float, ends: Sequence[float], **look) -> None:
    """Um ponto com o seu intervalo, numa linha horizontal: ``ends`` são o meio, o fim de baixo e o de cima."""
    middle, low, high = ends
    axes.errorbar(middle, place, xerr=[[max(0, middle - low)], [max(0, high - middle)]], fmt="o", **look)


def losses(results: Results, axes: "Axes") -> bool:
    """A perda da descrição verdadeira sob o próprio título e sob o de outro item, antes e depois do ajuste.

    A distância entre os dois pontos de uma linha é o que o título explica.
    """
    lines: list[str] = []
    compared = False
    for arm in filter(results.heldout, results.study.reports):
        strong = TONES.get(arm, TONES["llama3"])[0]
        for role, key in (("base", "base"), ("ajustado", "tuned")):
            own, other = (_average(results.heldout(arm), f"{key}{kind}_loss") for kind in ("", "_other"))
            if own is not None and other is not None:
                axes.plot([own, other], [len(lines)] * 2, color=strong, linewidth=1.5, zorder=1)
                compared = True
            for value, face, side in ((own, strong, "right"), (other, "white", "left")):
                if value is not None:
                    axes.scatter([value], [len(lines)], facecolor=face, edgecolor=strong, s=46, zorder=2)
                    place, shift = (value, len(lines)), (-8 if side == "right" else 8, -3)
                    axes.annotate(number(value, 2), place, shift, textcoords="offset points", ha=side, fontsize=8)
            lines.append(f"{ARMS.get(arm, arm)}, {role}")
    if compared:
        axes.scatter([], [], color=INK, s=46, label="sob o próprio título")
        axes.scatter([], [], facecolor="white", edgecolor=INK, s=46, label="sob o título de outro item")
    axes.margins(x=0.15, y=0.2)
    measured = "perda da descrição verdadeira (nats por token; menor, menos surpresa)"
    # Uma rodada antiga, ou um provedor de fora, não mede a perda sob o título de outro item.
    _titled(axes, "O que o título explica" if compared else "Antes e depois do ajuste", measured, lines)
    return bool(lines)


def _average(rows: list[dict], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return sum(values) / len(values) if values else None


def differences(results: Results, axes: "Axes") -> bool:
    """O que o ajuste mudou em cada medida, em desvios-padrão do item, com o intervalo de 95 %; à direita, melhorou."""
    known = effects(results)
    measures = [metric for metric in METRICS if any(metric.key in ends for ends in known.values())]
    for order, (name, ends) in enumerate(known.items()):
        system = results.study.system(name)
        for row, metric in enumerate(measures):
            if metric.key in ends:
                place = row + 0.24 * (order - (len(known) - 1) / 2)
                _interval(axes, place, ends[metric.key], color=colour(system), capsize=3, markersize=5)
        axes.plot([], [], "o", color=colour(system), label=f"{system.label}: {system.model}")
    axes.axvline(0, color=GREY, linewidth=0.8)
    title = f"O que o ajuste mudou em {len(results.study.items)} itens de teste"
    measured = "← piorou          efeito, em desvios-padrão do item          melhorou →"
    _titled(axes, title, measured, [fill(metric.label, 24) for metric in measures])
    return bool(measures)


def families(results: Results, axes: "Axes") -> bool:
    """A aprovação de cada sistema em cada família da suíte, com o intervalo de 95 %."""
    shares = {system: share for system in answered(results) if (share := results.flexibility(system.name))}
    names = [key for key in flexibility.FAMILIES if any(key in share for share in shares.values())]
    for order, (system, share) in enumerate(shares.items()):
        for row, key in enumerate(names):
            known = share.get(key)
            if known and known.mean is not None and known.low is not None and known.high is not None:
                place, ends = row + 0.17 * (order - (len(shares) - 1) / 2), (known.mean, known.low, known.high)
                look = {"color": colour(system), "markersize": 3.5, "linewidth": 1}
                _interval(axes, place, [100 * end for end in ends], **look)
        axes.plot([], [], "o", color=colour(system), label=system.label)
    axes.set_xlim(-3, 103)
    axes.grid(axis="y", linewidth=0.3)
    rows = [flexibility.FAMILIES[key] for key in names]
    _titled(axes, "Flexibilidade por família", "perguntas aprovadas (%), com o intervalo de 95 %", rows)
    return bool(names)


def cost_and_quality(results: Results, review: Review | None, axes: "Axes") -> bool:
    """Um ponto por sistema: quanto custam 1.000 respostas e quanto elas valem, no que se mediu."""
    rows = quality_rows(results, review)
    kept = [row for row in rows if None not in row.values()]
    tones = {system.label: colour(system) for system in answered(results)}
    for system, x, y in (row.values() for row in kept):
        axes.scatter(x, y, s=70, color=tones[system], label=system)
    axes.margins(0.15)
    axes.set_xlim(left=0)
    if kept:
        _, x, y = kept[0]
        _titled(axes, "Custo contra qualidade", x)
        axes.set_ylabel(y)
    return bool(kept)


def preference(results: Results, review: Review | None, axes: "Axes") -> bool:
    """A preferência humana de cada contraste, com o intervalo de 95 %."""
    contests = [contest for contest in review.preference if contest.estimate.n] if review else []
    label = labels(results)
    for place, contest in enumerate(contests):
        known, tone = contest.estimate, colour(results.study.system(contest.first))
        middle = known.mean or 0.0
        ends = [100 * (middle if end is None else end) for end in (middle, known.low, known.high)]
        _interval(axes, place, ends, color=tone, capsize=4)
    axes.axvline(50, color=GREY, linewidth=0.8)
    axes.set(xlim=(0, 100), ylim=(-0.5, max(1, len(contests)) - 0.5))
    rows = [f"{label[row.first]}\ncontra {label[row.second]} (n = {row.estimate.n})" for row in contests]
    _titled(axes, "Preferência humana, às cegas", "pontos do primeiro (%; empate vale meio)", rows)
    return bool(contests)
