"""O LLaMA da rodada nesta máquina: um só modelo na memória, com o adaptador ligado ou desligado."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from threading import Event

from .. import prompts
from ..errors import InputError
from ..prompts import Question
from ..records import read_json
from .systems import Stream

MISSING = "Esta rodada não guarda os pesos do LLaMA ajustado. Execute o caderno 02 com esta RODADA."


def loader(folder: Path) -> tuple[Callable[[], tuple], str]:
    """Função que carrega (uma vez) modelo e tokenizador da pasta ``llama3``, e o modelo em uma frase.

    InputError se não há adaptador; RunMismatchError se ele é de outro prompt; MachineError se o modelo não cabe aqui.
    """
    from ..training import adapters, profiles

    adapter = folder / "adaptador"
    if not (adapter / "adapter_model.safetensors").is_file() or not (adapter / adapters.CARD).is_file():
        raise InputError(MISSING)
    profile = profiles.choose(
        "auto", engine=_engine(folder.parent), model=read_json(adapter / adapters.CARD)["base_model"]
    )
    adapters.check_card(adapter, profile)
    profiles.model_path(profile)
    name = Path(profile.model_name).name
    return cache(lambda: _loaded(profile, adapter)), f"{name}, {'CPU' if profile.device == 'cpu' else 'GPU'}"


def stream(load: Callable[[], tuple], tuned: bool) -> Stream:
    """Transmite a resposta do modelo ajustado ou, com o adaptador desligado, do modelo base dos mesmos pesos."""

    def pieces(asked: Question, max_tokens: int, cancelled: Event) -> Iterator[str]:
        model, tokenizer = load()
        # Só agora: o Unsloth, que o carregamento pode usar, precisa entrar antes do transformers.
        from . import streaming

        yield from streaming.pieces(model, tokenizer, prompts.alpaca_prompt(asked), max_tokens, cancelled, tuned)

    return pieces


def _engine(run: Path) -> str:
    steps = read_json(run / "rodada.json")["passos"] if (run / "rodada.json").is_file() else {}
    return steps.get("02_treino_llama3", {}).get("parametros", {}).get("MOTOR", "")


def _loaded(profile, adapter: Path) -> tuple:
    from ..training import lora

    model, tokenizer = lora.load(profile)
    if profile.device == "cpu":
        # Os mesmos valores de 4 bits, expandidos uma vez: a CPU os expandiria de novo a cada token.
        model = model.dequantize()
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(model, str(adapter))
    getattr(tuned, "for_inference", tuned.eval)()
    return tuned.eval(), tokenizer
