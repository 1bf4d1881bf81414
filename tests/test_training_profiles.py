"""Perfis, pontos de retomada e separação da validação: tudo o que se decide sem treinar."""

import json
from dataclasses import fields

import pytest

from finetune_helpers import training
from finetune_helpers.errors import InputError, MachineError, RunMismatchError
from finetune_helpers.records import Example, write_json
from finetune_helpers.training import adapters, checkpoints, heldout, lora, profiles


def test_cpu_profile_is_chosen_without_gpu_and_says_why():
    profile = training.choose()
    text = training.describe(profile)
    assert profile.name == "cpu"
    assert "modelo pequeno" in text and "4 × 1 = 4" in text


@pytest.mark.parametrize("name", profiles.BY_NAME)
def test_every_profile_gives_valid_trainer_arguments(name, tmp_path):
    from trl import SFTConfig

    arguments = lora.sft_arguments(profiles.BY_NAME[name], tmp_path, evaluate=True)
    known = {field.name for field in fields(SFTConfig)}
    assert arguments.keys() <= known


@pytest.mark.parametrize("name", ["t4", "l4", "a100"])
def test_gpu_profiles_reach_an_effective_batch_of_16(name):
    assert profiles.BY_NAME[name].effective_batch == 16


def test_t4_never_asks_for_bfloat16(tmp_path):
    arguments = lora.sft_arguments(profiles.BY_NAME["t4"], tmp_path)
    assert (arguments["fp16"], arguments["bf16"]) == (True, False)


def test_empty_changes_keep_the_profile():
    assert training.choose("cpu", model="", epochs=0, max_new_tokens=None) == profiles.BY_NAME["cpu"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training.choose("h900"), 'Perfil "h900" desconhecido'),
        (lambda: training.choose("cpu", engine="axolotl"), 'Motor "axolotl" desconhecido'),
        (lambda: training.choose("cpu", lora_rank=3), "lora_rank"),
    ],
)
def test_unknown_choices_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_gpu_profile_without_gpu_is_refused_with_the_way_out():
    with pytest.raises(MachineError, match="Alterar o tipo"):
        training.choose("t4")


def test_8b_model_without_gpu_is_refused_before_any_download():
    profile = training.choose("cpu", model=profiles.LLAMA_3_8B)
    with pytest.raises(MachineError, match='MODELO = ""'):
        profiles.model_path(profile)


def _checkpoint(folder, step, *, state=True, weights=True, optimizer=b"x"):
    import numpy as np
    from safetensors.numpy import save_file

    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"lora_A": np.ones((4, 4))}, path / "adapter_model.safetensors")
    if not weights:
        data = (path / "adapter_model.safetensors").read_bytes()
        (path / "adapter_model.safetensors").write_bytes(data[:-20])
    (path / "optimizer.pt").write_bytes(optimizer)
    if state:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_no_checkpoint_in_an_absent_folder(tmp_path):
    assert training.last_complete(tmp_path / "nada") is None


def test_highest_step_wins_by_number_not_by_name(tmp_path):
    for step in (9, 10):
        _checkpoint(tmp_path, step)
    assert training.last_complete(tmp_path).name == "checkpoint-10"


@pytest.mark.parametrize("damage", [{"state": False}, {"weights": False}, {"optimizer": b""}])
def test_a_truncated_save_is_skipped(tmp_path, damage):
    good = _checkpoint(tmp_path, 5)
    _checkpoint(tmp_path, 6, **damage)
    assert training.last_complete(tmp_path) == good


def test_a_half_written_state_is_skipped(tmp_path):
    _checkpoint(tmp_path, 5)
    path = _checkpoint(tmp_path, 6)
    (path / "trainer_state.json").write_text('{"global_st')
    assert checkpoints.is_complete(path) is False


def test_a_finished_checkpoint_is_not_a_point_to_resume_from(tmp_path):
    for step in (5, 6):
        path = _checkpoint(tmp_path, step)
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 6}))
    assert training.last_complete(tmp_path, unfinished=True).name == "checkpoint-5"


def test_too_little_free_gpu_memory_is_said_with_the_way_out():
    with pytest.raises(MachineError, match=r"precisa de 8 GB livres na GPU e há 3,2"):
        profiles._check_memory(profiles.BY_NAME["t4"], 3.2)


@pytest.mark.parametrize(("processes", "expected"), [(1, (2, 8)), (2, (2, 4)), (8, (2, 1)), (16, (1, 1))])
def test_the_effective_batch_survives_more_processes(processes, expected):
    split = profiles.split_over(profiles.BY_NAME["t4"], processes)
    assert (split.batch_size, split.gradient_accumulation) == expected
    assert split.effective_batch * processes == 16


def test_an_uneven_number_of_processes_is_refused():
    with pytest.raises(InputError, match="não se divide por 3"):
        profiles.split_over(profiles.BY_NAME["t4"], 3)


def test_validation_is_taken_from_training_and_never_moves(toy_examples):
    train, validation = training.split_validation(toy_examples)
    again = training.split_validation(toy_examples[::-1])
    assert len(validation) == 8 and len(train) == 16
    assert {e.item_id for e in validation} == {e.item_id for e in again[1]}
    assert not {e.item_id for e in train} & {e.item_id for e in validation}


def test_too_few_examples_for_a_validation_are_refused():
    with pytest.raises(InputError, match="N_TREINO"):
        training.split_validation([Example(f"t{n}", "c") for n in range(10)])


def test_losses_are_joined_by_item_and_not_by_position():
    base = [{"item_id": "a", "tokens": 3, "loss": 4.0}, {"item_id": "b", "tokens": 5, "loss": 5.0}]
    tuned = [{"item_id": "b", "tokens": 5, "loss": 4.5}, {"item_id": "a", "tokens": 3, "loss": 3.0}]
    joined = heldout.join(base, tuned)
    assert joined[0] == {"item_id": "b", "tokens": 5, "base_loss": 5.0, "tuned_loss": 4.5}
    assert heldout.summary(joined) == (
        "perda por token: 4,500 → 3,750 (perplexidade 90,0 → 42,5); menor em 2 de 2 itens"
    )


@pytest.mark.parametrize("key", ["base_model", "prompt_fingerprint"])
def test_an_adapter_of_another_base_or_prompt_is_refused(tmp_path, key):
    profile = profiles.BY_NAME["cpu"]
    from finetune_helpers import prompts

    card = {"base_model": profile.model, "prompt_fingerprint": prompts.fingerprint(), "adapter_sha256": "0"}
    write_json(tmp_path / adapters.CARD, card | {key: "outro"})
    with pytest.raises(RunMismatchError, match="outro"):
        adapters.check_card(tmp_path, profile)


def test_an_adapter_without_its_card_is_not_complete(tmp_path):
    with pytest.raises(InputError, match=adapters.CARD):
        adapters.check_card(tmp_path, profiles.BY_NAME["cpu"])


def test_missing_disk_for_the_model_cache_is_said_before_writing(tmp_path, monkeypatch):
    from collections import namedtuple

    from finetune_helpers.training import embedded

    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: namedtuple("usage", "total used free")(1, 1, 1000))
    with pytest.raises(MachineError, match="FINETUNE_CACHE"):
        embedded.smollm2_folder()
    assert list(tmp_path.iterdir()) == []


def test_missing_model_package_names_the_install(monkeypatch):
    from finetune_helpers.training import embedded

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"requirements/sem_dependencias\.txt"):
        embedded.smollm2_folder()


@pytest.mark.parametrize(
    ("cause", "way_out"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", "perfil menor"),
        ("401 Client Error: you must be authenticated to access a gated repo", "HF_TOKEN"),
        ("[Errno 28] No space left on device", "HF_HOME"),
        ("nome/modelo is not a local folder and is not a valid model identifier", "pasta local"),
    ],
)
def test_a_model_that_does_not_load_says_what_to_change(cause, way_out):
    explained = lora._explain(OSError(cause), profiles.BY_NAME["t4"])
    assert isinstance(explained, MachineError) and way_out in str(explained)
