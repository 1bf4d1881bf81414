"""A rodada publicada: o README diz o mesmo que ela, e nela não há pesos, caminhos de máquina nem chaves."""

import re
from pathlib import Path

import paginas
import pytest

from finetune_helpers import answers
from finetune_helpers.comparison import statistics
from finetune_helpers.records import read_json

ROOT = Path(__file__).parents[1]
RUN = ROOT / "resultados" / "publicada"
FILES = [path for folder in (RUN, ROOT / "dados" / "publicada") for path in folder.rglob("*") if path.is_file()]
MACHINE = re.compile(r"(?<![\w/.])/(?:home|root|tmp|work|Users|usr|var)/\w+|sk-[A-Za-z0-9]{16,}|hf_[A-Za-z0-9]{16,}")


def test_every_answer_says_which_weights_wrote_it_and_each_track_has_one_base():
    for track in ("llama3", "gpt"):
        rows = answers.read(RUN / track / "respostas.jsonl")
        assert len({answers.base_of(row.model_id) for row in rows}) == 1
        tuned = {row.model_id for row in rows if row.system.endswith("-tuned")}
        assert tuned == {read_json(RUN / track / "treino.json")["model_id"]} and "+" in tuned.pop()


@pytest.mark.parametrize("page", ["README.md", "resultados/LEIAME.md"])
def test_the_pages_and_the_workbook_say_what_the_run_says(page):
    assert paginas.main([str(ROOT / page), str(RUN)]) == 0


@pytest.mark.parametrize("arm", ["llama3", "gpt"])
def test_learning_is_real_in_both_tracks(arm):
    learned = statistics.learning(read_json(RUN / arm / "treino.json")["heldout"])
    assert learned.n == 36 and learned.mean > 0 and learned.p < 0.01


def test_the_published_run_is_whole():
    expected = {"rodada.json", "comparacao.xlsx", "llama3/treino.json", "llama3/respostas.jsonl", "gpt/treino.json"}
    expected |= {"gpt/respostas.jsonl", "gpt/trabalho.json", "figuras/diferencas.png", "cadernos/tempos.json"}
    expected |= {"revisao.xlsx", "revisao_chave.json"}
    assert expected <= {path.relative_to(RUN).as_posix() for path in FILES if path.is_relative_to(RUN)}


def test_no_weights_and_no_large_file_are_published():
    assert not [path.name for path in FILES if path.suffix in (".safetensors", ".pt", ".bin", ".gguf")]
    assert max(path.stat().st_size for path in FILES) < 1_000_000


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix in (".json", ".jsonl")], ids=lambda p: p.name)
def test_no_machine_path_or_key_is_published(path):
    assert not MACHINE.findall(path.read_text(encoding="utf-8"))
