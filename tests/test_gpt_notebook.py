"""O caderno 03 inteiro, por HTTP, contra um serviço com roteiro: começa, termina e, de novo, não refaz nem paga."""

import json
import shutil
from pathlib import Path

import nbformat
import papermill
import pytest
from gpt_server import completion, scripted

from finetune_helpers import answers
from finetune_helpers.records import read_json, read_jsonl

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "colab" / "03_treino_gpt.ipynb"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Uma pasta de trabalho com os dados da rodada publicada e as chaves de que os provedores precisam."""
    shutil.copytree(ROOT / "dados" / "publicada", tmp_path / "dados" / "publicada")
    monkeypatch.setenv("FINETUNE_PASTA", str(tmp_path))
    for name in ("LOCAL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "chave-de-teste")
    return tmp_path


@pytest.fixture
def server(work):
    """Um serviço que treina na hora e deixa os arquivos que a API local deixa."""
    lines = len(read_jsonl(work / "dados" / "publicada" / "comparacao" / "teste.jsonl"))
    losses = {"tokens": 9, "characters": 40, "base_loss": 4.5, "tuned_loss": 4.0, "base_other_loss": 4.6}
    rows = [losses | {"line": line, "tuned_other_loss": 4.3} for line in range(1, lines + 1)]
    report = {"engine": "roteiro", "base_id": "m@1", "model_id": "m@1+2", "loss_curve": [], "heldout_curve": []}
    report |= {"seconds": {"load": 1.0, "train": 57.0, "evaluate": 2.0}, "gpu_hours": 0.1}
    with scripted() as state:
        state.contents |= {"file-losses": "\n".join(map(json.dumps, rows)).encode()}
        state.contents |= {"file-report": json.dumps(report).encode()}
        state.on_chat = lambda body: completion(
            body["messages"][-1]["content"], body["model"], "m@1+2" if body["model"] == "m-ajustado" else "m@1"
        )

        def trained(path):
            job = state.jobs[path.rpartition("/")[2]]
            done = {"status": "succeeded", "fine_tuned_model": "m-ajustado", "trained_tokens": 11_548}
            job |= done | {"finished_at": job["created_at"] + 115, "result_files": ["file-losses", "file-report"]}

        state.script("GET /fine_tuning/jobs/ftjob-1", *[trained] * 9)
        yield state


def execute(work: Path, **changes) -> str:
    """Executa o caderno e devolve o que ele imprimiu."""
    values = {"RODADA": "publicada"} | changes
    done = work / "03.ipynb"
    papermill.execute_notebook(NOTEBOOK, done, values, cwd=NOTEBOOK.parent, kernel_name="python3", progress_bar=False)
    cells = nbformat.read(done, as_version=4).cells
    return "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.output_type == "stream")


def test_it_ends_and_run_again_it_pays_for_nothing(work, server):
    said = execute(work, ENDERECO=server.base_url, MODELO="m")
    folder = work / "resultados" / "publicada" / "gpt"
    report, rows = read_json(folder / "treino.json"), answers.read(folder / "respostas.jsonl")
    assert {row.system: row.model_id for row in rows} == {"gpt-base": "m@1", "gpt-tuned": "m@1+2"}
    assert len(report["heldout"]) == 36 and report["seconds"]["train"] == 57.0
    for text in ("A perda caiu de 4,50 para 4,00", "menor em 36 de 36", "passos do treino: 57 s", "1 min 55 s"):
        assert text in said
    assert "sem cobrança" in said and "Tempo previsto: não medido (local m)" in said
    paid = [route for route in server.requests if route.startswith("POST")]
    again = execute(work, ENDERECO=server.base_url, MODELO="m")
    assert [route for route in server.requests if route.startswith("POST")] == paid
    assert again.split("tempo total")[1] == said.split("tempo total")[1]


def test_a_paid_provider_without_a_limit_receives_nothing_and_the_parameter_is_named(work, server):
    with pytest.raises(papermill.PapermillExecutionError, match="TETO_USD é 0: nada foi enviado"):
        execute(work, PROVEDOR="openai", ENDERECO=server.base_url)
    assert server.requests == []
