"""Curadoria (caderno 01): das linhas brutas do catálogo aos arquivos de treino e de teste, com o motivo de cada corte.

Os nomes abaixo só carregam seus módulos, e os pacotes deles, quando são usados.
"""

from importlib import import_module

_HOMES = {
    "read_rows": "reading",
    "curate": "pipeline",
    "Curation": "pipeline",
    "write": "outputs",
    "write_comparison": "outputs",
    "shared_test": "outputs",
    "check_leaks": "outputs",
    "alternatives": "wordings",
    "clean": "cleaning",
    "plan": "rules",
    "keep_row": "rules",
    "keep_frame": "rules",
    "filter_frame": "rules",
    "figures": "figures",
    "training_structure": "figures",
    "forecast": "outputs",
    "summary": "outputs",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"{__name__} não tem {name}.")
    module = import_module(f".{_HOMES[name]}", __name__)
    return module if name == "figures" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
