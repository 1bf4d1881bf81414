"""O que os ensaios permitem dizer: o vencedor, o tamanho do ruído, o que cada mudança fez e o que ficou de fora."""

import warnings
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .. import estimates
from ..portuguese import NOT_MEASURED, counted, duration, number, plain
from ..records import atomic_write, write_json
from . import search
from .bases import base_id
from .profiles import WINNER_FILE
from .search import CHANGE, CHANGES, Bench

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SUMMARY = "resumo.json"
STATES = {"COMPLETE": "completo", "PRUNED": "podado", "FAIL": "falhou"}
FELL = "a sessão caiu durante o ensaio"
SEEDS = ("outra semente", "mais uma semente")
BETTER, WORSE, NOISE, UNKNOWN = "melhor", "pior", "dentro do ruído", "sem as sementes, não se sabe"


def presentation(bench: Bench) -> str:
    """O que vai ser feito, o tempo e o custo máximo, para ler antes de começar."""
    chosen, measured = bench.budget, search.expected(bench, bench.size)
    scaled = "" if bench.size == chosen.rows else f" (o orçamento pede {number(chosen.rows)}; são todas as que há)"
    each = (
        f"cerca de {duration(measured)}, medido nesta rodada"
        if measured
        else f"{NOT_MEASURED} nesta máquina; o primeiro ensaio o mede, e nenhum começa se não couber no que resta"
    )
    return "\n".join(
        [
            f"Orçamento “{chosen.name}”: até {duration(chosen.seconds)} de ensaios, e para aí.",
            f"  busca: {chosen.trials} ensaios no total, com {number(bench.size)} linhas de treino{scaled}, "
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
    top, study, others = search.best(bench), search.open_study(bench), search.open_changes(bench)
    again = [trial for trial in search.complete(others) if trial.user_attrs[CHANGE] in SEEDS]
    seeds = [search.loss(trial) for trial in (top, *again)]
    spread = max(seeds) - min(seeds) if len(seeds) == 1 + len(SEEDS) else None
    changes = [_compared(trial, fmean(seeds), spread) for trial in search.done(others)]
    searched = search.done(study)
    missing = bench.budget.trials - len(searched)
    winner = _winner(bench, top, changes, spread)
    summary = {
        "budget": bench.budget.name,
        "limit_seconds": bench.budget.seconds,
        "spent_seconds": round(search.spent(bench), 1),
        "states": {said: sum(trial.state.name == name for trial in searched) for name, said in STATES.items()},
        "winner": winner,
        "profile_loss": searched[0].value,
        "seeds": seeds,
        "spread": None if spread is None else round(spread, 5),
        "changes": changes,
        "left_out": [counted(missing, "ensaio") + " da busca"] * (missing > 0) + search.pending(others),
    }
    write_json(bench.folder / WINNER_FILE.name, winner)
    write_json(bench.folder / SUMMARY, summary)
    return summary


def _compared(trial: "FrozenTrial", centre: float, spread: float | None) -> dict[str, Any]:
    """A linha de uma mudança: a diferença para a média das sementes e o que ela vale."""
    change, known = trial.user_attrs[CHANGE], trial.user_attrs
    difference = None if trial.value is None else round(trial.value - centre, 5)
    return {
        "change": change,
        "rows": known["rows"],
        "changes": known["changes"],
        "loss": trial.value,
        "difference": difference,
        "verdict": known["reason"] if difference is None else verdict(change, difference, spread),
    }


def verdict(change: str, difference: float, spread: float | None) -> str:
    """O que uma diferença para a média das sementes quer dizer; até do tamanho do ruído, é ruído."""
    if change in SEEDS:
        return "é o próprio ruído"
    if spread is None:
        return UNKNOWN
    return NOISE if abs(difference) <= spread else BETTER if difference < 0 else WORSE


def _winner(bench: Bench, top: "FrozenTrial", changes: list[dict[str, Any]], spread: float | None) -> dict[str, Any]:
    """O melhor da busca, com a mudança que mais o melhora além do ruído; mudanças juntas não foram testadas."""
    whole = {change for change, (_, share) in CHANGES.items() if share == 1}
    better = [row for row in changes if row["verdict"] == BETTER and row["change"] in whole]
    chosen = min(better, key=lambda row: row["loss"]) if better else {"changes": top.user_attrs["changes"]}
    name, epoch = search.named(top), best_epoch(top)
    last = top.intermediate_values[max(top.intermediate_values)]
    turned = spread is not None and last - search.loss(top) > spread
    return {
        "trial": f"{name}, com {chosen['change']}" if better else name,
        "search_trial": name,
        "base_profile": bench.profile.name,
        "model": bench.profile.model,
        "base_id": base_id(bench.profile),
        "changes": chosen["changes"] | ({"epochs": epoch} if turned else {}),
        "heldout_loss": chosen.get("loss", top.value),
        "best_epoch": epoch,
        "rows": top.user_attrs["rows"],
    }


def best_epoch(trial: "FrozenTrial") -> float | None:
    """A época da menor perda de um ensaio; None se ele não chegou a medir nenhuma."""
    curve = trial.intermediate_values
    return trial.user_attrs["epochs"][str(min(curve, key=lambda step: curve[step]))] if curve else None


def describe(summary: dict[str, Any]) -> str:
    """O resumo em português, para o caderno mostrar."""
    winner = summary["winner"]
    done = ", ".join(f"{state} {count}" for state, count in summary["states"].items() if count)
    noise = (
        f"ruído entre {len(summary['seeds'])} sementes: {number(summary['spread'], 3)}; diferença menor que isso não é "
        "diferença"
        if summary["spread"] is not None
        else f"ruído: {NOT_MEASURED} (faltam sementes); nenhuma diferença pequena merece confiança"
    )
    return "\n".join(
        [
            f"busca: {done}; {duration(summary['spent_seconds'])} ao todo, de {duration(summary['limit_seconds'])}",
            f"vencedor: {winner['trial']}; a perda na validação foi de {number(summary['profile_loss'], 3)} (o perfil "
            f"sem mudanças) para {number(winner['heldout_loss'], 3)}, com o melhor ponto na época "
            f"{number(winner['best_epoch'], 2)}",
            noise,
            f"ficou de fora: {', '.join(summary['left_out']) or 'nada'}",
        ]
    )


def table(study: "Study") -> list[dict[str, str]]:
    """Uma linha por ensaio da busca, na ordem em que foram feitos, com os rótulos que uma pessoa lê."""
    return [
        {
            "ensaio": search.named(trial),
            "estado": STATES[trial.state.name],
            "taxa": plain(float(f"{trial.params['learning_rate']:.2g}")),
            "r": str(trial.params["lora_r"]),
            "alpha": str(trial.params["lora_r"] * trial.params["alpha_ratio"]),
            "perda": number(trial.value, 3),
            "época": number(best_epoch(trial), 2),
            "tempo": duration(search.seconds(trial)),
            "motivo": trial.user_attrs.get("reason", "" if trial.value else FELL),
        }
        for trial in study.trials
        if trial.state.is_finished() and trial.params
    ]


def changes_table(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Uma linha por mudança no vencedor, com a diferença para a média das sementes dele e o que ela quer dizer."""
    return [
        {
            "mudança": row["change"],
            "linhas": number(row["rows"]),
            "perda": number(row["loss"], 3),
            "diferença": number(row["difference"], 3),
            "leitura": row["verdict"],
        }
        for row in summary["changes"]
    ]


def write_figure(study: "Study", path: Path) -> Path:
    """Desenha em ``path`` a perda na validação de cada ensaio da busca; não há tempos nela."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator
    from optuna.visualization.matplotlib import plot_intermediate_values

    with plt.rc_context(), warnings.catch_warnings(), atomic_write(path, "wb") as file:
        warnings.simplefilter("ignore")  # o Optuna chama de experimentais as figuras que publica há anos
        axes = plot_intermediate_values(study)
        axes.set(xlabel="passo", ylabel="perda na validação (nats por token)", title="Ensaios da busca")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # não há meio passo
        axes.yaxis.set_major_formatter(plain)
        rows = {row["ensaio"]: row for row in table(study)}
        for line in axes.get_lines():
            row = rows[f"{search.SEARCH}-{int(str(line.get_label()).removeprefix('Trial')) + 1}"]
            line.set_label(f"{row['ensaio']}: taxa {row['taxa']}, r {row['r']}, {row['estado']}")
        axes.legend(fontsize=8)
        plt.savefig(file, format="png", dpi=150, metadata={"Software": None})
        plt.close()
    return path
