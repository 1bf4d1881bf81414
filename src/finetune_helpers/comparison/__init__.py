"""Comparação: medidas, estatística, flexibilidade, custos, figuras, planilha e revisão cega (caderno 04)."""

from importlib import import_module

_HOMES = {
    "score": "results",
    "write_workbook": "workbook",
    "headline": "criteria",
    "write_review": "review",
    "read_review": "review",
    "measure_similarity": "similarity",
    "judge_pairs": "judge",
    "Judge": "judge",
    "in_words": "wording",
}
_MODULES = ("figures", "statistics", "flexibility", "costs", "metrics")
__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str):
    # As bibliotecas pesadas só são importadas quando alguém usa a função (PEP 562).
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"O módulo {__name__} não tem {name!r}.")


def __dir__() -> list[str]:
    return __all__
