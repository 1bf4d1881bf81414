"""Resultados de um treino: colunas lidas pelo nome, em qualquer ordem e codificação."""

import base64

import pytest
from gpt_server import job, scripted
from openai.types.fine_tuning import FineTuningJob

from finetune_helpers import gpt
from finetune_helpers.gpt import results

CSV = "step,train_loss,train_accuracy,valid_loss\n1,2.5,0.4,\n2,2.0,0.5,2.2\n"
REORDERED = "valid_loss,train_mean_token_accuracy,step,train_loss,nova\n,0.4,1,2.5,x\n2.2,0.5,2,2.0,y\n"
REPORT_KEYS = (
    "engine model device seconds peak_gpu_gb peak_rss_gb trainable_parameters steps examples_seen tokens_seen "
    "tokens_per_second loss_curve heldout_curve heldout billed_tokens gpu_hours price_sku profile adapter_sha256 "
    "prompt_fingerprint"
)


@pytest.fixture
def report():
    """Função que monta o relatório de um treino cujo arquivo de resultados é ``content``."""
    with scripted() as server:
        client = gpt.client(gpt.provider("openai", base_url=server.base_url), api_key="k")

        def build(content: bytes) -> dict:
            server.contents["file-r"] = content
            server.events = [_event(2), _event(1)]
            body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-t"}
            done = job("j", body, created_at=1000, finished_at=1100, status="succeeded", result_files=["file-r"])
            done |= {"trained_tokens": 5000, "hyperparameters": {"batch_size": 3}}
            return gpt.training_report(client, FineTuningJob.model_validate(done), provider=gpt.provider("openai"))

        yield build


def _event(step: int) -> dict:
    measured = {"type": "metrics", "data": {"step": step}, "level": "info", "message": ""}
    return {"id": f"e{step}", "object": "fine_tuning.job.event", "created_at": 1000 + 10 * step} | measured


SAME = [CSV, REORDERED, base64.b64encode(CSV.encode()).decode(), "\ufeff" + CSV, CSV.replace("\n", "\r\n")]


@pytest.mark.parametrize(
    "content", [text.encode() for text in SAME], ids=["csv", "outra-ordem", "base64", "bom", "crlf"]
)
def test_curves_are_read_by_column_name(report, content):
    found = report(content)
    assert found["loss_curve"] == [{"step": 1, "seconds": 10.0, "loss": 2.5}, {"step": 2, "seconds": 20.0, "loss": 2.0}]
    assert found["heldout_curve"] == [{"step": 2, "seconds": 20.0, "loss": 2.2}]


def test_hosted_report_has_every_key_and_says_what_the_provider_does_not_measure(report):
    found = report(CSV.encode())
    assert set(REPORT_KEYS.split()) <= found.keys()
    assert (found["heldout"], found["billed_tokens"], found["steps"], found["examples_seen"]) == ([], 5000, 2, 6)
    assert "não mede" in found["notes"][0]


def test_empty_cells_and_words_are_not_numbers():
    assert results.metrics("step,a,b\n1,,x\n") == [{"step": 1, "b": "x"}]


@pytest.mark.parametrize("content", [b"", b"step,train_loss\n"])
def test_a_result_without_rows_gives_empty_curves(report, content):
    assert report(content)["loss_curve"] == []


def test_a_json_report_among_the_results_is_not_read_as_a_table(report):
    found = report(b'{"seconds": {"evaluate": 1.5}, "engine": "unsloth", "loss_curve": []}')
    assert (found["engine"], found["seconds"], found["loss_curve"]) == ("unsloth", {"evaluate": 1.5}, [])


def test_text_that_is_neither_a_table_nor_base64_gives_no_curve(report):
    assert report("Ainda não há resultados.".encode())["loss_curve"] == []


def test_losses_of_validation_lines_take_the_name_of_their_item():
    row = {"line": 2, "tokens": 9, "base_loss": 3.0, "tuned_loss": 2.0}
    assert results._heldout(row, ["a", "b"])["item_id"] == "b"
    assert results._heldout(row, ["a"])["item_id"] == "2"
