"""``requirements/colab*.txt`` por cima dos pacotes do Colab: nada por satisfazer, e o que faz mal é trocado."""

import json
import re

import colab_set
import pytest
from packaging.version import Version

BROUGHT, OVER = colab_set.pins(colab_set.FREEZE), colab_set.overlay()
METADATA = json.loads(colab_set.METADATA.read_text(encoding="utf-8"))
INSTALLED = BROUGHT | OVER
RUN = "python tests/colab_set.py"


def test_every_requirement_of_every_package_is_satisfied():
    assert colab_set.problems(INSTALLED, METADATA) == []


def test_what_is_known_of_each_package_is_of_the_version_it_has():
    reached = {one.name for _, one in colab_set.walk(INSTALLED, METADATA)}
    names = {name for name in map(colab_set.canonicalize_name, reached) if name in INSTALLED}
    versions = {name: METADATA.get(name, {}).get("version") for name in names | set(OVER)}
    expected = {name: INSTALLED[name].split("+")[0] for name in versions}
    assert {name: Version(value or "0") for name, value in versions.items()} == {
        name: Version(value) for name, value in expected.items()
    }, f"refaça com: {RUN}"


def test_every_extra_that_is_asked_is_recorded():
    asked = {extra for _, one in colab_set.walk(INSTALLED, METADATA) for extra in one.extras}
    assert asked <= colab_set.EXTRAS, f"acrescente a EXTRAS e refaça com: {RUN}"


def test_every_pin_has_a_wheel_for_the_python_of_colab():
    assert [METADATA[name]["wheel"] for name in OVER if not colab_set.runs_on_colab(METADATA[name]["wheel"])] == []


def test_the_known_bad_is_replaced_and_what_colab_compiles_against_is_not_touched():
    bad = {"datasets": "4.0.0", "pyarrow": "18.1.0", "torchao": "0.10.0"}
    assert {name: BROUGHT[name] for name in bad} == bad
    assert [name for name in bad if Version(OVER[name]) <= Version(bad[name])] == []
    kept = {"torch", "torchvision", "torchaudio", "numpy", "pandas", "transformers", "openai"}
    assert kept & OVER.keys() == set()
    # O kernel do Colab começa com pandas, que traz numpy e pyarrow: quem não treina não toca neles.
    assert {"pandas", "numpy", "pyarrow", "datasets"} & colab_set.pins(colab_set.OVERLAYS["dados"]).keys() == set()


def test_nothing_is_installed_that_colab_already_has_and_serves():
    assert [name for name in OVER.keys() & BROUGHT.keys() if not problems_with({name: BROUGHT[name]})] == []


def test_every_exception_is_still_needed(monkeypatch):
    every = colab_set.EXCEPTIONS
    for who, name in every:
        monkeypatch.setattr(colab_set, "EXCEPTIONS", {pair: why for pair, why in every.items() if pair != (who, name)})
        found = [colab_set.canonicalize_name(line.split()[2]) for line in colab_set.problems(INSTALLED, METADATA)]
        assert any(asked.startswith(name) for asked in found), f"tire a exceção de {who} e {name}"


def problems_with(changed: dict[str, str | None]) -> list[str]:
    """Os problemas do conjunto com outras versões (None: sem o pacote)."""
    mixed = {name: version for name, version in (INSTALLED | changed).items() if version}
    return colab_set.problems(mixed, METADATA)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"datasets": "4.0.0"}, "unsloth pede datasets"),
        ({"pyarrow": "18.1.0"}, "datasets pede pyarrow>=21.0.0, e há 18.1.0"),
        ({"torchao": "0.10.0"}, "unsloth-zoo pede torchao"),
        ({"trl": "1.16.0"}, "unsloth pede trl"),
        ({"transformers": "5.23.0"}, "unsloth pede transformers"),
        ({"colorlog": None}, "optuna pede colorlog, e há nada"),
    ],
    ids=["datasets do Colab", "pyarrow do Colab", "torchao do Colab", "trl novo demais", "transformers novo", "falta"],
)
def test_a_bad_set_is_seen(changed, expected):
    assert any(line.startswith(expected) for line in problems_with(changed))


WHEELS = {
    True: ["py3-none-any", "cp313-cp313-manylinux_2_28_x86_64", "cp310-abi3-manylinux2014_x86_64"],
    False: ["cp312-cp312-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_39_x86_64", "cp313-cp313-win_amd64"],
}


@pytest.mark.parametrize("runs", WHEELS)
def test_which_wheels_colab_accepts(runs):
    assert [tags for tags in WHEELS[runs] if colab_set.runs_on_colab(f"x-1.0-{tags}.whl") is not runs] == []


def test_markers_are_those_of_colab():
    markers = ["sys_platform == 'win32'", "python_version < '3.13'", "extra == 'cuda'", "python_version >= '3.13'"]
    asked = [f"{name}; {marker}" for name, marker in zip("abcd", markers, strict=True)]
    assert [one.name for one in colab_set.asked(asked, frozenset())] == ["d"]
    assert [one.name for one in colab_set.asked(asked, frozenset({"cuda"}))] == ["c", "d"]


def test_the_recorded_files_name_no_machine():
    for path in (colab_set.FREEZE, colab_set.METADATA):
        assert re.findall(r"://|/home/|/root/|file:", path.read_text(encoding="utf-8")) == []
