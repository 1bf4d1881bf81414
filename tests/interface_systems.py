"""Sistemas para os testes da página: um LLaMA minúsculo de verdade e roteiros que entram pelo mesmo caminho público."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Event

from finetune_helpers.interface.systems import System, Write
from finetune_helpers.prompts import Question

ROOT = Path(__file__).parents[1]
SCRIPT = "<script>window.invadiu = true</script><img src=x onerror='window.invadiu = true'>"
Deliver = Callable[[str], None]


def published(folder: Path) -> Path:
    """Cópia da rodada do repositório, sem pesos, e dos dados dela; devolve a pasta da rodada."""
    for kind in ("dados", "resultados"):
        shutil.copytree(ROOT / kind / "publicada", folder / kind / "publicada")
    return folder / "resultados" / "publicada"


def empty_run(folder: Path) -> Path:
    """A pasta de uma rodada sem nada."""
    run = folder / "resultados" / "vazia"
    run.mkdir(parents=True)
    return run


def script(name: str, write: Write, turn=None) -> System:
    """Um sistema que responde com ``write``."""
    return System(name, f"{name}@1", "roteiro", write=write, turn=turn or nullcontext())


def echo(asked: Question, max_tokens: int, deliver: Deliver, stop: Event) -> None:
    """Repete a pergunta."""
    deliver(asked.input or asked.instruction)


def hostile(asked: Question, max_tokens: int, deliver: Deliver, stop: Event) -> None:
    """Responde com marcas que um navegador executaria."""
    deliver(SCRIPT)


def dying(asked: Question, max_tokens: int, deliver: Deliver, stop: Event) -> None:
    """Morre no meio da resposta, com um caminho na mensagem."""
    deliver("The beginning of ")
    raise RuntimeError(f"CUDA out of memory in {ROOT}/segredo.py")


def patient(asked: Question, max_tokens: int, deliver: Deliver, stop: Event) -> None:
    """Escreve até que a parem, por no máximo dez minutos."""
    for number in range(6000):
        deliver(f"{number} ")
        if stop.wait(0.1):
            return
