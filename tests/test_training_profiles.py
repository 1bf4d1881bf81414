"""O que a máquina decide sem treinar: perfil e preço de cada placa, que pesos são, o que cabe e o que se recusa."""

import errno
import os
import sys
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from finetune_helpers import training
from finetune_helpers.errors import InputError, MachineError, RunMismatchError, StorageError
from finetune_helpers.records import sha256_file, write_json
from finetune_helpers.training import bases, export, model, profiles, resume
from finetune_helpers.training.__main__ import split_over


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """O que ``choose`` diz ao Unsloth não passa de um teste a outro."""
    monkeypatch.setenv("UNSLOTH_FORCE_CPU", "0")


@pytest.fixture
def gpu(monkeypatch):
    """Finge uma placa: nome, GB ao todo, capacidade e GB livres (quase tudo, se nada é dito)."""

    def pretend(name: str, total: float, capability: int = 80, free: float = 0.0) -> profiles.Card:
        card = profiles.Card(name, free or total - 0.5, total, capability)
        monkeypatch.setattr(profiles, "gpu", lambda: card)
        return card

    return pretend


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(profiles, "gpu", lambda: None)
    monkeypatch.setattr(profiles, "native_bfloat16", lambda: True)


def test_without_a_gpu_the_small_model_is_chosen_and_the_reason_said(no_gpu):
    text = training.describe(training.choose())
    assert "Perfil cpu" in text and "modelo pequeno" in text and "4 × 1 = 4" in text
    assert "modelo pequeno" not in training.describe(training.choose(model="outro/modelo"))
    assert training.choose("cpu", model="", epochs=0, max_new_tokens=None) == profiles.BY_NAME["cpu"]


@pytest.mark.parametrize(
    ("name", "total", "capability", "profile", "sku"),
    [
        ("Tesla T4", 15.8, 75, "t4", "T4"),
        ("NVIDIA L4", 23.6, 89, "l4", "L4"),
        ("NVIDIA A100-SXM4-40GB", 42.4, 80, "a100", "A100"),
        ("NVIDIA A100-SXM4-80GB", 85.1, 80, "a100", "A100"),
        ("NVIDIA H100 80GB HBM3", 85.0, 90, "h100", ""),
        ("NVIDIA L40S", 47.7, 89, "a100", ""),
        ("NVIDIA A10G", 23.7, 86, "l4", ""),
        ("Tesla V100-SXM2-32GB", 34.0, 70, "t4", ""),
        ("NVIDIA GeForce RTX 3060", 12.6, 86, "t4", ""),
        ("NVIDIA H200", 150.0, 90, "h100", ""),
    ],
)
def test_profile_and_price_follow_the_name_of_the_card(gpu, name, total, capability, profile, sku):
    gpu(name, total, capability)
    chosen = training.choose()
    assert (chosen.name, chosen.price_sku) == (profile, sku)
    assert ("sem preço" in training.describe(chosen)) == (not sku)


def test_a_profile_is_added_with_one_entry_and_the_price_is_of_the_card_whatever_the_profile(gpu, monkeypatch):
    gpu("NVIDIA A100-SXM4-40GB", 42.4)
    assert (training.choose("t4").dtype, training.choose("t4").price_sku) == ("float16", "A100")
    b200 = replace(profiles.BY_NAME["h100"], name="b200", price_sku="B200", reasons=("há 180 GB",))
    monkeypatch.setitem(profiles.BY_NAME, "b200", b200)
    gpu("NVIDIA B200", 192.0, 100)
    assert training.choose().name == "b200" and "há 180 GB" in training.describe(training.choose())


def test_another_torch_or_cuda_is_said_in_one_line(monkeypatch):
    import torch

    for version, cuda, lines in (("2.11.0+cu128", "12.8", 0), ("2.13.0+cpu", None, 0), ("2.15.0", "13.0", 1)):
        monkeypatch.setattr(torch, "__version__", version)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        assert len(profiles._unproved()) == lines


@pytest.mark.parametrize("name", profiles.BY_NAME)
def test_every_profile_gives_valid_trainer_arguments(name, tmp_path):
    from trl import SFTConfig

    profile = profiles.BY_NAME[name]
    arguments = resume.sft_arguments(profile, tmp_path, evaluate=True)
    assert arguments.keys() <= {field.name for field in fields(SFTConfig)}
    assert profile.device == "cpu" or profile.effective_batch == 16
    assert (arguments.get("fp16", False), arguments["bf16"]) == (name == "t4", name != "t4")
    assert arguments["max_length"] == profile.max_length
    assert resume.sft_arguments(profile, tmp_path, max_length=296)["max_length"] == 296


def test_a_processor_that_only_emulates_bfloat16_computes_in_float32(no_gpu, monkeypatch):
    monkeypatch.setattr(profiles, "native_bfloat16", lambda: False)
    chosen = training.choose("cpu")
    assert chosen.dtype == "float32" and "float32 nos cálculos" in training.describe(chosen)
    assert "bfloat16 nos cálculos" not in training.describe(chosen)
    assert training.choose("cpu", dtype="bfloat16").dtype == "bfloat16"


@pytest.mark.parametrize("named", [{}, {"avx512_bf16": False}, {"amx_bf16": True}])
def test_native_bfloat16_is_what_the_processor_says(monkeypatch, named):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: named)
    assert profiles.native_bfloat16() is any(named.values())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("h900", {}, 'Perfil "h900" desconhecido'),
        ("cpu", {"engine": "axolotl"}, 'Motor "axolotl" desconhecido'),
        ("cpu", {"lora_rank": 3}, "lora_rank"),
        ("t4", {}, r"Alterar o tipo de ambiente de execução.*`profile` = cpu"),
    ],
)
def test_choices_that_do_not_exist_here_are_named(no_gpu, name, changes, message):
    with pytest.raises((InputError, MachineError), match=message):
        training.choose(name, **changes)


def test_a_gpu_taken_by_another_notebook_is_refused_with_the_way_out(gpu):
    gpu("Tesla T4", 15.8, 75, free=8.0)
    assert training.choose("t4").name == "t4"
    gpu("Tesla T4", 15.8, 75, free=7.9)
    with pytest.raises(MachineError, match=r"8 GB livres na GPU e há 7,9.*Gerenciar sessões"):
        training.choose("t4")


def test_on_a_machine_with_cuda_a_cpu_profile_tells_unsloth_before_it_is_imported(gpu, monkeypatch):
    gpu("Tesla T4", 15.8, 75)
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    assert training.choose("cpu").device == "cpu" and os.environ["UNSLOTH_FORCE_CPU"] == "1"
    assert training.choose("t4").device == "cuda" and os.environ["UNSLOTH_FORCE_CPU"] == "0"
    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(DEVICE_TYPE="cuda"))
    assert training.choose("t4").name == "t4"
    with pytest.raises(MachineError, match="Reiniciar sessão"):
        training.choose("cpu")
    assert training.choose("cpu", engine="transformers").device == "cpu", "o outro motor não tem essa escolha"


@pytest.mark.parametrize(("processes", "expected"), [(1, (2, 8)), (2, (2, 4)), (8, (2, 1)), (16, (1, 1))])
def test_the_effective_batch_survives_more_processes(processes, expected):
    split = split_over(replace(profiles.BY_NAME["t4"], model=profiles.EMBEDDED), processes)
    assert (split.batch_size, split.gradient_accumulation) == expected
    assert resume.card(split, processes)["examples_a_step"] == 16
    with pytest.raises(InputError, match="não se divide por 3"):
        split_over(split, 3)


# Que pesos são


def weights(folder, value: float = 1.0):
    """Uma pasta de modelo com um peso só."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.full((10, 4), value, np.float16), "q": np.ones(6, np.uint8)}, folder / "model.safetensors")
    return folder


def test_a_folder_is_named_by_itself_and_its_weights_never_by_its_path(tmp_path):
    first, same, other = (
        weights(tmp_path / place / "meu@modelo", value) for place, value in zip("abc", (1, 1, 2), strict=True)
    )
    ids = [training.base_id(replace(profiles.BY_NAME["cpu"], model=str(folder))) for folder in (first, same, other)]
    assert ids[0] == ids[1] == f"meu-modelo@{sha256_file(first / 'model.safetensors')[:12]}" != ids[2]
    assert bases._resolve(str(first)).parameters == 40 + 2 * 6
    with pytest.raises(MachineError, match="não tem pesos"):
        training.base_id(replace(profiles.BY_NAME["cpu"], model=str(tmp_path)))


def test_the_embedded_model_is_named_by_its_file_and_its_absence_names_the_install(monkeypatch):
    package = bases._package_folder() / bases.GGUF_FILE
    assert training.base_id(profiles.BY_NAME["cpu"]) == f"SmolLM2-135M-Instruct@{sha256_file(package)[:12]}"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"requirements/sem_dependencias\.txt"):
        bases._package_folder()


class Hub:
    """O Hub, de mentira: um repositório de 0,5 bilhão de parâmetros."""

    commit = "0123456789abcdef0123456789abcdef01234567"
    parameters: ClassVar = {"BF16": 494_000_000}

    def model_info(self, name, **options):
        return SimpleNamespace(sha=self.commit, safetensors=SimpleNamespace(parameters=self.parameters))


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    bases._resolve.cache_clear()
    yield Hub
    bases._resolve.cache_clear()


def test_a_hub_model_is_its_name_and_commit_and_is_loaded_at_that_commit(hub, no_gpu):
    profile = training.choose("cpu", model="dono/meio-bilhao")
    assert training.base_id(profile) == "dono/meio-bilhao@0123456789ab"
    arguments = training.model_arguments(profile)
    assert (arguments["model_name"], arguments["revision"]) == ("dono/meio-bilhao", Hub.commit)


def test_without_network_or_cache_the_model_is_named_with_the_way_out(monkeypatch):
    import huggingface_hub

    def refuse(self, name, **options):
        raise OSError("Connection refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(MachineError, match=r"dono/nenhum.*rede.*`model`"):
        bases._hub("dono/nenhum")


def test_the_8b_is_refused_before_any_download_and_a_small_one_tells_its_size(hub, no_gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(bases, "memory_gb", lambda: 12.7)
    small = training.choose("cpu", model="dono/meio-bilhao")
    write_json(tmp_path / "llama" / "curadoria.json", {"treino": {"linhas": 10, "tokens": 1000}})
    embedded = training.units(profiles.BY_NAME["cpu"], tmp_path, questions=2)
    assert embedded == 1000 + 2 * 2 * profiles.BY_NAME["cpu"].max_new_tokens
    assert training.units(small, tmp_path, questions=2) == pytest.approx(3.67 * embedded, rel=0.01)
    assert training.units(replace(small, max_steps=1), tmp_path, questions=0) == pytest.approx(3.67 * 400, rel=0.01)
    monkeypatch.setattr(Hub, "parameters", {"U8": 4_015_000_000})
    bases._resolve.cache_clear()
    with pytest.raises(MachineError, match="8,0 bilhões"):
        training.model_arguments(small)
    eight = bases.resolve(replace(profiles.BY_NAME["t4"], engine="transformers"))
    bases.check_fits(eight, 38.2)
    with pytest.raises(MachineError, match=r"8,0 bilhões.*38 GB.*`model`"):
        bases.check_fits(eight, 37.9)


def adapter(folder, profile, content: bytes = b"pesos"):
    """Um adaptador salvo por inteiro."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / model.WEIGHTS).write_bytes(content)
    write_json(folder / model.CARD, model._expected_card(profile) | {"adapter_sha256": training.adapter_hash(folder)})
    return folder


def test_an_adapter_is_named_by_its_weights_and_refused_by_another_base_or_prompt(tmp_path):
    profile = profiles.BY_NAME["cpu"]
    folder = adapter(tmp_path / "a", profile)
    first = training.tuned_id(profile, folder)
    assert first.startswith(training.base_id(profile) + "+")
    assert first != training.tuned_id(profile, adapter(tmp_path / "b", profile, b"outros pesos"))
    model.check_card(folder, profile)
    for key in ("base_id", "prompt_fingerprint"):
        write_json(folder / model.CARD, model._expected_card(profile) | {key: "outro"})
        with pytest.raises(RunMismatchError, match=f"{key}='outro'"):
            model.check_card(folder, profile)
    (folder / model.CARD).unlink()
    with pytest.raises(InputError, match=model.CARD):
        model.check_card(folder, profile)


def test_checkpoints_of_another_model_or_profile_are_refused_with_both(tmp_path, hub):
    t4, cpu = profiles.BY_NAME["t4"], profiles.BY_NAME["cpu"]
    t4 = replace(t4, engine="transformers")
    resume.check_folder(tmp_path, cpu)
    write_json(tmp_path / model.CARD, resume.card(t4))
    resume.check_folder(tmp_path, replace(t4, save_minutes=1.0, max_new_tokens=64))
    with pytest.raises(RunMismatchError, match=r"base_id: era 'unsloth/llama-3-8b.*agora 'SmolLM2.*`run`"):
        resume.check_folder(tmp_path, cpu)
    with pytest.raises(RunMismatchError, match=r"learning_rate: era 0.0002, agora 0.001"):
        resume.check_folder(tmp_path, replace(t4, learning_rate=1e-3))


@pytest.mark.parametrize(
    ("cause", "way_out"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", "Reiniciar sessão"),
        ("401 Client Error: you must be authenticated to access a gated repo", "autorização"),
        ("[Errno 28] No space left on device", "Disco cheio"),
        ("nome/modelo is not a local folder and is not a valid model identifier", ".gguf"),
        ("", "OSError"),
    ],
)
def test_a_model_that_does_not_load_says_what_to_change(cause, way_out):
    explained = bases.explain(OSError(cause), "dono/modelo")
    assert isinstance(explained, MachineError) and way_out in str(explained) and "dono/modelo" in str(explained)


def test_missing_disk_for_the_model_cache_is_said_before_writing(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(MachineError, match="FINETUNE_CACHE"):
        training.smollm2_folder()
    assert list(tmp_path.iterdir()) == []


# Validação e checkpoints


def test_validation_is_taken_from_training_and_never_moves(toy_examples):
    train, validation = training.split_validation(toy_examples)
    again = training.split_validation(toy_examples[::-1])
    assert len(validation) == 8 and len(train) == 16
    assert {e.item_id for e in validation} == {e.item_id for e in again[1]}
    assert not {e.item_id for e in train} & {e.item_id for e in validation}
    assert len(training.split_validation(toy_examples[:16])[1]) == 8
    with pytest.raises(InputError, match="`n_train`"):
        training.split_validation(toy_examples[:15])


def _checkpoint(folder, step, last=100):
    """Um checkpoint inteiro, num treino de ``last`` passos."""
    import numpy as np
    from safetensors.numpy import save_file

    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"lora_A": np.ones((4, 4))}, path / "adapter_model.safetensors")
    (path / "optimizer.pt").write_bytes(b"x")
    write_json(path / "trainer_state.json", {"global_step": step, "max_steps": last})
    return path


def test_the_highest_whole_checkpoint_wins_by_number_and_a_finished_one_is_not_resumed(tmp_path):
    assert training.last_complete(tmp_path / "nada") is None
    for step in (9, 10):
        _checkpoint(tmp_path, step, last=10)
    assert training.last_complete(tmp_path).name == "checkpoint-10"
    assert training.last_complete(tmp_path, unfinished=True).name == "checkpoint-9"


@pytest.mark.parametrize(
    ("name", "kept"),
    [("trainer_state.json", None), ("trainer_state.json", -4), (model.WEIGHTS, -20), ("optimizer.pt", 0)],
)
def test_a_truncated_save_is_skipped(tmp_path, name, kept):
    good, cut = _checkpoint(tmp_path, 5), _checkpoint(tmp_path, 6)
    whole = (cut / name).read_bytes()
    (cut / name).unlink()
    if kept is not None:
        (cut / name).write_bytes(whole[:kept])
    assert not resume.complete_state(cut)
    assert training.last_complete(tmp_path) == good


@pytest.mark.parametrize(("where", "error"), [("_save_checkpoint", StorageError), ("train", OSError)])
def test_only_saving_speaks_of_the_disk(tmp_path, where, error):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    fitting = SimpleNamespace(args=SimpleNamespace(output_dir=str(tmp_path)), _save_checkpoint=lambda: None)
    fitting.model = SimpleNamespace(parameters=list)
    fitting.train = lambda **_: fitting._save_checkpoint()
    setattr(fitting, where, full)
    with pytest.raises((OSError, StorageError)) as raised:
        training.train_or_resume(fitting, tmp_path / "adaptador")
    assert type(raised.value) is error


# Exportar


@pytest.mark.parametrize(("ram", "disk", "word"), [(12.7, 999e9, "16 GB de memória"), (99.0, 20e9, "Disco cheio")])
def test_merging_the_8b_looks_at_memory_and_disk_before_loading_anything(
    hub, gpu, tmp_path, monkeypatch, ram, disk, word
):
    gpu("Tesla T4", 15.8, 75)
    monkeypatch.setattr(export, "memory_gb", lambda: ram)
    monkeypatch.setattr(Hub, "parameters", {"U8": 4_015_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=disk))
    with pytest.raises(MachineError, match=word):
        export.merge(training.choose("t4", engine="transformers"), tmp_path, tmp_path / "unido")


def test_the_gguf_folder_is_the_one_unsloth_writes_and_the_download_is_counted(tmp_path, monkeypatch):
    asked = []
    big = SimpleNamespace(
        num_parameters=lambda: 8_000_000_000,
        save_pretrained_gguf=lambda folder, tokenizer, quantization_method: asked.append((folder, quantization_method)),
    )
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=39e9))
    with pytest.raises(MachineError, match="baixados"):
        export.gguf(big, None, tmp_path / "gguf", profiles.BY_NAME["t4"])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=41e9))
    assert export.gguf(big, None, tmp_path / "gguf", profiles.BY_NAME["t4"]) == tmp_path / "gguf_gguf"
    assert asked == [(str(tmp_path / "gguf"), "q4_k_m")]
