"""O pacote (.whl) basta: sem o projeto ao lado, a amostra, os conjuntos do Colab e a API local estão dentro dele."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from finetune_helpers import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """O pacote feito agora, aberto como o pip o instala."""
    folder = tmp_path_factory.mktemp("pacote")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(folder / f"finetune_helpers-{__version__}-py3-none-any.whl") as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def alone(site: Path, code: str) -> list[str]:
    """O que ``code`` escreve, uma linha por item, com o pacote instalado longe do projeto."""
    environment = {key: value for key, value in os.environ.items() if key != "FINETUNE_PASTA"}
    command, environment["PYTHONPATH"] = [sys.executable, "-c", code], str(site)
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


FINDING = """
from finetune_helpers import colab, curation
from finetune_helpers.curation.sources import find_sample
print(find_sample(), colab.pins(), colab.pins("treino"), sum(1 for _ in curation.read_rows("amostra")), sep="\\n")
"""


def test_the_sample_and_the_sets_of_colab_come_inside_and_need_no_project_beside(site):
    sample, light, heavy, rows = alone(site, FINDING)
    package, original = site / "finetune_helpers", ROOT / "dados" / "amostra" / "catalogo.jsonl"
    assert Path(sample) == package / "dados" / "amostra" / "catalogo.jsonl"
    assert Path(sample).read_bytes() == original.read_bytes()
    assert int(rows) == len(original.read_bytes().splitlines())
    for path in map(Path, (light, heavy)):
        assert path.parent == package / "requirements"
        assert path.read_bytes() == (ROOT / "requirements" / path.name).read_bytes()


def test_both_packages_come_whole_and_nothing_else(site):
    # Uma rodada de quem usa, ou um teste, não vai no pacote.
    source, inside = ROOT / "src", {path.name for path in site.iterdir()}
    assert inside == {"finetune_helpers", "local_finetune_api", f"finetune_helpers-{__version__}.dist-info"}
    files = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    assert [path for path in files if "__pycache__" not in path.parts and not (site / path).is_file()] == []
    assert {path.name for path in (site / "finetune_helpers" / "dados").iterdir()} == {"amostra"}


def test_the_project_finds_the_same_files_in_a_checkout():
    sample, light, heavy, _ = alone(ROOT / "src", FINDING)
    assert [Path(sample), Path(light)] == [ROOT / "dados/amostra/catalogo.jsonl", ROOT / "requirements/colab.txt"]
    assert Path(heavy) == ROOT / "requirements/colab_treino.txt"
