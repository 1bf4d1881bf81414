"""Experimentos do caderno 05: uma busca com Optuna, depois uma mudança por vez no vencedor, dentro de um orçamento.

Tudo fica em ``hiperparametros/`` da rodada: ``estudo.log`` (o diário do Optuna), ``ensaios.jsonl`` (uma linha por
ensaio) e, por último, ``vencedor.json`` e ``resumo.json``. Só as linhas de treino são lidas: uma parte delas é a
validação em que os ensaios são comparados.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import progress, prompts
from ..errors import InputError
from ..records import read_jsonl
from . import budgets, study, trials, winner
from .budgets import Budget
from .heldout import split_validation
from .profiles import Profile
from .trials import COMPLETE, INTERRUPTED, Request, Row

if TYPE_CHECKING:
    from optuna import Study

STEP = "05_hiperparametros"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# As sementes vêm primeiro: sem elas não se sabe qual diferença é ruído.
CHANGES: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("semente-2", {"seed": study.SEED + 1}, 1.0),
    ("semente-3", {"seed": study.SEED + 2}, 1.0),
    ("metade-das-linhas", {}, 0.5),
    ("quarto-das-linhas", {}, 0.25),
    ("so-atencao", {"target_modules": ATTENTION}, 1.0),
    ("neftune", {"neftune_alpha": 5.0}, 1.0),
    ("dora", {"use_dora": True}, 1.0),
)


@dataclass(frozen=True)
class Experiments:
    """Uma bateria de ensaios: a pasta, as linhas de treino, o perfil de partida, o orçamento e as linhas por ensaio."""

    folder: Path
    data: Path
    profile: Profile
    budget: Budget
    size: int

    def describe(self) -> str:
        """O que vai ser feito, o tempo e o custo, para ler antes de começar."""
        return budgets.presentation(self.budget, self.profile, self.size, trials.read(self.folder), self.data)


def prepare(run: Path, data: Path, budget: Budget, profile: Profile) -> Experiments:
    """Junta o que os ensaios precisam; ``data`` é o ``llama/treino.jsonl`` da rodada.

    InputError se as linhas não bastam para separar a validação.
    """
    train, _ = split_validation([prompts.from_alpaca(row) for row in read_jsonl(data)])
    return Experiments(Path(run) / winner.FOLDER, Path(data), profile, budget, min(budget.rows, len(train)))


def search(experiments: Experiments) -> list[Row]:
    """Faz os ensaios da busca que faltam e devolve todas as linhas anotadas até aqui.

    O número de ensaios é o total, e não o que falta: os de antes de uma queda contam, e o que ela interrompeu é
    refeito. Nenhum começa se não couber na parte do orçamento que é da busca.
    """
    rows = trials.read(experiments.folder)
    journal = study.resume(experiments.folder)
    study.settle(journal, rows)
    total = experiments.budget.trials
    with progress.bar("buscando", "ensaios", total, initial=len(searched(rows))) as shown:
        while len(searched(rows)) < total:
            share = budgets.SEARCH_SHARE if len(searched(rows)) >= budgets.LEAST_SEARCHED else 1.0
            left = share * experiments.budget.seconds - spent(rows)
            if not fits(rows, experiments.size, left):
                break
            rows.append(_next(experiments, journal, len(searched(rows)), left))
            study.settle(journal, rows)
            shown.update()
    return rows


def vary(experiments: Experiments) -> list[Row]:
    """Faz, no vencedor da busca, as mudanças que faltam e cabem no orçamento; devolve todas as linhas.

    InputError, com o motivo de cada um, se nenhum ensaio da busca chegou ao fim.
    """
    rows = trials.read(experiments.folder)
    for request in progress.bar("mudando uma coisa por vez", "ensaios", items=pending(experiments, rows)):
        left = experiments.budget.seconds - spent(rows)
        if fits(rows, request.rows, left):
            rows.append(_run(experiments, request, left))
    return rows


def searched(rows: list[Row]) -> list[Row]:
    """Os ensaios da busca que contam: todos, menos os interrompidos por uma queda."""
    return [row for row in rows if row["kind"] == study.SEARCH and row["state"] != INTERRUPTED]


def best(rows: list[Row]) -> Row:
    """O ensaio completo da busca com a menor perda na validação; InputError, com os motivos, se não há nenhum."""
    done = [row for row in searched(rows) if row["state"] == COMPLETE]
    if not done:
        reasons = "; ".join(f"{row['trial']}: {row['reason']}" for row in searched(rows)) or "nenhum coube no orçamento"
        raise InputError(f"Nenhum ensaio da busca chegou ao fim ({reasons}). Use um orçamento maior ou menos linhas.")
    return min(done, key=lambda row: row["best"]["loss"])


def pending(experiments: Experiments, rows: list[Row]) -> list[Request]:
    """As mudanças que ainda não foram feitas no vencedor, na ordem em que valem mais."""
    top = best(rows)
    done = {row["kind"] for row in rows if row["of"] == top["trial"] and row["state"] != INTERRUPTED}
    return [
        Request(
            f"{kind}-{top['trial']}", kind, top["changes"] | changes, max(1, round(share * top["rows"])), top["trial"]
        )
        for kind, changes, share in CHANGES
        if kind not in done
    ]


def spent(rows: list[Row]) -> float:
    """Segundos já gastos em ensaios, também nos que não chegaram ao fim."""
    return float(sum(row["seconds"] for row in rows))


def fits(rows: list[Row], size: int, left: float) -> bool:
    """Diz se um ensaio de ``size`` linhas deve caber em ``left`` segundos; sem medida, basta haver tempo."""
    return left > (budgets.expected(rows, size) or 0)


def _next(experiments: Experiments, journal: "Study", done: int, left: float) -> Row:
    trial = study.ask(journal, experiments.profile, done)
    changes = study.suggest(trial, experiments.profile.learning_rate)
    request = Request(study.name(trial), study.SEARCH, changes, experiments.size)
    return _run(experiments, request, left, stop=partial(study.prunes, trial))


def _run(experiments: Experiments, request: Request, left: float, **options: Any) -> Row:
    return trials.run(
        request,
        experiments.folder,
        experiments.data,
        experiments.profile,
        evaluations=experiments.budget.evaluations,
        seconds=left,
        **options,
    )
