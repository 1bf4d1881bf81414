"""A página diante de uma rodada de verdade: o adaptador salvo pelo treino e o caderno 06."""

from pathlib import Path
from threading import Event

import nbformat
import papermill
import pytest
from interface_systems import ROOT, published

from finetune_helpers.interface import answering, systems

NOTEBOOK = ROOT / "colab" / "06_interface.ipynb"
ASKED = answering.question("The Clockmaker", answering.TITLE)


def execute(folder: Path, monkeypatch) -> str:
    """Executa o caderno 06 sobre a rodada de ``folder`` e devolve o que ele imprimiu."""
    monkeypatch.setenv("FINETUNE_PASTA", str(folder))
    done = folder / "06.ipynb"
    given = {"RODADA": "publicada", "SEGUNDOS": 1}
    papermill.execute_notebook(NOTEBOOK, done, given, cwd=NOTEBOOK.parent, kernel_name="python3", progress_bar=False)
    cells = nbformat.read(done, as_version=4).cells
    return "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.output_type == "stream")


@pytest.fixture(scope="module")
def trained(toy_model, tmp_path_factory):
    """A rodada publicada com um adaptador de verdade, salvo como o caderno 02 o salva, sobre o modelo de brinquedo."""
    import torch

    from finetune_helpers import training

    run = published(tmp_path_factory.mktemp("rodada"))
    profile = training.choose("cpu", engine="transformers", model=str(toy_model))
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    torch.manual_seed(2)
    for name, weights in model.named_parameters():
        if "lora_B" in name:  # nascem em zero; um treino as mudaria
            torch.nn.init.normal_(weights, std=0.3)
    training.save(model, tokenizer, run / "llama3" / "adaptador", profile)
    return run


@pytest.mark.treino
def test_the_adapter_of_the_run_answers_on_and_off(trained):
    found = systems.find(trained)
    assert [one.name for one in found.ready] == ["llama3-base", "llama3-tuned"]
    texts = []
    for name in ("llama3-base", "llama3-tuned"):
        *_, ended = answering.answer(found.named(name), ASKED, 16, Event())
        assert ended.state == "done", ended.status
        texts.append(ended.text)
    assert texts[0] != texts[1]


@pytest.mark.treino
def test_an_adapter_of_another_prompt_is_refused_with_the_reason(trained, monkeypatch):
    from finetune_helpers import prompts

    monkeypatch.setattr(prompts, "fingerprint", lambda: "outro")
    assert "prompt_fingerprint" in systems.find(trained).every[0].reason


@pytest.mark.treino
def test_notebook_06_says_what_is_missing_and_closes_by_itself(tmp_path, monkeypatch):
    published(tmp_path)
    said = execute(tmp_path, monkeypatch)
    assert "Execute o caderno 02" in said and "Execute o caderno 03" in said
    assert "Página em http://127.0.0.1:" in said and "0 votos na rodada publicada" in said


@pytest.mark.treino
def test_notebook_06_opens_the_models_of_a_real_run(trained, monkeypatch):
    said = execute(trained.parents[1], monkeypatch)
    assert "LLaMA 3, ajustado    " in said and "CPU" in said
