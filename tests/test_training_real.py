"""Treinos de verdade num modelo de brinquedo: interromper, retomar, recarregar, e os dois motores lado a lado."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from training_run import EXAMPLES, finish, start, until

from finetune_helpers import prompts, training
from finetune_helpers.errors import InputError, RunMismatchError
from finetune_helpers.records import Example, read_json, write_json, write_jsonl
from finetune_helpers.training import bases, guards

pytestmark = pytest.mark.treino
ENGINES = ("unsloth", "transformers")


@pytest.fixture(scope="module")
def whole_runs(toy_model, tmp_path_factory) -> dict[str, Path]:
    """Um treino sem interrupção com cada motor."""
    folders = {engine: tmp_path_factory.mktemp(engine) for engine in ENGINES}
    for engine, folder in folders.items():
        finish(start("treinar", folder, toy_model, engine))
    return folders


def _losses(folder: Path) -> list[float]:
    return [point["loss"] for point in read_json(folder / "curva.json")["perdas"]]


def test_training_lowers_the_loss_and_both_engines_agree(whole_runs):
    ends = []
    for engine in ENGINES:
        losses = _losses(whole_runs[engine])
        assert sum(losses[-4:]) / 4 < losses[0] - 0.2
        ends.append(sum(losses[-4:]) / 4)
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


@pytest.mark.parametrize("engine", ENGINES)
def test_training_opens_no_process_that_a_kill_would_leave_behind(whole_runs, engine):
    assert read_json(whole_runs[engine] / "curva.json")["filhos"] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_adapter_reloaded_in_a_fresh_process_gives_the_same_answers(whole_runs, toy_model, engine):
    folder = whole_runs[engine]
    finish(start("recarregar", folder, toy_model, engine))
    assert read_json(folder / "depois.json") == read_json(folder / "antes.json")
    weights = load_file(folder / "adaptador" / "adapter_model.safetensors")
    assert {weight.dtype.name for weight in weights.values()} == {"float32"}


@pytest.mark.falhas
def test_ten_kills_and_the_run_ends_as_if_nothing_had_happened(whole_runs, toy_model, tmp_path):
    # A retomada é do Trainer, igual nos dois motores; o transformers é o que importa mais depressa.
    moments, killed = random.Random(3407), 0
    for step in [*sorted(moments.sample(range(1, 23), 9)), 24]:
        process = start("treinar", tmp_path, toy_model, "transformers")
        _wait_for(tmp_path / "pontos", step, process)
        time.sleep(moments.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    finish(start("treinar", tmp_path, toy_model, "transformers"))
    resumed, whole = (read_json(folder / "curva.json") for folder in (tmp_path, whole_runs["transformers"]))
    assert killed >= 8
    assert resumed["passos"] == whole["passos"] == 24
    assert [point["step"] for point in resumed["perdas"]] == [point["step"] for point in whole["perdas"]]
    for one, other in zip(resumed["perdas"], whole["perdas"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.001)


def _wait_for(folder: Path, step: int, process: subprocess.Popen) -> None:
    """Espera que a pasta de um checkpoint ``step`` ou maior comece a ser escrita: a morte cai dentro ou logo depois."""

    def saving() -> bool:
        return any(int(path.name.split("-")[-1]) >= step for path in folder.glob("checkpoint-*"))

    assert until(lambda: saving() or process.poll() is not None, 120), "o treino não avançou"


def test_a_finished_run_is_recognised_and_not_trained_further(whole_runs, toy_model):
    folder = whole_runs["transformers"]
    files = (folder / "curva.json", folder / "adaptador" / "cartao.json")
    before = [path.stat().st_mtime_ns for path in files]
    finish(start("treinar", folder, toy_model, "transformers"))
    assert [path.stat().st_mtime_ns for path in files] == before


@pytest.mark.longo
def test_two_processes_train_the_same_configuration(toy_model, tmp_path):
    run = tmp_path / "resultados" / "dupla"
    options = {"PERFIL": "cpu", "MOTOR": "transformers", "MODELO": str(toy_model), "EPOCAS": 0, "MAX_PASSOS": 4}
    write_jsonl(tmp_path / "dados" / "dupla" / "llama" / "treino.jsonl", map(prompts.to_alpaca, EXAMPLES[:40]))
    losses = {}
    for processes in (1, 2):
        folder = run.with_name(f"dupla{processes}")
        write_json(folder / "rodada.json", {"passos": {"02_treino_llama3": {"parametros": options}}})
        _launch(processes, folder / "rodada.json", tmp_path / "dados" / "dupla")
        measured = read_json(folder / "llama3" / "adaptador" / "medidas.json")
        assert (measured["steps"], measured["examples_seen"]) == (4, 16)
        losses[processes] = [point["loss"] for point in measured["loss_curve"]]
    assert losses[2] == pytest.approx(losses[1], rel=0.02)
    told = "accelerate launch --num_processes 2 -m finetune_helpers.training resultados/RODADA/rodada.json"
    assert told in (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    base = training.base_id(training.choose("cpu", engine="transformers", model=str(toy_model)))
    assert measured["base_id"] == base and measured["model_id"].startswith(f"{base}+")
    assert measured["model"] == toy_model.name and str(toy_model) not in str(measured["profile"])


def _launch(processes: int, run_file: Path, data: Path) -> None:
    """Um só processo ou dois, por accelerate, com gloo na CPU."""
    options = ["--cpu", f"--num_processes={processes}", "--num_machines=1"]
    options += ["--mixed_precision=no", "--dynamo_backend=no"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *options]
    command += ["-m", "finetune_helpers.training", str(run_file), "--dados", str(data)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert finished.returncode == 0, finished.stderr[-3000:]


def test_a_run_of_another_base_or_not_yet_opened_is_refused(toy_model, tmp_path):
    from finetune_helpers.training.__main__ import from_parameters, train

    write_json(tmp_path / "rodada.json", {"passos": {}})
    with pytest.raises(InputError, match="caderno 02"):
        train(tmp_path / "rodada.json")
    options = {"PERFIL": "cpu", "MOTOR": "transformers", "MODELO": str(toy_model), "EPOCAS": 0, "MAX_PASSOS": 6}
    assert from_parameters(options, tmp_path).max_steps == 6
    with pytest.raises(RunMismatchError, match="outro@1"):
        from_parameters(options | {"BASE": "outro@1"}, tmp_path)


def test_merged_weights_answer_like_base_plus_adapter(whole_runs, toy_model, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    from finetune_helpers.training import export

    profile = training.choose("cpu", engine="transformers", model=str(toy_model))
    merged = export.merge(profile, whole_runs["transformers"] / "adaptador", tmp_path / "unido")
    changed, base = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (merged, toy_model))
    moved = [name for name in base if not torch.allclose(base[name].float(), changed[name].float(), atol=1e-3)]
    assert len(moved) == 2 * 7 and all(name.endswith("_proj.weight") for name in moved)


def test_a_published_four_bit_model_computes_in_the_type_of_the_profile(toy_model, tmp_path):
    import torch
    from bitsandbytes.nn import Linear4bit

    first, tokenizer = training.load(training.choose("cpu", engine="transformers", model=str(toy_model)))
    first.save_pretrained(tmp_path / "em-4-bits")
    tokenizer.save_pretrained(tmp_path / "em-4-bits")
    for wanted in ("float32", "bfloat16"):
        profile = training.choose("cpu", engine="transformers", model=str(tmp_path / "em-4-bits"), dtype=wanted)
        model, _ = training.load(profile)
        kinds = {part.compute_dtype for part in model.modules() if isinstance(part, Linear4bit)}
        assert kinds == {getattr(torch, wanted)}


def test_answering_before_the_training_changes_no_gradient(toy_model, toy_examples):
    import torch

    profile = training.choose("cpu", engine="transformers", model=str(toy_model))
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    from finetune_helpers.training import measures

    rows = [prompts.to_prompt_completion(example) for example in toy_examples[:4]]
    ids = torch.tensor([tokenizer(rows[0]["prompt"])["input_ids"]])

    def gradients():
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.01)  # zerado, como nasce, não deixaria gradiente nenhum chegar ao lora_A
    before = gradients()
    measures.answerer(model, tokenizer, "x", max_new_tokens=2)([prompts.question(toy_examples[0])])
    measures.losses(model, tokenizer, rows, max_length=profile.max_length)
    after = gradients()
    assert max((before[name] - after[name]).abs().max().item() for name in before) == 0.0


def test_a_model_just_trained_is_measured_as_the_reloaded_one(trainer):
    from finetune_helpers.training import measures

    fitting, tokenizer, profile = trainer
    rows = [prompts.to_prompt_completion(Example(f"Title {n}", f"Book {n} of the sea.")) for n in range(4)]
    folder = Path(fitting.args.output_dir) / "adaptador"

    def measured():
        return measures.losses(fitting.model, tokenizer, rows, max_length=profile.max_length)

    assert training.train_or_resume(fitting, folder, profile)
    trained = measured()
    training.save(fitting.model, tokenizer, folder, profile)
    assert not training.train_or_resume(fitting, folder, profile)
    assert measured() == trained
    with fitting.accelerator.autocast():  # como o treino deixava o modelo
        assert measured() != trained


def test_a_model_ready_to_answer_keeps_its_adapter(whole_runs, toy_model):
    from finetune_helpers.training import measures

    profile = training.choose("cpu", engine="transformers", model=str(toy_model))
    model, tokenizer = training.load(profile, adapter=whole_runs["transformers"] / "adaptador")
    ready, asked = training.to_answer(model, profile), [prompts.question(Example("Title 1", "x"))]
    tuned, base = (
        measures.answerer(ready, tokenizer, "x", max_new_tokens=12, adapter=adapter)(asked)[0].answer
        for adapter in (True, False)
    )
    assert tuned != base


@pytest.fixture
def trainer(toy_model, toy_examples, tmp_path):
    """Um treinador pronto, ainda sem passos, com o motor transformers e em precisão mista em qualquer processador."""
    changes = {"engine": "transformers", "model": str(toy_model), "dtype": "bfloat16", "max_steps": 1}
    profile = training.choose("cpu", **changes)
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    rows = [prompts.to_prompt_completion(example) for example in toy_examples[:4]]
    return training.trainer(model, tokenizer, profile, (rows, []), tmp_path), tokenizer, profile


def test_guards_show_what_is_learned_and_count_padding_and_parameters(trainer, toy_examples, monkeypatch):
    fitting, tokenizer, profile = trainer
    check = guards.check(fitting, tokenizer, profile)
    assert check.learned_text == toy_examples[0].content + tokenizer.eos_token
    assert check.padded_tokens is not None and check.useful_tokens <= check.padded_tokens
    assert "Parâmetros treináveis" in str(check) and "iria para padding" in str(check)
    padded = fitting.data_collator
    # Como um treinador que junta as linhas de um lote numa só.
    monkeypatch.setattr(fitting, "data_collator", lambda rows: {key: part[:1] for key, part in padded(rows).items()})
    assert "sem padding" in str(guards.check(fitting, tokenizer, profile))
    next(weight for name, weight in fitting.model.named_parameters() if "norm" in name).requires_grad = True
    with pytest.raises(InputError, match="parâmetros treináveis"):
        guards.check(fitting, tokenizer, profile)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda row: {"labels": [guards.IGNORED] * len(row["labels"])}, "nenhum token conta na perda"),
        (lambda row: {"labels": row["input_ids"]}, "o prompt entrou na perda"),
        (lambda row: {key: row[key][:-1] for key in ("input_ids", "labels")}, "EOS"),
    ],
)
def test_every_guard_trips_on_its_planted_fault(trainer, fault, message):
    fitting, tokenizer, profile = trainer
    fitting.train_dataset = fitting.train_dataset.map(fault)
    with pytest.raises(InputError, match=message):
        guards.check(fitting, tokenizer, profile)


def test_rows_over_the_limit_are_listed_and_never_cut():
    class Words:
        eos_token = " fim"

        def __call__(self, texts):
            return {"input_ids": [text.split() for text in texts]}

    rows = [{"prompt": "a", "completion": ""}, {"prompt": "a", "completion": " b"}]
    for limit, kept in ((3, rows), (2, rows[:1])):
        lengths = guards.lengths(Words(), rows, limit)
        assert lengths.kept(rows) == kept and lengths.longest_kept == 8
        assert ("linhas (tokens): 2 (3)" in str(lengths)) == (len(kept) == 1)
    with pytest.raises(InputError, match="Nenhum exemplo cabe nos 1 tokens"):
        guards.lengths(Words(), rows, 1)


@pytest.mark.longo
def test_a_gguf_file_is_a_base_model_and_is_prepared_once(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "meu.gguf").symlink_to(bases._package_folder() / bases.GGUF_FILE)
    base = bases.resolve(training.choose("cpu", model=str(tmp_path / "meu.gguf")))
    assert base.id.startswith("meu@") and base.parameters == 134_515_008
    folder = bases.converted(base)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token_id) == ("<|im_end|>", 2, 0)
    assert bases.converted(base) == folder and (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "cache").rglob("*.parcial")] == []
