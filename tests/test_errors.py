"""Os erros no caderno: uma mensagem só, sem rastro de pilha, e a de um defeito nosso por inteiro."""

import inspect

import pytest
from IPython.core.interactiveshell import InteractiveShell

from finetune_helpers import errors

KINDS = [name for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.fixture
def executed(capsys):
    """Executa uma célula e devolve o que ela mostrou."""
    shell = InteractiveShell()

    def run(cell: str) -> str:
        assert not shell.run_cell(cell).success
        return "".join(capsys.readouterr())

    return run


def test_a_known_failure_shows_one_message_with_the_names_of_the_notebook_and_not_what_caused_it(executed):
    for kind in KINDS:
        for chained in ("", " from None", " from error"):
            raised = f"    raise errors.{kind}('linha 3: mude `n_train` em `x.json`'){chained}"
            cell = f"from finetune_helpers import errors\ntry:\n    1 / 0\nexcept ZeroDivisionError as error:\n{raised}"
            assert executed(cell) == "Erro: linha 3: mude N_TREINO em `x.json`\n"


def test_a_defect_keeps_its_trace(executed):
    shown = executed("1 / 0")
    assert "ZeroDivisionError" in shown and "division by zero" in shown and len(shown.splitlines()) > 3
