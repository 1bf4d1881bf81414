"""As regras sobre uma linha e sobre um quadro do pandas: é a mesma função nos dois casos.

``dask.dataframe.map_partitions(filter_frame, regras)`` as executa como são.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .rules import Rule, TokenRule

if TYPE_CHECKING:
    import pandas


def keep_row(rule: Rule | TokenRule, row: Mapping[str, Any]) -> bool:
    """Se a regra mantém uma linha (um dicionário com ``title`` e ``content``)."""
    return rule.keeps([_text(row.get("title"))], [_text(row.get("content"))])[0]


def keep_frame(rule: Rule | TokenRule, frame: "pandas.DataFrame") -> "pandas.Series":
    """Máscara booleana (Series) de quem a regra mantém num quadro com as colunas ``title`` e ``content``.

    InputError se falta uma das colunas.
    """
    import pandas as pd

    if missing := [name for name in ("title", "content") if name not in frame.columns]:
        raise InputError(
            f'Falta a coluna "{missing[0]}" no quadro; as colunas são {", ".join(map(str, frame.columns))}.'
        )
    titles, contents = ([_text(value) for value in frame[name].tolist()] for name in ("title", "content"))
    return pd.Series(rule.keeps(titles, contents), index=frame.index, dtype=bool)


def filter_frame(frame: "pandas.DataFrame", rules: Sequence[Rule | TokenRule]) -> "pandas.DataFrame":
    """As linhas do quadro que passam por todas as regras, na ordem; serve a ``dask.dataframe.map_partitions``."""
    for rule in rules:
        frame = frame[keep_frame(rule, frame)]
    return frame


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
