"""Os cadernos num Colab simulado, como se anda nele: uma máquina por caderno, e só o Drive passa de um a outro.

    python tests/colab/simular.py

O ambiente é o que ``make colab`` prepara. A primeira célula é executada por todos os caminhos de instalação; depois,
cada caderno de cima a baixo, numa pasta e num kernel novos, com os pacotes do Colab de volta e poucas linhas.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib import metadata
from pathlib import Path

import nbformat
import papermill
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from colab_set import FREEZE, overlay, pins  # noqa: E402

NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
# Os parâmetros de uma execução curta; cada caderno recebe só os que tem.
SHORT = {"N_TREINO": 17, "N_TESTE": 5, "MAX_PASSOS": 3, "TOKENS_RESPOSTA": 12, "FLEXIBILIDADE_POR_FAMILIA": 1}
SHORT |= {"N_ENSAIOS": 2, "MINUTOS": 5, "SEGUNDOS": 2}
# O que o Colab já tem e a instalação troca, e o que ele não tem: assim começa cada máquina nova.
REPLACED = [f"{name}=={version}" for name, version in pins(FREEZE).items() if name in overlay()]
ADDED = [name for name in overlay() if name not in pins(FREEZE)]
# Uma janela de consentimento do Drive e um Executar tudo; quem treina reinicia uma vez.
CLICKS = {"02": 3, "05": 3}
# O que o Colab carrega antes da primeira célula; o pandas traz o pyarrow junto.
STARTUP = "import google.colab, pandas"
ASK = """
assert len(systems.ready) == 4, [system.reason for system in systems.every]
asked = interface.systems.question("What is a lighthouse?", interface.systems.FREE)
for system in systems.ready:
    *_, (text, said) = interface.systems.answer(system, asked, 8)
    assert text.strip() and said.startswith("Pronto"), (system.name, text, said)
"""
PROJECT = ["pyproject.toml", "README.md", "LICENSE", "src", "dados/amostra", "requirements"]
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
PIP = (sys.executable, "-m", "pip")
# Caminho de instalação: o que se escreve em ORIGEM e como termina o endereço de onde o pacote veio.
WAYS = {
    "repositório, na marca da versão": ("", ADDRESS),
    "pasta do Drive com o projeto": ("drive/MyDrive/projeto", "/MyDrive/projeto"),
    "pasta do Drive com o .whl": ("drive/MyDrive/roda", "/MyDrive/roda/{wheel}"),
    ".whl enviado": ("", "/content/{wheel}"),
}


def main() -> None:
    """Prepara uma pasta só para isto e executa tudo; para na primeira falha."""
    with tempfile.TemporaryDirectory(prefix="colab-") as name:
        folder = Path(name)
        prepare(folder)
        for way, (origin, expected) in WAYS.items():
            timed(f"instalação: {way}", install, folder, origin, expected)
        for path in NOTEBOOKS:
            timed(path.name, execute, folder, path)
        sheets = list((folder / "drive" / "finetune" / "resultados").glob("*/comparacao.xlsx"))
        assert len(sheets) == 1, "a planilha não foi escrita no Drive"


def prepare(folder: Path) -> None:
    """Faz o pacote .whl, a pasta do Drive, o repositório com a marca da versão e o kernel que se diz do Colab."""
    project, drive = folder / "projeto", folder / "drive"
    (folder / "content").mkdir()
    for name in PROJECT:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, project / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "roda", project)
    shutil.copytree(folder / "roda", drive / "roda")
    shutil.copytree(project, drive / "projeto")
    startup = folder / "perfil" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text(STARTUP, encoding="utf-8")
    os.environ |= {"IPYTHONDIR": str(folder / "perfil"), "PYTHONPATH": str(HERE / "falso")}
    os.environ |= {"DRIVE_DE_MENTIRA": str(drive), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    os.environ.pop("FINETUNE_PASTA", None)
    publish(project, wheel(folder).split("-")[1])


def publish(project: Path, version: str) -> None:
    """Faz do projeto um repositório com a marca da versão, ao qual o endereço do projeto passa a levar."""
    git = ("git", "-C", project, "-c", "user.name=projeto", "-c", "user.email=projeto@exemplo.org")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "versão"], ["tag", f"v{version}"]):
        run(*git, *command)
    setting = {"COUNT": "1", "KEY_0": f"url.{project}.insteadOf", "VALUE_0": ADDRESS}
    os.environ |= {f"GIT_CONFIG_{name}": value for name, value in setting.items()}


def wheel(folder: Path) -> str:
    """O nome do .whl que foi feito."""
    return next((folder / "roda").glob("*.whl")).name


def new_machine(folder: Path, name: str) -> Path:
    """Uma máquina nova do Colab: os pacotes dele, nenhum arquivo, e o pacote enviado para a sessão."""
    run(*PIP, "uninstall", "-q", "-y", "finetune-helpers", *ADDED)
    run(*PIP, "install", "-q", "--no-deps", *REPLACED)
    return Path(shutil.copytree(folder / "roda", folder / "maquinas" / name))


def install(folder: Path, origin: str, expected: str) -> None:
    """Executa a primeira célula sem o pacote instalado e confere de onde ele veio."""
    (folder / "content" / wheel(folder)).unlink(missing_ok=True)
    if expected.startswith("/content/"):
        shutil.copytree(folder / "roda", folder / "content", dirs_exist_ok=True)
    run(*PIP, "uninstall", "-q", "-y", "finetune-helpers")
    first_cell(folder, origin)
    came_from = json.loads(metadata.distribution("finetune-helpers").read_text("direct_url.json"))["url"]
    assert came_from.endswith(expected.format(wheel=wheel(folder))), f"o pacote veio de {came_from}"


def first_cell(folder: Path, origin: str = "") -> None:
    """Executa só a célula de instalação, num kernel novo."""
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.source = cell.source.replace('ORIGEM = ""', f'ORIGEM = "{origin}"')
    notebook.cells = [cell]
    NotebookClient(notebook, resources={"metadata": {"path": str(folder / "content")}}).execute()


def execute(folder: Path, path: Path) -> None:
    """Executa um caderno inteiro numa máquina nova, como quem o abre no Colab, e conta os cliques."""
    machine = new_machine(folder, path.stem)
    if path.name.startswith("06"):
        path = asking(path, machine / path.name)
    known = papermill.inspect_notebook(path)
    parameters = {name: value for name, value in SHORT.items() if name in known}
    clicks = 2
    try:
        papermill.execute_notebook(path, machine / "saida.ipynb", parameters, cwd=machine, progress_bar=False)
    except papermill.PapermillExecutionError as error:
        assert error.ename == "MachineError" and "Reiniciar sessão e executar tudo" in error.evalue, error
        clicks += 1
        papermill.execute_notebook(path, machine / "saida.ipynb", parameters, cwd=machine, progress_bar=False)
    assert clicks == CLICKS.get(path.name[:2], 2), f"{path.name}: {clicks} cliques"


def asking(path: Path, target: Path) -> Path:
    """O caderno da página com uma célula a mais, que faz uma pergunta a cada sistema, como quem a abre."""
    notebook = nbformat.read(path, as_version=4)
    place = next(number for number, cell in enumerate(notebook.cells) if "systems = interface.find" in cell.source)
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(ASK))
    nbformat.write(notebook, target)
    return target


def timed(title: str, step, *arguments: object) -> None:
    """Executa um passo e escreve quanto demorou."""
    started = time.monotonic()
    step(*arguments)
    print(f"{time.monotonic() - started:6.0f} s  {title}", flush=True)


def run(*command: object) -> None:
    """Executa um comando; CalledProcessError se ele falha."""
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
