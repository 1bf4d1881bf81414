"""A tabela de uma linha por sistema e uma coluna por critério, para o caderno 04 e para o README."""

from pathlib import Path

from ..portuguese import number
from . import blind, costs, results, significance, tally
from .blind import Plan
from .efficiency import efficiency
from .results import Results
from .study import NOT_RUN, label, read_study
from .tally import Ratings

COLUMNS = ("Sistema", "Modelo", "Precisão", "Eficiência no treinamento", "Custo operacional", "Flexibilidade")


def headline(
    run_folder: Path | str, data_folder: Path | str | None = None, *, reviews: Path | str | list | None = None
) -> list[dict[str, str]]:
    """Linhas com as chaves de ``COLUMNS``; o que não foi feito diz "não executado".

    Com ``reviews``, a precisão abre com a revisão humana. InputError se a rodada não existe.
    """
    study = read_study(run_folder, data_folder)
    found = results.compute(study)
    plan, ratings = blind.plan(study), Ratings()
    if reviews is not None:
        from .review import merge

        plan, ratings, _ = merge(study, reviews)
    return [_row(found, system, plan, ratings) for system in study.systems]


def _row(found: Results, system: str, plan: Plan, ratings: Ratings) -> dict[str, str]:
    cells = (precision(found, system, plan, ratings), training(found, system), expense(found, system))
    return dict(zip(COLUMNS, (label(system), model(found, system), *cells, flexible(found, system)), strict=True))


def model(found: Results, system: str) -> str:
    """O modelo base do braço, como o relatório de treino o nomeia, sem a pasta ou o dono."""
    if system.startswith("ref-"):
        return "—"
    if system not in found.study.arms:
        return NOT_RUN
    name = found.study.reports.get(found.study.arms[system], {}).get("model")
    return Path(name).name if name else "não informado"


def precision(found: Results, system: str, plan: Plan, ratings: Ratings) -> str:
    """Correção humana, se houve; respostas com defeito, com o intervalo de Wilson; proximidade ao catálogo."""
    scores = found.scores.get(system)
    if not scores:
        return NOT_RUN
    parts = (
        [f"correção humana {number(note, 2)} de 5"]
        if (note := tally.mean_note(plan, ratings, system, "correct"))
        else []
    )
    defects = sum(score.defective for score in scores.values())
    low, high = significance.wilson(defects, len(scores))
    assert low is not None and high is not None  # há respostas
    share = 100 * defects / len(scores)
    parts.append(f"com defeito {number(share, 1)} % [{number(100 * low, 1)}; {number(100 * high, 1)}]")
    parts.append(f"chrF++ {number(results.mean(found, system, 'chrf'), 1)}")
    loss = results.mean(found, system, "loss")
    return "; ".join([*parts, f"perda {number(loss, 3)}"] if loss is not None else parts)


def training(found: Results, system: str) -> str:
    """Minutos, tokens por segundo e memória do treino; só os modelos ajustados treinam."""
    if not system.endswith("-tuned"):
        return "—" if system in found.scores else NOT_RUN
    measured = efficiency(found.study, found.study.arms.get(system, system.removesuffix("-tuned")))
    if measured is None or measured.minutes is None:
        return NOT_RUN
    parts = [f"{number(measured.minutes, 1)} min"]
    if measured.tokens_per_second is not None:
        parts.append(f"{number(measured.tokens_per_second, 0)} tokens/s")
    memory = measured.peak_rss_gb if measured.peak_gpu_gb is None else measured.peak_gpu_gb
    return "; ".join([*parts, f"{number(memory, 2)} GB"] if memory is not None else parts)


def expense(found: Results, system: str) -> str:
    """Dólares do treino e de 1.000 respostas."""
    if system.startswith("ref-"):
        return "—"
    serving = costs.serving(found.study, system)
    if serving is None:
        return NOT_RUN
    each = serving.usd_per_thousand
    parts = ["n/d por 1.000 respostas" if each is None else f"US$ {number(each, 4)} por 1.000 respostas"]
    arm = found.study.arms.get(system)
    spent = [one.usd for one in costs.trainings(found.study) if one.arm == arm and system.endswith("-tuned")]
    return "; ".join([f"treino US$ {number(usd, 4)}" for usd in spent if usd is not None] + parts)


def flexible(found: Results, system: str) -> str:
    """Média das famílias da suíte, leituras estrita e tolerante, e o número de prompts."""
    if system.startswith("ref-"):
        return "—"
    strict, loose = (results.flexibility_score(found, system, reading) for reading in ("strict", "loose"))
    if strict is None or loose is None:
        return NOT_RUN
    asked = len(found.verdicts[system])
    return f"{number(100 * strict, 0)} % estrita; {number(100 * loose, 0)} % tolerante; {asked} prompts"
