"""Os números da comparação como se leem: cores, intervalos, taxas e a linha de um sistema por extenso."""

from ..portuguese import NOT_MEASURED, NOT_RUN, number, p_value
from .results import Results
from .statistics import Estimate, Interval
from .study import REFERENCE, System
from .tables import ACCENT, GREY, ORANGE

# Uma cor por trilha: a forte é o ajustado, a média a base, a clara a base com exemplos.
TONES = {"llama3": (ACCENT, "#79B4D6", "#C3DCEB"), "gpt": (ORANGE, "#EFA66B", "#F7D9BF")}
ROLES = ("ajustado", "base", "base com 3 exemplos")


def colour(system: System) -> str:
    """A cor de um sistema nos gráficos e nas figuras."""
    tones = TONES.get(system.arm, ("#4B5563", "#9CA3AF", "#D1D5DB"))
    return tones[ROLES.index(system.role)] if system.role in ROLES else GREY


def answered(results: Results) -> list[System]:
    """Os sistemas da rodada que responderam, sem as referências."""
    return [system for system in results.study.systems if system.role != REFERENCE and system.name in results.rows]


def labels(results: Results) -> dict[str, str]:
    """O rótulo de cada sistema, pelo nome."""
    return {system.name: system.label for system in results.study.systems}


def between(known: Interval | Estimate, digits: int, percentage: bool = False) -> str:
    """``62,5 % [45; 77]``: a média e o intervalo de 95 % quando ele existe; ``não medido`` sem nenhum item."""
    if known.mean is None:
        return NOT_MEASURED
    scale, unit = (100, " %") if percentage else (1, "")
    # Somar zero tira o sinal do que se arredonda a zero.
    told = [
        number(round(scale * end, digits) + 0.0, digits)
        for end in (known.mean, known.low, known.high)
        if end is not None
    ]
    return f"{told[0]}{unit} [{told[1]}; {told[2]}]" if len(told) == 3 else f"{told[0]}{unit}"


def share_text(share: Interval | None) -> str:
    """Uma taxa com o intervalo; ``não executado`` sem nenhuma resposta."""
    return between(share, 0, percentage=True) if share and share.n else NOT_RUN


def p_cell(estimate: Estimate) -> float | str | None:
    """O valor p; no piso de uma reamostragem, ``≤ 0,0001``."""
    if estimate.p is not None and estimate.floor is not None and estimate.p <= estimate.floor:
        return p_value(estimate.p, estimate.floor).removeprefix("p ")
    return estimate.p


def in_words(results: Results) -> str:
    """A linha do primeiro ajustado, lida por extenso com os números desta rodada."""
    system = next((system for system in answered(results) if system.role == "ajustado"), None)
    if system is None:
        return f"{NOT_RUN.capitalize()}: nenhum modelo ajustado respondeu nesta rodada."
    defects, closeness = results.mean(system.name, "defective"), results.mean(system.name, "chrf_gain")
    depends = closeness.low is not None and closeness.low > 0
    verdict = "o texto depende do título" if depends else "não se demonstra que o texto dependa do título"
    told = [
        f"{system.label} ({system.model}), em {defects.n} respostas:",
        f"- defeito de forma em {share_text(defects)}: em outros itens como estes, a taxa verdadeira deve estar entre "
        "os dois números dos colchetes;",
        f"- chrF++ além do acaso de {between(closeness, 1)}: {verdict};",
    ]
    rows = results.heldout(system.arm)
    if rows:
        before, after = (sum(row[key] for row in rows) / len(rows) for key in ("base_loss", "tuned_loss"))
        moved, less = ("caiu", "menos") if after < before else ("subiu", "mais")
        values = f"de {number(before, 2)} para {number(after, 2)}"
        told.append(f"- a perda {moved} {values}: o texto verdadeiro surpreende {less} o modelo;")
    told.append(f"- flexibilidade: {share_text(results.flexibility_total(system.name))} das perguntas aprovadas.")
    return "\n".join(told)
