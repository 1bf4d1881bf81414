"""Um ensaio num processo só dele: ``python -m finetune_helpers.training.trial PASTA``, e quem o acompanha de fora.

O ensaio lê ``pedido.json``, escreve a perda na validação em ``curva.jsonl`` e, por último, ``resultado.json``. Só abre
as linhas de treino. Quando a entrada padrão fecha, quem pediu o ensaio morreu, e ele sai.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import prompts
from ..errors import FinetuneError
from ..records import read_json, read_jsonl, write_json
from . import add_adapter, guards, load, split_validation, trainer
from .profiles import Profile
from .resume import training_rows

REQUEST, CURVE, RESULT, LOG = "pedido.json", "curva.jsonl", "resultado.json", "registro.txt"
WORSE = "pior que a mediana dos ensaios no mesmo passo"
POLL = 0.2


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


def follow(own: Path, profile: Profile, deadline: float, worse: Callable[[dict[str, Any]], bool]) -> str:
    """Acompanha o processo do ensaio até o fim; devolve por que ele não chegou lá, ou nada."""
    process, seen = _start(own, profile), 0
    try:
        while True:
            ended = process.poll() is not None
            for point in points(own)[seen:]:
                seen += 1
                if not math.isfinite(point["loss"]):
                    return "a perda deixou de ser um número: taxa de aprendizado alta demais"
                if worse(point) and not ended:
                    return WORSE
            if ended:
                return "" if (own / RESULT).is_file() else _reason(process.returncode, own / LOG)
            if time.monotonic() > deadline:
                return "passou do tempo que restava no orçamento"
            time.sleep(POLL)
    finally:
        _end(process)


def _start(own: Path, profile: Profile) -> "subprocess.Popen[bytes]":
    # Um perfil de CPU não pode ocupar a GPU que a máquina tenha.
    hidden = {"CUDA_VISIBLE_DEVICES": "", "UNSLOTH_FORCE_CPU": "1"} if profile.device == "cpu" else {}
    with open(own / LOG, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "finetune_helpers.training.trial", str(own)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | hidden,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Encerra o ensaio e tudo o que ele começou: só assim a memória da GPU volta inteira."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def points(own: Path) -> list[dict[str, Any]]:
    """As medidas da validação já escritas por inteiro."""
    path = own / CURVE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return [json.loads(line) for line in lines]


def _reason(code: int, log: Path) -> str:
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "o sistema encerrou o processo (sinal 9), quase sempre por falta de memória"
    if code < 0:
        return f"o processo caiu com o sinal {-code}"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("Erro: ")[:300] if lines else f"o processo saiu com o código {code}"


if __name__ == "__main__":
    sys.exit(main())
