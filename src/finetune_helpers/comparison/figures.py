"""As figuras da comparação em PNG, com rótulos em português e as cores da planilha."""

from collections.abc import Callable
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
from .statistics_sheets import compared, effect
from .study import ARMS
from .summary_sheet import quality_rows
from .tables import GREY, INK
from .wording import TONES, answered, colour

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
    title = axes.get_title()
    axes.set_title("")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def losses(results: Results, axes: "Axes") -> bool:
    """A perda da descrição verdadeira sob o próprio título e sob o de outro item, antes e depois do ajuste.

    A distância entre os dois pontos de uma linha é o que o título explica.
    """
    lines: list[str] = []
    for arm in [arm for arm in results.study.reports if results.heldout(arm)]:
        strong = TONES.get(arm, TONES["llama3"])[0]
        for role, key in (("base", "base"), ("ajustado", "tuned")):
            place = len(lines)
            own, other = (_average(results.heldout(arm), f"{key}{kind}_loss") for kind in ("", "_other"))
            if own is not None and other is not None:
                axes.plot([own, other], [place, place], color=strong, linewidth=1.5, zorder=1)
            for value, face, side in ((own, strong, "right"), (other, "white", "left")):
                if value is not None:
                    axes.scatter([value], [place], facecolor=face, edgecolor=strong, s=46, zorder=2)
                    shift = (-8 if side == "right" else 8, -3)
                    text = number(value, 2)
                    axes.annotate(text, (value, place), shift, textcoords="offset points", ha=side, fontsize=8)
            lines.append(f"{ARMS.get(arm, arm)}, {role}")
    axes.scatter([], [], color=INK, s=46, label="sob o próprio título")
    axes.scatter([], [], facecolor="white", edgecolor=INK, s=46, label="sob o título de outro item")
    axes.set_yticks(range(len(lines)), lines)
    axes.invert_yaxis()
    axes.set(
        xlabel="perda da descrição verdadeira (nats por token; menor, menos surpresa)", title="O que o título explica"
    )
    axes.margins(x=0.15, y=0.2)
    return bool(lines) and _legend(axes)


def _average(rows: list[dict], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return sum(values) / len(values) if values else None


def differences(results: Results, axes: "Axes") -> bool:
    """O que o ajuste mudou em cada medida, em desvios-padrão do item, com o intervalo de 95 %; à direita, melhorou."""
    own = {(c.first, c.metric.key): c for c in results.contrasts if c.second.endswith("-base")}
    tuned = [results.study.system(name) for name in compared(results)]
    ends = {key: drawn for key, contrast in own.items() if (drawn := effect(results, contrast))}
    measures = [metric for metric in METRICS if any((system.name, metric.key) in ends for system in tuned)]
    for row, metric in enumerate(measures):
        for order, system in enumerate(tuned):
            drawn = ends.get((system.name, metric.key))
            if drawn:
                middle, low, high = drawn
                place = row + 0.24 * (order - (len(tuned) - 1) / 2)
                error = [[middle - low], [high - middle]]
                axes.errorbar(middle, place, xerr=error, fmt="o", color=colour(system), capsize=3, markersize=5)
    for system in tuned:
        axes.plot([], [], "o", color=colour(system), label=f"{system.label}: {system.model}")
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(measures)), [fill(metric.label, 24) for metric in measures], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="← piorou          efeito, em desvios-padrão do item          melhorou →")
    axes.set_title(f"O que o ajuste mudou em {len(results.study.items)} itens de teste")
    return bool(measures) and _legend(axes)


def families(results: Results, axes: "Axes") -> bool:
    """A aprovação de cada sistema em cada família da suíte, com o intervalo de 95 %."""
    shares = {system: results.flexibility(system.name) for system in answered(results)}
    shares = {system: share for system, share in shares.items() if share}
    names = [key for key in flexibility.FAMILIES if any(key in share for share in shares.values())]
    for order, (system, share) in enumerate(shares.items()):
        for row, key in enumerate(names):
            known = share.get(key)
            if known and known.rate is not None and known.low is not None and known.high is not None:
                place, rate = row + 0.17 * (order - (len(shares) - 1) / 2), known.rate
                error = [[100 * max(0, rate - known.low)], [100 * max(0, known.high - rate)]]
                axes.errorbar(100 * rate, place, xerr=error, fmt="o", color=colour(system), markersize=3.5, linewidth=1)
        axes.plot([], [], "o", color=colour(system), label=system.label)
    axes.set_yticks(range(len(names)), [flexibility.FAMILIES[key] for key in names], fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlabel="perguntas aprovadas (%), com o intervalo de 95 %", xlim=(-3, 103), title="Flexibilidade por família"
    )
    axes.grid(axis="y", linewidth=0.3)
    return bool(names) and _legend(axes)


def cost_and_quality(results: Results, review: Review | None, axes: "Axes") -> bool:
    """Um ponto por sistema: quanto custam 1.000 respostas e quanto elas valem, no que se mediu."""
    rows, axis = quality_rows(results, review)
    kept = [row for row in rows if row[axis["x"]] is not None and row[axis["y"]] is not None]
    systems = {system.label: system for system in answered(results)}
    for row in kept:
        axes.scatter(row[axis["x"]], row[axis["y"]], s=70, color=colour(systems[row["Sistema"]]), label=row["Sistema"])
    axes.set(xlabel=axis["x"], ylabel=axis["y"], title="Custo contra qualidade")
    axes.margins(0.15)
    axes.set_xlim(left=0)
    return bool(kept) and _legend(axes)


def preference(results: Results, review: Review | None, axes: "Axes") -> bool:
    """A preferência humana de cada contraste, com o intervalo de 95 %."""
    rows = [contest for contest in review.preference if contest.n] if review else []
    if not rows:
        return False
    for place, row in enumerate(rows):
        estimate = row.statistic.estimate
        middle = estimate.mean or 0.0
        low, high = (middle if end is None else end for end in (estimate.low, estimate.high))
        error = [[100 * (middle - low)], [100 * (high - middle)]]
        axes.errorbar(
            100 * middle, place, xerr=error, fmt="o", color=colour(results.study.system(row.first)), capsize=4
        )
    axes.axvline(50, color=GREY, linewidth=0.8)
    label = {system.name: system.label for system in results.study.systems}
    names = [f"{label[row.first]}\ncontra {label[row.second]} (n = {row.n})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set(xlabel="pontos do primeiro (%; empate vale meio)", xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5))
    axes.set_title("Preferência humana, às cegas")
    return True


def _legend(axes: "Axes") -> bool:
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return True
