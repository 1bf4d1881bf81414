"""Um ensaio num processo só dele: ``python -m finetune_helpers.training.trial PASTA``.

Lê ``pedido.json``, escreve a perda na validação em ``curva.jsonl`` enquanto treina e, por último, ``resultado.json``.
Os únicos dados que abre são as linhas de treino. Quando a entrada padrão fecha, quem pediu o ensaio morreu, e ele sai.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .. import prompts
from ..errors import FinetuneError
from ..records import read_json, read_jsonl, write_json
from . import add_adapter, guards, load, split_validation, trainer
from .profiles import Profile
from .resume import training_rows

REQUEST, CURVE, RESULT, LOG = "pedido.json", "curva.jsonl", "resultado.json", "registro.txt"


def main() -> int:
    """Treina o ensaio da pasta dada na linha de comando; devolve 1, com uma só mensagem, se não puder."""
    folder = Path(sys.argv[1])
    _leave_with_parent()
    try:
        write_json(folder / RESULT, train(read_json(folder / REQUEST), folder))
    except FinetuneError as error:
        return _refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        return _refuse("a memória não bastou para este ensaio.")
    return 0


def _refuse(reason: str) -> int:
    print(f"Erro: {reason}", file=sys.stderr)
    return 1


def _leave_with_parent() -> None:
    def listen() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


def train(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Treina o perfil pedido em ``rows`` linhas e devolve segundos (``train``), passos e picos de memória (GB).

    As linhas são as primeiras na ordem da identidade: um ensaio com menos delas usa parte das mesmas.
    """
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in request["profile"].items()
    }
    profile = Profile(**values)
    examples = [prompts.from_alpaca(row) for row in read_jsonl(request["data"])]
    train, validation = split_validation(examples)
    train = sorted(train, key=lambda example: example.item_id)[: request["rows"]]
    model, tokenizer = load(profile)
    model = add_adapter(model, profile)
    # Só aqui: o Unsloth, que o carregamento importa, precisa vir antes do transformers.
    from . import measures

    points = measures.HeldoutPoints(folder / CURVE, request["evaluations"])
    rows = training_rows((train, validation))
    fitting = trainer(model, tokenizer, profile, rows, folder / "pontos", callbacks=[points])
    print(guards.check(fitting, tokenizer, profile), flush=True)
    started = time.perf_counter()
    fitting.train()
    return {
        "train_seconds": round(time.perf_counter() - started, 2),
        "steps": fitting.state.global_step,
        "peak_gpu_gb": measures.peak_gpu_gb(),
        "peak_rss_gb": measures.peak_rss_gb(),
    }


if __name__ == "__main__":
    sys.exit(main())
