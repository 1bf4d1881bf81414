"""O único módulo que conhece o Colab: pacotes, pasta de trabalho, segredos e o que passa de um caderno ao outro."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from .errors import InputError, MachineError
from .records import atomic_write
from .runs import installed_version

# O que o kernel do Colab pode já ter carregado quando a primeira célula instala outra versão.
CHECKED = (
    "finetune_helpers", "numpy", "pandas", "torch", "transformers", "peft",
    "datasets", "pyarrow", "torchao", "trl", "bitsandbytes", "unsloth", "unsloth_zoo", "optuna",
)  # fmt: skip
SETS = {"dados": "colab.txt", "treino": "colab_treino.txt"}
ZIP = "finetune-{name}.zip"
# O que um caderno seguinte não lê: pesos de checkpoints, o estado da API local e as cópias executadas.
LEFT_BEHIND = {"pontos", "api_local", "cadernos", "unido", "gguf"}


def pins(kind: str = "dados") -> Path:
    """O arquivo com o que o Colab recebe por cima do que já tem: dentro do pacote instalado ou na raiz do projeto.

    ``dados`` não toca em nada que o kernel já carregou; ``treino`` troca o pyarrow, e por isso pede um reinício.
    """
    folders = (folder / "requirements" / SETS[kind] for folder in Path(__file__).resolve().parents)
    return next(path for path in folders if path.is_file())


def training_packages() -> None:
    """No Colab, instala o conjunto de treino numa pasta que só os processos filhos usam; fora dele, nada.

    Assim a API local treina com o pyarrow novo e o kernel, que já carregou o outro, não reinicia. MachineError se a
    instalação falha.
    """
    if not in_colab():
        return
    # Nunca em sys.path: o `datasets` novo não aceita o pyarrow que o kernel carregou, e a conferência pediria um
    # reinício que não resolveria nada.
    folder = Path.home() / ".cache" / "finetune_treino"
    if not folder.is_dir():
        half = folder.with_suffix(".parcial")  # uma instalação interrompida não pode passar por inteira
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(half)]
        if subprocess.run([*command, "-r", str(pins("treino"))], check=False).returncode:
            raise MachineError(
                "Os pacotes de treino não foram instalados. Confira a rede e execute esta célula de novo."
            )
        half.rename(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def in_colab() -> bool:
    """Diz se o caderno está no Colab."""
    return "google.colab" in sys.modules


def work_folder(drive: bool = True) -> Path:
    """A pasta que guarda ``dados/`` e ``resultados/``.

    Ordem: a variável FINETUNE_PASTA; no Colab, a pasta ``finetune`` do Drive (se ``drive``) ou da sessão, com o que
    houver nos ``finetune-*.zip`` enviados; fora dele, a raiz do projeto.
    """
    here = Path.cwd()
    if os.environ.get("FINETUNE_PASTA"):
        return Path(os.environ["FINETUNE_PASTA"]).resolve()
    if not in_colab():
        return next((path for path in (here, *here.parents) if (path / "dados" / "amostra").is_dir()), here)
    if not drive:
        return _session_folder()
    from google.colab import drive as drive_module

    mounted = here / "drive"  # /content/drive: o mesmo ponto que a primeira célula usa
    drive_module.mount(str(mounted))
    return mounted / "MyDrive" / "finetune"


def hand_over(run: Path, data: Path) -> str:
    """O que fazer para que o próximo caderno veja esta rodada; no Colab sem o Drive, o zip que se baixa daqui.

    Cada caderno do Colab tem a sua própria máquina, que some com a sessão.
    """
    root = run.parents[1]
    if not in_colab() or "MyDrive" in root.parts or os.environ.get("FINETUNE_PASTA"):
        return f"A rodada está em {root.name}/: o próximo caderno a encontra lá."
    archive = Path.cwd() / ZIP.format(name=run.name)
    with atomic_write(archive, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for folder in (data, run) for path in folder.rglob("*") if path.is_file()):
            if not LEFT_BEHIND & set(path.relative_to(root).parts) and path.name != "em_uso.json":
                packed.write(path, path.relative_to(root))
    return (
        f"Esta máquina some com a sessão. Baixe {archive.name} (painel Arquivos, à esquerda) e, no próximo caderno, "
        "envie-o pelo mesmo painel antes de executar; ou marque USAR_DRIVE em todos os cadernos."
    )


def secret(name: str, key: str = "") -> str:
    """Uma chave: o argumento, os Secrets do Colab ou a variável de ambiente, nessa ordem; nunca impressa.

    MachineError com a instrução de onde criá-la, se não houver nenhuma.
    """
    value = key or _colab_secret(name) or os.environ.get(name, "")
    if not value:
        raise MachineError(
            f"Falta a chave {name}. No Colab: abra o painel da chave (à esquerda), crie o segredo {name} e "
            f"ligue o acesso deste caderno. Fora dele, antes de abrir o Jupyter: export {name}=sua-chave"
        )
    return value


def fresh_kernel_check() -> None:
    """MachineError se um pacote já carregado não tem a versão que está instalada, o que pede reiniciar a sessão."""
    for name in filter(sys.modules.__contains__, CHECKED):
        loaded, installed = getattr(sys.modules[name], "__version__", ""), installed_version(name)
        if loaded and installed and loaded.split("+")[0] != installed.split("+")[0]:
            raise MachineError(
                f"O kernel já carregou {name} {loaded} e a instalação agora tem {installed}. "
                "Reinicie a sessão (Ambiente de execução → Reiniciar sessão e executar tudo)."
            )


def _session_folder() -> Path:
    """A pasta da sessão, com os zips que alguém enviou; o que já existe nela não é trocado."""
    folder = Path.cwd() / "finetune"
    for archive in sorted(Path.cwd().glob(ZIP.format(name="*"))):
        try:
            with zipfile.ZipFile(archive) as packed:
                for name in packed.namelist():
                    if not name.endswith("/") and not (folder / name).exists():
                        packed.extract(name, folder)
        except (zipfile.BadZipFile, EOFError):
            raise InputError(f"{archive.name} não chegou inteiro. Apague-o e envie de novo.") from None
    return folder


def _colab_secret(name: str) -> str:
    if not in_colab():
        return ""
    from google.colab import userdata

    try:
        return userdata.get(name)
    except (userdata.SecretNotFoundError, userdata.NotebookAccessError):
        return ""
