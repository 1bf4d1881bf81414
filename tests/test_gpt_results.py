"""Resultados de um treino: colunas lidas pelo nome, em qualquer ordem e codificação, e a frase que as resume."""

import base64
import json

import pytest
from gpt_server import caller, event, job
from openai.types.fine_tuning import FineTuningJob

from finetune_helpers import gpt
from finetune_helpers.answers import Answer
from finetune_helpers.errors import RunMismatchError
from finetune_helpers.records import read_json

CSV = "step,train_loss,train_accuracy,valid_loss\n1,2.5,0.4,\n2,2.0,0.5,2.2\n"
REORDERED = "valid_loss,train_mean_token_accuracy,step,train_loss,nova\n,0.4,1,2.5,x\n2.2,0.5,2,2.0,y\n"
REPORT_KEYS = (
    "engine model base_id model_id device seconds peak_gpu_gb peak_rss_gb trainable_parameters steps examples_seen "
    "tokens_seen tokens_per_second loss_curve heldout_curve heldout billed_tokens gpu_hours price_sku profile "
    "prompt_fingerprint"
)
LOCAL = {"engine": "unsloth", "model_id": "m@1+2", "loss_curve": [], "heldout_curve": [], "gpu_hours": 0.01}
LOCAL |= {"seconds": {"load": 8.0, "train": 57.0, "evaluate": 10.0}}
LOSSES = [
    {"line": line, "tokens": 9, "characters": 40, "base_loss": 4.5, "tuned_loss": tuned, "base_other_loss": 4.6,
     "tuned_other_loss": 4.2}
    for line, tuned in ((1, 4.0), (3, 3.5))
]  # fmt: skip
# Os três arquivos que a API local deixa: passos, perdas por linha e o relatório.
LOCAL_FILES = [CSV, "".join(json.dumps(row) + "\n" for row in LOSSES), json.dumps(LOCAL, indent=2)]


@pytest.fixture
def report(service):
    """Função que monta o relatório de um treino cujos arquivos de resultados são ``contents``."""
    server = service.reset()

    def build(*contents: str, name: str = "openai", **options) -> dict:
        chosen = gpt.provider(name, base_url=server.base_url)
        server.contents |= {f"file-r{at}": content.encode() for at, content in enumerate(contents)}
        server.events = [event(2, step=2), event(1, step=1)]
        body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-t"}
        done = job("j", body, created_at=1000, finished_at=1115, status="succeeded")
        done |= {"trained_tokens": 5000, "hyperparameters": {"batch_size": 3}}
        done |= {"fine_tuned_model": "ft:gpt-4.1-mini-2025-04-14:o::a"}
        done |= {"result_files": [f"file-r{at}" for at in range(len(contents))]}
        finished = FineTuningJob.model_validate(done)
        return gpt.training_report(caller(server.base_url), finished, provider=chosen, **options)

    return build


SAME = [CSV, REORDERED, base64.b64encode(CSV.encode()).decode(), "\ufeff" + CSV, CSV.replace("\n", "\r\n")]


@pytest.mark.parametrize("content", SAME, ids=["csv", "outra-ordem", "base64", "bom", "crlf"])
def test_curves_are_read_by_column_name(report, content):
    built = report(content)
    assert built["loss_curve"] == [{"step": 1, "seconds": 10.0, "loss": 2.5}, {"step": 2, "seconds": 20.0, "loss": 2.0}]
    assert built["heldout_curve"] == [{"step": 2, "seconds": 20.0, "loss": 2.2}]


@pytest.mark.parametrize("content", ["", "step,train_loss\n", "Ainda não há resultados."])
def test_a_result_without_rows_gives_empty_curves(report, content):
    assert report(content)["loss_curve"] == []


def test_hosted_report_has_every_key_and_says_what_the_provider_does_not_measure(report):
    built = report(CSV)
    assert set(REPORT_KEYS.split()) <= built.keys()
    assert (built["heldout"], built["billed_tokens"], built["steps"], built["examples_seen"]) == ([], 5000, 2, 6)
    assert built["base_id"] == "gpt-4.1-mini@2025-04-14" and built["model_id"].startswith(built["base_id"] + "+")
    assert "não mede" in built["notes"][0]
    assert "de 2,20 a 2,20" in gpt.learned(built) and "1 min 55 s" in gpt.took(built)


def test_what_is_left_to_do_on_azure_is_said_before_the_tuned_model_is_asked(report):
    said = gpt.learned(report(CSV, name="azure")).splitlines()
    assert said[1:] == [gpt.PROVIDERS["azure"].after] and "implantado" in said[1]


def test_losses_of_the_local_api_are_joined_to_items_by_line_and_told_in_a_sentence(report):
    built = report(*LOCAL_FILES, item_ids=["a", "b", "c"])
    assert [row["item_id"] for row in built["heldout"]] == ["a", "c"]
    assert set(built["heldout"][0]) == {"item_id", *LOSSES[0]} - {"line"}
    said = gpt.learned(built)
    assert "caiu de 4,50 para 3,75" in said and "menor em 2 de 2 itens" in said
    assert "dos 0,75 de queda, 0,40 são estilo" in said and "0,35 são conteúdo" in said
    assert "passos do treino: 57 s" in gpt.took(built) and "1 min 55 s" in gpt.took(built)


def test_a_single_line_of_losses_is_not_taken_for_the_report(report):
    built = report(CSV, json.dumps(LOSSES[0]), LOCAL_FILES[2], item_ids=["a"])
    assert (len(built["heldout"]), built["engine"]) == (1, "unsloth")


def test_the_report_is_written_once_with_the_time_of_the_answers_and_for_one_model(report, tmp_path):
    built, path = report(*LOCAL_FILES), tmp_path / "treino.json"
    done = gpt.finish(built, [Answer("x", 1, 1, 2.5, "stop", "m")] * 4, path)
    assert done["seconds"] == {"load": 8.0, "train": 57.0, "evaluate": 20.0}
    assert done["gpu_hours"] == round(85 / 3600, 5)
    assert gpt.finish(built, [], path) == done == read_json(path)
    with pytest.raises(RunMismatchError, match=r"m@1\+2 .* m@1\+3"):
        gpt.finish(built | {"model_id": "m@1+3"}, [], path)
