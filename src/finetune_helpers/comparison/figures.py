"""Figuras da comparação em PNG, com as cores de Okabe e Ito e rótulos em português."""

from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from ..portuguese import number, percent, plain
from ..records import atomic_write
from . import blind, costs, flexibility, headlines, results, tally
from .results import Results, family_rate
from .study import ARMS, SYSTEMS, label, read_study
from .tally import Ratings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORANGE, SKY, GREEN, BLUE, RED, PINK, BLACK = (
    "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#000000",
)  # fmt: skip
# Em polegadas; a do alto do README é mais estreita, porque também se lê num telefone.
SIZES = {"diferencas": (6.2, 5.4)}
COLOURS = {"llama3-base": SKY, "llama3-tuned": BLUE, "gpt-base": ORANGE, "gpt-tuned": RED}


def write_figures(
    run_folder: Path | str, data_folder: Path | str | None = None, *, reviews: Path | str | list | None = None
) -> list[Path]:
    """Grava em ``figuras/`` as figuras que têm dados e devolve os caminhos."""
    study = read_study(run_folder, data_folder)
    found = results.compute(study)
    plan, ratings = blind.plan(study), Ratings()
    if reviews is not None:
        from .review import merge

        plan, ratings, _ = merge(study, reviews)
    drawn = {
        "perda": lambda axes: loss_curves(found, axes),
        "diferencas": lambda axes: differences(found, axes),
        "flexibilidade": lambda axes: families(found, axes),
        "equilibrio": lambda axes: break_even(found, axes),
        "preferencia": lambda axes: preference(plan, ratings, axes),
    }
    paths = [_save(study.run / "figuras" / f"{name}.png", draw) for name, draw in drawn.items()]
    return [path for path in paths if path is not None]


def _save(path: Path, draw: Callable) -> Path | None:
    """Desenha sem tela e grava de forma atômica; None, sem arquivo, se não há o que desenhar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZES.get(path.stem, (8, 4.5)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(plain), axes.yaxis.set_major_formatter(plain)
    if not draw(axes):
        path.unlink(missing_ok=True)
        return None
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def loss_curves(found: Results, axes: "Axes") -> bool:
    """Perda contra minutos de treino, um traço por braço; pontos são os itens separados."""
    colours = dict(zip(ARMS, (BLUE, RED), strict=True))
    for arm, report in found.study.reports.items():
        colour = colours.get(arm, GREEN)
        for key, style, wording in (("loss_curve", "-", "treino"), ("heldout_curve", "o--", "itens separados")):
            points = [point for point in report.get(key) or [] if point["seconds"] is not None]
            minutes, losses = [point["seconds"] / 60 for point in points], [point["loss"] for point in points]
            if points:
                axes.plot(minutes, losses, style, color=colour, markersize=4, label=f"{ARMS.get(arm, arm)}, {wording}")
    axes.set(xlabel="minutos de treino", ylabel="perda (nats por token)", title="Perda contra tempo")
    return _legend(axes)


def differences(found: Results, axes: "Axes") -> bool:
    """Diferenças ajustado − base em desvios-padrão do item, com intervalo de 95 %; à direita o ajuste é melhor.

    Uma linha por medida e uma cor por braço; ao lado de cada ponto, a média da base e a do ajustado.
    """
    rows = [row for row in results.contrasts(found) if row.second.endswith("-base") and row.estimate.low is not None]
    measures = list(dict.fromkeys(row.metric for row in rows))
    arms = list(dict.fromkeys(row.first for row in rows))
    for row in rows:
        place = 0.15 * (2 * arms.index(row.first) - len(arms) + 1) + measures.index(row.metric)
        _difference(found, row, place, axes)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.set_yticks(range(len(measures)), [fill(metric.label, 18) for metric in measures])
    axes.invert_yaxis()
    axes.set(xlabel="← piorou          efeito, em desvios-padrão          melhorou →")
    title = f"O que o ajuste mudou em {len(found.study.items)} itens de teste\nbase → ajustado, com intervalo de 95 %"
    axes.set_title(title, pad=20)
    axes.margins(x=0.12)
    for system in arms:
        arm = ARMS.get(found.study.arms.get(system, ""), system)
        wording = f"braço {arm}: {headlines.model(found, system)}"
        axes.plot([], [], "o", color=COLOURS.get(system, GREEN), label=wording)
    return bool(rows) and _legend(axes, {"loc": "lower center", "bbox_to_anchor": (0.5, 0.99), "ncols": len(arms)})


def _difference(found: Results, row: results.Contrast, place: float, axes: "Axes") -> None:
    from statistics import pstdev

    one, two = found.scores[row.first], found.scores[row.second]
    values = [(getattr(one[key], row.metric.key), getattr(two[key], row.metric.key)) for key in one if key in two]
    sign = (-1 if row.metric.low_is_good else 1) / pstdev([a - b for a, b in values if None not in (a, b)])
    low, middle, high = (end * sign for end in (row.estimate.low, row.estimate.mean, row.estimate.high))
    colour = COLOURS.get(row.first, GREEN)
    error = [[middle - min(low, high)], [max(low, high) - middle]]
    axes.errorbar(middle, place, xerr=error, fmt="o", color=colour, capsize=3)
    before, after = (_mean(found, system, row.metric) for system in (row.second, row.first))
    axes.annotate(f"{before} → {after}", (max(low, high), place), (6, -3), textcoords="offset points", color=colour)


def _mean(found: Results, system: str, metric: results.Metric) -> str:
    """A média de uma medida num sistema, com as casas do formato dela."""
    value, digits = results.mean(found, system, metric.key), len(metric.form.partition(".")[2].rstrip("%"))
    return percent(value, 0) if value is not None and metric.form.endswith("%") else number(value, digits)


def families(found: Results, axes: "Axes") -> bool:
    """Taxa de aprovação por família da suíte de flexibilidade, um ponto por sistema."""
    systems = [system for system in found.study.systems if system in found.verdicts]
    names = [key for key in flexibility.FAMILIES if any(family_rate(found, s, key, "strict")[1] for s in systems)]
    for place, system in enumerate(systems):
        rates = [family_rate(found, system, key, "strict") for key in names]
        places = [-row - 0.16 * (place - (len(systems) - 1) / 2) for row in range(len(names))]
        shares = [100 * passed / asked if asked else float("nan") for passed, asked in rates]
        axes.plot(shares, places, "o", color=COLOURS.get(system, GREEN), label=label(system), markersize=4)
    axes.set_yticks([-row for row in range(len(names))], [flexibility.FAMILIES[key] for key in names], fontsize=7)
    axes.set(xlabel="prompts aprovados (%, leitura estrita)", xlim=(-3, 103), title="Flexibilidade por família")
    axes.grid(axis="y", linewidth=0.3)
    return _legend(axes, {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)})


def break_even(found: Results, axes: "Axes") -> bool:
    """Dólares por 1.000 respostas: GPU própria, por ocupação, contra as APIs da tabela."""
    tuned = [costs.serving(found.study, system) for system in SYSTEMS if system.endswith("-tuned")]
    served = next((one for one in tuned if one and one.seconds > 0), None)
    if served is None:
        return False
    shares = [step / 100 for step in range(5, 101)]
    for sku, colour in (("T4", BLUE), ("L4", SKY), ("A100", PINK)):
        price = costs.find(sku, "gpu_hour")
        if price:
            usd = [costs.self_hosted(served.seconds, price.usd, share) for share in shares]
            axes.plot(
                [100 * share for share in shares],
                usd,
                color=colour,
                label=f"GPU própria: {sku}",
            )
    for sku, item, colour in (("gpt-4o-mini-2024-07-18", "tuned_", RED), ("gpt-6-luna", "", ORANGE)):
        one, two = costs.find(sku, f"{item}input"), costs.find(sku, f"{item}output")
        if one and two:
            hosted = (served.tokens_in * one.usd + served.tokens_out * two.usd) / 1000
            axes.axhline(hosted, color=colour, linestyle="--", label=f"API {sku}{' ajustado' if item else ''}")
    seconds = number(served.seconds, 2)
    title = f"Ponto de equilíbrio, a {seconds} s por resposta (o desta rodada, em outra máquina)"
    axes.set(xlabel="ocupação da GPU (%)", ylabel="US$ por 1.000 respostas", yscale="log", title=title)
    axes.yaxis.set_major_formatter(plain)
    return _legend(axes)


def preference(plan: blind.Plan, ratings: Ratings, axes: "Axes") -> bool:
    """Preferência humana por contraste, com intervalo de 95 %."""
    rows = [row for row in tally.preferences(plan, ratings) if row.n]
    for place, row in enumerate(rows):
        assert row.mean is not None  # há pares avaliados
        low, high = (row.mean if end is None else end for end in (row.low, row.high))
        axes.errorbar(
            100 * row.mean,
            -place,
            xerr=[[100 * (row.mean - low)], [100 * (high - row.mean)]],
            fmt="o",
            color=BLUE,
            capsize=4,
        )
    axes.axvline(50, color=BLACK, linewidth=0.8)
    labels = [f"{label(row.first)}\ncontra {label(row.second)} (n = {row.n})" for row in rows]
    axes.set_yticks([-place for place in range(len(rows))], labels, fontsize=8)
    axes.set(
        xlabel="pontos do primeiro (%; empate vale meio)",
        xlim=(0, 100),
        ylim=(0.6 - len(rows), 0.4),
        title="Preferência humana, revisão cega",
    )
    return bool(rows)


def _legend(axes, place: dict | None = None) -> bool:
    drawn = bool(axes.get_legend_handles_labels()[0])
    if drawn:
        axes.legend(frameon=False, fontsize=8, **(place or {}))
    return drawn
