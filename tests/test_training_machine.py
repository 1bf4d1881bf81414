"""O que a máquina decide: o perfil de cada GPU, o que se recusa sem ela e o modelo pequeno preparado uma vez."""

from types import SimpleNamespace

import pytest

from finetune_helpers.errors import InputError, MachineError
from finetune_helpers.local_api import base_models, store
from finetune_helpers.training import embedded, export, profiles


@pytest.fixture
def gpu(monkeypatch):
    """Finge uma GPU com tantos GB livres e ao todo, com ou sem bfloat16 nativo."""
    import torch

    def pretend(free: float, total: float, bf16: bool):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free * 1e9), int(total * 1e9)))
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)

    return pretend


@pytest.mark.parametrize(
    ("total", "bf16", "expected"), [(15.8, False, "t4"), (23.6, True, "l4"), (42.0, True, "a100"), (85.0, True, "a100")]
)
def test_each_gpu_gets_its_profile(gpu, total, bf16, expected):
    gpu(total - 0.5, total, bf16)
    assert profiles.choose().name == expected


def test_a_gpu_taken_by_another_notebook_is_refused_with_the_way_out(gpu):
    gpu(3.0, 15.8, False)
    with pytest.raises(MachineError, match="Gerenciar sessões"):
        profiles.choose("t4")


def test_the_gguf_file_is_refused_without_a_gpu_and_the_other_way_is_named(tmp_path):
    model = SimpleNamespace(device=SimpleNamespace(type="cpu"), save_pretrained_gguf=None)
    with pytest.raises(MachineError, match="16 bits"):
        export.gguf(model, None, tmp_path / "gguf")
    assert not (tmp_path / "gguf").exists()


def test_the_gguf_file_is_written_by_unsloth_where_there_is_a_gpu(tmp_path):
    asked = []
    model = SimpleNamespace(
        device=SimpleNamespace(type="cuda"),
        num_parameters=lambda: 1000,
        save_pretrained_gguf=lambda folder, tokenizer, quantization_method: asked.append((folder, quantization_method)),
    )
    assert export.gguf(model, None, tmp_path / "gguf") == tmp_path / "gguf"
    assert asked == [(str(tmp_path / "gguf"), "q4_k_m")]


def test_a_base_model_too_big_for_the_machine_names_one_that_fits(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match=base_models.EMBEDDED.name):
        base_models.profile(base_models.GPT_OSS)


def test_a_job_that_must_exist_and_does_not_is_named(tmp_path):
    with pytest.raises(InputError, match="ftjob-nenhum"):
        store.known_job(tmp_path, "ftjob-nenhum")


@pytest.mark.treino
@pytest.mark.longo
def test_the_small_model_is_prepared_once_and_knows_where_an_answer_ends(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    folder = embedded.smollm2_folder()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token_id) == ("<|im_end|>", 2, 0)
    assert embedded.smollm2_folder() == folder and (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.rglob("*.parcial")] == []
