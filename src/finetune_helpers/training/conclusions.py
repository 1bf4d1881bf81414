"""O que os ensaios permitem dizer: o vencedor, o tamanho do ruído, o que cada mudança fez e o que ficou de fora."""

import warnings
from pathlib import Path
from statistics import fmean
from typing import Any

from ..portuguese import counted, duration, number, plain
from ..records import write_json
from . import experiments as bench
from . import study as optuna_study
from . import trials, winner
from .experiments import Experiments
from .trials import COMPLETE, FAILED, INTERRUPTED, PRUNED, Row

FILE = "resumo.json"
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


def conclude(experiments: Experiments) -> dict[str, Any]:
    """Grava ``vencedor.json`` e, por último, ``resumo.json``; devolve o resumo.

    InputError se nenhum ensaio da busca chegou ao fim.
    """
    rows = trials.read(experiments.folder)
    top = bench.best(rows)
    made = {row["kind"]: row for row in rows if row["of"] == top["trial"] and row["state"] != INTERRUPTED}
    seeds = [row["best"]["loss"] for row in (top, *(made[key] for key in SEEDS if key in made)) if row["best"]]
    spread = max(seeds) - min(seeds) if len(seeds) == 1 + len(SEEDS) else None
    changes = [_compared(row, fmean(seeds), spread) for row in made.values()]
    chosen = _winner(experiments, top, changes, spread)
    write_json(experiments.folder / winner.FILE, chosen)
    found = {
        "budget": experiments.budget.name,
        "limit_seconds": experiments.budget.seconds,
        "spent_seconds": round(bench.spent(rows), 1),
        "states": {
            name: sum(row["state"] == name for row in bench.searched(rows)) for name in (COMPLETE, PRUNED, FAILED)
        },
        "winner": chosen,
        "profile_loss": next((row["best"]["loss"] for row in rows if row["trial"] == "busca-1" and row["best"]), None),
        "seeds": seeds,
        "spread": None if spread is None else round(spread, 5),
        "changes": changes,
        "left_out": _left_out(experiments, rows),
        "importance": importance(experiments.folder),
    }
    write_json(experiments.folder / FILE, found)
    return found


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


def _winner(experiments: Experiments, top: Row, changes: list[dict[str, Any]], spread: float | None) -> dict[str, Any]:
    """O melhor da busca, com a mudança que mais o melhora além do ruído; mudanças juntas não foram testadas."""
    better = [row for row in changes if row["verdict"] == BETTER and row["kind"] not in SIZES]
    chosen = min(better, key=lambda row: row["loss"]) if better else top
    last = top["curve"][-1]
    turned = spread is not None and last["loss"] - top["best"]["loss"] > spread
    return {
        "trial": chosen["trial"],
        "search_trial": top["trial"],
        "base_profile": experiments.profile.name,
        "model": experiments.profile.model,
        "changes": chosen["changes"] | ({"epochs": top["best"]["epoch"]} if turned else {}),
        "heldout_loss": chosen["loss"] if better else top["best"]["loss"],
        "best_epoch": top["best"]["epoch"],
        "rows": top["rows"],
    }


def _left_out(experiments: Experiments, rows: list[Row]) -> list[str]:
    missing = experiments.budget.trials - len(bench.searched(rows))
    found = [f"{counted(missing, 'ensaio')} da busca"] if missing > 0 else []
    return found + [LABELS[request.kind] for request in bench.pending(experiments, rows)]


def importance(folder: Path) -> dict[str, Any]:
    """Quanto cada hiperparâmetro da busca pesou (PED-ANOVA, arXiv 2304.10255), com a ressalva do número de ensaios.

    Sem um mínimo de ensaios completos, ``shares`` é None e ``note`` diz por quê.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna_study.resume(folder)
    n = len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))
    if n < LEAST_FOR_IMPORTANCE:
        return {
            "shares": None,
            "note": f"não calculada com menos de {LEAST_FOR_IMPORTANCE} ensaios completos (aqui, {n})",
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    few = f"; com menos de {GOOD_FOR_IMPORTANCE}, é só um indício" if n < GOOD_FOR_IMPORTANCE else ""
    return {"shares": {key: round(share, 3) for key, share in shares.items()}, "note": f"{n} ensaios completos{few}"}


def describe(found: dict[str, Any]) -> str:
    """O resumo em português, para o caderno mostrar."""
    states, seeds = found["states"], found["seeds"]
    counted = ", ".join(f"{STATES[key]} {states[key]}" for key in states if states[key])
    noise = (
        f"ruído entre {len(seeds)} sementes: {number(found['spread'], 3)}; diferença menor que isso não é diferença"
        if found["spread"] is not None
        else "ruído: não medido (faltam sementes); nenhuma diferença pequena merece confiança"
    )
    lines = [
        f"busca: {counted}; {duration(found['spent_seconds'])} ao todo, de {duration(found['limit_seconds'])}",
        f"vencedor: {found['winner']['trial']}, perda na validação {number(found['winner']['heldout_loss'], 3)} "
        f"(o perfil como era: {number(found['profile_loss'], 3)}), melhor ponto na época "
        f"{number(found['winner']['best_epoch'], 2)}",
        noise,
        f"importância: {found['importance']['note']}",
        f"ficou de fora: {', '.join(found['left_out']) or 'nada'}",
    ]
    return "\n".join(lines)


def rate(value: float) -> str:
    """Uma taxa de aprendizado com dois algarismos: ``0,0015``."""
    return plain(float(f"{value:.2g}"))


def changes_table(found: dict[str, Any]) -> list[dict[str, str]]:
    """Uma linha por mudança no vencedor, com a diferença para a média das sementes dele e o que ela quer dizer."""
    return [
        {
            "mudança": row["label"],
            "linhas": str(row["rows"]),
            "perda": number(row["loss"], 3),
            "diferença": number(row["difference"], 3),
            "leitura": row["verdict"],
        }
        for row in found["changes"]
    ]


def table(folder: Path) -> list[dict[str, str]]:
    """Uma linha por ensaio, na ordem em que foram feitos, com os rótulos que uma pessoa lê."""
    return [
        {
            "ensaio": row["trial"],
            "estado": STATES[row["state"]],
            "taxa": rate(row["changes"]["learning_rate"]),
            "r": str(row["changes"]["lora_r"]),
            "alpha": str(row["changes"]["lora_alpha"]),
            "mudança": LABELS.get(row["kind"], ""),
            "linhas": str(row["rows"]),
            "perda": number(row["best"]["loss"], 3) if row["best"] else "n/d",
            "época": number(row["best"]["epoch"], 2) if row["best"] else "n/d",
            "tempo": duration(row["seconds"]),
            "motivo": row["reason"],
        }
        for row in trials.read(folder)
    ]
