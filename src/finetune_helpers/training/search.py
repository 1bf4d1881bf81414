"""Experimentos do caderno 05: uma busca com Optuna, depois uma mudança por vez no vencedor, dentro de um orçamento.

O diário do Optuna (``hiperparametros/estudo.log``) é o único registro: parâmetros, curva, tempo e motivo de cada ensaio
estão nele. Cada ensaio é um processo próprio (``trial``) e só lê as linhas de treino, parte delas como validação.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import progress, prompts
from ..errors import InputError
from ..records import read_jsonl
from .guards import split_validation
from .profiles import Profile, choose
from .resume import card, refuse_other
from .trial import SEED, WORSE, load_study, mend, run

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

STEP, FOLDER = "05_hiperparametros", "hiperparametros"
SEARCH, CHANGE = "busca", "mudança"
SEARCH_SHARE = 0.6  # do tempo, para a busca; o resto é das mudanças, uma por vez, no vencedor
LEAST_SEARCHED = 3  # ensaios de que a busca não abre mão, mesmo que tomem o tempo das mudanças
# As sementes vêm primeiro: sem elas não se sabe qual diferença é ruído. O número é a parte das linhas de treino.
CHANGES: dict[str, tuple[dict[str, Any], float]] = {
    "outra semente": ({"seed": SEED + 1}, 1.0),
    "mais uma semente": ({"seed": SEED + 2}, 1.0),
    "metade das linhas": ({}, 0.5),
    "um quarto das linhas": ({}, 0.25),
    "LoRA só na atenção": ({"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}, 1.0),
    "NEFTune (ruído 5 nas entradas)": ({"neftune_alpha": 5.0}, 1.0),
    "DoRA": ({"use_dora": True}, 1.0),
}


@dataclass(frozen=True)
class Budget:
    """Limites de uma bateria de ensaios: minutos, ensaios da busca, linhas e épocas de cada um, medidas por ensaio."""

    name: str
    minutes: float
    trials: int
    rows: int
    epochs: float
    evaluations: int
    profile: str = "auto"
    batch_size: int = 0

    @property
    def seconds(self) -> float:
        """O limite de tempo, em segundos."""
        return 60 * self.minutes


BUDGETS = {
    # O lote de 2 dá mais passos com poucas linhas.
    "demonstracao": Budget("demonstracao", 5.0, 3, 8, 1.0, 2, profile="cpu", batch_size=2),
    "cafe": Budget("cafe", 85.0, 6, 192, 1.0, 4),
    "completo": Budget("completo", 8 * 60.0, 20, 1500, 3.0, 6),
}


@dataclass(frozen=True)
class Bench:
    """Uma bateria de ensaios: a pasta, as linhas de treino, o perfil de partida, o orçamento e as linhas por ensaio."""

    folder: Path
    data: Path
    profile: Profile
    budget: Budget
    size: int


class TrialFailed(Exception):
    """Um ensaio que não chegou ao fim; a mensagem é o motivo, e os outros continuam."""


def budget(name: str, *, minutes: float = 0, trials: int = 0) -> Budget:
    """O orçamento de nome ``name``; zero fica com o valor dele. InputError se o nome não existe."""
    if name not in BUDGETS:
        raise InputError(f'Orçamento "{name}" desconhecido. Em `budget`, use um destes: {", ".join(BUDGETS)}.')
    chosen = BUDGETS[name]
    return replace(chosen, minutes=minutes or chosen.minutes, trials=trials or chosen.trials)


def base_profile(chosen: Budget, name: str = "auto", **changes: Any) -> Profile:
    """O perfil de que todos os ensaios partem; ``demonstracao`` usa o modelo pequeno na CPU, com ou sem GPU."""
    changes |= {"epochs": chosen.epochs, "batch_size": chosen.batch_size}
    profile = choose(chosen.profile if name == "auto" else name, **changes)
    few = (f"lote de {profile.batch_size}: mais passos com as poucas linhas de um ensaio",)
    return replace(profile, reasons=profile.reasons + (few if chosen.batch_size else ()))


def prepare(run: Path, data: Path, budget: Budget, profile: Profile) -> Bench:
    """Junta o que os ensaios precisam; ``data`` é o ``llama/treino.jsonl`` da rodada.

    InputError se as linhas não bastam para separar a validação.
    """
    train, _ = split_validation([prompts.from_alpaca(row) for row in read_jsonl(data)])
    return Bench(Path(run) / FOLDER, Path(data), profile, budget, min(budget.rows, len(train)))


def open_study(bench: Bench, name: str = SEARCH) -> "Study":
    """O estudo ``name`` desta bateria, novo ou retomado.

    RunMismatchError se os ensaios de antes partiram de outro modelo base ou de outro perfil.
    """
    bench.folder.mkdir(parents=True, exist_ok=True)
    mend(bench.folder)
    study, start = load_study(bench.folder, name), card(bench.profile)
    if "inicio" in study.user_attrs:
        refuse_other(f"Os ensaios em {bench.folder}", study.user_attrs["inicio"], start)
    else:
        study.set_user_attr("inicio", start)
    return study


def open_changes(bench: Bench) -> "Study":
    """O estudo das mudanças no vencedor da busca."""
    return open_study(bench, f"mudancas-{named(best(bench))}")


def done(study: "Study") -> "list[FrozenTrial]":
    """Os ensaios que contam: os que acabaram e os que falharam por um motivo; não os que uma queda interrompeu."""
    return [trial for trial in study.trials if trial.value is not None or "reason" in trial.user_attrs]


def named(trial: "FrozenTrial") -> str:
    """O nome de um ensaio da busca para quem lê: ``busca-1``."""
    return f"{SEARCH}-{trial.number + 1}"


def complete(study: "Study") -> "list[FrozenTrial]":
    """Os ensaios que chegaram ao fim do treino, na ordem em que foram feitos."""
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.COMPLETE,))


def best(bench: Bench) -> "FrozenTrial":
    """O ensaio da busca com a menor perda na validação; InputError, com os motivos, se nenhum chegou ao fim."""
    study = open_study(bench)
    if not complete(study):
        reasons = "; ".join(f"{named(trial)}: {trial.user_attrs['reason']}" for trial in done(study))
        raise InputError(
            f"Nenhum ensaio da busca chegou ao fim ({reasons or 'nenhum coube no orçamento'}). Use um orçamento maior "
            "em `budget` ou mais `minutes`."
        )
    return study.best_trial


def pending(study: "Study") -> list[str]:
    """As mudanças que ainda não foram feitas, na ordem em que valem mais."""
    made = {trial.user_attrs[CHANGE] for trial in done(study)}
    return [change for change in CHANGES if change not in made]


def loss(trial: "FrozenTrial") -> float:
    """A menor perda na validação de um ensaio que chegou ao fim (nats por token)."""
    return float(trial.value or 0.0)


def seconds(trial: "FrozenTrial") -> float:
    """Quanto um ensaio levou, em segundos; zero se ele ainda não acabou."""
    return trial.duration.total_seconds() if trial.duration else 0.0


def spent(bench: Bench) -> float:
    """Segundos já gastos em ensaios, também nos que não chegaram ao fim; os de um que caiu não são conhecidos."""
    study = open_study(bench)
    studies = [study, *([open_changes(bench)] if complete(study) else [])]
    return sum(seconds(trial) for study in studies for trial in done(study))


def expected(bench: Bench, size: int) -> float:
    """Segundos que um ensaio de ``size`` linhas deve levar, pelo último da busca que chegou ao fim; 0 sem nenhum."""
    known = complete(open_study(bench))
    if not known:
        return 0.0
    last = known[-1].user_attrs
    return float(seconds(known[-1]) - last["train_seconds"] * (1 - size / last["rows"]))


def left(bench: Bench, study: "Study") -> float:
    """Segundos que restam do orçamento; para a busca, da parte que é dela."""
    part = SEARCH_SHARE if study.study_name == SEARCH and len(done(study)) >= LEAST_SEARCHED else 1.0
    return part * bench.budget.seconds - spent(bench)


def search(bench: Bench) -> "Study":
    """Faz os ensaios da busca que faltam e devolve o estudo; o primeiro é o perfil sem mudanças, como linha de base.

    O número de ensaios é o total: os de antes de uma queda contam, e o que ela interrompeu é refeito. Nenhum começa se
    não couber na parte do orçamento que é da busca.
    """
    study, profile = open_study(bench), bench.profile
    if not study.trials:
        ratio = profile.lora_alpha // profile.lora_r
        study.enqueue_trial({"learning_rate": profile.learning_rate, "lora_r": profile.lora_r, "alpha_ratio": ratio})

    def objective(trial: "Trial") -> float:
        return _train(bench, trial, suggest(trial, profile.learning_rate), bench.size)

    _optimize(bench, study, objective, bench.budget.trials - len(done(study)), lambda: bench.size)
    return study


def suggest(trial: "Trial", rate: float) -> dict[str, Any]:
    """Taxa de 1/4 a 2,5 vezes a do perfil (5e-5 a 5e-4 no 8B, dez vezes isso no modelo pequeno), r e alpha/r."""
    r = trial.suggest_categorical("lora_r", [8, 16, 32])
    ratio = trial.suggest_categorical("alpha_ratio", [1, 2])
    learning_rate = trial.suggest_float("learning_rate", rate / 4, 2.5 * rate, log=True)
    return {"learning_rate": learning_rate, "lora_r": r, "lora_alpha": r * ratio}


def vary(bench: Bench) -> None:
    """Faz, no vencedor da busca, as mudanças que faltam e cabem no orçamento.

    InputError, com o motivo de cada um, se nenhum ensaio da busca chegou ao fim.
    """
    study, top = open_changes(bench), best(bench).user_attrs

    def size() -> int:
        share = max((CHANGES[change][1] for change in pending(study)[:1]), default=1.0)
        return max(1, round(share * top["rows"]))

    def objective(trial: "Trial") -> float:
        rows, change = size(), pending(study)[0]
        trial.set_user_attr(CHANGE, change)
        return _train(bench, trial, top["changes"] | CHANGES[change][0], rows)

    _optimize(bench, study, objective, len(pending(study)), size)


def _optimize(
    bench: Bench, study: "Study", objective: "Callable[[Trial], float]", missing: int, size: Callable[[], int]
) -> None:
    """Faz os ``missing`` ensaios que faltam; para quando o próximo não deve caber no que resta do orçamento."""
    from optuna.trial import TrialState

    for fallen in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(fallen.number, state=TrialState.FAIL)
        if fallen.params:
            study.enqueue_trial(fallen.params)

    def after_each(study: "Study", _: object) -> None:
        shown.update()
        if left(bench, study) <= expected(bench, size()):
            study.stop()

    if missing > 0 and left(bench, study) > expected(bench, size()):
        with progress.bar("experimentando", "ensaios", missing) as shown:
            limit = left(bench, study)
            study.optimize(objective, missing, timeout=limit, catch=(TrialFailed,), callbacks=[after_each])


def _train(bench: Bench, trial: "Trial", changes: dict[str, Any], size: int) -> float:
    """Faz o ensaio num processo próprio, no tempo que resta, e devolve a menor perda que ele anotou no diário."""
    import optuna

    study = trial.study
    trial.set_user_attr("changes", changes)
    trial.set_user_attr("rows", size)
    request = {"profile": asdict(replace(bench.profile, **changes)), "data": str(bench.data), "rows": size}
    request |= {"evaluations": bench.budget.evaluations, "prune": study.study_name == SEARCH}
    failure = run(bench.folder, (study.study_name, trial.number), request, left(bench, study))
    noted = study.trials[trial.number]
    reason = noted.user_attrs.get("reason", failure)
    if reason == WORSE:
        raise optuna.TrialPruned(reason)
    if reason:
        trial.set_user_attr("reason", reason)
        raise TrialFailed(reason)
    return float(min(noted.intermediate_values.values()))
