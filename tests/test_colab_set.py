"""``requirements/colab*.txt`` por cima dos pacotes do Colab: nada por satisfazer, e o que faz mal é trocado."""

import json
import re

import colab_set
import pytest
from packaging.requirements import Requirement
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


@pytest.mark.parametrize("name", ["torch", "torchvision", "torchaudio", "numpy", "pandas", "transformers", "openai"])
def test_what_colab_compiles_its_own_packages_against_is_not_touched(name):
    assert name not in OVER


@pytest.mark.parametrize("pin", ["datasets==4.0.0", "pyarrow==18.1.0", "torchao==0.10.0"])
def test_the_known_bad_packages_are_replaced(pin):
    name, version = pin.split("==")
    assert BROUGHT[name] == version and Version(OVER[name]) > Version(version)


def test_nothing_is_installed_that_colab_already_has_and_serves():
    assert [name for name in OVER.keys() & BROUGHT.keys() if not problems_with({name: BROUGHT[name]})] == []


@pytest.mark.parametrize(("who", "name"), colab_set.EXCEPTIONS)
def test_every_exception_is_still_needed(monkeypatch, who, name):
    others = {pair: why for pair, why in colab_set.EXCEPTIONS.items() if pair != (who, name)}
    monkeypatch.setattr(colab_set, "EXCEPTIONS", others)
    found = colab_set.problems(INSTALLED, METADATA)
    assert any(colab_set.canonicalize_name(line.split()[2]).startswith(name) for line in found), "tire a exceção"


def problems_with(changed: dict[str, str | None]) -> list[str]:
    """Os problemas do conjunto com outras versões (None: sem o pacote)."""
    return colab_set.problems(
        {name: version for name, version in (INSTALLED | changed).items() if version is not None}, METADATA
    )


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


@pytest.mark.parametrize(
    ("wheel", "runs"),
    [
        ("x-1.0-py3-none-any.whl", True),
        ("x-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", True),
        ("x-1.0-cp310-abi3-manylinux2014_x86_64.whl", True),
        ("x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", False),
        ("x-1.0-cp313-cp313-manylinux_2_39_x86_64.whl", False),
        ("x-1.0-cp313-cp313-win_amd64.whl", False),
    ],
)
def test_which_wheels_colab_accepts(wheel, runs):
    assert colab_set.runs_on_colab(wheel) is runs


def test_markers_are_those_of_colab():
    asked = [
        "a; sys_platform == 'win32'",
        "b; python_version < '3.13'",
        "c; extra == 'cuda'",
        "d; python_version >= '3.13'",
    ]
    assert [one.name for one in colab_set.asked(asked, frozenset())] == ["d"]
    assert [one.name for one in colab_set.asked(asked, frozenset({"cuda"}))] == ["c", "d"]
    assert Requirement("x[http]>=1").extras == {"http"}


def test_the_recorded_files_name_no_machine():
    for path in (colab_set.FREEZE, colab_set.METADATA):
        assert re.findall(r"://|/home/|/root/|file:", path.read_text(encoding="utf-8")) == []


def test_who_does_not_train_touches_nothing_that_the_kernel_has_loaded():
    # O kernel do Colab começa com pandas, que traz numpy e pyarrow.
    assert {"pandas", "numpy", "pyarrow", "datasets"} & colab_set.pins(colab_set.OVERLAYS["dados"]).keys() == set()
