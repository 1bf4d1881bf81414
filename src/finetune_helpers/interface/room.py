"""O que as três abas compartilham: a rodada, os sistemas, os visitantes e as fontes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import FinetuneError
from ..local_api.process_environment import trace, without_paths
from .sources import Catalogue, Source
from .systems import Systems
from .turns import Visits

log = logging.getLogger("finetune_helpers.interface")


@dataclass(frozen=True)
class Room:
    """Uma página aberta: pastas da rodada e dos dados, sistemas, quem está respondendo e a busca de fontes."""

    run: Path
    data: Path
    systems: Systems
    sources: Callable[[str], tuple[list[Source], str]]
    visits: Visits = field(default_factory=Visits)


def shelf(data: Path) -> Callable[[str], tuple[list[Source], str]]:
    """Busca de fontes que abre o catálogo na primeira pergunta; sem ele, devolve uma frase que diz por quê."""
    opened = cache(Catalogue.open)

    def nearest(text: str) -> tuple[list[Source], str]:
        try:
            found = opened(data).nearest(text)
        except Exception as error:
            log.error("a busca de fontes falhou:\n%s", trace(error))
            known = without_paths(str(error)) if isinstance(error, FinetuneError) else "a busca falhou."
            return [], f"Sem fontes: {known}"
        return found, "" if found else "Sem fontes: a rodada não tem títulos de treino."

    return nearest
