"""A rodada: um caderno por vez, os mesmos parâmetros, nomes que servem, disco e cronômetro."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import runs
from finetune_helpers.errors import InputError, MachineError, RunBusyError, RunMismatchError
from finetune_helpers.records import append_jsonl, read_json, write_json

SCALARS = st.text(max_size=8) | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
PARAMETERS = st.dictionaries(st.text(st.characters(categories=["Lu"]), min_size=1, max_size=6), SCALARS, max_size=5)


def test_opening_records_parameters_and_versions_and_of_a_path_only_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PACKAGES", ["finetune-helpers", "pacote-que-ninguem-tem"])
    given = {"N_TREINO": 56, "MODELO": str(tmp_path / "pessoa" / "Qwen2.5-0.5B")}
    run = runs.open_run(tmp_path / "resultados" / "turma-1", "01_curadoria", given)
    assert run == tmp_path / "resultados" / "turma-1"
    own, missing = metadata.version("finetune-helpers"), {"pacote-que-ninguem-tem": "não instalado"}
    assert read_json(run / "rodada.json")["passos"]["01_curadoria"] == {
        "parametros": {"N_TREINO": 56, "MODELO": "Qwen2.5-0.5B"},
        "versoes": {"python": platform.python_version(), "finetune-helpers": own} | missing,
    }


@settings(max_examples=20, deadline=None)
@given(PARAMETERS)
def test_the_same_parameters_reopen_and_change_nothing(parameters):
    with tempfile.TemporaryDirectory() as folder:
        run = runs.open_run(Path(folder) / "r", "passo", parameters)
        before = (run / "rodada.json").read_bytes()
        runs.open_run(str(run), "passo", dict(reversed(parameters.items())))
        assert (run / "rodada.json").read_bytes() == before


def test_an_address_with_a_password_is_refused_and_written_nowhere(tmp_path):
    secret = "https://" + "ana:segredo" + "@exemplo.com/linhas.jsonl"
    with pytest.raises(InputError, match="FONTE traz um endereço com usuário e senha") as caught:
        runs.open_run(tmp_path / "resultados" / "turma", "01_curadoria", {"N_TREINO": 56, "FONTE": secret})
    assert "segredo" not in str(caught.value) and list(tmp_path.iterdir()) == []
    for address in ("https://exemplo.com/a@b.jsonl", "https://exemplo.com/x?de=a@b", "amostra@2"):
        runs.refuse_credentials("FONTE", address)


def test_other_parameters_are_refused_with_the_difference(tmp_path):
    first = {"EPOCAS": 1, "MODELO": "a", "VELHO": True}
    run = runs.open_run(tmp_path / "turma-1", "02_treino", first)
    before = (run / "rodada.json").read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        runs.open_run(run, "02_treino", {"EPOCAS": 2, "MODELO": "a", "NOVO": ""})
    assert str(caught.value) == (
        "A rodada turma-1 já tem o passo 02_treino com outros parâmetros "
        "(EPOCAS: era 1, agora 2; NOVO: era None, agora ''; VELHO: era True, agora None). "
        "Volte aos de antes ou dê outro nome à rodada (`run`)."
    )
    assert (run / "rodada.json").read_bytes() == before


def test_a_machine_without_the_gpu_of_the_run_says_where_to_get_one(tmp_path):
    run = runs.open_run(tmp_path / "turma-1", "02_treino", {"PERFIL": "t4"})
    with pytest.raises(RunMismatchError, match="volte a uma como a de antes"):
        runs.open_run(run, "02_treino", {"PERFIL": "cpu"})


def test_a_step_takes_other_parameters_until_it_makes_something_and_each_step_has_its_own(tmp_path):
    run, output = tmp_path / "r", tmp_path / "r" / "llama3"
    runs.open_run(run, "03_treino_gpt", {"EPOCAS": 9})
    for epochs in (1, 2):
        runs.open_run(run, "02_treino", {"EPOCAS": epochs}, output=output)
    output.mkdir()
    for epochs in (3, 3):
        runs.open_run(run, "02_treino", {"EPOCAS": epochs}, output=output)
    (output / "respostas.jsonl").touch()
    runs.open_run(run, "02_treino", {"EPOCAS": 3}, output=output)
    with pytest.raises(RunMismatchError, match="EPOCAS: era 3, agora 2"):
        runs.open_run(run, "02_treino", {"EPOCAS": 2}, output=output)
    steps = read_json(run / "rodada.json")["passos"]
    assert {name: step["parametros"]["EPOCAS"] for name, step in steps.items()} == {"03_treino_gpt": 9, "02_treino": 3}


@pytest.mark.parametrize("name", ["", ".", "..", ".oculta", " turma", "turma ", "../fora"])
def test_a_name_that_does_not_serve_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r'não serve como nome de rodada. Use letras, números, "-" e "_"'):
        runs.open_run(tmp_path / "resultados" / name, "01", {})
    assert list(tmp_path.rglob("rodada.json")) == []


def test_a_plain_name_serves_and_a_damaged_state_is_an_instruction(tmp_path):
    for name in ("turma-1_b", "ação", "v1.0"):
        assert runs.open_run(tmp_path / name, "01", {}).name == name
    (tmp_path / "ação" / "rodada.json").write_text('{"passos": ')
    with pytest.raises(InputError, match=r"rodada\.json não é um JSON válido"):
        runs.open_run(tmp_path / "ação", "01", {})


def test_a_full_disk_says_how_much_and_what_for(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")(0, 0, 1_250_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    runs.need_disk(tmp_path, 1.25, "a cópia do modelo")
    with pytest.raises(MachineError) as caught:
        runs.need_disk(tmp_path, 2.5, "a cópia do modelo")
    assert str(caught.value) == (
        f"Disco cheio: a cópia do modelo precisa de 2,5 GB em {tmp_path} e há 1,2 GB livres. "
        "Libere espaço ou, antes de executar, use outro disco: export FINETUNE_CACHE=/outro/disco (no "
        "Colab, numa célula: %env FINETUNE_CACHE=/content/cache)."
    )


def test_the_cache_goes_where_the_variable_says_and_an_empty_one_is_no_place(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for value, expected in ((str(tmp_path / "longe"), tmp_path / "longe"), ("", tmp_path / ".cache/finetune_helpers")):
        monkeypatch.setenv("FINETUNE_CACHE", value)
        assert runs.cache_folder() == expected and expected.is_dir()


def test_the_stopwatch_adds_up_phases_even_when_one_fails(monkeypatch):
    ticks = iter([10.0, 12.5, 100.0, 101.0, 200.0, 204.0])
    monkeypatch.setattr(runs.time, "perf_counter", lambda: next(ticks))
    clock = runs.Stopwatch()
    for _ in range(2):
        with clock.phase("evaluate"):
            pass
    with pytest.raises(KeyboardInterrupt), clock.phase("export"):
        raise KeyboardInterrupt
    assert clock.seconds == {"load": 0.0, "train": 0.0, "evaluate": 3.5, "export": 4.0}


OPEN = "import sys; from finetune_helpers import runs; runs.open_run(sys.argv[1], '02_treino_llama3', {})"
HOLD = OPEN + "; print('ok', flush=True); sys.stdin.read()"


@pytest.fixture
def run(tmp_path):
    """A pasta de uma rodada, liberada no fim."""
    yield tmp_path / "resultados" / "turma"
    runs.close_run(tmp_path / "resultados" / "turma")


@pytest.fixture
def other(run):
    """Outro processo com a rodada aberta, até que o teste o encerre."""
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ok\n"
        yield process
        process.kill()


def test_a_second_notebook_is_refused_and_the_owner_is_named(run, other, monkeypatch):
    monkeypatch.setattr(runs, "DYING", 0.1)
    with pytest.raises(RunBusyError) as caught:
        runs.open_run(run, "04_comparacao", {})
    owner = read_json(run / runs.OWNER)
    assert str(caught.value) == (
        f"Outro caderno usa esta rodada: o passo 02_treino_llama3, na máquina {owner['machine']}, processo "
        f"{other.pid}, desde {owner['since']}. Espere-o terminar ou encerre o kernel dele (no Colab, Ambiente de "
        "execução → Gerenciar sessões; no Jupyter, Kernel → Shut Down Kernel) e execute esta célula de novo."
    )
    assert list(read_json(run / "rodada.json")["passos"]) == ["02_treino_llama3"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["SIGKILL", "SIGTERM", "fim normal"])
def test_the_lock_goes_with_its_owner(run, other, how):
    other.send_signal(how) if how else other.stdin.close()
    other.wait()
    assert (run / runs.OWNER).exists() == bool(how)
    runs.open_run(run, "04_comparacao", {})
    assert read_json(run / runs.OWNER)["process"] == os.getpid()


def test_the_same_kernel_changes_step_and_a_closed_run_is_free_and_leaves_no_file_of_the_lock(run):
    for step in ("02_treino_llama3", "02_treino_llama3", "03_treino_gpt"):
        runs.open_run(run, step, {})
    assert read_json(run / runs.OWNER)["step"] == "03_treino_gpt"
    runs.close_run(run)
    runs.close_run(run)
    assert [path.name for path in run.iterdir()] == ["rodada.json"]
    assert subprocess.run([sys.executable, "-c", OPEN, str(run)], capture_output=True, timeout=300).returncode == 0


def test_a_run_left_open_by_another_machine_passes_to_this_one_with_a_notice(run, capsys):
    run.mkdir(parents=True)
    gone = {"machine": "colab-7f3a", "process": 61, "since": "22/11/2026 às 09:15", "step": "03_treino_gpt"}
    write_json(run / runs.OWNER, gone)
    runs.open_run(run, "04_comparacao", {})
    assert capsys.readouterr().out == (
        "Outro caderno usa esta rodada: o passo 03_treino_gpt, na máquina colab-7f3a, processo 61, desde 22/11/2026 às "
        "09:15. A rodada passa para este: se aquele ainda executa, feche um dos dois.\n"
    )
    assert read_json(run / runs.OWNER)["process"] == os.getpid()


def test_who_lost_the_run_to_another_machine_stops_before_writing(run):
    runs.open_run(run, "02_treino_llama3", {})
    thief = read_json(run / runs.OWNER) | {"machine": "colab-7f3a", "token": "colab-7f3a:61"}
    (run / runs.OWNER).write_text(json.dumps(thief))
    with pytest.raises(RunBusyError, match=r"Outro caderno ficou com a rodada turma\. Feche um dos dois"):
        append_jsonl(run / "llama3" / "respostas.jsonl", [{"a": 1}])
    runs.close_run(run)
    assert not (run / "llama3").exists() and "colab-7f3a" in (run / runs.OWNER).read_text()


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
