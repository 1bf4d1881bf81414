"""A tabela de uma linha por sistema e uma coluna por critério, para o caderno 04 e para o README."""

from collections.abc import Mapping
from pathlib import Path

from ..portuguese import ABSENT, NOT_RUN, number
from .results import Results, Share, score
from .statistics import Interval, Preference
from .study import REFERENCE, System

COLUMNS = ("Sistema", "Modelo", "Precisão", "Forma", "Eficiência no treinamento", "Custo operacional", "Flexibilidade")
UNREVIEWED = "ainda sem revisão"
Preferences = Mapping[tuple[str, str], Preference]


def headline(
    run: Results | Path | str, data_folder: Path | str | None = None, preferences: Preferences | None = None
) -> list[dict[str, str]]:
    """Linhas com as chaves de ``COLUMNS``; o que não foi feito diz "não executado".

    ``preferences`` traz a preferência das pessoas em cada contraste. InputError se a rodada não existe.
    """
    results = run if isinstance(run, Results) else score(run, data_folder)
    return [_row(results, system, preferences or {}) for system in results.study.systems]


def _row(results: Results, system: System, preferences: Preferences) -> dict[str, str]:
    reference = system.role == REFERENCE
    if system.name not in results.rows:
        cells = [NOT_RUN] * 5
    else:
        cells = [precision(results, system, preferences), form(results, system), training(results, system)]
        cells += [ABSENT, ABSENT] if reference else [expense(results, system), flexible(results, system)]
    return dict(zip(COLUMNS, (system.label, ABSENT if reference else system.model, *cells), strict=True))


def precision(results: Results, system: System, preferences: Preferences) -> str:
    """Preferência das pessoas, proximidade além do acaso e perda: nunca só o que uma regra conta."""
    parts = [_preferred(results, system, preferences)] if system.role != REFERENCE else []
    closeness = next((key for key in ("cosine_gain", "chrf_gain") if results.values(system.name, key)), None)
    if closeness:
        name, digits = {"cosine_gain": ("cosseno", 2), "chrf_gain": ("chrF++", 1)}[closeness]
        parts.append(f"{name} além do acaso {_interval(results.mean(system.name, closeness), digits)}")
    loss = results.mean(system.name, "loss").mean
    return "; ".join([*parts, f"perda {number(loss, 3)}"] if loss is not None else parts)


def _preferred(results: Results, system: System, preferences: Preferences) -> str:
    for (first, second), preference in preferences.items():
        if system.name in (first, second) and preference.estimate.n:
            rate = preference.estimate
            if system.name == first:
                won, other = _percent(rate.mean, rate.low, rate.high), second
            else:
                won, other = _percent(*(None if x is None else 1 - x for x in (rate.mean, rate.high, rate.low))), first
            return f"preferida em {won} de {rate.n} pares contra {results.study.system(other).label}"
    return UNREVIEWED


def form(results: Results, system: System) -> str:
    """Respostas com defeito de forma e, à parte, as cortadas no limite de tokens."""
    defects, cut = results.share(system.name, "defective"), results.share(system.name, "cut")
    return f"com defeito de forma {_shared(defects)}; cortadas {_percent(cut.rate)}"


def training(results: Results, system: System) -> str:
    """Minutos, tokens por segundo e memória do treino; só os modelos ajustados treinam."""
    if system.role != "ajustado":
        return ABSENT
    measured = results.efficiency(system.arm)
    if measured is None or measured.minutes is None:
        return NOT_RUN
    parts = [f"{number(measured.minutes, 1)} min"]
    if measured.tokens_per_second is not None:
        parts.append(f"{number(measured.tokens_per_second)} tokens/s")
    return "; ".join([*parts, f"{number(measured.memory_gb, 2)} GB"] if measured.memory_gb is not None else parts)


def expense(results: Results, system: System) -> str:
    """O que custou treinar e o que custa responder: dólares, ou horas da própria máquina."""
    spent = results.training(system.arm) if system.role == "ajustado" else None
    return "; ".join([*([f"treino: {spent}"] if spent else []), f"responder: {results.serving(system.name)}"])


def flexible(results: Results, system: System) -> str:
    """Aprovações na suíte, com o intervalo que respeita os grupos de prompts."""
    total = results.flexibility_total(system.name)
    return NOT_RUN if total is None else f"{_shared(total)} de {number(total.n)} prompts"


def _shared(share: Share) -> str:
    return _percent(share.rate, share.low, share.high)


def _percent(rate: float | None, low: float | None = None, high: float | None = None) -> str:
    if rate is None or low is None or high is None:
        return ABSENT if rate is None else f"{number(100 * rate)} %"
    return f"{number(100 * rate)} % [{number(100 * low)}; {number(100 * high)}]"


def _interval(interval: Interval, digits: int) -> str:
    if interval.low is None:
        return number(interval.mean, digits)
    return f"{number(interval.mean, digits)} [{number(interval.low, digits)}; {number(interval.high, digits)}]"
