"""API local de ajuste fino: o protocolo da OpenAI, servido e treinado na sua própria máquina.

``running`` inicia o servidor como processo, ``create_app`` dá o aplicativo FastAPI e ``token_counter`` conta os tokens
que um treino cobra. Nada pesado é importado aqui: cada entrada carrega o seu módulo quando é usada.
"""

from importlib import import_module

_HOME = {
    "Server": "server",
    "Settings": "server",
    "create_app": "app",
    "running": "server",
    "token_counter": "base_models",
    "trace": "server",
    "without_paths": "server",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"O módulo {__name__} não tem {name!r}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
