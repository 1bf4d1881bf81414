"""O perfil que o caderno 05 escolheu, pedido pelo nome: ``vencedor`` ou ``vencedor:outra-rodada``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, RunMismatchError
from ..records import read_json

if TYPE_CHECKING:
    from .profiles import Profile

NAME, FILE = "vencedor", "vencedor.json"
FOLDER = "hiperparametros"


def named(name: str) -> bool:
    """Diz se o nome pede um vencedor."""
    return name.partition(":")[0] == NAME


def read(name: str, run: Path | None) -> dict[str, Any]:
    """O ``vencedor.json`` que o nome pede; InputError se a rodada não tem um."""
    if run is None:
        raise InputError('PERFIL = "vencedor" precisa de uma rodada: use-o no caderno 02.')
    other = name.partition(":")[2].strip()
    path = (Path(run).parent / other if other else Path(run)) / FOLDER / FILE
    if ".." in path.parts or not path.is_file():
        raise InputError(
            f"A rodada {other or Path(run).name} não tem {FOLDER}/{FILE}. Execute nela o caderno 05 até o fim, ou use "
            'PERFIL = "auto".'
        )
    return dict(read_json(path))


def apply(name: str, run: Path | None, changes: dict[str, Any]) -> "Profile":
    """O perfil desta máquina com as mudanças do vencedor; as pedidas em ``changes`` valem mais.

    RunMismatchError se ele foi escolhido com outro modelo: a taxa de um modelo pequeno não serve para um grande.
    """
    from .profiles import BY_NAME, choose

    found = read(name, run)
    small = BY_NAME[found["base_profile"]].device == "cpu"
    asked = found["changes"] | {key: value for key, value in changes.items() if value}
    chosen = choose(found["base_profile"] if small else "auto", **asked)
    if chosen.model != found["model"]:
        raise RunMismatchError(
            f"O vencedor foi escolhido com o modelo {found['model']} e este treino é de {chosen.model}. "
            'Use o mesmo modelo, ou PERFIL = "auto".'
        )
    reason = f"taxa e LoRA do ensaio {found['trial']}, escolhido no caderno 05"
    kept = tuple(one for one in chosen.reasons if not one.startswith("taxa"))
    return replace(chosen, reasons=(*kept, reason))
