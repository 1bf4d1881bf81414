"""Quem ainda faz ajuste fino: um valor por provedor, todos pelo pacote ``openai``."""

import os
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from .. import prices
from ..errors import InputError, MachineError

if TYPE_CHECKING:
    from openai import OpenAI

LOOPBACK = ("127.0.0.1", "localhost", "::1")
O200K = "o200k_base"


@dataclass(frozen=True)
class Tunable:
    """Modelo que aceita ajuste fino: o último dia em que se criam treinos e o nome dele em ``precos.csv``.

    ``tokenizer`` diz com que se contam os tokens que ele cobra (vazio: não publicado). ``answers_until`` só existe onde
    o provedor mantém os ajustados por outro prazo que o do modelo.
    """

    model: str
    create_until: date | None = None
    answers_until: date | None = None
    price_sku: str = ""
    tokenizer: str = ""

    @property
    def ends_on(self) -> date | None:
        """O dia em que o modelo ajustado deixa de responder; None se não há data publicada."""
        published = prices.ends_on(self.price_sku)
        return self.answers_until or (date.fromisoformat(published) if published else None)


@dataclass(frozen=True)
class Provider:
    """O que muda de um provedor para outro; o resto da trilha GPT é igual em todos."""

    name: str
    base_url: str
    key_name: str
    paid: bool
    models: tuple[Tunable, ...]
    hyperparameters_in: str = "method"  # `method` ou `hyperparameters`: nunca os dois
    bom: bool = False  # o Azure só aceita JSONL em UTF-8 com BOM
    extra_body: dict = field(default_factory=dict)
    after: str = ""  # o que falta fazer depois do treino, fora deste pacote
    timeout: float = 120.0  # segundos até desistir de um pedido
    checked_on: date = date(2026, 11, 21)

    @property
    def default_model(self) -> str:
        """Modelo usado quando quem chama não escolhe."""
        return self.models[0].model

    def tunable(self, model: str) -> Tunable | None:
        """Os dados de ``model`` neste provedor, ou None se ele não está na lista."""
        return next((known for known in self.models if known.model.casefold() == model.casefold()), None)

    def called(self, model: str) -> str:
        """O nome de ``model`` nos pedidos: o da pasta ou do arquivo .gguf, sem o caminho; vazio, o modelo padrão."""
        path = Path(model)
        if not model or self.paid or not path.exists():
            return model or self.default_model
        return path.resolve().name if path.is_dir() else path.stem

    def to_offer(self, model: str) -> tuple[str, ...]:
        """O que a API local precisa oferecer além dos modelos que já tem, para que ``model`` possa ser treinado."""
        return (model,) if model and not self.paid and not self.tunable(model) else ()


# A partir de 06/01/2027 ninguém cria treinos na OpenAI; o dia em que os modelos param está em precos.csv.
_OPENAI_CREATE, _AZURE_CREATE, _AZURE_ANSWER = date(2027, 1, 5), date(2027, 4, 14), date(2027, 10, 14)
_OPENAI = ("gpt-4o-mini-2024-07-18", "gpt-4.1-mini-2025-04-14", "gpt-4.1-2025-04-14", "gpt-4o-2024-08-06")
_AZURE = ("gpt-4.1-mini-2025-04-14", "gpt-4.1-2025-04-14")
PROVIDERS = {
    "local": Provider(
        "local",
        "",
        "LOCAL_API_KEY",
        paid=False,
        models=(Tunable("SmolLM2-135M-Instruct"), Tunable("gpt-oss-20b")),
        timeout=1800.0,  # um modelo grande numa GPU pequena leva minutos por lote
    ),
    "openai": Provider(
        "openai",
        "https://api.openai.com/v1/",
        "OPENAI_API_KEY",
        paid=True,
        models=tuple(Tunable(model, _OPENAI_CREATE, price_sku=model, tokenizer=O200K) for model in _OPENAI),
    ),
    "azure": Provider(
        "azure",
        "",  # https://RECURSO.openai.azure.com/openai/v1/
        "AZURE_OPENAI_API_KEY",
        paid=True,
        models=(
            *(Tunable(model, _AZURE_CREATE, _AZURE_ANSWER, tokenizer=O200K) for model in _AZURE),
            Tunable("gpt-oss-20b"),
        ),
        bom=True,
        extra_body={"trainingType": "GlobalStandard"},
        after="No Azure um modelo só responde depois de implantado: crie no portal uma implantação com o nome do "
        "modelo ajustado e execute de novo a célula das respostas.",
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
    """O provedor ``name``, com outro endereço se ``base_url`` vier; InputError se o nome não existir."""
    if name not in PROVIDERS:
        raise InputError(f'`provider` = "{name}" não existe. Use um destes: {", ".join(PROVIDERS)}.')
    return replace(PROVIDERS[name], base_url=base_url) if base_url else PROVIDERS[name]


def client(chosen: Provider, *, api_key: str = "") -> "OpenAI":
    """Cliente ``openai`` do provedor; sem ``api_key``, lê a variável de ambiente do provedor.

    Não faz pedido nenhum. InputError sem endereço; MachineError sem chave ou sem o pacote ``openai``.
    """
    if not chosen.base_url:
        hint = "o da API local é o que ela diz ao iniciar (`python -m local_finetune_api`)."
        if chosen.name == "azure":
            hint = "no Azure, https://RECURSO.openai.azure.com/openai/v1/, com o nome do seu recurso."
        raise InputError(f"O provedor {chosen.name} precisa de um endereço em `base_url`: {hint}")
    key = api_key or os.environ.get(chosen.key_name, "")
    if not key:
        raise MachineError(
            f"Falta a chave do provedor {chosen.name}. Salve-a com o nome {chosen.key_name} nos Secrets do Colab (a "
            "chave na barra da esquerda) ou numa variável de ambiente, e execute de novo."
        )
    try:
        from openai import OpenAI
    except ImportError:
        raise MachineError("Falta o pacote openai. Instale-o e execute de novo: `pip install openai`.") from None
    # As repetições ficam por conta deste pacote, que só repete erros conhecidos.
    return OpenAI(api_key=key, base_url=chosen.base_url, max_retries=0, timeout=chosen.timeout)
