"""A tabela dos critérios de uma rodada, em frases: a do caderno 04, a da página e a do README."""

from pathlib import Path

from ..portuguese import ABSENT, NOT_RUN, number, percent
from . import costs
from .judgements import Review
from .results import Results, score
from .study import REFERENCE, System
from .tables import NO_REVIEW
from .wording import between, share_text

COLUMNS = ("Sistema", "Modelo", "Precisão", "Forma", "Eficiência no treinamento", "Custo operacional", "Flexibilidade")


def headline(
    run: Results | Path | str, data_folder: Path | str | None = None, review: Review | None = None
) -> list[dict[str, str]]:
    """Uma linha por sistema e uma chave por critério; ``run`` é a rodada já pontuada ou a pasta dela.

    ``review`` é a revisão lida, se há uma. InputError se a rodada não existe.
    """
    results = run if isinstance(run, Results) else score(run, data_folder)
    return [_row(results, system, review) for system in results.study.systems]


def _row(results: Results, system: System, review: Review | None) -> dict[str, str]:
    reference = system.role == REFERENCE
    if system.name not in results.rows:
        cells = [NOT_RUN] * 5
    else:
        defects, cut = results.mean(system.name, "defective"), results.mean(system.name, "cut")
        form = f"com defeito de forma {share_text(defects)}; cortadas {percent(cut.mean or 0.0, 0)}"
        cells = [_precision(results, system, review), form, _training(results, system)]
        total = results.flexibility_total(system.name)
        passed = f"{share_text(total)} de {number(total.n)} prompts" if total.n else NOT_RUN
        cells += [ABSENT, ABSENT] if reference else [_expense(results, system), passed]
    return dict(zip(COLUMNS, (system.label, ABSENT if reference else system.model, *cells), strict=True))


def _precision(results: Results, system: System, review: Review | None) -> str:
    """Preferência das pessoas, proximidade além do acaso e perda: nunca só o que uma regra conta."""
    parts = [_preferred(results, system, review)] if system.role != REFERENCE else []
    for key, name, digits in (("cosine_gain", "cosseno", 2), ("chrf_gain", "chrF++", 1)):
        if (closeness := results.mean(system.name, key)).n:
            parts.append(f"{name} além do acaso {between(closeness, digits)}")
            break
    loss = results.mean(system.name, "loss").mean
    return "; ".join([*parts, f"perda {number(loss, 3)}"] if loss is not None else parts)


def _preferred(results: Results, system: System, review: Review | None) -> str:
    for contest in review.preference if review else []:
        if known := contest.side(system.name):
            rate, other = known
            won = between(rate, 0, percentage=True)
            return f"preferida em {won} de {rate.n} pares contra {results.study.system(other).label}"
    return NO_REVIEW


def _training(results: Results, system: System) -> str:
    """Minutos, tokens por segundo e memória do treino; só os modelos ajustados treinam."""
    if system.role != "ajustado":
        return ABSENT
    measured = costs.efficiency(results.study.reports.get(system.arm, {}))
    if measured["minutes"] is None:
        return NOT_RUN
    facts = (("minutes", 1, "min"), ("tokens_per_second", 0, "tokens/s"), ("memory_gb", 2, "GB"))
    known = [(measured.get(key), digits, unit) for key, digits, unit in facts]
    return "; ".join(f"{number(value, digits)} {unit}" for value, digits, unit in known if value is not None)


def _expense(results: Results, system: System) -> str:
    """O que custou treinar e o que custa responder: dólares, ou horas da própria máquina."""
    spent = costs.training(results.study, system.arm) if system.role == "ajustado" else None
    answering = f"responder: {costs.serving(results.study, system.name)}"
    return f"treino: {spent}; {answering}" if spent else answering
