"""Cada valor oferecido num menu passa das células que decidem, ou é recusado na primeira, com o motivo."""

import itertools
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from finetune_helpers import runs
from finetune_helpers.errors import FinetuneError
from finetune_helpers.training import profiles

ROOT = Path(__file__).resolve().parents[1]
# A célula em que começa o que demora ou se paga: tudo o que pode ser recusado já foi.
WORK = {"02": "clock = runs.Stopwatch()", "03": "print(gpt.preflight", "05": "study = search.search"}
WITHOUT_A_GPU = r"pede uma GPU|não tem hiperparametros|Execute nela o caderno 05|pede `engine` = unsloth e uma GPU"


def menus(cells: list[str]) -> list[dict[str, str]]:
    """Toda combinação dos valores oferecidos nos menus da célula de parâmetros."""
    found = re.findall(r"^(\w+) = .*# @param \[(.+?)\]", cells[1], re.MULTILINE)
    names, offered = [name for name, _ in found], [re.findall(r'"([^"]+)"', values) for _, values in found]
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*offered)]


def code(number: str) -> list[str]:
    (path,) = (ROOT / "colab").glob(f"{number}_*.ipynb")
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def walk(number: str, chosen: dict[str, str], work: Path, model: str) -> tuple[int, str]:
    """Executa as células que decidem; em que célula (a dos parâmetros é a 1) e com que mensagem uma recusou."""
    from finetune_helpers import colab

    cells = code(number)
    space: dict = {"colab": colab}
    exec(cells[1], space)
    space |= chosen | {"RODADA": "oferta", "MODELO": model, "MAX_PASSOS": 1}
    (work_cell,) = [index for index, cell in enumerate(cells) if cell.startswith(WORK[number])]
    try:
        for index in range(2, work_cell):
            exec(cells[index], space)
        return 0, ""
    except FinetuneError as error:
        return index, str(error)
    finally:
        if server := space.get("server"):
            server.stop()
        runs.close_run(work / "resultados" / "oferta")


@pytest.fixture
def work(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "dados" / "publicada", tmp_path / "dados" / "oferta")
    monkeypatch.setenv("FINETUNE_PASTA", str(tmp_path))
    monkeypatch.setenv("UNSLOTH_FORCE_CPU", "0")
    monkeypatch.setattr(profiles, "gpu", lambda: None)
    return tmp_path


@pytest.mark.parametrize("number", ["02", "05"])
def test_every_combination_trains_or_is_refused_by_the_first_cell(number, work, toy_model):
    refused = {}
    for chosen in menus(code(number)):
        cell, message = walk(number, chosen, work, str(toy_model))
        shutil.rmtree(work / "resultados", ignore_errors=True)
        small = chosen["PERFIL"] in ("auto", "cpu") and chosen.get("EXPORTAR") != "gguf"
        if (cell, bool(re.search(WITHOUT_A_GPU, message))) != ((0, False) if small else (2, True)):
            refused[str(chosen)] = (cell, message)
    assert not refused


@pytest.mark.parametrize("provider", ["local", "openai", "azure", "nebius"])
def test_every_provider_goes_on_or_says_what_is_missing_before_anything_is_sent(provider, work, toy_model):
    cell, message = walk("03", {"PROVEDOR": provider}, work, str(toy_model) if provider == "local" else "")
    if provider == "local":
        assert (cell, message) == (0, "")
    else:
        assert cell in (4, 6) and re.search(r"`\w+`|_KEY", message), message
