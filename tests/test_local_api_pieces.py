"""As peças da API local que não precisam de servidor nem de modelo."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finetune_helpers.errors import InputError, MachineError
from local_finetune_api import base_models, store, worker

EMBEDDED = "SmolLM2-135M-Instruct"


class Template:
    """Tokenizador em que cada letra é um token; ``harmony`` diz se ele tem canais."""

    def __init__(self, harmony: bool = False):
        self.harmony = harmony

    def __call__(self, text: str, **options):
        return {"input_ids": list(text)}

    def get_vocab(self):
        return {"<|channel|>": 1} if self.harmony else {}

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt, **options):
        assert options == ({"reasoning_effort": "low"} if self.harmony else {})
        return "".join(f"[{message['role']}]{message['content']}" for message in messages) + "[assistant]"


def conversation(*texts: str) -> list[dict]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def test_a_row_is_made_for_each_answer_the_model_learns():
    messages = conversation("um", "1", "dois", "2")
    messages[1]["weight"] = 0
    (row,) = base_models.turns(Template(), messages)
    assert row == {"prompt": "[user]um[assistant]1[user]dois[assistant]", "completion": "2"}
    assert base_models.tokens_of(Template(), row) == len(row["prompt"]) + 1 + 1  # a resposta e o fim
    # O Harmony responde direto no canal final.
    final = base_models.prompt(Template(harmony=True), conversation("um"))
    assert final == "[user]um[assistant]<|channel|>final<|message|>"


def test_the_other_question_is_the_next_lines_and_the_answer_stays():
    mine, next_line = conversation("meu", "a", "último", "resposta"), conversation("outro", "b")
    assert worker.asked_as(mine, next_line) == conversation("meu", "a", "outro", "resposta")
    alone = [{"role": "assistant", "content": "sem pergunta"}]
    assert worker.asked_as(alone, next_line) == alone
    assert worker.asked_as(mine, alone) == mine


def test_auto_becomes_the_documented_values():
    chosen = base_models.resolve({"n_epochs": "auto", "batch_size": 2}, examples=48)
    assert chosen == {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0}
    assert base_models.resolve({}, examples=3)["batch_size"] == 3


@pytest.mark.parametrize(
    ("asked", "micro", "steps"), [(1, 1, 1), (4, 4, 1), (8, 8, 1), (12, 6, 2), (13, 1, 13), (16, 8, 2)]
)
def test_any_batch_size_is_obeyed_with_accumulation(asked, micro, steps):
    chosen = {"n_epochs": 1, "batch_size": asked, "learning_rate_multiplier": 2.0}
    profile = base_models.profile(base_models.EMBEDDED, chosen, seed=0)
    assert (profile.batch_size, profile.gradient_accumulation) == (micro, steps)
    assert (profile.learning_rate, profile.seed, profile.epochs, profile.max_length) == (2e-3, 0, 1.0, 512)


@pytest.mark.skipif(torch.cuda.is_available(), reason="só sem GPU")
def test_gpt_oss_without_a_gpu_is_an_instruction():
    with pytest.raises(MachineError, match="GPU com 15 GB"):
        base_models.profile(base_models.GPT_OSS)


def test_any_folder_gguf_or_hub_name_is_a_base_model(tmp_path):
    weights = tmp_path / "Pequeno.Q4.gguf"
    weights.touch()
    offered = (str(tmp_path), str(weights), "dono/nome", f"meu={tmp_path}", "outro=dono/nome", "unsloth/gpt-oss-20b")
    names = [base.name for base in base_models.catalogue(offered)]
    assert names == [EMBEDDED, "gpt-oss-20b", tmp_path.name, "Pequeno.Q4", "dono/nome", "meu", "outro"]
    assert base_models.find(offered, str(weights)).source == str(weights)
    assert base_models.find(offered, "MEU").source == str(tmp_path)
    assert base_models.find(offered, EMBEDDED.lower()) is base_models.EMBEDDED
    assert base_models.find(offered, "dono/outro") is None
    assert base_models.of_source("antigo", "dono/nome").name == "antigo"


@pytest.mark.parametrize("text", ["/pasta/que/nao/existe", "nada", "x=", "=dono/nome", "a/b/c", "x=nada.gguf"])
def test_what_is_no_model_is_refused_by_name(text):
    with pytest.raises(InputError, match=re.escape(repr(text))):
        base_models.read(text)


def test_steps_repeated_after_a_resume_appear_once_and_the_epoch_joins_its_step(tmp_path):
    for step, loss in ((1, 3.0), (2, 2.0), (2, 1.5), (3, 1.0)):
        store.event(tmp_path, "j", "", data={"step": step, "train_loss": loss, "train_mean_token_accuracy": 0.5})
    store.event(tmp_path, "j", "", data={"step": 3, "full_valid_loss": 2.5})
    assert worker.metrics_csv(store.events(tmp_path, "j")).splitlines() == [
        "step,train_loss,train_accuracy,full_valid_loss",
        "1,3.0,0.5,",
        "2,1.5,0.5,",
        "3,1.0,0.5,2.5",
    ]


@pytest.mark.parametrize("identifier", ["", "..", "file-../../x", "file-" + "a" * 23, "file-" + "٣" * 24, "job.json"])
def test_only_drawn_identifiers_are_looked_up(tmp_path, identifier):
    assert store.file(tmp_path, identifier) is None


def test_the_base_models_are_known_without_loading_what_trains_or_serves():
    heavy = ["torch", "transformers", "openai", "fastapi"]
    code = f"import sys, local_finetune_api.base_models; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_readme_runs_the_commands_that_exist():
    package = Path(worker.__file__).parent
    text = (package / "README.md").read_text(encoding="utf-8")
    arguments = (package / "__main__.py").read_text(encoding="utf-8")
    cited = set(re.findall(r"(?<!\S)--[a-z-]+", text))
    assert {name for name in cited if f'"{name}"' not in arguments} == {"--no-deps"}  # só a do pip
