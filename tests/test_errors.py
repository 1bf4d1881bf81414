"""Os erros no caderno: uma mensagem só, sem rastro de pilha, e a de um defeito nosso por inteiro."""

import inspect

import pytest
from IPython.core.interactiveshell import InteractiveShell

from finetune_helpers import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.fixture
def executed(capsys):
    """Executa uma célula e devolve o que ela mostrou."""
    shell = InteractiveShell()

    def run(cell: str) -> str:
        assert not shell.run_cell(cell).success
        return "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_known_failure_shows_one_message(executed, kind):
    cell = f"from finetune_helpers import errors\nraise errors.{kind.__name__}('linha 3: use outro valor')"
    assert executed(cell) == "Erro: linha 3: use outro valor\n"


@pytest.mark.parametrize("chained", ["", " from None", " from error"])
def test_what_caused_it_is_not_shown(executed, chained):
    cell = "from finetune_helpers.errors import InputError\ntry:\n    1 / 0\nexcept ZeroDivisionError as error:\n"
    assert executed(f"{cell}    raise InputError('use outro valor'){chained}") == "Erro: use outro valor\n"


def test_a_defect_keeps_its_trace(executed):
    shown = executed("1 / 0")
    assert "ZeroDivisionError" in shown and "division by zero" in shown and len(shown.splitlines()) > 3
