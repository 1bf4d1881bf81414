"""Números, datas, durações e dinheiro como se escrevem em português, e o que uma queda de perda diz."""

from collections.abc import Mapping, Sequence
from datetime import date as Day
from decimal import Decimal
from typing import Any

NOT_RUN = "não executado"  # um passo que ninguém executou
NOT_MEASURED = "não medido"  # o que esta máquina ou este serviço não mede
ABSENT = "—"  # o que não se aplica


def number(value: float | None, digits: int = 0) -> str:
    """1234.5 → ``1.234,5`` (com ``digits`` casas); None → ``—``."""
    return ABSENT if value is None else f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))


def plain(value: float, _: object = None) -> str:
    """0.0002 → ``0,0002``: até quatro algarismos significativos, sem expoente; serve também aos eixos das figuras."""
    return format(Decimal(f"{value:.4g}"), "f").replace(".", ",")


def counted(value: float, noun: str) -> str:
    """1 → ``1 época``; 2 → ``2 épocas``; 1.5 → ``1,5 época``: no plural só a partir de dois."""
    written = number(value) if value == int(value) else plain(value)
    return f"{written} {noun}{'s' if value >= 2 or value == 0 else ''}"


def usd(value: float | None, digits: int = 2) -> str:
    """3.5 → ``US$ 3,50``; None → ``preço desconhecido``."""
    return "preço desconhecido" if value is None else f"US$ {number(value, digits)}"


def date(day: Day | str) -> str:
    """Uma data, ou o começo de um texto como ``2026-11-21``, escrita ``21/11/2026``."""
    return f"{day if isinstance(day, Day) else Day.fromisoformat(day[:10]):%d/%m/%Y}"


def percent(share: float, digits: int = 1) -> str:
    """0.125 → ``12,5 %``."""
    return f"{number(100 * share, digits)} %"


def duration(seconds: float) -> str:
    """Segundos como ``45 s``, ``3 min 20 s`` ou ``1 h 5 min``."""
    if 0 < seconds < 1:
        return "menos de 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def p_value(p: float | None, floor: float | None = None) -> str:
    """Um valor p: ``p = 0,012``, ``p < 0,001`` ou, no piso de uma reamostragem, ``p ≤ 0,0001``; None → ``p = —``."""
    if p is not None and floor is not None and p <= floor:
        return f"p ≤ {plain(floor)}"
    return "p < 0,001" if p is not None and p < 0.001 else f"p = {number(p, 3)}"


def learnt(rows: Sequence[Mapping[str, Any]]) -> str:
    """O que a perda de cada item, antes e depois, diz: quanto caiu, em quantos itens, e se por estilo ou conteúdo.

    ``rows`` são as linhas de ``heldout`` em ``treino.json``.
    """
    if not rows:
        return f"perda por item: {NOT_RUN}"
    keys = ("base_loss", "tuned_loss", "base_other_loss", "tuned_other_loss")
    before, after, other_before, other_after = (sum(row[key] for row in rows) / len(rows) for key in keys)
    lower = sum(row["tuned_loss"] < row["base_loss"] for row in rows)
    whole, style = before - after, other_before - other_after
    content = round(whole - style, 2) + 0.0  # sem “-0,00”
    return (
        f"A perda {'caiu' if whole > 0 else 'subiu'} de {number(before, 2)} para {number(after, 2)} nats por token, "
        f"menor em {lower} de {len(rows)} itens.\n"
        f"Com o título de outro item, foi de {number(other_before, 2)} para {number(other_after, 2)}: dos "
        f"{number(whole, 2)} de queda, {number(style, 2)} são estilo (valem para qualquer título) e "
        f"{number(content, 2)} são conteúdo (o que o título certo explica)."
    )
