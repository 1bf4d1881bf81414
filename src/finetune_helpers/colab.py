"""O único módulo que conhece o Colab: pasta de trabalho, segredos e a conferência do núcleo."""

import os
import sys
from importlib import metadata
from pathlib import Path

from .errors import MachineError

# O que o núcleo do Colab pode já ter carregado quando a primeira célula instala outra versão.
CHECKED = (
    "finetune_helpers", "numpy", "pandas", "torch", "transformers", "peft",
    "datasets", "pyarrow", "torchao", "trl", "bitsandbytes", "unsloth", "unsloth_zoo", "optuna",
)  # fmt: skip


def pins() -> Path:
    """O arquivo com o que o Colab recebe por cima do que já tem: dentro do pacote instalado ou na raiz do projeto."""
    here = Path(__file__).resolve()
    found = (folder / "requirements" / "colab.txt" for folder in here.parents)
    return next(path for path in found if path.is_file())


def in_colab() -> bool:
    """Diz se o caderno está no Colab."""
    return "google.colab" in sys.modules


def work_folder(drive: bool = False) -> Path:
    """A pasta que guarda ``dados/`` e ``resultados/``.

    Ordem: a variável FINETUNE_PASTA; no Colab, a pasta ``finetune`` do Drive (se ``drive``) ou da sessão; fora dele, a
    raiz do projeto.
    """
    if os.environ.get("FINETUNE_PASTA"):
        return Path(os.environ["FINETUNE_PASTA"]).resolve()
    if in_colab():
        return _drive_folder() if drive else Path.cwd() / "finetune"
    here = Path.cwd()
    roots = [path for path in (here, *here.parents) if (path / "dados" / "amostra").is_dir()]
    return roots[0] if roots else here


def secret(name: str, given: str = "") -> str:
    """Uma chave: o argumento, os Secrets do Colab ou a variável de ambiente, nessa ordem; nunca impressa.

    MachineError com a instrução de onde criá-la, se não houver nenhuma.
    """
    found = given or _colab_secret(name) or os.environ.get(name, "")
    if not found:
        raise MachineError(
            f"Falta a chave {name}. No Colab: abra o painel da chave (à esquerda), crie o segredo {name} e "
            f"ligue o acesso deste caderno. Fora dele: defina a variável de ambiente {name}."
        )
    return found


def fresh_kernel_check() -> None:
    """MachineError se um pacote já carregado não tem a versão que está instalada, o que pede reiniciar a sessão."""
    for name in filter(sys.modules.__contains__, CHECKED):
        loaded, installed = getattr(sys.modules[name], "__version__", None), _installed(name)
        if loaded and installed and loaded.split("+")[0] != installed.split("+")[0]:
            raise MachineError(
                f"O núcleo carregou {name} {loaded} e a instalação agora tem {installed}. "
                "Reinicie a sessão (Ambiente de execução → Reiniciar a sessão) e execute tudo de novo."
            )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _drive_folder() -> Path:
    from google.colab import drive

    drive.mount("/content/drive")
    return Path("/content/drive/MyDrive/finetune")


def _colab_secret(name: str) -> str:
    if not in_colab():
        return ""
    from google.colab import userdata

    try:
        return userdata.get(name)
    except (userdata.SecretNotFoundError, userdata.NotebookAccessError):
        return ""
