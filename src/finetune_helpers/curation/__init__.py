"""Curadoria (caderno 01): das linhas brutas do catálogo aos arquivos de treino e de teste, com o motivo de cada corte.

Os nomes abaixo só carregam seus módulos, e os pacotes deles, quando são usados.
"""

from importlib import import_module

_HOMES = {
    "reading": ["read_rows"],
    "pipeline": ["curate", "Curation", "alternatives"],
    "outputs": ["write", "write_comparison", "shared_test", "check_leaks", "forecast", "summary"],
    "cleaning": ["clean"],
    "rules": ["plan", "keep_row", "filter_frame"],
    "figures": ["training_structure"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "figures"])


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"{__name__} não tem {name}.")
    module = import_module(f".{_HOME.get(name, name)}", __name__)
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return __all__
