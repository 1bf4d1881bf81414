"""O estudo do Optuna: o diário que retoma depois de uma queda, o que se sorteia, e o que se poda."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import drop_truncated_tail
from .profiles import Profile
from .trials import COMPLETE, FAILED, INTERRUPTED, PRUNED, Row

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

JOURNAL, SEARCH = "estudo.log", "busca"
RANKS, ALPHAS = [8, 16, 32], [1, 2]
SEED = 3407


def resume(folder: Path) -> "Study":
    """O estudo do Optuna da pasta, novo ou retomado do diário."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    drop_truncated_tail(path)
    # A rodada já é de um processo só; uma trava que ficou é de um que morreu, e o Optuna a esperaria por 30 segundos.
    for left in folder.glob(f"{JOURNAL}.*"):
        left.unlink()
    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    return optuna.create_study(study_name="hiperparametros", storage=storage, pruner=pruner, load_if_exists=True)


def settle(study: "Study", rows: list[Row]) -> None:
    """Leva ao diário o que já foi anotado; o que a queda interrompeu falha nele e volta à fila."""
    from optuna.trial import TrialState

    states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
    known = {row["trial"]: row for row in rows if row["state"] != INTERRUPTED}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        row = known.get(name(trial))
        state = states[row["state"]] if row else TrialState.FAIL
        study.tell(trial.number, row["best"]["loss"] if row and state == TrialState.COMPLETE else None, state=state)
        if row is None and trial.params:
            study.enqueue_trial(trial.params)


def name(trial: "Trial | FrozenTrial") -> str:
    """O nome do ensaio na pasta: ``busca-1``, ``busca-2``…"""
    return f"{SEARCH}-{trial.number + 1}"


def ask(study: "Study", profile: Profile, done: int) -> "Trial":
    """O próximo ensaio: o da fila, se há um, ou um sorteado; ``done`` são os que já contam.

    O primeiro de todos é o perfil como ele é: a busca precisa ganhar dele.
    """
    import optuna

    if not study.get_trials(deepcopy=False):
        ratio = profile.lora_alpha // profile.lora_r
        study.enqueue_trial({"learning_rate": profile.learning_rate, "lora_r": profile.lora_r, "alpha_ratio": ratio})
    # A semente depende de quantos ensaios já valem: retomado ou não, o estudo sorteia o mesmo.
    study.sampler = optuna.samplers.TPESampler(seed=SEED + done, n_startup_trials=5)
    return study.ask()


def suggest(trial: "Trial", rate: float) -> dict[str, Any]:
    """Taxa de 1/4 a 2,5 vezes a do perfil (5e-5 a 5e-4 no 8B, dez vezes isso no modelo pequeno), r e alpha/r."""
    r = trial.suggest_categorical("lora_r", RANKS)
    ratio = trial.suggest_categorical("alpha_ratio", ALPHAS)
    return {
        "learning_rate": trial.suggest_float("learning_rate", rate / 4, 2.5 * rate, log=True),
        "lora_r": r,
        "lora_alpha": r * ratio,
    }


def prunes(trial: "Trial", step: int, loss: float) -> bool:
    """Anota a medida e diz se o ensaio vai pior que a mediana dos outros no mesmo passo."""
    trial.report(loss, step)
    return trial.should_prune()
