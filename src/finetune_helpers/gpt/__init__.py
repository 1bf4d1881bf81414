"""Braço GPT: valida e orça antes de pagar, treina por qualquer API compatível com a da OpenAI e responde aos itens.

Nada pesado é importado aqui: cada entrada carrega o seu módulo (e o pacote ``openai``) só quando é usada.
"""

from importlib import import_module

_HOME = {
    "PROVIDERS": "providers",
    "Provider": "providers",
    "provider": "providers",
    "client": "providers",
    "Problem": "data",
    "validate": "data",
    "training_tokens": "data",
    "Estimate": "budget",
    "estimate": "budget",
    "answering_cost": "budget",
    "check_budget": "budget",
    "Preflight": "account",
    "preflight": "account",
    "find_or_create": "job",
    "cancel": "job",
    "follow": "following",
    "answerer": "chat",
    "batch_answerer": "batch",
    "checkpoints": "results",
    "training_report": "results",
    "forecast": "forecasts",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"O módulo {__name__} não tem {name!r}.")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
