"""Antes de enviar: a conta ainda pode treinar? até quando o modelo responde?"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import openai

from .. import portuguese
from .failures import explain, retrying
from .providers import Provider

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass(frozen=True)
class Preflight:
    """Se a conta pode treinar (None = não dá para saber), quando o modelo para de responder e quantos dias faltam."""

    model: str
    can_train: bool | None
    reason: str
    shutdown_date: date | None
    days_left: int | None

    def __str__(self) -> str:
        verdict = {True: "pode treinar", False: "não pode treinar", None: "sem como saber se pode treinar"}[
            self.can_train
        ]
        ends = (
            f"responde até {portuguese.date(self.shutdown_date)} ({self.days_left} dias)"
            if self.shutdown_date
            else "não tem data de fim"
        )
        return f"{self.model}: {verdict}; {self.reason}. O modelo {ends}."


def preflight(client: "OpenAI", provider: Provider, model: str, *, today: date | None = None) -> Preflight:
    """Pergunta à API, sem custo, se a conta treina e quando o modelo acaba; completa com as datas publicadas.

    MachineError se a chave não vale ou a API não responde.
    """
    today = today or datetime.now(UTC).date()
    known = provider.tunable(model)
    shutdown = _announced(client, model) or (known.answers_until if known else None)
    can_train, reason = _can_train(client, provider, model, today)
    return Preflight(model, can_train, reason, shutdown, (shutdown - today).days if shutdown else None)


def _can_train(client, provider: Provider, model: str, today: date) -> tuple[bool | None, str]:
    known = provider.tunable(model)
    if known is None:
        day = portuguese.date(provider.checked_on)
        listed = ", ".join(tunable.model for tunable in provider.models)
        return (
            None,
            f"o modelo não está entre os que {provider.name} ajustava em {day}: {listed}",
        )
    if known.create_until and today > known.create_until:
        return False, f"a criação de treinos acabou em {portuguese.date(known.create_until)}"
    jobs = retrying(lambda: client.fine_tuning.jobs.list(limit=1))
    if provider.name == "openai" and not jobs.data:
        return False, "a conta nunca treinou e a OpenAI não aceita contas novas desde 07/05/2026"
    until = f" até {portuguese.date(known.create_until)}" if known.create_until else ""
    return True, f"a conta tem acesso à API de treinos{until}"


def _announced(client, model: str) -> date | None:
    """A data de fim que a própria API anuncia; None se ela não anuncia ou não conhece o modelo."""
    try:
        found = client.with_options(max_retries=2).models.retrieve(model)
        return date.fromisoformat(str(getattr(found, "shutdown_date", None) or "")[:10])
    except (openai.NotFoundError, openai.BadRequestError, openai.PermissionDeniedError, ValueError):
        return None
    except openai.OpenAIError as error:
        raise explain(error) from None
