"""A linha inteira, como `make demo` a executa, com poucas linhas e poucos passos; e as mensagens de quem erra."""

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).parents[1]
SHORT = {
    "N_TREINO": 17,
    "N_TESTE": 5,
    "MAX_PASSOS": 3,
    "MOTOR": "unsloth",
    "TOKENS_RESPOSTA": 12,
    "FLEXIBILIDADE_POR_FAMILIA": 1,
    "SEMELHANCA": "False",
}
LONG = 15  # segundos: o dobro do que a célula mais longa sem barra leva numa máquina ocupada


def _run(folder: Path, *arguments: str, parameters: dict | None = None) -> subprocess.CompletedProcess:
    given = [part for name, value in (parameters or {}).items() for part in ("-p", name, str(value))]
    command = [sys.executable, "colab/executar.py", "--pasta", str(folder), *arguments, *given]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


def _hashes(folder: Path) -> dict[str, str]:
    kept = [*folder.glob("*/treino.json"), *folder.glob("*/respostas.jsonl"), *folder.glob("*/adaptador/*.safetensors")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def _silent(folder: Path) -> list[str]:
    """As células demoradas dos cadernos executados que não mostraram nenhuma barra de progresso."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            seconds = cell.metadata.get("papermill", {}).get("duration") or 0
            shown = json.dumps(cell.get("outputs", []))
            if seconds > LONG and not re.search(r"jupyter\.widget-view|<progress|%\|", shown):
                found.append(f"{path.stem}, {seconds:.0f} s: {cell.source.splitlines()[0]}")
    return found


def test_a_long_cell_without_a_bar_is_seen(tmp_path):
    quiet, shown = nbformat.v4.new_code_cell("dormir()"), nbformat.v4.new_code_cell("treinar()")
    shown.outputs = [nbformat.v4.new_output("stream", name="stderr", text="treino:  40%|####      | 2/5")]
    for cell in (quiet, shown):
        cell.metadata["papermill"] = {"duration": LONG + 1}
    nbformat.write(nbformat.v4.new_notebook(cells=[quiet, shown]), tmp_path / "02_x.ipynb")
    assert _silent(tmp_path) == [f"02_x, {LONG + 1} s: dormir()"]


@pytest.mark.treino
def test_whole_pipeline_runs_and_running_it_again_changes_nothing(tmp_path):
    first = _run(tmp_path, parameters=SHORT)
    assert first.returncode == 0, first.stderr[-3000:]
    run = tmp_path / "resultados" / "demonstracao"
    assert (run / "comparacao.xlsx").stat().st_size > 10_000
    assert "Planilha:" in first.stdout and "GPT, ajustado" in first.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"dados", "resultados", "imagens"}
    assert _silent(run / "cadernos") == []
    before = _hashes(run)
    assert len(before) == 5
    second = _run(tmp_path, parameters=SHORT)
    assert second.returncode == 0, second.stderr[-3000:]
    assert _hashes(run) == before
    third = _run(tmp_path, "--cadernos", "02_treino_llama3", parameters=SHORT | {"MAX_PASSOS": 4})
    assert third.returncode == 1 and "MAX_PASSOS: era 3, agora 4" in third.stderr


def _rows(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SUBJECTS = ("harbours and the tides of the northern coast", "bees, hives and orchards", "the clocks of a mountain town")
GOOD = "\n".join(
    json.dumps({"title": f"A Long Enough Title About {subject}", "content": f"The author tells of {subject}. " * 20})
    for subject in SUBJECTS
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "não"),
        ("", "vazi"),
        (GOOD + "\nisto não é JSON", "linha 4"),
        ('{"nome": "x", "texto": "y"}', "title"),
        ('{"title": "curto", "content": "curto"}', "titulo_curto"),
        (GOOD, "n_train=2"),
    ],
    ids=["fonte desconhecida", "arquivo vazio", "linha que não é JSON", "outras chaves", "nada sobra", "poucas linhas"],
)
def test_bad_source_ends_in_one_message_and_leaves_nothing_half_written(tmp_path, content, message):
    source = tmp_path / "fonte.jsonl"
    if content is not None:
        source.write_text(content + "\n" if content else "", encoding="utf-8")
    result = _run(tmp_path, "--fonte", str(source), "--cadernos", "01_curadoria")
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not list((tmp_path / "dados").rglob("*")) if (tmp_path / "dados").exists() else True


def test_a_notebook_whose_process_is_killed_ends_in_one_message(tmp_path):
    command = [sys.executable, "colab/executar.py", "--pasta", str(tmp_path), "--cadernos", "01_curadoria"]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    _kill_the_kernel_of(psutil.Process(running.pid))
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 1
    assert "foi morto" in said and "Traceback" not in said


def _kill_the_kernel_of(process: psutil.Process) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for child in process.children():
            if "ipykernel_launcher" in child.cmdline() and child.cpu_times().user > 1:
                return child.kill()
        time.sleep(0.05)
    raise AssertionError("o caderno não começou")
