"""Experimentos do caderno 05: uma busca com Optuna, depois uma mudança por vez no vencedor, dentro de um orçamento.

O diário do Optuna (``hiperparametros/estudo.log``) é o único registro: parâmetros, curva, tempo e motivo de cada ensaio
estão nele. Cada ensaio é um processo próprio e só lê as linhas de treino, parte delas como validação.
"""

import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import progress, prompts
from ..errors import InputError
from ..records import drop_truncated_tail, read_json, read_jsonl, write_json
from .budgets import Budget
from .guards import split_validation
from .profiles import Profile
from .resume import card, refuse_other
from .trial import REQUEST, RESULT, WORSE, follow, points

if TYPE_CHECKING:
    from optuna import Study, Trial

STEP, FOLDER, JOURNAL, FOLDERS = "05_hiperparametros", "hiperparametros", "estudo.log", "ensaios"
SEARCH, CHANGE = "busca", "mudanca"
COMPLETE, PRUNED, FAILED, INTERRUPTED = "complete", "pruned", "failed", "interrupted"
SEARCH_SHARE = 0.6  # do tempo, para a busca; o resto é das mudanças, uma por vez, no vencedor
LEAST_SEARCHED = 3  # ensaios de que a busca não abre mão, mesmo que tomem o tempo das mudanças
SEED = 3407
# As sementes vêm primeiro: sem elas não se sabe qual diferença é ruído.
CHANGES: dict[str, tuple[dict[str, Any], float]] = {
    "semente-2": ({"seed": SEED + 1}, 1.0),
    "semente-3": ({"seed": SEED + 2}, 1.0),
    "metade-das-linhas": ({}, 0.5),
    "quarto-das-linhas": ({}, 0.25),
    "so-atencao": ({"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}, 1.0),
    "neftune": ({"neftune_alpha": 5.0}, 1.0),
    "dora": ({"use_dora": True}, 1.0),
}
Row = dict[str, Any]


class TrialFailed(Exception):
    """Um ensaio que não chegou ao fim; a mensagem é o motivo, e os outros continuam."""


@dataclass(frozen=True)
class Bench:
    """Uma bateria de ensaios: a pasta, as linhas de treino, o perfil de partida, o orçamento e as linhas por ensaio."""

    folder: Path
    data: Path
    profile: Profile
    budget: Budget
    size: int


def prepare(run: Path, data: Path, budget: Budget, profile: Profile) -> Bench:
    """Junta o que os ensaios precisam; ``data`` é o ``llama/treino.jsonl`` da rodada.

    InputError se as linhas não bastam para separar a validação.
    """
    train, _ = split_validation([prompts.from_alpaca(row) for row in read_jsonl(data)])
    return Bench(Path(run) / FOLDER, Path(data), profile, budget, min(budget.rows, len(train)))


def open_study(bench: Bench, name: str = SEARCH) -> "Study":
    """O estudo ``name`` do diário, novo ou retomado.

    RunMismatchError se os ensaios de antes partiram de outro modelo base ou de outro perfil.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    bench.folder.mkdir(parents=True, exist_ok=True)
    path = bench.folder / JOURNAL
    drop_truncated_tail(path)
    # A rodada já é de um processo só; uma trava que ficou é de um que morreu, e o Optuna a esperaria por 30 segundos.
    for left in bench.folder.glob(f"{JOURNAL}.*"):
        left.unlink()
    journal = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    names = optuna.get_all_study_names(journal)  # abrir um estudo que já existe não pode fazer o diário crescer
    if name not in names:
        optuna.create_study(study_name=name, storage=journal)
    study = optuna.load_study(study_name=name, storage=journal, pruner=pruner)
    start = card(bench.profile)
    if "inicio" in study.user_attrs:
        refuse_other(f"Os ensaios em {bench.folder}", study.user_attrs["inicio"], start)
    else:
        study.set_user_attr("inicio", start)
    return study


def settle(study: "Study") -> None:
    """Fecha os ensaios que uma queda deixou pela metade; os parâmetros deles voltam à fila."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def rows(bench: Bench) -> list[Row]:
    """Todos os ensaios do diário, na ordem em que foram feitos: da busca e das mudanças, um dicionário cada."""
    if not (bench.folder / JOURNAL).is_file():
        return []
    trials = [
        (name, trial) for name in (SEARCH, CHANGE) for trial in open_study(bench, name).get_trials(deepcopy=False)
    ]
    return [_row(name, trial) for name, trial in trials if "rows" in trial.user_attrs]


def _row(name: str, trial: Any) -> Row:
    known = trial.user_attrs
    # Quem caiu não teve tempo de anotar quanto levou.
    states = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED if "seconds" in known else INTERRUPTED}
    curve, kind = known.get("curve", []), known.get("kind", SEARCH)
    state = states.get(trial.state.name, INTERRUPTED)
    return {
        "trial": f"{SEARCH}-{trial.number + 1}" if name == SEARCH else f"{kind}-{known['of']}",
        "kind": kind,
        "of": known.get("of", ""),
        "state": state,
        "reason": "a sessão caiu durante o ensaio" if state == INTERRUPTED else known.get("reason", ""),
        "changes": known["changes"],
        "rows": known["rows"],
        "curve": curve,
        "best": min(curve, key=lambda point: point["loss"]) if curve and state in (COMPLETE, PRUNED) else None,
        "seconds": known.get("seconds", 0.0),
        **known.get("result", {}),
    }


def searched(rows: list[Row]) -> list[Row]:
    """Os ensaios da busca que contam: todos, menos os interrompidos por uma queda."""
    return [row for row in rows if row["kind"] == SEARCH and row["state"] != INTERRUPTED]


def best(rows: list[Row]) -> Row:
    """O ensaio completo da busca com a menor perda na validação; InputError, com os motivos, se não há nenhum."""
    done = [row for row in searched(rows) if row["state"] == COMPLETE]
    if not done:
        reasons = "; ".join(f"{row['trial']}: {row['reason']}" for row in searched(rows)) or "nenhum coube no orçamento"
        raise InputError(
            f"Nenhum ensaio da busca chegou ao fim ({reasons}). Use um orçamento maior em `budget` ou mais `minutes`."
        )
    return min(done, key=lambda row: row["best"]["loss"])


def expected(rows: list[Row], size: int) -> float | None:
    """Segundos que um ensaio de ``size`` linhas deve levar, pelo último que chegou ao fim; None sem nenhum."""
    done = [row for row in rows if row["state"] == COMPLETE and row["rows"]]
    if not done:
        return None
    last = done[-1]
    return float(last["seconds"] - last["train_seconds"] + last["train_seconds"] / last["rows"] * size)


def spent(rows: list[Row]) -> float:
    """Segundos já gastos em ensaios, também nos que não chegaram ao fim; os de um que caiu não são conhecidos."""
    return float(sum(row["seconds"] for row in rows))


def fits(rows: list[Row], size: int, left: float) -> bool:
    """Diz se um ensaio de ``size`` linhas deve caber em ``left`` segundos; sem medida, basta haver tempo."""
    return left > (expected(rows, size) or 0)


def search(bench: Bench) -> list[Row]:
    """Faz os ensaios da busca que faltam e devolve todos os feitos até aqui.

    O número de ensaios é o total, e não o que falta: os de antes de uma queda contam, e o que ela interrompeu é
    refeito. Nenhum começa se não couber na parte do orçamento que é da busca.
    """
    study, total = open_study(bench), bench.budget.trials
    settle(study)
    if not study.get_trials(deepcopy=False):
        # O primeiro é o perfil sem mudanças, como linha de base.
        profile = bench.profile
        ratio = profile.lora_alpha // profile.lora_r
        study.enqueue_trial({"learning_rate": profile.learning_rate, "lora_r": profile.lora_r, "alpha_ratio": ratio})

    def left() -> float:
        done = rows(bench)
        share = SEARCH_SHARE if len(searched(done)) >= LEAST_SEARCHED else 1.0
        return share * bench.budget.seconds - spent(done)

    def objective(trial: "Trial") -> float:
        changes = suggest(trial, bench.profile.learning_rate)
        return _train(bench, trial, changes, bench.size, left())

    def go_on() -> bool:
        done = rows(bench)
        study.sampler = _sampler(len(searched(done)))
        return len(searched(done)) < total and fits(done, bench.size, left())

    with progress.bar("buscando", "ensaios", total, initial=len(searched(rows(bench)))) as shown:
        while go_on():
            study.optimize(objective, n_trials=1, timeout=max(left(), 1.0), catch=(TrialFailed,))
            shown.update()
    return rows(bench)


def _sampler(done: int) -> Any:
    """A semente depende de quantos ensaios já contam: retomado ou não, o estudo sorteia o mesmo."""
    import optuna

    return optuna.samplers.TPESampler(seed=SEED + done, n_startup_trials=5)


def suggest(trial: "Trial", rate: float) -> dict[str, Any]:
    """Taxa de 1/4 a 2,5 vezes a do perfil (5e-5 a 5e-4 no 8B, dez vezes isso no modelo pequeno), r e alpha/r."""
    r = trial.suggest_categorical("lora_r", [8, 16, 32])
    ratio = trial.suggest_categorical("alpha_ratio", [1, 2])
    return {
        "learning_rate": trial.suggest_float("learning_rate", rate / 4, 2.5 * rate, log=True),
        "lora_r": r,
        "lora_alpha": r * ratio,
    }


def vary(bench: Bench) -> list[Row]:
    """Faz, no vencedor da busca, as mudanças que faltam e cabem no orçamento; devolve todos os ensaios.

    InputError, com o motivo de cada um, se nenhum ensaio da busca chegou ao fim.
    """
    from optuna.trial import TrialState

    study, top = open_study(bench, CHANGE), best(rows(bench))
    settle(study)
    for kind in progress.bar("mudando uma coisa por vez", "ensaios", items=pending(rows(bench))):
        changes, share = CHANGES[kind]
        size = max(1, round(share * top["rows"]))
        left = bench.budget.seconds - spent(rows(bench))
        if not fits(rows(bench), size, left):
            continue
        trial = study.ask()
        trial.set_user_attr("kind", kind)
        trial.set_user_attr("of", top["trial"])
        try:
            study.tell(trial, _train(bench, trial, top["changes"] | changes, size, left, prune=False))
        except TrialFailed:
            study.tell(trial, state=TrialState.FAIL)
    return rows(bench)


def pending(rows: list[Row]) -> list[str]:
    """As mudanças que ainda não foram feitas no vencedor, na ordem em que valem mais."""
    top = best(rows)
    done = {row["kind"] for row in rows if row["of"] == top["trial"] and row["state"] != INTERRUPTED}
    return [kind for kind in CHANGES if kind not in done]


def _train(
    bench: Bench, trial: "Trial", changes: dict[str, Any], size: int, seconds: float, *, prune: bool = True
) -> float:
    """Faz o ensaio num processo próprio, por até ``seconds``, e devolve a menor perda; tudo fica anotado no diário.

    TrialPruned se vai pior que a mediana dos outros no mesmo passo; TrialFailed com o motivo (memória, tempo, perda
    que explode).
    """
    import optuna

    own = bench.folder / FOLDERS / f"{trial.study.study_name}-{trial.number + 1}"
    shutil.rmtree(own, ignore_errors=True)
    changed: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()
    }
    request = {"profile": asdict(replace(bench.profile, **changed)), "data": str(bench.data), "rows": size}
    write_json(own / REQUEST, request | {"evaluations": bench.budget.evaluations})
    trial.set_user_attr("changes", changes)
    trial.set_user_attr("rows", size)
    started = time.monotonic()

    def worse(point: Row) -> bool:
        trial.report(point["loss"], point["step"])
        return prune and trial.should_prune()

    failure = follow(own, bench.profile, started + seconds, worse)
    curve = [point for point in points(own) if math.isfinite(point["loss"])]
    known = {"curve": curve, "reason": failure, "result": read_json(own / RESULT) if (own / RESULT).is_file() else {}}
    for key, value in (known | {"seconds": round(time.monotonic() - started, 2)}).items():
        trial.set_user_attr(key, value)
    if failure == WORSE:
        shutil.rmtree(own)
        raise optuna.TrialPruned(failure)
    if failure:
        shutil.rmtree(own / "pontos", ignore_errors=True)  # o registro do que o ensaio disse fica
        raise TrialFailed(failure)
    shutil.rmtree(own)
    return float(min(point["loss"] for point in curve))
