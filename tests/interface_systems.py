"""Sistemas para os testes da página: um LLaMA minúsculo de verdade e roteiros que entram pela mesma porta pública."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from finetune_helpers.interface.systems import System, Systems
from finetune_helpers.interface.turns import Turn
from finetune_helpers.prompts import Question

ROOT = Path(__file__).parents[1]
SCRIPT = "<script>window.invadiu = true</script><img src=x onerror='window.invadiu = true'>"


def published(folder: Path) -> Path:
    """Cópia da rodada do repositório, sem pesos, e dos dados dela; devolve a pasta da rodada."""
    for kind in ("dados", "resultados"):
        shutil.copytree(ROOT / kind / "publicada", folder / kind / "publicada")
    return folder / "resultados" / "publicada"


def script(name: str, stream: Callable, turn: Turn | None = None) -> System:
    """Um sistema que responde com ``stream``."""
    return System(name, f"Sistema {name}", "roteiro", stream=stream, turn=turn or Turn())


def echo(asked: Question, max_tokens: int, cancelled: Event) -> Iterator[str]:
    """Repete a pergunta."""
    yield asked.input or asked.instruction


def hostile(asked: Question, max_tokens: int, cancelled: Event) -> Iterator[str]:
    """Responde com marcas que um navegador executaria."""
    yield SCRIPT


def dying(asked: Question, max_tokens: int, cancelled: Event) -> Iterator[str]:
    """Morre no meio da resposta, com um caminho na mensagem."""
    yield "The beginning of "
    raise RuntimeError(f"CUDA out of memory in {ROOT}/segredo.py")


def patient(asked: Question, max_tokens: int, cancelled: Event) -> Iterator[str]:
    """Escreve até que a parem, por no máximo um minuto."""
    for number in range(600):
        if cancelled.is_set():
            return
        yield f"{number} "
        time.sleep(0.1)


def together(*systems: System) -> Systems:
    """Os sistemas de uma página."""
    return Systems(systems)
