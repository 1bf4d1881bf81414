"""A linha inteira, como `make demo` a executa, com um LLaMA minúsculo e poucos passos; e a mensagem de quem erra."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from fault_environment import environment

ROOT = Path(__file__).parents[1]
SHORT = {
    "N_TREINO": 17,
    "N_TESTE": 5,
    "MAX_PASSOS": 3,
    "MOTOR": "transformers",  # a API local, no 03, treina com o Unsloth
    "TOKENS_RESPOSTA": 12,
    "FLEXIBILIDADE_POR_FAMILIA": 1,
    "SEMELHANCA": "False",
}
LONG = 15  # segundos: o dobro do que a célula mais longa sem barra leva numa máquina ocupada


def _run(folder: Path, *arguments: str, parameters: dict | None = None, env=None) -> subprocess.CompletedProcess:
    options = [part for name, value in (parameters or {}).items() for part in ("-p", name, str(value))]
    command = [sys.executable, "colab/executar.py", "--pasta", str(folder), *arguments, *options]
    environment = os.environ | (env or {})
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment)


def _silent(folder: Path) -> list[str]:
    """As células demoradas dos cadernos executados que não mostraram nenhuma barra de progresso."""
    quiet = []
    for path in sorted(folder.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            seconds = cell.metadata.get("papermill", {}).get("duration") or 0
            shown = json.dumps(cell.get("outputs", []))
            if seconds > LONG and not re.search(r"jupyter\.widget-view|<progress|%\|", shown):
                quiet.append(f"{path.stem}, {seconds:.0f} s: {cell.source.splitlines()[0]}")
    return quiet


def test_a_long_cell_without_a_bar_is_seen(tmp_path):
    quiet, shown = nbformat.v4.new_code_cell("dormir()"), nbformat.v4.new_code_cell("treinar()")
    shown.outputs = [nbformat.v4.new_output("stream", name="stderr", text="treino:  40%|####      | 2/5")]
    for cell in (quiet, shown):
        cell.metadata["papermill"] = {"duration": LONG + 1}
    nbformat.write(nbformat.v4.new_notebook(cells=[quiet, shown]), tmp_path / "02_x.ipynb")
    assert _silent(tmp_path) == [f"02_x, {LONG + 1} s: dormir()"]


@pytest.mark.treino
def test_whole_pipeline_runs_and_leaves_the_workbook(tmp_path):
    result = _run(tmp_path, parameters=SHORT, env=environment(tmp_path.parent / "cache"))
    assert result.returncode == 0, result.stderr[-3000:]
    run = tmp_path / "resultados" / "demonstracao"
    assert (run / "comparacao.xlsx").stat().st_size > 10_000
    assert "comparacao.xlsx" in result.stdout and "ajustado" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"dados", "resultados", "imagens"}
    assert _silent(run / "cadernos") == []


def test_a_bad_source_ends_in_one_message_and_leaves_nothing_half_written(tmp_path):
    # As outras fontes ruins passam por curate, sem caderno (test_curation_pipeline.py); aqui, o que a pessoa vê.
    source = tmp_path / "fonte.jsonl"
    source.write_text('{"title": "curto", "content": "curto"}\nisto não é JSON\n', encoding="utf-8")
    result = _run(tmp_path, "--fonte", str(source), "--cadernos", "01_curadoria")
    assert result.returncode == 1
    assert "linha 2" in result.stderr and "Traceback" not in result.stderr and "`" not in result.stderr
    assert not list((tmp_path / "dados").rglob("*.json*"))


def test_a_notebook_whose_process_is_killed_ends_in_one_message(tmp_path):
    command = [sys.executable, "colab/executar.py", "--pasta", str(tmp_path), "--cadernos", "01_curadoria"]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    _kill_the_kernel_of(psutil.Process(running.pid))
    said = running.communicate(timeout=300)[1]
    assert running.returncode == 1
    assert "foi morto" in said and "Traceback" not in said


def _kill_the_kernel_of(process: psutil.Process) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for child in process.children():
            if "ipykernel_launcher" in child.cmdline() and child.cpu_times().user > 1:
                return child.kill()
        time.sleep(0.05)
    raise AssertionError("o caderno não começou")
