"""O que uma pessoa lê quando algo falha: o que foi encontrado, o que se esperava e o que fazer."""


class FinetuneError(Exception):
    """Erro cuja mensagem é uma instrução para quem usa o projeto."""

    def _render_traceback_(self) -> list[str]:
        # O IPython chama este método no lugar do rastro de pilha: no caderno aparece só a instrução.
        return [f"Erro: {self}"]


class InputError(FinetuneError):
    """Dados ou parâmetros que não servem; a mensagem diz o arquivo, a linha e o valor."""


class RunMismatchError(FinetuneError):
    """A rodada já existe com outros parâmetros; a mensagem lista as diferenças."""


class RunBusyError(FinetuneError):
    """Outro caderno usa a rodada; a mensagem diz qual, onde e desde quando."""


class StorageError(FinetuneError):
    """O disco encheu ou a pasta sumiu; depois de resolver, executar de novo continua de onde parou."""


class MachineError(FinetuneError):
    """Falta algo na máquina: pacote, memória, disco, GPU, rede ou chave."""


def without_key(text: str, key: str) -> str:
    """O texto sem a chave da conta, que alguns serviços repetem no que respondem."""
    return text.replace(key, "…") if key else text
