"""O ramo CUDA do Unsloth, que o Colab percorre, sobre o interpretador do Triton: o código do caderno 02, sem GPU."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import fault_pipeline as line
import pytest
from curation_rows import good_row, write_rows
from fault_pipeline import Pipeline

import finetune_helpers
from finetune_helpers import prompts
from finetune_helpers.records import Example, read_json, read_jsonl

HERE = Path(__file__).parent / "emulada"
TRITON = Path(sys.prefix) / "triton"  # `make falhas` o instala ali: só estes testes o usam

WRITE_MODEL = "import sys; sys.path.insert(0, sys.argv[1]); import minusculo; minusculo.write(sys.argv[2])"

pytestmark = [
    pytest.mark.longo,
    pytest.mark.skipif(
        not TRITON.is_dir() and not importlib.util.find_spec("triton"), reason="falta o triton: execute make falhas"
    ),
]


def emulate(step: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Um passo em outro processo, com o Triton interpretado; o código de saída e o que ele escreveu."""
    path = os.pathsep.join([str(TRITON), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "ramo.py"), step, str(folder)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "2"} | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return done.returncode, done.stdout[-2000:] + done.stderr[-3000:]


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.9"])
def test_every_profile_builds_and_learns_only_the_description(tmp_path, capability):
    code, said = emulate("build", tmp_path, CAPACIDADE=capability)
    assert code == 0, said
    seen = read_json(tmp_path / "build.json")
    assert set(seen) == {"t4", "l4", "a100", "h100"}
    for name, row in seen.items():
        assert row["begins"] == 1, name
        assert row["prompt_masked"] and row["ends_learned"] and row["learned_text"] and row["unsloth_trainer"], (
            name,
            row,
        )
        assert row["fp16"] == (name == "t4"), name
        assert "padding" not in row["check"].lower() or "sem padding" in row["check"].lower(), row["check"]


@pytest.mark.parametrize(("card", "capability"), [("t4", "7.5"), ("l4", "8.9")])
def test_a_killed_training_resumes_with_the_same_losses_and_the_base_comes_back_exactly(tmp_path, card, capability):
    whole, broken, shape = tmp_path / "inteiro", tmp_path / "quebrado", {"PLACA": card, "CAPACIDADE": capability}
    code, said = emulate("train", whole, **shape)
    assert code == 0, said
    code, said = emulate("train", broken, MORRE_NO_PASSO="2", **shape)
    assert code == 9 and not (broken / "train.json").exists(), said
    code, said = emulate("train", broken, RESPONDE="0", **shape)
    assert code == 0, said
    first, again = read_json(whole / "train.json"), read_json(broken / "train.json")
    assert again["losses"] == pytest.approx(first["losses"], abs=0.01)
    assert first["base_id"].split("@")[0] == "modelo" and first["base_id"] == again["base_id"]
    for name in ("base", "tuned"):
        assert first[f"{name}_batch"] == first[f"{name}_single"]
    assert "".join(first["tuned_pieces"]).strip() == first["tuned_single"][0]
    assert first["tuned_losses"] != pytest.approx(first["base_losses"], abs=0.05)
    assert first["base_losses"] == pytest.approx(plain_losses(whole / "modelo"), abs=1e-3)


def test_the_search_makes_two_trials_each_in_its_process(tmp_path):
    code, said = emulate("search", tmp_path)
    assert code == 0, said
    seen = read_json(tmp_path / "search.json")
    assert seen["reasons"] == ["", ""] and all(0 < loss < 20 for loss in seen["losses"]), (seen, said)
    assert seen["without_padding"] == 2


class TestNotebook:
    """O caderno inteiro; é uma classe para que o xdist o execute ao lado dos outros testes, e não depois deles."""

    def test_a_t4_lost_in_the_middle_of_training_returns_without_a_gpu_and_then_with_one(self, tmp_path):
        """O caderno 02 de verdade, num kernel novo por máquina; só a pasta da rodada passa de uma à outra."""
        subprocess.run(
            [sys.executable, "-c", WRITE_MODEL, str(HERE), str(tmp_path / "modelo")], check=True, timeout=300
        )
        path = os.pathsep.join([str(TRITON), str(HERE), str(Path(finetune_helpers.__file__).parents[1])])
        no_gpu = {"PYTHONPATH": path, "OMP_NUM_THREADS": "2"}
        t4 = no_gpu | {"EMULAR_T4": str(tmp_path / "modelo"), "FINETUNE_CACHE": str(tmp_path / "cache")}
        # Descrições curtas: o interpretador leva segundos por passo.
        source = write_rows(tmp_path / "fonte.jsonl", [good_row(seed, 48) for seed in range(24)])
        short = line.SHORT | {"FONTE": source, "N_TREINO": 17, "N_TESTE": 4}
        short |= {"MOTOR": "unsloth", "MAX_PASSOS": 3, "TOKENS_RESPOSTA": 2}
        whole = Pipeline(tmp_path / "inteira", no_gpu, short)
        whole.finish("01_curadoria")
        lost = Pipeline(line.copy(whole.folder, tmp_path / "perdida"), t4, short)
        whole.environment = t4
        whole.finish("02_treino_llama3")

        process = lost.start("02_treino_llama3")
        while not list(lost.run.glob("llama3/pontos/checkpoint-*/trainer_state.json")):
            assert process.poll() is None, lost.said()[-3000:]
            time.sleep(0.01)
        line.kill(process, everything=True)
        assert not (lost.run / "llama3" / "treino.json").exists()
        before = {path: path.read_bytes() for path in (lost.run / "llama3").rglob("*") if path.is_file()}

        lost.environment = no_gpu
        assert lost.start("02_treino_llama3").wait(600) == 1
        assert "PERFIL: era 't4', agora 'cpu'" in lost.said() and "Alterar o tipo de ambiente" in lost.said()
        assert before == {path: path.read_bytes() for path in (lost.run / "llama3").rglob("*") if path.is_file()}

        lost.environment = t4
        lost.finish("02_treino_llama3")
        first, again = (read_json(pipeline.run / "llama3" / "treino.json") for pipeline in (whole, lost))
        for curve in ("loss_curve", "heldout_curve"):
            one, other = ([point["loss"] for point in report[curve]] for report in (first, again))
            assert other == pytest.approx(one, abs=0.02), curve
        one, other = (base_answers(pipeline.run / "llama3" / "respostas.jsonl") for pipeline in (whole, lost))
        assert one == other and len(one) > 8


def base_answers(path: Path) -> dict[str, str]:
    """As respostas da base, por item."""
    return {row["item_id"]: row["answer"] for row in read_jsonl(path) if row["system"] == "llama3-base"}


def plain_losses(folder: Path) -> list[float]:
    """As perdas do mesmo modelo sem Unsloth nenhum."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune_helpers.training import measures

    examples = [
        Example(f"The Harbour of {name}", f"A history of {name} and its sailors. " * (1 + n % 3))
        for n, name in enumerate(["Alba", "Bruma", "Cedro", "Doca", "Elba", "Faro", "Gaia", "Horta"])
    ]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows = [prompts.to_prompt_completion(example) for example in examples]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [one.loss for one in measures.losses(model, tokenizer, rows, max_length=256)]
