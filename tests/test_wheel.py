"""A roda basta: sem o projeto ao lado, a amostra e o conjunto do Colab estão dentro dela."""

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
    """A roda feita agora, aberta como o pip a instala."""
    folder = tmp_path_factory.mktemp("roda")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(folder / f"finetune_helpers-{__version__}-py3-none-any.whl") as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def alone(site: Path, code: str) -> str:
    """Executa ``code`` com o pacote da roda, longe do projeto."""
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


def test_the_set_of_colab_comes_inside(site):
    found = alone(site, "from finetune_helpers import colab; print(colab.pins())")
    assert Path(found) == site / "finetune_helpers" / "requirements" / "colab.txt"
    assert Path(found).read_bytes() == (ROOT / "requirements" / "colab.txt").read_bytes()


def test_everything_the_package_keeps_beside_the_code_comes_inside(site):
    house = ROOT / "src" / "finetune_helpers"
    kept = {path.relative_to(house) for path in house.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in kept if not (site / "finetune_helpers" / path).is_file()} == set()


def test_nothing_else_comes_inside(site):
    # Uma rodada de quem usa, ou um teste, não vai na roda.
    inside = {path.name for path in site.iterdir()}
    assert inside == {"finetune_helpers", f"finetune_helpers-{__version__}.dist-info"}
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
