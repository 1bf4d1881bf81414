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


def alone(site: Path, code: str) -> str:
    """Executa ``code`` com o pacote instalado, longe do projeto."""
    environment = {key: value for key, value in os.environ.items() if key != "FINETUNE_PASTA"}
    environment["PYTHONPATH"] = str(site)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=site.parent, env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_sample_comes_inside(site):
    found = alone(site, "from finetune_helpers.curation.sources import find_sample; print(find_sample())")
    assert Path(found) == site / "finetune_helpers" / "dados" / "amostra" / "catalogo.jsonl"
    assert Path(found).read_bytes() == (ROOT / "dados" / "amostra" / "catalogo.jsonl").read_bytes()


def test_the_sample_is_curated_with_no_project_beside(site):
    code = "from finetune_helpers.curation import read_rows; print(sum(1 for _ in read_rows('amostra')))"
    assert int(alone(site, code)) == len((ROOT / "dados" / "amostra" / "catalogo.jsonl").read_bytes().splitlines())


@pytest.mark.parametrize("kind", ["dados", "treino"])
def test_the_sets_of_colab_come_inside(site, kind):
    path = Path(alone(site, f"from finetune_helpers import colab; print(colab.pins({kind!r}))"))
    assert path.parent == site / "finetune_helpers" / "requirements"
    assert path.read_bytes() == (ROOT / "requirements" / path.name).read_bytes()


def test_both_packages_come_whole_and_nothing_else(site):
    # Uma rodada de quem usa, ou um teste, não vai no pacote.
    source, inside = ROOT / "src", {path.name for path in site.iterdir()}
    assert inside == {"finetune_helpers", "local_finetune_api", f"finetune_helpers-{__version__}.dist-info"}
    kept = {
        path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in kept if not (site / path).is_file()} == set()
    assert {path.name for path in (site / "finetune_helpers" / "dados").iterdir()} == {"amostra"}


def test_the_project_finds_the_same_files_in_a_checkout():
    code = (
        "from finetune_helpers import colab; from finetune_helpers.curation.sources import find_sample; "
        "print(find_sample(), colab.pins(), sep='|')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert (
        found.stdout.strip() == f"{ROOT / 'dados' / 'amostra' / 'catalogo.jsonl'}|{ROOT / 'requirements' / 'colab.txt'}"
    )
