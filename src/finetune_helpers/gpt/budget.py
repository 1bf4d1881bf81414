"""Antes de enviar: quanto custa treinar e responder, se a conta ainda treina e até quando o modelo responde."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from re import findall
from typing import TYPE_CHECKING

from .. import portuguese, prices
from ..errors import InputError
from ..portuguese import counted, number, plain, usd
from . import validation
from .providers import O200K, PROVIDERS, Provider

if TYPE_CHECKING:
    from openai import OpenAI

# O mesmo texto em outro vocabulário e outro formato de conversa: LLaMA 3 +1 %, SmolLM2 +4 % na amostra do projeto.
MARGIN = 0.15


@dataclass(frozen=True)
class Terms:
    """O que entra na conta de um treino e até onde ela pode ir.

    ``own_prices``: dólares por 1M de tokens de treino, entrada e saída, de um provedor fora de ``precos.csv``, como
    ``"0,40 0,02 0,06"``. ``token_counter``: tokens cobrados por linha ``{"messages": …}``, se o tokenizador é outro.
    ``again`` aceita pagar outro treino no lugar de um que falhou ou foi cancelado.
    """

    budget_usd: float = 0.0
    questions: int = 0
    answer_tokens: int = 256
    own_prices: str = ""
    token_counter: Callable[[list[dict]], list[int]] | None = None
    again: bool = False


@dataclass(frozen=True)
class Estimate:
    """Orçamento de um treino e das respostas, em dólares; None onde não há preço conhecido.

    ``exact`` diz se os tokens de treino foram contados com o tokenizador que é cobrado.
    """

    provider: str
    model: str
    examples: int
    n_epochs: int
    training_tokens: int
    exact: bool
    questions: int
    tokens_in: int
    tokens_out: int
    training_usd: float | None
    answering_usd: float | None
    source: str

    @property
    def total_usd(self) -> float | None:
        """Treino mais respostas; None se falta um dos preços."""
        if self.training_usd is None or self.answering_usd is None:
            return None
        return self.training_usd + self.answering_usd

    @property
    def most_usd(self) -> float | None:
        """O total com a margem de uma contagem que não é exata: o que se compara com o teto."""
        return self.total_usd if self.exact or not self.total_usd else self.total_usd * (1 + MARGIN)

    @property
    def work(self) -> tuple[str, float]:
        """A máquina e as unidades com que se prevê o tempo: tokens de treino mais os das respostas pedidas."""
        usual = self.provider != "local" or self.model == PROVIDERS["local"].default_model
        machine = self.provider if usual else f"{self.provider} {self.model}"
        return machine, self.training_tokens + 2 * self.tokens_out

    @property
    def cost(self) -> str:
        """O custo numa linha, com a data e a fonte dos preços."""
        if not self.total_usd:  # sem cobrança, ou preço desconhecido
            return self.source
        return f"{'' if self.exact else 'cerca de '}{usd(self.total_usd)} · {self.source}"

    def __str__(self) -> str:
        tokens = f"{number(self.training_tokens)} tokens cobrados"
        if not self.exact:
            tokens = f"cerca de {tokens} (contados pelo {O200K}; margem de {number(100 * MARGIN)} %)"
        training, answering = (
            "sem cobrança" if amount == 0 else usd(amount) for amount in (self.training_usd, self.answering_usd)
        )
        return (
            f"Treino de {self.model}: {counted(self.examples, 'exemplo')} × {counted(self.n_epochs, 'época')} = "
            f"{tokens} · {training}\n"
            f"Respostas: {counted(self.questions, 'pergunta')} ao modelo base e ao ajustado: em cada um, cerca de "
            f"{number(self.tokens_in)} tokens de entrada e até {number(self.tokens_out)} de saída · {answering}\n"
            f"Total: {self.cost}"
        )


def estimate(
    path: Path | str,
    model: str,
    n_epochs: int | str = "auto",
    *,
    provider: Provider | None = None,
    terms: Terms | None = None,
) -> Estimate:
    """Custo em dólares de treinar ``model`` com o arquivo ``path`` e de responder a ``terms.questions`` perguntas duas
    vezes (base e ajustado), cada resposta com até ``terms.answer_tokens`` tokens.

    InputError se o arquivo não serve.
    """
    terms = terms or Terms()
    # Sem provedor, o primeiro que ajusta o modelo: a máquina própria vem antes dos pagos.
    chosen = provider or next((known for known in PROVIDERS.values() if known.tunable(model)), PROVIDERS["openai"])
    validation.check(path)
    examples = validation.read_rows(path)
    if terms.token_counter:
        counts = terms.token_counter(examples)
    else:
        counts = [min(count, validation.MAX_EXAMPLE_TOKENS) for count in validation.example_tokens(examples)]
    epochs = validation.default_epochs(len(examples)) if n_epochs == "auto" else int(n_epochs)
    prompts = [row | {"messages": row["messages"][:-1]} for row in examples]
    training_tokens = epochs * sum(counts)
    tokens_in = round(terms.questions * sum(validation.example_tokens(prompts)) / len(examples))
    tokens_out = terms.questions * terms.answer_tokens
    rates, source = _rates(chosen, model, terms.own_prices)
    known = chosen.tunable(model)
    return Estimate(
        provider=chosen.name,
        model=model,
        examples=len(examples),
        n_epochs=epochs,
        training_tokens=training_tokens,
        exact=bool(terms.token_counter or (known and known.tokenizer == O200K)),
        questions=terms.questions,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        training_usd=rates and training_tokens * rates[0] / 1e6,
        answering_usd=rates and (tokens_in * rates[1] + tokens_out * rates[2]) / 1e6,
        source=source,
    )


def _rates(chosen: Provider, model: str, own_prices: str) -> tuple[tuple[float, float, float] | None, str]:
    """Dólares por 1M de tokens de treino, de entrada e de saída (base mais ajustado), e a data e a fonte dos preços."""
    if not chosen.paid:
        return (0.0, 0.0, 0.0), "sem cobrança: treina na sua máquina (energia e hora de GPU não contadas)"
    if own_prices:
        train, price_in, price_out = _own(own_prices)
        return (train, 2 * price_in, 2 * price_out), "preços informados por você"
    known = chosen.tunable(model)
    sku = known.price_sku if known else ""
    try:
        price = prices.find(sku, "train")
        usd_in, usd_out = (
            prices.find(sku, way).usd + prices.find(sku, f"tuned_{way}").usd for way in ("input", "output")
        )
    except InputError:
        return None, "preço desconhecido"
    since, checked = portuguese.date(price.effective_from), portuguese.date(price.checked_on)
    source = f"preços em vigor desde {since}, conferidos em {checked}: {price.source_url}"
    if known and known.ends_on:
        source += f" · o modelo ajustado deixa de responder em {portuguese.date(known.ends_on)}"
    return (price.usd, usd_in, usd_out), source


def _own(text: str) -> list[float]:
    values = [float(value.replace(",", ".")) for value in findall(r"\d+(?:[.,]\d+)?", text)]
    if len(values) != 3:
        raise InputError(
            f"`own_prices` é {text!r} e se esperavam três números, os dólares por 1M de tokens de treino, entrada e "
            "saída: 0,40 0,02 0,06."
        )
    return values


def check_budget(estimate: Estimate, provider: Provider, budget_usd: float) -> None:
    """InputError se a estimativa de um provedor pago passa de ``budget_usd`` (ou se o preço é desconhecido)."""
    if not provider.paid:
        return
    if budget_usd <= 0:
        raise InputError(f"`budget_usd` é {plain(budget_usd)}: nada foi enviado. Para pagar, aumente-o.\n{estimate}")
    if estimate.most_usd is None:
        raise InputError(
            f"precos.csv não traz o preço de {estimate.model} em {provider.name}: nada foi enviado. Confira a página "
            "dele e informe em `own_prices` os dólares por 1M de tokens de treino, entrada e saída: 0,40 0,02 0,06."
        )
    if estimate.most_usd > budget_usd:
        raise InputError(
            f"A estimativa ({usd(estimate.most_usd)}) passa de `budget_usd` = {plain(budget_usd)}: nada foi enviado. "
            f"Aumente `budget_usd`, diminua `epochs` ou use menos exemplos (`n_train`).\n{estimate}"
        )


def preflight(client: "OpenAI", provider: Provider, model: str, *, today: date | None = None) -> str:
    """Se a conta pode treinar e até quando o modelo responde, numa frase: pergunta à API, sem custo, e completa com as
    datas publicadas.

    MachineError se a chave não vale ou a API não responde.
    """
    today, known = today or datetime.now(UTC).date(), provider.tunable(model)
    ends_on = _announced(client, model) or (known.ends_on if known else None)
    ends = "O modelo não tem data de fim."
    if ends_on:
        day, left = portuguese.date(ends_on), (ends_on - today).days
        ends = f"O modelo responde até {day} ({counted(left, 'dia')})."
        if left < 0:
            ends = f"O modelo deixou de responder em {day}: escolha outro."
    return f"{model}: {_can_train(client, provider, model, today)}. {ends}"


def _announced(client: "OpenAI", model: str) -> date | None:
    """A data de fim que a própria API anuncia; None se ela não anuncia ou não conhece o modelo."""
    import openai

    from .chat import explain

    try:
        served = client.with_options(max_retries=2).models.retrieve(model)
        return date.fromisoformat(str(getattr(served, "shutdown_date", None) or "")[:10])
    except (openai.NotFoundError, openai.BadRequestError, openai.PermissionDeniedError, ValueError):
        return None
    except openai.OpenAIError as error:
        raise explain(error) from None


def _can_train(client: "OpenAI", provider: Provider, model: str, today: date) -> str:
    from .chat import retrying

    known = provider.tunable(model)
    if known is None and provider.paid:
        listed, day = ", ".join(known.model for known in provider.models), portuguese.date(provider.checked_on)
        return f"sem como saber se pode treinar; não está entre os que {provider.name} ajustava em {day}: {listed}"
    until = portuguese.date(known.create_until) if known and known.create_until else ""
    if known and known.create_until and today > known.create_until:
        return f"não pode treinar; a criação de treinos acabou em {until}"
    jobs = retrying(lambda: client.fine_tuning.jobs.list(limit=1))
    if provider.name == "openai" and not jobs.data:
        return "não pode treinar; a conta nunca treinou, e a OpenAI não aceita contas novas desde 07/05/2026"
    return "pode treinar; a conta tem acesso à API de treinos" + (f" até {until}" if until else "")
