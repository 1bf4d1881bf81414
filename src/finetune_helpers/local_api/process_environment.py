"""O que os processos que usam torch têm em comum: ambiente sem a chave, código de pausa e mensagens sem caminhos."""

import os
import re
import traceback

PAUSED_EXIT = 75
STORAGE_EXIT = 74  # o disco encheu ou a pasta sumiu: o treino continua quando o servidor voltar a iniciar
_FOLDERS = re.compile(r"(?<![\w/])(?:[A-Za-z]:)?[\\/](?:[^\s\\/\"':]+[\\/])+")


def environment() -> dict[str, str]:
    """Cópia do ambiente para o trabalhador e o gerador.

    Dois processos torch em dois núcleos ficam dez vezes mais lentos se as linhas de execução esperarem em laço.
    """
    kept = {name: value for name, value in os.environ.items() if name != "LOCAL_API_KEY"}
    return kept | {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def without_paths(text: str) -> str:
    """A mensagem sem as pastas desta máquina: de cada caminho fica só o último nome."""
    return _FOLDERS.sub("…/", text)


def trace(error: BaseException) -> str:
    """Rastro de pilha para o registro, sem pastas e sem os valores das variáveis."""
    return without_paths("".join(traceback.format_exception(error)))
