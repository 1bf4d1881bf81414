"""A figura dos experimentos em PNG: a curva de cada ensaio, o peso de cada hiperparâmetro e a curva dos dados.

Não há tempos nela: os mesmos ensaios dão os mesmos bytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..portuguese import number
from ..records import atomic_write, read_json
from . import conclusions, trials
from .trials import PRUNED, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, SKY, GREY, RED, BLACK = "#0072B2", "#56B4E9", "#999999", "#D55E00", "#000000"
NAMES = {"learning_rate": "taxa", "lora_r": "r", "alpha_ratio": "alpha / r"}


def write_figure(folder: Path, path: Path) -> Path:
    """Desenha os ensaios de ``folder`` (uma pasta ``hiperparametros``) em ``path``, de forma atômica."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, found = trials.read(folder), read_json(folder / conclusions.FILE)
    figure = Figure(figsize=(12, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=[3, 2, 2])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    curves(panels[0], rows, found)
    importances(panels[1], found["importance"])
    data_curve(panels[2], found)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def curves(axes: "Axes", rows: list[Row], found: dict[str, Any]) -> None:
    """A perda na validação de cada ensaio da busca, também dos podados; o vencedor em destaque."""
    seen = set()
    top = found["winner"]["search_trial"]
    for row in [row for row in rows if row["kind"] == "busca" and row["curve"]]:
        kind = "melhor da busca" if row["trial"] == top else conclusions.STATES[row["state"]]
        style = {"melhor da busca": (BLUE, "-"), "completo": (SKY, "-")}.get(kind, (GREY, "--"))
        steps, losses = [point["step"] for point in row["curve"]], [point["loss"] for point in row["curve"]]
        axes.plot(
            steps, losses, style[1], color=style[0], marker="o", markersize=4, label=None if kind in seen else kind
        )
        if row["state"] == PRUNED:
            axes.plot(steps[-1], losses[-1], "x", color=RED, markersize=8)
        seen.add(kind)
    axes.set(xlabel="passo", ylabel="perda na validação (nats por token)", title="Ensaios da busca")
    axes.yaxis.set_major_formatter(_comma)
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)


def importances(axes: "Axes", found: dict[str, Any]) -> None:
    """O peso de cada hiperparâmetro, com a ressalva escrita na figura."""
    shares = found["shares"] or {}
    for place, share in enumerate(shares.values()):
        axes.barh(-place, 100 * share, color=SKY)
    axes.set_yticks([-place for place in range(len(shares))], [NAMES[key] for key in shares])
    axes.set(title="Importância na busca", xlabel="% do efeito" if shares else "")
    note = found["note"].replace(": ", ":\n").replace("; ", ";\n").replace(", ", ",\n")
    if shares:
        axes.set_xlabel(f"% do efeito\n{note}", fontsize=8)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, note, ha="center", va="center", transform=axes.transAxes, fontsize=9)


def data_curve(axes: "Axes", found: dict[str, Any]) -> None:
    """A perda contra o número de linhas de treino; a barra é a distância entre as sementes."""
    sizes = {row["rows"]: row["loss"] for row in found["changes"] if row["kind"] in conclusions.SIZES and row["loss"]}
    if not sizes:
        axes.set_axis_off()
        note = "curva dos dados:\nnão coube no orçamento"
        axes.text(0.5, 0.5, note, ha="center", va="center", transform=axes.transAxes, fontsize=9)
        return
    whole = found["winner"]["rows"]
    middle = sum(found["seeds"]) / len(found["seeds"])
    sizes[whole] = middle
    axes.plot(sorted(sizes), [sizes[size] for size in sorted(sizes)], "o-", color=BLUE)
    if found["spread"] is not None:
        ends = [[middle - min(found["seeds"])], [max(found["seeds"]) - middle]]
        axes.errorbar(whole, middle, yerr=ends, color=BLACK, capsize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(sizes), [number(size) for size in sorted(sizes)])
    axes.minorticks_off()
    axes.set(xlabel="linhas de treino", ylabel="perda na validação", title="Curva dos dados")
    axes.yaxis.set_major_formatter(_comma)


def _comma(value: float, _: float) -> str:
    return f"{value:.4g}".replace(".", ",")
