"""Página: perguntar aos modelos, comparar às cegas e ver os títulos parecidos e os resultados (caderno 06)."""

import os
from importlib import import_module

# O Gradio lê isto uma só vez, ao ser importado: nenhuma estatística de uso sai da máquina.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

_HOMES = {"open_page": "page", "find": "systems", "Access": "systems"}
__all__ = [*_HOMES]


def __getattr__(name: str):
    # As bibliotecas pesadas só são importadas quando alguém usa a função (PEP 562).
    if name not in _HOMES:
        raise AttributeError(f"O módulo {__name__} não tem {name!r}.")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
