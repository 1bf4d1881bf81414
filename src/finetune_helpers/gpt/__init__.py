"""Treino de um GPT: valida e orça antes de pagar, treina por qualquer API compatível com a da OpenAI e responde.

Nada pesado é importado aqui: cada entrada carrega o seu módulo (e o pacote ``openai``) só quando é usada.
"""

from importlib import import_module

_HOME = {
    "PROVIDERS": "providers",
    "Provider": "providers",
    "provider": "providers",
    "client": "providers",
    "Problem": "validation",
    "validate": "validation",
    "Estimate": "budget",
    "Terms": "budget",
    "estimate": "budget",
    "check_budget": "budget",
    "preflight": "budget",
    "Request": "job",
    "find_or_create": "job",
    "follow": "job",
    "cancel": "job",
    "answerer": "chat",
    "training_report": "results",
    "finish": "results",
    "learned": "results",
    "took": "results",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"O módulo {__name__} não tem {name!r}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
