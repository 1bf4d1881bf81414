"""Os números da comparação como se leem: intervalos, taxas, custos e a linha de cada sistema por extenso."""

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, number, usd
from . import costs
from .columns import NO_REVIEW
from .judgements import Review
from .results import Results, Share
from .statistics import Interval
from .study import REFERENCE, System
from .tables import ACCENT, ORANGE

# Uma cor por trilha: a forte é o ajustado, a média a base, a clara a base com exemplos.
TONES = {"llama3": (ACCENT, "#79B4D6", "#C3DCEB"), "gpt": (ORANGE, "#EFA66B", "#F7D9BF")}
ROLES = ("ajustado", "base", "base com 3 exemplos")


def colour(system: System) -> str:
    """A cor de um sistema nos gráficos e nas figuras."""
    tones = TONES.get(system.arm, ("#4B5563", "#9CA3AF", "#D1D5DB"))
    return tones[ROLES.index(system.role)] if system.role in ROLES else "#6B7280"


def answered(results: Results) -> list[System]:
    """Os sistemas da rodada que responderam, sem as referências."""
    return [system for system in results.study.systems if system.role != REFERENCE and system.name in results.rows]


def between(mean: float | None, low: float | None, high: float | None, digits: int, percentage: bool = False) -> str:
    """``62,5 % [45; 77]``: a média e o intervalo de 95 % quando ele existe."""
    if mean is None:
        return ABSENT
    scale, unit = (100, " %") if percentage else (1, "")
    # Somar zero tira o sinal do que se arredonda a zero.
    ends = [number(round(scale * end, digits) + 0.0, digits) for end in (mean, low, high) if end is not None]
    return f"{ends[0]}{unit} [{ends[1]}; {ends[2]}]" if len(ends) == 3 else f"{ends[0]}{unit}"


def share_text(share: Share | None) -> str:
    """Uma taxa com o intervalo; ``não executado`` sem nenhuma resposta."""
    return NOT_RUN if share is None or not share.n else between(share.rate, share.low, share.high, 0, percentage=True)


def mean_text(interval: Interval, digits: int) -> str:
    """Uma média com o intervalo; ``não medido`` se ninguém a mediu."""
    return between(interval.mean, interval.low, interval.high, digits) if interval.n else NOT_MEASURED


def precision(system: System, review: Review | None) -> str:
    """Pontos do sistema na preferência humana contra a própria base (ou contra o ajustado), com intervalo."""
    if review is None or not any(contest.n for contest in review.preference):
        return NO_REVIEW
    for contest in review.preference:
        rival = {contest.first: contest.second, contest.second: contest.first}.get(system.name, "")
        if contest.n and rival and rival.partition("-")[0] == system.name.partition("-")[0]:
            known = contest.statistic.estimate
            mean, low, high = known.mean, known.low, known.high
            if contest.second == system.name:
                mean, low, high = (None if end is None else 1 - end for end in (known.mean, known.high, known.low))
            other = "a base" if system.role == "ajustado" else "o ajustado"
            return f"{between(mean, low, high, 0, percentage=True)}\ncontra {other}"
    return ABSENT


def text_measures(results: Results, system: System) -> dict[str, str]:
    """O que as regras e a perda dizem do texto de um sistema; nada disto é precisão."""
    return {
        "Com defeito de forma": share_text(results.share(system.name, "defective")),
        "Cortada no limite": share_text(results.share(system.name, "cut")),
        "chrF++ além do acaso": mean_text(results.mean(system.name, "chrf_gain"), 1),
        "Perda (nats por token)": _loss(results, system),
    }


def _loss(results: Results, system: System) -> str:
    if system.role not in ("base", "ajustado"):
        return ABSENT
    return mean_text(results.mean(system.name, "loss"), 2).partition(" [")[0]


def efficiency(results: Results, system: System) -> dict[str, str]:
    """Minutos, tokens por segundo e memória do treino; só os ajustados treinam."""
    measured = results.efficiency(system.arm) if system.role == "ajustado" else None
    titles = ("Treino (min)", "Tokens por segundo", "Memória (GB)")
    if measured is None:
        return dict.fromkeys(titles, NOT_RUN if system.role == "ajustado" else ABSENT)
    values = (measured.minutes, measured.tokens_per_second, measured.memory_gb)
    return {
        title: NOT_MEASURED if value is None else number(value, digits)
        for title, value, digits in zip(titles, values, (1, 0, 1), strict=True)
    }


def expenses(results: Results, system: System) -> dict[str, str]:
    """O que custaram o treino e 1.000 respostas; trabalho local é tempo de máquina."""
    training = results.training(system.arm) if system.role == "ajustado" else None
    serving = results.serving(system.name)
    each = NOT_RUN
    if serving:
        billed = serving.input_price and serving.output_price
        hours = costs.machine_time(serving.hours_per_thousand, serving.sku, serving.usd_per_thousand)
        each = usd(serving.usd_per_thousand, 4) if billed else hours
    return {"Treino": _broken(str(training)) if training else ABSENT, "Por 1.000 respostas": _broken(each)}


def _broken(words: str) -> str:
    return words.replace("; ", "\n").replace(" (", "\n(")


def criteria(results: Results, system: System, review: Review | None) -> dict[str, str]:
    """Todas as colunas de um sistema, na ordem do Resumo."""
    return (
        {"Preferência humana": precision(system, review)}
        | text_measures(results, system)
        | efficiency(results, system)
        | expenses(results, system)
        | {"Aprovados": share_text(results.flexibility_total(system.name))}
    )


def in_words(results: Results) -> str:
    """A linha do primeiro ajustado, lida por extenso com os números desta rodada."""
    system = next((system for system in answered(results) if system.role == "ajustado"), None)
    if system is None:
        return f"{NOT_RUN.capitalize()}: nenhum modelo ajustado respondeu nesta rodada."
    defects, closeness = results.share(system.name, "defective"), results.mean(system.name, "chrf_gain")
    told = [f"{system.label} ({system.model}), em {defects.n} respostas:"]
    told.append(
        f"- defeito de forma em {share_text(defects)}: em outros itens como estes, a taxa verdadeira deve estar entre "
        "os dois números dos colchetes;"
    )
    depends = closeness.low is not None and closeness.low > 0
    verdict = "o texto depende do título" if depends else "não se demonstra que o texto dependa do título"
    told.append(f"- chrF++ além do acaso de {mean_text(closeness, 1)}: {verdict};")
    rows = results.heldout(system.arm)
    if rows:
        before, after = (sum(row[key] for row in rows) / len(rows) for key in ("base_loss", "tuned_loss"))
        moved = "caiu" if after < before else "subiu"
        less = "menos" if after < before else "mais"
        values = f"de {number(before, 2)} para {number(after, 2)}"
        told.append(f"- a perda {moved} {values}: o texto verdadeiro surpreende {less} o modelo;")
    told.append(f"- flexibilidade: {share_text(results.flexibility_total(system.name))} das perguntas aprovadas.")
    return "\n".join(told)
