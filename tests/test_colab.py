"""O módulo do Colab, com um ``google.colab`` de mentira: segredos, pasta de trabalho e conferência do kernel."""

import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import colab_set
import nbformat
import pytest

from finetune_helpers import __version__, colab
from finetune_helpers.errors import InputError, MachineError

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
WHEEL = f"finetune_helpers-{__version__}-py3-none-any.whl"


class Session:
    """Uma sessão do Colab de mentira: segredos, erro ao pedi-los e pontos de montagem."""

    def __init__(self):
        self.secrets, self.failure, self.mounted = {}, None, []


@pytest.fixture
def no_colab(monkeypatch):
    """Fora do Colab, sem as variáveis do projeto."""
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    for name in ("FINETUNE_PASTA", "CHAVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def session(monkeypatch, no_colab) -> Session:
    """Dentro do Colab."""
    fake = Session()
    module, userdata, drive = (types.ModuleType(f"google.colab{end}") for end in ("", ".userdata", ".drive"))
    userdata.SecretNotFoundError = type("SecretNotFoundError", (Exception,), {})
    userdata.NotebookAccessError = type("NotebookAccessError", (Exception,), {})

    def get(name):
        if fake.failure:
            raise getattr(userdata, fake.failure)(name)
        if name not in fake.secrets:
            raise userdata.SecretNotFoundError(name)
        return fake.secrets[name]

    userdata.get, drive.mount = get, fake.mounted.append
    module.userdata, module.drive = userdata, drive
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return fake


def test_a_key_comes_from_the_argument_then_colab_then_the_environment_and_is_never_printed(
    session, monkeypatch, capsys
):
    monkeypatch.setenv("CHAVE", "do-ambiente")
    session.secrets["CHAVE"] = "do-colab"
    assert (colab.secret("CHAVE", "do-argumento"), colab.secret("CHAVE")) == ("do-argumento", "do-colab")
    session.secrets["CHAVE"] = ""
    for session.failure in ("SecretNotFoundError", "NotebookAccessError", None):
        assert colab.secret("CHAVE") == "do-ambiente"
    monkeypatch.delitem(sys.modules, "google.colab")
    assert colab.secret("CHAVE") == "do-ambiente"
    assert "do-" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("failure", ["SecretNotFoundError", "NotebookAccessError"])
def test_without_a_key_the_error_says_where_to_put_it(session, failure):
    session.failure = failure
    with pytest.raises(MachineError) as caught:
        colab.secret("CHAVE")
    assert str(caught.value) == (
        "Falta a chave CHAVE. No Colab: abra o painel da chave (à esquerda), crie o segredo CHAVE e "
        "ligue o acesso deste caderno. Fora dele, antes de abrir o Jupyter: export CHAVE=sua-chave"
    )


def test_where_the_work_is_in_colab(session, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert colab.in_colab() and colab.work_folder(drive=False) == tmp_path / "finetune"
    assert session.mounted == []
    assert colab.work_folder() == tmp_path / "drive" / "MyDrive" / "finetune"
    assert session.mounted == [str(tmp_path / "drive")]
    monkeypatch.setenv("FINETUNE_PASTA", "aqui")
    assert colab.work_folder() == tmp_path / "aqui"


def test_where_the_work_is_elsewhere(no_colab, monkeypatch, tmp_path):
    (tmp_path / "colab").mkdir()
    monkeypatch.chdir(tmp_path / "colab")
    assert not colab.in_colab() and colab.work_folder() == tmp_path / "colab"
    (tmp_path / "dados" / "amostra").mkdir(parents=True)
    assert colab.work_folder() == tmp_path


def load(monkeypatch, loaded: dict[str, str], installed: dict[str, str]) -> None:
    """Faz de conta que o kernel carregou umas versões e a instalação deixou outras."""
    for name in colab.CHECKED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, version in loaded.items():
        module = types.ModuleType(name)
        module.__version__ = version
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(colab, "installed_version", lambda name: installed.get(name, ""))


@pytest.mark.parametrize(
    ("loaded", "installed"),
    [
        ({}, {"numpy": "2.4.6"}),
        ({"numpy": "2.1.3"}, {"numpy": "2.1.3", "pyarrow": "26.0.1"}),
        ({"torch": "2.11.0+cu128"}, {"torch": "2.11.0"}),
        ({"torch": "2.11.0"}, {"torch": "2.11.0+cpu"}),
        ({"unsloth": "2026.10.9"}, {}),
    ],
    ids=["nada carregado", "a mesma", "sufixo do kernel", "sufixo da instalação", "nunca instalado"],
)
def test_a_fresh_kernel_passes(monkeypatch, loaded, installed):
    load(monkeypatch, loaded, installed)
    assert colab.fresh_kernel_check() is None


def test_a_stale_kernel_asks_for_a_restart(monkeypatch):
    for name in colab.CHECKED:
        load(monkeypatch, {name: "1.9.0"}, {name: "2.0.0"})
        with pytest.raises(MachineError) as caught:
            colab.fresh_kernel_check()
        assert str(caught.value) == (
            f"O kernel já carregou {name} 1.9.0 e a instalação agora tem 2.0.0. "
            "Reinicie a sessão (Ambiente de execução → Reiniciar sessão e executar tudo)."
        )


def test_every_pin_that_colab_may_have_loaded_is_checked():
    brought = colab_set.pins(colab_set.FREEZE).keys()
    assert brought & colab_set.pins(colab.pins()).keys() == {"torchao"}  # que o kernel não carrega sozinho
    assert brought & colab_set.pins(colab.pins("treino")).keys() == {"datasets", "pyarrow"} < set(colab.CHECKED)


def test_the_packages_of_training_reach_the_children_and_never_this_kernel(session, monkeypatch, tmp_path):
    # Em sys.path, o datasets novo encontraria o pyarrow velho que o pandas carregou, e nada mais o importaria.
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("PYTHONPATH", "antes")
    asked, before, folder = [], list(sys.path), tmp_path / ".cache" / "finetune_treino"

    def install(command, check):
        asked.append(command)
        Path(command[-3]).mkdir(parents=True, exist_ok=True)
        return types.SimpleNamespace(returncode=len(asked) == 1)  # só a primeira vez falha, e deixa uma parte

    monkeypatch.setattr(colab.subprocess, "run", install)
    with pytest.raises(MachineError, match="Os pacotes de treino não foram instalados"):
        colab.training_packages()
    assert not folder.exists()
    for _ in range(2):  # na segunda, já instalados: nada é pedido de novo
        colab.training_packages()
    expected = ["--target", str(folder.with_suffix(".parcial")), "-r", str(colab.pins("treino"))]
    assert [command[-4:] for command in asked] == [expected] * 2 and folder.is_dir()
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(folder)] * 2 + ["antes"] and sys.path == before


COUNTING = """
import sys
for name in ("datasets", "pyarrow", "trl", "unsloth"):
    sys.modules[name] = None
import local_finetune_api
row = {"messages": [{"role": "user", "content": "oi"}, {"role": "assistant", "content": "hello there"}]}
print(local_finetune_api.token_counter("SmolLM2-135M-Instruct")([row]))
"""


def test_the_kernel_counts_the_tokens_of_a_training_without_the_packages_of_training():
    ran = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == "[34]", ran.stderr[-600:]


def run_first_cell(monkeypatch, folder: Path, origin: str, name: str = "01_curadoria") -> list[str]:
    """O que a primeira célula dos cadernos pede ao pip e, por último, a conferência do kernel."""
    done = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(colab, "fresh_kernel_check", lambda: done.append("conferência"))
    notebook = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
    source = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    source = source.replace('ORIGEM = ""', f'ORIGEM = "{origin}"')
    # O IPython troca {expressão} na linha mágica como uma f-string.
    exec(re.sub(r"%pip install -q --no-deps (.+)", r"pip(f'''\1''')", source), {"pip": done.append})
    return done


@pytest.mark.parametrize(
    ("origin", "files", "expected", "mounted"),
    [
        ("", [], f"git+{REPOSITORY}@v{__version__}", False),
        ("", [WHEEL], WHEEL, False),
        ("", [WHEEL.replace(__version__, "99.0")], f"git+{REPOSITORY}@v{__version__}", False),
        ("drive/MyDrive/um projeto", ["drive/MyDrive/um projeto/pyproject.toml"], "drive/MyDrive/um projeto", True),
        ("drive/MyDrive/rodas", [f"drive/MyDrive/rodas/{WHEEL}"], f"drive/MyDrive/rodas/{WHEEL}", True),
        (f"git+{REPOSITORY}@main", [], f"git+{REPOSITORY}@main", False),
    ],
    ids=["repositório", ".whl enviado", ".whl de outra versão", "projeto no Drive", ".whl no Drive", "outro ramo"],
)
def test_where_the_first_cell_installs_from(session, monkeypatch, tmp_path, origin, files, expected, mounted):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    done = run_first_cell(monkeypatch, tmp_path, origin)
    assert done == [f'"{expected}"', f'-r "{colab.pins()}"', "conferência"]
    assert session.mounted == ([str(tmp_path / "drive")] if mounted else [])


def test_outside_colab_the_first_cell_installs_nothing(no_colab, monkeypatch, tmp_path):
    (tmp_path / WHEEL).touch()
    assert run_first_cell(monkeypatch, tmp_path, "") == ["conferência"]


def test_only_who_trains_asks_for_the_packages_of_training(session, monkeypatch, tmp_path):
    asked = {path.stem[:2]: run_first_cell(monkeypatch, tmp_path, "", path.stem)[1] for path in NOTEBOOKS}
    light = f'-r "{colab.pins()}"'
    assert asked == dict.fromkeys(asked, light) | dict.fromkeys(("02", "05"), f'{light} -r "{colab.pins("treino")}"')


def test_a_failed_install_is_one_sentence_with_both_ways_out(session, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "finetune_helpers", None)
    with pytest.raises(RuntimeError, match=r"envie o \.whl \(painel Arquivos\) ou escreva ORIGEM") as caught:
        run_first_cell(monkeypatch, tmp_path, "")
    assert caught.value.__suppress_context__


# O que passa de um caderno ao outro, sem o Drive --------------------------------------------------------------------


def work(folder: Path) -> tuple[Path, Path]:
    """Uma rodada da sessão, com o que passa adiante e o que fica."""
    run, data = folder / "finetune" / "resultados" / "turma", folder / "finetune" / "dados" / "turma"
    names = ["rodada.json", "em_uso.json", "llama3/treino.json", "llama3/pontos/checkpoint-1/optimizer.pt"]
    for path in [*(run / name for name in [*names, "gpt/api_local/servidor.json"]), data / "llama" / "treino.jsonl"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name, encoding="utf-8")
    return run, data


def test_the_zip_of_one_notebook_is_read_by_the_next(session, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FINETUNE_PASTA", raising=False)
    run, data = work(tmp_path)
    said = colab.hand_over(run, data)
    assert said.startswith("Esta máquina some com a sessão. Baixe finetune-turma.zip")
    other = tmp_path / "outra-maquina"
    other.mkdir()
    (tmp_path / "finetune-turma.zip").rename(other / "finetune-turma.zip")
    monkeypatch.chdir(other)
    folder = colab.work_folder(drive=False)
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {name.replace("turma/", "") for name in kept} == {
        "resultados/rodada.json", "resultados/llama3/treino.json", "dados/llama/treino.jsonl",
    }  # fmt: skip
    (folder / "resultados" / "turma" / "rodada.json").write_text("mais novo")
    assert colab.work_folder(drive=False) == folder
    assert (folder / "resultados" / "turma" / "rodada.json").read_text() == "mais novo"


def test_a_zip_that_did_not_arrive_whole_is_an_instruction(session, monkeypatch, tmp_path):
    (tmp_path / "finetune-turma.zip").write_bytes(b"PK\x03\x04metade")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"finetune-turma\.zip não chegou inteiro\. Apague-o e envie de novo"):
        colab.work_folder(drive=False)


def test_where_the_next_notebook_sees_the_run_no_zip_is_made(session, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = [colab.hand_over(*work(tmp_path / "MyDrive"))]
    monkeypatch.delitem(sys.modules, "google.colab")
    said.append(colab.hand_over(*work(tmp_path)))
    assert said == ["A rodada está em finetune/: o próximo caderno a encontra lá."] * 2
    assert list(tmp_path.glob("*.zip")) == []
