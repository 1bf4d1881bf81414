"""API local de ajuste fino: responde ao protocolo da OpenAI e treina, nesta máquina, um modelo de pesos abertos.

Nada pesado é importado aqui: ``running`` inicia o servidor como processo e ``create_app`` dá o aplicativo FastAPI.
"""

from importlib import import_module

_HOME = {"Server": "service", "running": "service", "Settings": "settings", "create_app": "app"}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"O módulo {__name__} não tem {name!r}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
