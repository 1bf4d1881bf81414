"""Quanto custa treinar e responder, com a data e a fonte de cada preço, antes de gastar."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import prices
from ..errors import InputError
from ..portuguese import counted, date, number, plain, usd
from . import data
from .providers import PROVIDERS, Provider


@dataclass(frozen=True)
class Estimate:
    """Orçamento de um treino e das respostas, em dólares; None onde não há preço conhecido."""

    model: str
    examples: int
    n_epochs: int
    training_tokens: int
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

    def __str__(self) -> str:
        return "\n".join(
            [
                f"Treino de {self.model}: {self.examples} exemplos × {counted(self.n_epochs, 'época')} = "
                f"{number(self.training_tokens)} tokens cobrados → {usd(self.training_usd)}",
                f"Respostas: {self.questions} perguntas ao modelo base e ao ajustado, até "
                f"{number(self.tokens_in)} tokens de "
                f"entrada e {number(self.tokens_out)} de saída em cada um → {usd(self.answering_usd)}",
                f"Total: {usd(self.total_usd)} · {self.source}",
            ]
        )


def estimate(
    path: Path | str,
    model: str,
    n_epochs: int | str = "auto",
    *,
    provider: Provider | None = None,
    questions: int = 0,
    answer_tokens: int = 256,
    own_prices: dict[str, float] | None = None,
    batch: bool = False,
) -> Estimate:
    """Custo em dólares de treinar ``model`` com o arquivo ``path`` e de responder a ``questions`` perguntas duas vezes
    (base e ajustado), cada resposta com até ``answer_tokens`` tokens.

    ``own_prices`` (``train``, ``input``, ``output``) são dólares por 1M tokens de provedores fora de ``precos.csv``.
    InputError se o arquivo não serve.
    """
    examples = data.rows(path)
    counts = [min(count, data.MAX_EXAMPLE_TOKENS) for count in data.example_tokens(examples)]
    epochs = data.default_epochs(len(examples)) if n_epochs == "auto" else int(n_epochs)
    asked = [row | {"messages": row["messages"][:-1]} for row in examples]
    tokens_in = round(questions * sum(data.example_tokens(asked)) / len(examples))
    chosen = provider or _provider_of(model)
    billed, answered = epochs * sum(counts), (tokens_in, questions * answer_tokens)
    training, answering, source = _costs(chosen, model, billed, answered, batch, own_prices)
    return Estimate(model, len(examples), epochs, billed, questions, *answered, training, answering, source)


def check_budget(estimate: Estimate, provider: Provider, budget_usd: float) -> None:
    """InputError se a estimativa de um provedor pago passa de ``budget_usd`` (ou se o preço é desconhecido)."""
    if not provider.paid:
        return
    if budget_usd <= 0:
        raise InputError(f"ORCAMENTO_USD é {plain(budget_usd)}: nada foi enviado. Para pagar, aumente-o.\n{estimate}")
    if estimate.total_usd is None:
        raise InputError(
            f"Não há preço de {estimate.model} em {provider.name}: nada foi enviado. Confira a página do provedor e "
            f'informe own_prices={{"train": …, "input": …, "output": …}}, em dólares por 1M tokens.'
        )
    if estimate.total_usd > budget_usd:
        raise InputError(
            f"A estimativa ({usd(estimate.total_usd)}) passa de ORCAMENTO_USD = {plain(budget_usd)}: nada foi enviado. "
            f"Aumente o orçamento, diminua as épocas ou use menos exemplos.\n{estimate}"
        )


def answering_cost(rows: Iterable[dict], sku: str, *, tuned: bool, batch: bool = False) -> float:
    """Dólares gastos com as respostas em ``rows`` (``tokens_in`` e ``tokens_out`` contados pela API).

    InputError se o preço não está em ``precos.csv``.
    """
    given = [(row["tokens_in"], row["tokens_out"]) for row in rows]
    return _answering(sku, sum(i for i, _ in given), sum(o for _, o in given), tuned) * (0.5 if batch else 1.0)


def _answering(sku: str, tokens_in: int, tokens_out: int, tuned: bool) -> float:
    prefix = "tuned_" if tuned else ""
    price_in, price_out = prices.find(sku, f"{prefix}input").usd, prices.find(sku, f"{prefix}output").usd
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


def _costs(
    chosen: Provider, model: str, billed: int, answered: tuple[int, int], batch: bool, own: dict[str, float] | None
) -> tuple[float | None, float | None, str]:
    if not chosen.paid:
        return 0.0, 0.0, "sem custo: treina na sua máquina (energia e hora de GPU não contadas)"
    if own:
        return (*_own_costs(billed, answered, own), "preços informados por você")
    known = chosen.tunable(model)
    try:
        price = prices.find(known.price_sku if known else "", "train")
        both = [_answering(price.sku, *answered, tuned) for tuned in (True, False)] if answered[0] else [0.0]
    except InputError:
        return None, None, "preço desconhecido"
    source = f"preços de {date(price.effective_from)}, conferidos em {date(price.checked_on)}: {price.source_url}"
    return billed * price.usd / 1e6, sum(both) * (0.5 if batch else 1.0), source


def _own_costs(billed: int, answered: tuple[int, int], own: dict[str, float]) -> tuple[float | None, float | None]:
    training = billed * own["train"] / 1e6 if "train" in own else None
    if not answered[0]:
        return training, 0.0
    if not {"input", "output"} <= own.keys():
        return training, None
    return training, 2 * (answered[0] * own["input"] + answered[1] * own["output"]) / 1e6


def _provider_of(model: str) -> Provider:
    paid = [known for known in PROVIDERS.values() if known.paid and known.tunable(model)]
    free = [known for known in PROVIDERS.values() if not known.paid and known.tunable(model)]
    return (free or paid or [PROVIDERS["openai"]])[0]
