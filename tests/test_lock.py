"""A trava da rodada: um caderno por vez, dono nomeado, dono morto não prende, outra máquina só enquanto dá sinal."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from finetune_helpers import lock, runs
from finetune_helpers.errors import RunBusyError
from finetune_helpers.records import read_json

OPEN = "import sys; from finetune_helpers import runs; runs.open_run(sys.argv[1], '02_treino_llama3', {})"
HOLD = OPEN + "; print('ok', flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path):
    """Outro processo com a rodada aberta, até que o teste o encerre."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "turma")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ok\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close(), process.stdout.close()


@pytest.fixture
def run(tmp_path):
    """A pasta da rodada, devolvida no fim."""
    yield tmp_path / "turma"
    lock.leave(tmp_path / "turma")


def test_a_second_notebook_is_refused_and_the_owner_is_named(run, other, monkeypatch):
    monkeypatch.setattr(lock, "DYING", 0.5)
    with pytest.raises(RunBusyError) as caught:
        runs.open_run(run, "04_comparacao", {})
    owner = read_json(run / lock.OWNER)
    assert owner["process"] == other.pid
    assert str(caught.value) == (
        f"Outro caderno usa esta rodada: o passo 02_treino_llama3, na máquina {owner['machine']}, processo "
        f"{other.pid}, desde {owner['since']}. Espere-o terminar ou encerre o núcleo dele e execute esta célula de "
        f"novo. Se ele já não existe, apague {run / lock.MARKER}."
    )
    assert list(read_json(run / "rodada.json")["passos"]) == ["02_treino_llama3"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["SIGKILL", "SIGTERM", "fim normal"])
def test_the_lock_goes_with_its_owner(run, other, how):
    other.send_signal(how) if how else other.stdin.close()
    other.wait()
    assert (run / lock.MARKER).exists() == bool(how)
    runs.open_run(run, "04_comparacao", {})
    assert read_json(run / lock.OWNER)["process"] == os.getpid()


def test_an_owner_that_died_and_nobody_buried_has_no_lock(run, other):
    other.send_signal(signal.SIGKILL)
    while not lock._is_zombie(other.pid):
        time.sleep(0.01)
    runs.open_run(run, "04_comparacao", {})
    assert read_json(run / lock.OWNER)["process"] == os.getpid()


def test_the_same_kernel_opens_again_and_changes_step(run):
    for step in ("02_treino_llama3", "02_treino_llama3", "03_treino_gpt"):
        runs.open_run(run, step, {})
    assert read_json(run / lock.OWNER)["step"] == "03_treino_gpt"


def test_a_closed_run_is_free_and_leaves_no_file_of_the_lock(run, tmp_path):
    runs.open_run(run, "01_curadoria", {})
    runs.close_run(run)
    runs.close_run(run)
    assert [path.name for path in run.iterdir()] == ["rodada.json"]
    assert subprocess.run([sys.executable, "-c", OPEN, str(run)], capture_output=True, timeout=60).returncode == 0


def test_of_many_that_start_together_one_opens(run):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]
    time.sleep(0.1)
    results = [process.communicate(timeout=60) for process in started]
    opened = [process.returncode == 0 for process in started]
    assert any(opened) and all(
        b"RunBusyError" in error for (_, error), good in zip(results, opened, strict=True) if not good
    )


@pytest.fixture
def elsewhere(run, monkeypatch):
    """A trava de uma rodada aberta noutra máquina, que dura 3 segundos sem sinal."""
    monkeypatch.setattr(lock, "LEASE", 3.0)
    run.mkdir()
    marker = "filelock/2\npid=61\nhost=colab-7f3a\nmode=lease\ntoken=44aba0ff01aa3ee6ddc250d06c5ed3d4\nduration=3.0\n"
    (run / lock.MARKER).write_text(marker)
    lock.write_json(run / lock.OWNER, {"since": "22/11/2026 às 09:15", "step": "03_treino_gpt"})
    return run / lock.MARKER


def test_a_silent_owner_on_another_machine_loses_the_run(run, elsewhere, capsys):
    started = time.monotonic()
    runs.open_run(run, "04_comparacao", {})
    assert time.monotonic() - started >= 3
    assert capsys.readouterr().out == (
        "Outro caderno usa esta rodada: o passo 03_treino_gpt, na máquina colab-7f3a, processo 61, desde 22/11/2026 às "
        "09:15. Espero até 3 s por um sinal dele.\n"
    )
    assert read_json(run / lock.OWNER)["process"] == os.getpid()


def test_an_owner_that_gives_a_sign_keeps_the_run(run, elsewhere):
    threading.Timer(1.0, os.utime, (elsewhere,)).start()
    with pytest.raises(RunBusyError, match="colab-7f3a, processo 61"):
        runs.open_run(run, "04_comparacao", {})


def test_deleting_the_file_is_the_way_out(run, elsewhere):
    elsewhere.unlink()
    runs.open_run(run, "04_comparacao", {})


def test_who_loses_the_run_while_stopped_is_interrupted(run, monkeypatch, capsys):
    monkeypatch.setattr(lock, "LEASE", 3.0)
    runs.open_run(run, "02_treino_llama3", {})
    taken = (run / lock.MARKER).read_text().replace("token=", "token=f")
    (run / "novo").write_text(taken)
    with pytest.raises(KeyboardInterrupt):
        os.replace(run / "novo", run / lock.MARKER)
        for _ in range(200):
            time.sleep(0.05)
    assert "Feche um dos dois" in capsys.readouterr().out


def test_what_a_dead_process_left_half_written_is_swept_once(run, tmp_path):
    data = tmp_path / "dados"
    litter = [run / "llama3" / ".treino.json.61.parcial", data / "llama" / ".treino.jsonl.61.parcial"]
    for path in litter:
        path.parent.mkdir(parents=True)
        path.touch()
    runs.open_run(run, "01_curadoria", {}, output=data)
    assert not any(path.exists() for path in litter)
    litter[0].touch()  # agora é de um processo deste caderno, que ainda grava
    runs.open_run(run, "01_curadoria", {}, output=data)
    assert litter[0].exists()
