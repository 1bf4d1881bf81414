"""Quem pede os ensaios: começa o processo, acompanha a curva, encerra o que não compensa e anota o que houve."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..records import append_jsonl, drop_truncated_tail, read_json, read_jsonl, write_json
from .profiles import Profile
from .trial import CURVE, LOG, REQUEST, RESULT

ROWS, FOLDERS = "ensaios.jsonl", "ensaios"
COMPLETE, PRUNED, FAILED, INTERRUPTED = "complete", "pruned", "failed", "interrupted"
POLL = 0.2
Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """Um ensaio a fazer: o que ele muda no perfil e em quantas linhas de treino; ``of`` é o ensaio de que parte."""

    name: str
    kind: str
    changes: dict[str, Any]
    rows: int
    of: str = ""


def read(folder: Path) -> list[Row]:
    """Os ensaios já anotados; antes, fecha os que uma queda deixou pela metade, para que não contem duas vezes."""
    path = folder / ROWS
    drop_truncated_tail(path)
    rows = read_jsonl(path) if path.is_file() else []
    known = {(row["trial"], row["state"] == INTERRUPTED) for row in rows}
    for left in sorted((folder / FOLDERS).glob("*")):
        if (left.name, False) in known:
            _clean(left, rows)
        elif (left / REQUEST).is_file():
            rows.append(_note(folder, left, INTERRUPTED, "a sessão caiu durante o ensaio", _elapsed(left)))
        else:
            shutil.rmtree(left)
    return rows


def run(
    request: Request,
    folder: Path,
    data: Path,
    profile: Profile,
    *,
    evaluations: int,
    seconds: float,
    stop: Callable[[int, float], bool] = lambda step, loss: False,
) -> Row:
    """Faz o ensaio num processo próprio, por até ``seconds``, e devolve a linha que foi anotada em ``ensaios.jsonl``.

    ``stop(passo, perda)`` é chamada a cada medida da validação e diz se o ensaio já pode ser podado. Um ensaio que
    falha (memória, tempo, perda que explode) vira uma linha com o motivo, e não um erro.
    """
    own = folder / FOLDERS / request.name
    asked = asdict(request) | {"evaluations": evaluations, "data": str(data)}
    asked["profile"] = asdict(replace(profile, **_fields(request.changes)))
    write_json(own / REQUEST, asked)
    started = time.monotonic()
    state, reason = _follow(own, profile, started + seconds, stop)
    return _note(folder, own, state, reason, time.monotonic() - started)


def _fields(changes: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}


def _follow(own: Path, profile: Profile, deadline: float, stop: Callable[[int, float], bool]) -> tuple[str, str]:
    process, seen = _start(own, profile), 0
    try:
        while True:
            ended = process.poll() is not None
            for point in points(own)[seen:]:
                seen += 1
                if not math.isfinite(point["loss"]):
                    return FAILED, "a perda deixou de ser um número: taxa de aprendizado alta demais"
                if stop(point["step"], point["loss"]) and not ended:
                    return PRUNED, "pior que a mediana dos ensaios no mesmo passo"
            if ended:
                return (COMPLETE, "") if (own / RESULT).is_file() else (FAILED, _reason(process.returncode, own / LOG))
            if time.monotonic() > deadline:
                return FAILED, "passou do tempo que restava no orçamento"
            time.sleep(POLL)
    finally:
        _end(process)


def _start(own: Path, profile: Profile) -> "subprocess.Popen[bytes]":
    # Um perfil de CPU não pode ocupar a GPU que a máquina tenha.
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if profile.device == "cpu" else {}
    command = [sys.executable, "-m", "finetune_helpers.training.trial", str(own)]
    with open(own / LOG, "wb") as log:
        return subprocess.Popen(
            command,
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


def points(own: Path) -> list[Row]:
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


def _elapsed(own: Path) -> float:
    """Segundos entre o pedido e o último sinal de um ensaio que ninguém viu terminar."""
    return max(path.stat().st_mtime for path in own.iterdir()) - (own / REQUEST).stat().st_mtime


def _note(folder: Path, own: Path, state: str, reason: str, seconds: float) -> Row:
    asked, curve = read_json(own / REQUEST), [point for point in points(own) if math.isfinite(point["loss"])]
    result = read_json(own / RESULT) if (own / RESULT).is_file() else {}
    row = {
        "trial": asked["name"],
        "kind": asked["kind"],
        "of": asked["of"],
        "state": state,
        "reason": reason,
        "changes": asked["changes"],
        "rows": asked["rows"],
        "curve": curve,
        "best": min(curve, key=lambda point: point["loss"]) if state in (COMPLETE, PRUNED) and curve else None,
        "seconds": round(seconds, 2),
        **result,
    }
    append_jsonl(folder / ROWS, [row])
    _clean(own, [row])
    return row


def _clean(own: Path, rows: list[Row]) -> None:
    """Tira a pasta do ensaio; a de um que falhou fica, com o registro do que ele disse."""
    if any(row["trial"] == own.name and row["state"] == FAILED for row in rows):
        shutil.rmtree(own / "pontos", ignore_errors=True)
    else:
        shutil.rmtree(own)
