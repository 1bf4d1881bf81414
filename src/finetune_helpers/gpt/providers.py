"""As portas ainda abertas para o ajuste fino: um valor por provedor, todos pelo pacote ``openai``."""

import os
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

from ..errors import InputError, MachineError

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass(frozen=True)
class Tunable:
    """Modelo que aceita ajuste fino: até quando se criam treinos e até quando ele responde (None = sem data)."""

    model: str
    create_until: date | None = None
    answers_until: date | None = None
    price_sku: str = ""


@dataclass(frozen=True)
class Provider:
    """O que muda de um provedor para outro; o resto do braço GPT é igual em todos."""

    name: str
    base_url: str
    key_name: str
    paid: bool
    models: tuple[Tunable, ...]
    hyperparameters_in: str = "method"  # `method` ou `hyperparameters`: nunca os dois
    bom: bool = False  # o Azure só aceita JSONL em UTF-8 com BOM
    extra_body: dict = field(default_factory=dict)
    after: str = ""  # o que falta fazer depois do treino, fora deste pacote
    checked_on: date = date(2026, 11, 21)

    @property
    def default_model(self) -> str:
        """Modelo usado quando quem chama não escolhe."""
        return self.models[0].model

    def tunable(self, model: str) -> Tunable | None:
        """Os dados de ``model`` neste provedor, ou None se ele não está na lista."""
        return next((known for known in self.models if known.model == model), None)


_LAST_JOB, _SHUTDOWN = date(2027, 1, 5), date(2027, 1, 14)  # a partir de 2027-01-06 ninguém cria treinos
_AZURE_TRAIN, _AZURE_ANSWER = date(2027, 4, 14), date(2027, 10, 14)
PROVIDERS = {
    "local": Provider(
        "local",
        "",
        "LOCAL_API_KEY",
        paid=False,
        models=(Tunable("smollm2-135m-instruct"), Tunable("gpt-oss-20b")),
    ),
    "openai": Provider(
        "openai",
        "https://api.openai.com/v1/",
        "OPENAI_API_KEY",
        paid=True,
        models=tuple(
            Tunable(model, _LAST_JOB, _SHUTDOWN, model)
            for model in (
                "gpt-4o-mini-2024-07-18",
                "gpt-4.1-mini-2025-04-14",
                "gpt-4.1-2025-04-14",
                "gpt-4o-2024-08-06",
            )
        ),
    ),
    "azure": Provider(
        "azure",
        "",  # https://RECURSO.openai.azure.com/openai/v1/
        "AZURE_OPENAI_API_KEY",
        paid=True,
        models=(
            Tunable("gpt-4.1-mini-2025-04-14", _AZURE_TRAIN, _AZURE_ANSWER),
            Tunable("gpt-4.1-2025-04-14", _AZURE_TRAIN, _AZURE_ANSWER),
            Tunable("gpt-oss-20b"),
        ),
        bom=True,
        extra_body={"trainingType": "GlobalStandard"},
        after="No Azure o modelo só responde depois de implantado: crie a implantação e use o nome dela como modelo.",
    ),
    "nebius": Provider(
        "nebius",
        "https://api.tokenfactory.nebius.com/v1/",
        "NEBIUS_API_KEY",
        paid=True,
        models=(Tunable("meta-llama/Llama-3.1-8B-Instruct"), Tunable("meta-llama/Llama-3.3-70B-Instruct")),
        hyperparameters_in="hyperparameters",
    ),
}


def provider(name: str, *, base_url: str = "") -> Provider:
    """O provedor ``name`` ("local", "openai", "azure" ou "nebius"), com outro endereço se ``base_url`` vier.

    InputError se o nome não existir.
    """
    if name not in PROVIDERS:
        raise InputError(f'PROVEDOR = "{name}" não existe. Use um destes: {", ".join(PROVIDERS)}.')
    return replace(PROVIDERS[name], base_url=base_url) if base_url else PROVIDERS[name]


def client(chosen: Provider, *, api_key: str = "", timeout: float = 120.0) -> "OpenAI":
    """Cliente ``openai`` do provedor; sem ``api_key``, lê a variável de ambiente do provedor.

    Não faz pedido nenhum. As repetições ficam por conta deste pacote, que só repete erros conhecidos. InputError sem
    endereço; MachineError sem chave ou sem o pacote ``openai``.
    """
    if not chosen.base_url:
        raise InputError(f"O provedor {chosen.name} precisa de um endereço: {_address_hint(chosen)}")
    key = api_key or os.environ.get(chosen.key_name, "")
    if not key:
        raise MachineError(
            f"Falta a chave do provedor {chosen.name}. Guarde-a na variável de ambiente (ou no segredo do Colab) "
            f"{chosen.key_name} e execute de novo."
        )
    try:
        from openai import OpenAI
    except ImportError:
        raise MachineError("Falta o pacote openai. Instale os pacotes de requirements/, como diz o README.") from None
    return OpenAI(api_key=key, base_url=chosen.base_url, max_retries=0, timeout=timeout)


def _address_hint(chosen: Provider) -> str:
    if chosen.name == "azure":
        return 'use base_url="https://RECURSO.openai.azure.com/openai/v1/", com o nome do seu recurso.'
    return "inicie a API local com local_api.running(pasta) e passe o base_url dela."
