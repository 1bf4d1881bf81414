"""O tempo e o custo previstos de um treino pela API, antes de falar com ela."""

from pathlib import Path

from ..estimates import SHOWN, Forecast, phase
from ..portuguese import usd
from ..records import read_json
from .budget import estimate
from .providers import provider


def forecast(
    data: Path,
    provider_name: str,
    model: str = "",
    n_epochs: int | str = "auto",
    *,
    questions: int,
    answer_tokens: int,
    examples: bool = False,
    batch: bool = False,
) -> Forecast:
    """Previsão do caderno 03 com os dados de ``data``: treinar e responder a ``questions`` perguntas, antes e depois;
    ``examples`` conta também o tempo das respostas com três exemplos.

    InputError se o provedor não existe ou se o arquivo de treino não serve.
    """
    chosen = provider(provider_name)
    wanted = model or chosen.default_model
    file = data / "gpt" / "treino.jsonl"
    expected = estimate(
        file, wanted, n_epochs, provider=chosen, questions=questions, answer_tokens=answer_tokens, batch=batch
    )
    items = read_json(data / "comparacao" / "comparacao.json")["itens"]
    # Os ritmos locais são do modelo pequeno; os do serviço, do que a rodada original treinou.
    machine = "" if chosen.name == "local" and wanted != chosen.default_model else chosen.name
    own = chosen.name == "local"
    answered = {"responder": 2 * questions * answer_tokens, "medir a perda": 2 * items if own else 0}
    phases = [
        phase("carregar", machine, {"carregar": 1 if own else 0}),
        phase("treinar", machine, {"treinar": expected.training_tokens}),
        phase("avaliar", machine, answered),
    ]
    if examples:
        phases.append(phase(SHOWN, machine, {"responder com exemplos": items * answer_tokens}))
    return Forecast(f"{chosen.name}, {wanted}", tuple(phases), f"{usd(expected.total_usd)} · {expected.source}")
