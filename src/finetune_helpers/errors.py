"""O que uma pessoa lê quando algo falha: o que foi encontrado, o que se esperava e o que fazer."""

import re

# Uma mensagem cita um parâmetro entre crases, com o nome do Python; no caderno, ele aparece com o nome da célula.
NOTEBOOK_NAMES = dict(
    again="REFAZER", base_url="ENDERECO", budget="ORCAMENTO", budget_usd="TETO_USD", engine="MOTOR",
    epochs="EPOCAS", export="EXPORTAR", full_scan="LER_TUDO", hub_repository="PUBLICAR_NO_HUB",
    if_short="SE_FALTAR", judge_budget_usd="JUIZ_TETO_USD", judge_model="JUIZ_MODELO",
    max_new_tokens="TOKENS_RESPOSTA", max_steps="MAX_PASSOS", minutes="MINUTOS", mode="MODO", model="MODELO",
    multiplier="MULTIPLICADOR", n_test="N_TESTE", n_train="N_TREINO", own_prices="PRECOS",
    paid_questions="PERGUNTAS_PAGAS", per_family="FLEXIBILIDADE_POR_FAMILIA", profile="PERFIL",
    provider="PROVEDOR", reviews="REVISOES", run="RODADA", share="COMPARTILHAR", source="FONTE",
    trials="N_ENSAIOS", use_drive="USAR_DRIVE",
)  # fmt: skip


class FinetuneError(Exception):
    """Erro cuja mensagem é uma instrução para quem usa o projeto."""

    def _render_traceback_(self) -> list[str]:
        # O IPython chama este método no lugar do rastro de pilha: no caderno aparece só a instrução.
        return [f"Erro: {notebook_text(str(self))}"]


class InputError(FinetuneError):
    """Dados ou parâmetros que não servem; a mensagem diz o arquivo, a linha e o valor."""


class RunMismatchError(FinetuneError):
    """A rodada já tem resultados de outros parâmetros, prompt ou modelo; a mensagem lista as diferenças."""


class RunBusyError(FinetuneError):
    """Outro caderno usa a rodada; a mensagem diz qual, onde e desde quando."""


class StorageError(FinetuneError):
    """O disco encheu ou a pasta sumiu; depois de resolver, executar de novo continua de onde parou."""


class MachineError(FinetuneError):
    """Falta algo na máquina: pacote, memória, disco, GPU, rede ou chave."""


def notebook_text(message: str) -> str:
    """A mensagem com os parâmetros do Python trocados pelos nomes que os cadernos lhes dão."""
    return re.sub(r"`(\w+)`", lambda cited: NOTEBOOK_NAMES.get(cited[1], cited[0]), message)


def without_key(text: str, key: str) -> str:
    """O texto sem a chave da conta, que alguns serviços repetem no que respondem."""
    return text.replace(key, "…") if key else text
