"""O que os ensaios permitem dizer: o vencedor, o tamanho do ruído, o que cada mudança fez e o que ficou de fora."""

import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .. import estimates
from ..portuguese import ABSENT, NOT_MEASURED, counted, duration, number, plain
from ..records import atomic_write, write_json
from . import search
from .profiles import WINNER_FILE
from .search import COMPLETE, FAILED, INTERRUPTED, PRUNED, Bench, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUMMARY = "resumo.json"
LEAST_FOR_IMPORTANCE, GOOD_FOR_IMPORTANCE = 8, 40
LABELS = {
    "semente-2": "outra semente",
    "semente-3": "mais uma semente",
    "metade-das-linhas": "metade das linhas",
    "quarto-das-linhas": "um quarto das linhas",
    "so-atencao": "LoRA só na atenção",
    "neftune": "NEFTune (ruído 5 nas entradas)",
    "dora": "DoRA",
}
STATES = {COMPLETE: "completo", PRUNED: "podado", FAILED: "falhou", INTERRUPTED: "interrompido"}
SEEDS = ("semente-2", "semente-3")
SIZES = ("quarto-das-linhas", "metade-das-linhas")
BETTER, WORSE, NOISE, UNKNOWN = "melhor", "pior", "dentro do ruído", "sem as sementes, não se sabe"
BLUE, SKY, GREY, RED = "#0072B2", "#56B4E9", "#999999", "#D55E00"


def presentation(bench: Bench) -> str:
    """O que vai ser feito, o tempo e o custo máximo, para ler antes de começar."""
    chosen, size = bench.budget, bench.size
    scaled = "" if size == chosen.rows else f" (o orçamento pede {number(chosen.rows)}; são todas as que há)"
    measured = search.expected(search.rows(bench), size)
    each = (
        f"cerca de {duration(measured)}, medido nesta rodada"
        if measured
        else f"{NOT_MEASURED} nesta máquina; o primeiro ensaio o mede, e nenhum começa se não couber no que resta"
    )
    return "\n".join(
        [
            f"Orçamento “{chosen.name}”: até {duration(chosen.seconds)} de ensaios, e para aí.",
            f"  busca: {chosen.trials} ensaios no total, com {number(size)} linhas de treino{scaled}, "
            f"{counted(bench.profile.epochs, 'época')} cada",
            "  depois, uma mudança por vez no vencedor, as mais importantes primeiro, enquanto couber",
            f"  custo máximo: {estimates.gpu_cost(chosen.seconds, bench.profile.price_sku)}",
            f"  tempo de um ensaio: {each}",
        ]
    )


def conclude(bench: Bench) -> dict[str, Any]:
    """Grava ``vencedor.json`` e, por último, ``resumo.json``, os dois tirados do diário; devolve o resumo.

    InputError se nenhum ensaio da busca chegou ao fim.
    """
    rows = search.rows(bench)
    top = search.best(rows)
    made = {row["kind"]: row for row in rows if row["of"] == top["trial"] and row["state"] != INTERRUPTED}
    seeds = [row["best"]["loss"] for row in (top, *(made[key] for key in SEEDS if key in made)) if row["best"]]
    spread = max(seeds) - min(seeds) if len(seeds) == 1 + len(SEEDS) else None
    changes = [_compared(row, fmean(seeds), spread) for row in made.values()]
    chosen = _winner(bench, top, changes, spread)
    write_json(bench.folder / WINNER_FILE.name, chosen)
    searched = search.searched(rows)
    missing = bench.budget.trials - len(searched)
    left_out = [f"{counted(missing, 'ensaio')} da busca"] if missing > 0 else []
    summary = {
        "budget": bench.budget.name,
        "limit_seconds": bench.budget.seconds,
        "spent_seconds": round(search.spent(rows), 1),
        "states": {name: sum(row["state"] == name for row in searched) for name in (COMPLETE, PRUNED, FAILED)},
        "winner": chosen,
        "profile_loss": next(
            (row["best"]["loss"] for row in searched if row["trial"] == "busca-1" and row["best"]), None
        ),
        "seeds": seeds,
        "spread": None if spread is None else round(spread, 5),
        "changes": changes,
        "left_out": left_out + [LABELS[kind] for kind in search.pending(rows)],
        "importance": importance(bench),
        "trials": rows,
    }
    write_json(bench.folder / SUMMARY, summary)
    return summary


def _compared(row: Row, centre: float, spread: float | None) -> dict[str, Any]:
    """A linha de uma mudança: a diferença para a média das sementes e o que ela vale."""
    loss = row["best"]["loss"] if row["best"] else None
    difference = None if loss is None else round(loss - centre, 5)
    kept = {key: row[key] for key in ("trial", "kind", "rows", "state", "reason", "changes")}
    return kept | {
        "label": LABELS[row["kind"]],
        "loss": loss,
        "difference": difference,
        "verdict": STATES[row["state"]] if difference is None else _verdict(row["kind"], difference, spread),
    }


def _verdict(kind: str, difference: float, spread: float | None) -> str:
    if kind in SEEDS:
        return "é o próprio ruído"
    if spread is None:
        return UNKNOWN
    return NOISE if abs(difference) <= spread else BETTER if difference < 0 else WORSE


def _winner(bench: Bench, top: Row, changes: list[dict[str, Any]], spread: float | None) -> dict[str, Any]:
    """O melhor da busca, com a mudança que mais o melhora além do ruído; mudanças juntas não foram testadas."""
    better = [row for row in changes if row["verdict"] == BETTER and row["kind"] not in SIZES]
    chosen = min(better, key=lambda row: row["loss"]) if better else top
    last = top["curve"][-1]
    turned = spread is not None and last["loss"] - top["best"]["loss"] > spread
    return {
        "trial": chosen["trial"],
        "search_trial": top["trial"],
        "base_profile": bench.profile.name,
        "model": bench.profile.model,
        "base_id": search.card(bench.profile)["base_id"],
        "changes": chosen["changes"] | ({"epochs": top["best"]["epoch"]} if turned else {}),
        "heldout_loss": chosen["loss"] if better else top["best"]["loss"],
        "best_epoch": top["best"]["epoch"],
        "rows": top["rows"],
    }


def importance(bench: Bench) -> dict[str, Any]:
    """Quanto cada hiperparâmetro da busca pesou (PED-ANOVA, arXiv 2304.10255), com a ressalva do número de ensaios.

    Sem um mínimo de ensaios completos, ``shares`` é None e ``note`` diz por quê.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    study = search.open_study(bench)
    n = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if n < LEAST_FOR_IMPORTANCE:
        note = f"não calculada com menos de {LEAST_FOR_IMPORTANCE} ensaios completos (aqui, {n})"
        return {"shares": None, "note": note}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    few = f"; com menos de {GOOD_FOR_IMPORTANCE}, é só um indício" if n < GOOD_FOR_IMPORTANCE else ""
    return {"shares": {key: round(share, 3) for key, share in shares.items()}, "note": f"{n} ensaios completos{few}"}


def describe(summary: dict[str, Any]) -> str:
    """O resumo em português, para o caderno mostrar."""
    states, winner, before = summary["states"], summary["winner"], summary["profile_loss"]
    done = ", ".join(f"{STATES[key]} {states[key]}" for key in states if states[key])
    noise = (
        f"ruído entre {len(summary['seeds'])} sementes: {number(summary['spread'], 3)}; diferença menor que isso não é "
        "diferença"
        if summary["spread"] is not None
        else f"ruído: {NOT_MEASURED} (faltam sementes); nenhuma diferença pequena merece confiança"
    )
    shares = summary["importance"]["shares"] or {}
    weights = "; ".join([*(f"{key} {number(100 * value)} %" for key, value in shares.items()), ""])
    return "\n".join(
        [
            f"busca: {done}; {duration(summary['spent_seconds'])} ao todo, de {duration(summary['limit_seconds'])}",
            f"vencedor: {winner['trial']}; a perda na validação foi de {number(before, 3)} (o perfil sem mudanças) "
            f"para {number(winner['heldout_loss'], 3)}, com o melhor ponto na época {number(winner['best_epoch'], 2)}",
            noise,
            f"importância: {weights}{summary['importance']['note']}",
            f"ficou de fora: {', '.join(summary['left_out']) or 'nada'}",
        ]
    )


def rate(value: float) -> str:
    """Uma taxa de aprendizado com dois algarismos: ``0,0015``."""
    return plain(float(f"{value:.2g}"))


def table(rows: list[Row]) -> list[dict[str, str]]:
    """Uma linha por ensaio, na ordem em que foram feitos, com os rótulos que uma pessoa lê."""
    return [
        {
            "ensaio": row["trial"],
            "estado": STATES[row["state"]],
            "taxa": rate(row["changes"]["learning_rate"]),
            "r": str(row["changes"]["lora_r"]),
            "alpha": str(row["changes"]["lora_alpha"]),
            "mudança": LABELS.get(row["kind"], ""),
            "linhas": number(row["rows"]),
            "perda": number(row["best"]["loss"], 3) if row["best"] else ABSENT,
            "época": number(row["best"]["epoch"], 2) if row["best"] else ABSENT,
            "tempo": duration(row["seconds"]),
            "motivo": row["reason"],
        }
        for row in rows
    ]


def changes_table(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Uma linha por mudança no vencedor, com a diferença para a média das sementes dele e o que ela quer dizer."""
    return [
        {
            "mudança": row["label"],
            "linhas": number(row["rows"]),
            "perda": number(row["loss"], 3),
            "diferença": number(row["difference"], 3),
            "leitura": row["verdict"],
        }
        for row in summary["changes"]
    ]


def write_figure(summary: dict[str, Any], path: Path) -> Path:
    """Desenha em ``path`` a curva de cada ensaio da busca e, se há, a curva dos dados; não há tempos nela."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = {row["rows"]: row["loss"] for row in summary["changes"] if row["kind"] in SIZES and row["loss"]}
    drawn: list[Callable[[Axes], None]] = [lambda axes: _curves(axes, summary)]
    drawn += [lambda axes: _data_curve(axes, summary, sizes)] if sizes else []
    figure = Figure(figsize=(4 + 3 * len(drawn), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, draw in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        axes.yaxis.set_major_formatter(plain)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def _curves(axes: "Axes", summary: dict[str, Any]) -> None:
    """A perda na validação de cada ensaio da busca, também dos podados; o melhor em destaque."""
    seen = set()
    for row in summary["trials"]:
        if row["kind"] != search.SEARCH or not row["curve"]:
            continue
        kind = "melhor da busca" if row["trial"] == summary["winner"]["search_trial"] else STATES[row["state"]]
        colour, line = {"melhor da busca": (BLUE, "-"), "completo": (SKY, "-")}.get(kind, (GREY, "--"))
        steps, losses = ([point[key] for point in row["curve"]] for key in ("step", "loss"))
        axes.plot(steps, losses, line, color=colour, marker="o", markersize=4, label=None if kind in seen else kind)
        if row["state"] == PRUNED:
            axes.plot(steps[-1], losses[-1], "x", color=RED, markersize=8)
        seen.add(kind)
        name = f"taxa {rate(row['changes']['learning_rate'])} · r {row['changes']['lora_r']}"
        if len(summary["trials"]) <= 12:
            axes.annotate(name, (steps[-1], losses[-1]), (6, -3), textcoords="offset points", fontsize=8)
    axes.margins(x=0.2)
    axes.set(xlabel="passo", ylabel="perda na validação (nats por token)", title="Ensaios da busca")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=8)


def _data_curve(axes: "Axes", summary: dict[str, Any], sizes: dict[int, float]) -> None:
    """A perda contra o número de linhas de treino; a barra é a distância entre as sementes."""
    whole, seeds = summary["winner"]["rows"], summary["seeds"]
    sizes = sizes | {whole: fmean(seeds)}
    axes.plot(sorted(sizes), [sizes[size] for size in sorted(sizes)], "o-", color=BLUE)
    if summary["spread"] is not None:
        ends = [[sizes[whole] - min(seeds)], [max(seeds) - sizes[whole]]]
        axes.errorbar(whole, sizes[whole], yerr=ends, color="#000000", capsize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(sizes), [number(size) for size in sorted(sizes)])
    axes.minorticks_off()
    axes.set(xlabel="linhas de treino", ylabel="perda na validação", title="Curva dos dados")
