"""A figura dos experimentos em PNG: a curva de cada ensaio, o peso de cada hiperparâmetro e a curva dos dados.

Não há tempos nela: os mesmos ensaios dão os mesmos bytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..portuguese import number, plain
from ..records import atomic_write, read_json
from . import conclusions, trials
from .trials import PRUNED, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, SKY, GREY, RED, BLACK = "#0072B2", "#56B4E9", "#999999", "#D55E00", "#000000"
LEGIBLE = 6  # com mais curvas, os nomes delas se cobrem
NAMES = {"learning_rate": "taxa", "lora_r": "r", "alpha_ratio": "alpha / r"}


def write_figure(folder: Path, path: Path) -> Path:
    """Desenha os ensaios de ``folder`` (uma pasta ``hiperparametros``) em ``path``, de forma atômica."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, found = trials.read(folder), read_json(folder / conclusions.FILE)
    drawn = [lambda axes: curves(axes, rows, found)]
    drawn += [lambda axes: importances(axes, found["importance"])] if found["importance"]["shares"] else []
    drawn += [lambda axes: data_curve(axes, found)] if _sizes(found) else []
    figure = Figure(figsize=(4 + 2.8 * len(drawn), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(drawn), width_ratios=[3, 2, 2][: len(drawn)], squeeze=False)[0]
    for axes, draw in zip(panels, drawn, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
    figure.supxlabel(_missing(found), fontsize=8)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def curves(axes: "Axes", rows: list[Row], found: dict[str, Any]) -> None:
    """A perda na validação de cada ensaio da busca, também dos podados; o vencedor em destaque."""
    seen = set()
    top = found["winner"]["search_trial"]
    drawn = [row for row in rows if row["kind"] == "busca" and row["curve"]]
    for row in drawn:
        kind = "melhor da busca" if row["trial"] == top else conclusions.STATES[row["state"]]
        style = {"melhor da busca": (BLUE, "-"), "completo": (SKY, "-")}.get(kind, (GREY, "--"))
        steps, losses = [point["step"] for point in row["curve"]], [point["loss"] for point in row["curve"]]
        axes.plot(
            steps, losses, style[1], color=style[0], marker="o", markersize=4, label=None if kind in seen else kind
        )
        if row["state"] == PRUNED:
            axes.plot(steps[-1], losses[-1], "x", color=RED, markersize=8)
        seen.add(kind)
        if len(drawn) <= LEGIBLE:
            axes.annotate(
                _setting(row["changes"]), (steps[-1], losses[-1]), (6, -3), textcoords="offset points", fontsize=8
            )
    axes.margins(x=0.08)
    axes.set(xlabel="passo", ylabel="perda na validação (nats por token)", title="Ensaios da busca")
    axes.yaxis.set_major_formatter(plain)
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)


def importances(axes: "Axes", found: dict[str, Any]) -> None:
    """O peso de cada hiperparâmetro, com a ressalva escrita na figura."""
    shares = found["shares"]
    for place, share in enumerate(shares.values()):
        axes.barh(-place, 100 * share, color=SKY)
    axes.set_yticks([-place for place in range(len(shares))], [NAMES[key] for key in shares])
    note = found["note"].replace(": ", ":\n").replace("; ", ";\n").replace(", ", ",\n")
    axes.set_title("Importância na busca")
    axes.set_xlabel(f"% do efeito\n{note}", fontsize=8)


def data_curve(axes: "Axes", found: dict[str, Any]) -> None:
    """A perda contra o número de linhas de treino; a barra é a distância entre as sementes."""
    sizes, whole = _sizes(found), found["winner"]["rows"]
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
    axes.yaxis.set_major_formatter(plain)


def _sizes(found: dict[str, Any]) -> dict[int, float]:
    """A perda de cada ensaio com parte das linhas; vazio se nenhum coube."""
    return {row["rows"]: row["loss"] for row in found["changes"] if row["kind"] in conclusions.SIZES and row["loss"]}


def _missing(found: dict[str, Any]) -> str:
    """O que a figura não mostra, e por quê."""
    said = [] if found["importance"]["shares"] else [f"Importância: {found['importance']['note']}."]
    return " ".join(said if _sizes(found) else [*said, "Curva dos dados: não coube no orçamento."])


def _setting(changes: dict[str, Any]) -> str:
    rate, r, alpha = (changes[key] for key in ("learning_rate", "lora_r", "lora_alpha"))
    return f"taxa {conclusions.rate(rate)} · r {r} · alpha {alpha}"
