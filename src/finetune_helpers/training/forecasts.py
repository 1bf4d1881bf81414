"""O tempo e o custo previstos de um treino do LLaMA, antes de carregar o modelo."""

from pathlib import Path

from ..estimates import SHOWN, Forecast, phase, phases_cost
from ..records import read_json
from .profiles import LLAMA_3_8B, Profile


def forecast(profile: Profile, data: Path, *, questions: int, examples: bool = False) -> Forecast:
    """Previsão do caderno 02 com os dados de ``data``: carregar, treinar e responder a ``questions`` perguntas, antes e
    depois; ``examples`` conta também as respostas com três exemplos.

    InputError se o caderno 01 não terminou.
    """
    chosen = read_json(data / "llama" / "curadoria.json")["treino"]
    items = read_json(data / "comparacao" / "comparacao.json")["itens"]
    # Os ritmos são do modelo de cada perfil; de outro modelo nada se sabe.
    machine = profile.price_sku if profile.model in ("embutido", LLAMA_3_8B) else ""
    answered = {"responder": 2 * questions * profile.max_new_tokens, "medir a perda": 2 * items}
    tokens = _examples(profile, chosen["linhas"]) * chosen["tokens"] / chosen["linhas"]
    phases = [
        phase("carregar", machine, {"carregar": 1}),
        phase("treinar", machine, {"treinar": tokens}),
        phase("avaliar", machine, answered),
    ]
    if examples:
        phases.append(phase(SHOWN, machine, {"responder com exemplos": items * profile.max_new_tokens}))
    return Forecast(f"perfil {profile.name}", tuple(phases), phases_cost(phases, profile.price_sku))


def _examples(profile: Profile, rows: int) -> float:
    """Exemplos que o treino vê: as linhas menos a validação, vezes as épocas, até o limite de passos."""
    seen = profile.epochs * (rows - max(8, round(0.1 * rows)))
    return min(seen, profile.max_steps * profile.effective_batch) if profile.max_steps > 0 else seen
