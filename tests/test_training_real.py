"""Treinos de verdade num modelo de brinquedo: interromper, retomar, recarregar, e os dois motores lado a lado."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune_helpers import prompts, training
from finetune_helpers.errors import InputError
from finetune_helpers.records import Example, read_json, write_json, write_jsonl
from finetune_helpers.training import guards

pytestmark = pytest.mark.treino
ENGINES = ("unsloth", "transformers")
SCRIPT = Path(__file__).with_name("training_run.py")


def _start(action: str, folder: Path, model: Path, engine: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), action, str(folder), str(model), engine]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(process: subprocess.Popen) -> None:
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error.decode()[-2000:]


@pytest.fixture(scope="module")
def whole_runs(toy_model, tmp_path_factory) -> dict[str, Path]:
    """Um treino sem interrupção com cada motor."""
    folders = {engine: tmp_path_factory.mktemp(engine) for engine in ENGINES}
    for engine, folder in folders.items():
        _finish(_start("treinar", folder, toy_model, engine))
    return folders


def _losses(folder: Path) -> list[float]:
    return [point["loss"] for point in read_json(folder / "curva.json")["perdas"]]


@pytest.mark.parametrize("engine", ENGINES)
def test_training_lowers_the_loss(whole_runs, engine):
    losses = _losses(whole_runs[engine])
    assert sum(losses[-4:]) / 4 < losses[0] - 0.2


@pytest.mark.parametrize("engine", ENGINES)
def test_adapter_reloaded_in_a_fresh_process_gives_the_same_answers(whole_runs, toy_model, engine):
    folder = whole_runs[engine]
    _finish(_start("recarregar", folder, toy_model, engine))
    assert read_json(folder / "depois.json") == read_json(folder / "antes.json")


def test_both_engines_end_within_two_percent_of_each_other(whole_runs):
    one, other = (sum(_losses(whole_runs[engine])[-4:]) / 4 for engine in ENGINES)
    assert one == pytest.approx(other, rel=0.02)


@pytest.mark.falhas
def test_ten_kills_and_the_run_ends_as_if_nothing_had_happened(whole_runs, toy_model, tmp_path):
    # A retomada é do Trainer, igual nos dois motores; o transformers é o que importa mais depressa.
    moments, killed = random.Random(3407), 0
    for step in [*sorted(moments.sample(range(1, 23), 9)), 24]:
        process = _start("treinar", tmp_path, toy_model, "transformers")
        _wait_for(tmp_path / "pontos", step, process)
        time.sleep(moments.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    _finish(_start("treinar", tmp_path, toy_model, "transformers"))
    resumed, whole = (read_json(folder / "curva.json") for folder in (tmp_path, whole_runs["transformers"]))
    assert killed >= 8
    assert resumed["passos"] == whole["passos"] == 24
    assert [point["step"] for point in resumed["perdas"]] == [point["step"] for point in whole["perdas"]]
    for one, other in zip(resumed["perdas"], whole["perdas"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.02)


def _wait_for(folder: Path, step: int, process: subprocess.Popen) -> None:
    """Espera que a pasta de um ponto ``step`` ou maior comece a ser escrita: a morte cai dentro ou logo depois."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(int(path.name.split("-")[-1]) >= step for path in folder.glob("checkpoint-*")):
            return
        time.sleep(0.01)
    assert process.poll() is not None, "o treino não avançou"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_finished_run_is_recognised_and_not_trained_further(whole_runs, toy_model, engine):
    folder = whole_runs[engine]
    before = (folder / "curva.json").stat().st_mtime_ns, (folder / "adaptador" / "cartao.json").stat().st_mtime_ns
    _finish(_start("treinar", folder, toy_model, engine))
    after = (folder / "curva.json").stat().st_mtime_ns, (folder / "adaptador" / "cartao.json").stat().st_mtime_ns
    assert after == before


def test_two_processes_train_the_same_configuration(toy_model, tmp_path):
    run = tmp_path / "resultados" / "dupla"
    options = {"PERFIL": "cpu", "MOTOR": "transformers", "MODELO": str(toy_model), "EPOCAS": 0, "MAX_PASSOS": 6}
    rows = [prompts.to_alpaca(Example(f"Title {n}", f"Book {n} tells of {n} travellers.")) for n in range(40)]
    write_jsonl(tmp_path / "dados" / "dupla" / "llama" / "treino.jsonl", rows)
    losses = {}
    for processes in (1, 2):
        folder = run.with_name(f"dupla{processes}")
        write_json(folder / "rodada.json", {"passos": {"02_treino_llama3": {"parametros": options}}})
        _launch(processes, folder / "rodada.json", tmp_path / "dados" / "dupla")
        measured = read_json(folder / "llama3" / "adaptador" / "medidas.json")
        assert (measured["steps"], measured["examples_seen"]) == (6, 24)
        losses[processes] = [point["loss"] for point in measured["loss_curve"]]
    assert losses[2] == pytest.approx(losses[1], rel=0.02)


def _launch(processes: int, run_file: Path, data: Path) -> None:
    """Um só processo ou dois, por accelerate, com gloo na CPU."""
    options = [
        "--cpu",
        f"--num_processes={processes}",
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
    ]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options]
    command += ["-m", "finetune_helpers.training", str(run_file), "--dados", str(data)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert finished.returncode == 0, finished.stderr[-3000:]


def test_a_run_not_yet_opened_in_the_notebook_is_refused(tmp_path):
    from finetune_helpers.training.__main__ import train

    write_json(tmp_path / "rodada.json", {"passos": {}})
    with pytest.raises(InputError, match="caderno 02"):
        train(tmp_path / "rodada.json")


def test_merged_weights_answer_like_base_plus_adapter(whole_runs, toy_model, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    from finetune_helpers.training import export

    profile = training.choose("cpu", engine="transformers", model=str(toy_model))
    merged = export.merge(profile, whole_runs["transformers"] / "adaptador", tmp_path / "unido")
    changed, base = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (merged, toy_model))
    moved = [name for name in base if not torch.allclose(base[name].float(), changed[name].float(), atol=1e-3)]
    assert len(moved) == 2 * 7 and all(name.endswith("_proj.weight") for name in moved)


def test_a_truncated_real_checkpoint_is_skipped(whole_runs):
    folder = whole_runs["transformers"]
    newest = training.last_complete(folder / "pontos")
    weights = newest / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    try:
        assert training.last_complete(folder / "pontos").name == "checkpoint-23"
    finally:
        weights.write_bytes(whole)


@pytest.fixture
def trainer(toy_model, toy_examples, tmp_path):
    """Um treinador pronto, ainda sem passos, com o motor transformers."""
    profile = training.choose("cpu", engine="transformers", model=str(toy_model), max_steps=1)
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [prompts.to_prompt_completion(example) for example in toy_examples[:4]]
    config = SFTConfig(**training.sft_arguments(profile, tmp_path))
    made = SFTTrainer(model=model, processing_class=tokenizer, args=config, train_dataset=Dataset.from_list(rows))
    return made, tokenizer, profile


def _tampered(trainer, change):
    """Troca as linhas já preparadas do treinador."""
    trainer.train_dataset = trainer.train_dataset.map(change)


def test_guards_pass_on_a_good_trainer_and_show_what_is_learned(trainer, toy_examples):
    made, tokenizer, profile = trainer
    found = guards.check(made, tokenizer, profile)
    assert found.learned_text == toy_examples[0].content + tokenizer.eos_token
    assert found.useful_tokens <= found.padded_tokens
    assert "Parâmetros treináveis" in str(found)


def _without_labels(row):
    return {"labels": [guards.IGNORED] * len(row["labels"])}


def _with_prompt(row):
    return {"labels": row["input_ids"]}


def _without_eos(row):
    return {key: row[key][:-1] for key in ("input_ids", "labels")}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_without_labels, "nenhum token conta na perda"),
        (_with_prompt, "o prompt entrou na perda"),
        (_without_eos, "EOS"),
    ],
)
def test_every_guard_trips_on_its_planted_fault(trainer, fault, message):
    made, tokenizer, profile = trainer
    _tampered(made, fault)
    with pytest.raises(InputError, match=message):
        guards.check(made, tokenizer, profile)


def test_the_guard_counts_trainable_parameters(trainer):
    made, tokenizer, profile = trainer
    next(p for name, p in made.model.named_parameters() if "norm" in name).requires_grad = True
    with pytest.raises(InputError, match="parâmetros treináveis"):
        guards.check(made, tokenizer, profile)


def test_rows_over_the_limit_are_listed_and_never_cut(trainer):
    _, tokenizer, _ = trainer
    rows = [{"prompt": "a b", "completion": " c"}, {"prompt": "a b", "completion": " word" * 50}]
    found = guards.lengths(tokenizer, rows, 20)
    assert found.too_long == [1] and "2 (" in str(found)
    with pytest.raises(InputError, match="Nenhum exemplo cabe"):
        guards.lengths(tokenizer, rows[1:], 20)
