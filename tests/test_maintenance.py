"""O que mantém a casa de pé: os fluxos de automação, os comandos que eles chamam e as versões que eles tentam."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
AUTOMATION = sorted((ROOT / ".github").rglob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def loaded(path: Path) -> dict:
    """Um arquivo de automação; o YAML 1.1 lê a chave ``on`` como verdadeiro."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found | {"on": found[True]} if True in found else found


def steps(path: Path) -> list[dict]:
    """Os passos de todos os trabalhos de um fluxo."""
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


@every_workflow
def test_a_workflow_asks_for_little_and_ends(path):
    workflow = loaded(path)
    assert workflow["permissions"]["contents"] == "read"
    assert all(0 < job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())


@every_workflow
def test_actions_are_official_and_pinned_to_a_major_version(path):
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used and [one for one in used if not re.fullmatch(r"actions/[\w-]+@v\d+", one)] == []


@every_workflow
def test_the_commands_of_a_workflow_exist(path):
    ran = "\n".join(step["run"] for step in steps(path) if "run" in step)
    called = re.findall(r"^make ([a-z]+)", ran, re.MULTILINE)
    scripts = re.findall(r"^(\.ci/\w+)", ran, re.MULTILINE)
    assert called or scripts
    assert set(called) <= TARGETS and all((ROOT / script).is_file() for script in scripts)


@every_workflow
def test_a_workflow_uses_the_oldest_python_that_is_supported(path):
    minimum = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    versions = {step["with"]["python-version"] for step in steps(path) if "setup-python" in step.get("uses", "")}
    assert {f">={version}" for version in versions} == {minimum}


def test_every_change_is_tested_as_a_person_would():
    workflow = loaded(ROOT / ".github" / "workflows" / "testes.yml")
    assert {"push", "pull_request"} <= workflow["on"].keys()
    assert ".ci/run" in [step.get("run") for step in steps(ROOT / ".github" / "workflows" / "testes.yml")]


def test_the_newest_versions_are_tried_every_week_and_a_failure_is_told():
    path = ROOT / ".github" / "workflows" / "semanal.yml"
    minute, hour, day, month, weekday = loaded(path)["on"]["schedule"][0]["cron"].split()
    assert (day, month) == ("*", "*") and weekday.isdigit() and minute.isdigit() and hour.isdigit()
    assert "make atualizar" in [step.get("run") for step in steps(path)]
    told = [step for step in steps(path) if step.get("if") == "failure()"]
    assert len(told) == 1 and "gh issue create" in told[0]["run"]
    assert loaded(path)["permissions"]["issues"] == "write"


def test_dependabot_watches_packages_and_actions_every_week():
    watched = {one["package-ecosystem"]: one for one in loaded(ROOT / ".github" / "dependabot.yml")["updates"]}
    assert watched.keys() == {"pip", "github-actions"}
    assert {one["schedule"]["interval"] for one in watched.values()} == {"weekly"}
    assert "torch" in [one["dependency-name"] for one in watched["pip"]["ignore"]]


@pytest.mark.parametrize("path", AUTOMATION, ids=lambda path: path.name)
def test_automation_holds_no_key(path):
    secrets = re.findall(
        r"secrets\.\w+|(?:token|key|password)\s*:\s*(?!\$\{\{)\S+", path.read_text(encoding="utf-8"), re.I
    )
    assert secrets == []


def test_the_guide_fits_on_a_page():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 70


@pytest.mark.parametrize("target", ["instalar", "demo", "test", "lint", "atualizar", "publicar"])
def test_the_guide_names_every_command_a_contributor_needs(target):
    assert target in TARGETS
    assert f"make {target}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_exception_to_the_types_has_its_code_and_its_reason():
    bare = []
    for path in (ROOT / "src").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            if "type: ignore" in line:
                coded = re.search(r"# type: ignore\[[\w-]+\]", line)
                reason = re.search(r"ignore\[[\w-]+\]  # \w", line) or lines[number - 2].lstrip().startswith("# ")
                bare += [] if coded and reason else [f"{path.name}:{number}"]
    assert bare == []


def test_only_what_needs_a_gpu_is_left_out_of_the_coverage():
    marked = [line for path in (ROOT / "src").rglob("*.py") for line in path.read_text("utf-8").splitlines()]
    assert [line for line in marked if "pragma: no cover" in line and "só com GPU" not in line] == []


def test_the_coverage_counts_branches_and_processes():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]
    assert told["run"]["branch"] and told["run"]["parallel"] and "subprocess" in told["run"]["patch"]
    assert told["report"]["fail_under"] >= 90
    assert "--cov" in (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ntest:")[2].splitlines()[1]
