"""Treino de um GPT: valida e orça antes de pagar, treina por qualquer API compatível com a da OpenAI e responde.

Nada pesado é importado aqui: cada entrada carrega o seu módulo (e o pacote ``openai``) só quando é usada.
"""

from importlib import import_module

_MODULES = {
    "providers": ("PROVIDERS", "Provider", "provider", "client"),
    "validation": ("Problem", "validate"),
    "budget": ("Estimate", "Terms", "estimate", "check_budget", "preflight"),
    "job": ("Request", "find_or_create", "follow", "cancel"),
    "chat": ("answerer",),
    "results": ("training_report", "finish", "learned", "took"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"O módulo {__name__} não tem {name!r}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
