"""Concordância entre revisores: parte igual, kappa de Cohen e alfa de Krippendorff."""

from collections.abc import Sequence
from typing import Literal


def share_equal(first: Sequence, second: Sequence) -> float | None:
    """Parte dos pares iguais; None sem nenhum par."""
    pairs = list(zip(first, second, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def cohen(first: Sequence, second: Sequence) -> float | None:
    """Kappa de Cohen de duas listas de categorias; None sem pares ou quando só uma categoria foi usada."""
    observed = share_equal(first, second)
    if observed is None:
        return None
    n = len(first)
    expected = sum(first.count(c) * second.count(c) for c in set(first) | set(second)) / (n * n)
    return (observed - expected) / (1 - expected) if expected < 1 else None


def krippendorff_alpha(
    ratings: Sequence[Sequence[float | None]], level: Literal["nominal", "ordinal"] = "nominal"
) -> float | None:
    """Alfa de Krippendorff; uma linha por revisor, uma coluna por item, None onde não avaliou.

    ``level`` é ``nominal`` ou ``ordinal``. None quando faltam avaliações em comum ou só há uma categoria.
    """
    import krippendorff
    import numpy as np

    table = np.array([[np.nan if value is None else value for value in row] for row in ratings], dtype=float)
    if table.ndim != 2 or table.shape[0] < 2:
        return None
    shared = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    values = np.unique(shared[~np.isnan(shared)])
    if len(values) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=shared, level_of_measurement=level))
