"""``make atualizar``: com um pip de mentira, o que muda nos arquivos de versões e o que fica como está."""

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from finetune_helpers.runs import installed_version

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "requirements" / "atualizar.py"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "requirements").glob("*.txt"))}


PINS = re.findall(r"^([\w.-]+)==(\S+)$", TEXTS["pacotes.txt"], re.MULTILINE)
# Noutro conjunto (o do Colab, por exemplo) os pacotes pedem outros, e não há o que comparar.
pytestmark = pytest.mark.skipif(
    any(installed_version(name).partition("+")[0] != version for name, version in PINS),
    reason="o que está instalado não é o de requirements/pacotes.txt: execute make instalar",
)


@pytest.fixture
def update(tmp_path, monkeypatch):
    """Executa a atualização sobre uma cópia; o pip de mentira acha ``newer``, ou falha com ``failure``."""
    asked = []

    def act(newer=(), failure=""):
        def pip(command, **_):
            asked.append(command)
            if failure:
                return subprocess.CompletedProcess(command, 1, "", failure)
            chosen = newer if "--no-deps" not in command else ()
            items = [{"metadata": dict(zip(("name", "version", "requires_dist"), one, strict=True))} for one in chosen]
            Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": items}))
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(subprocess, "run", pip)
        for name, text in TEXTS.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        code = runpy.run_path(str(SCRIPT))["main"](["--pasta", str(tmp_path)])
        return code, {name: (tmp_path / name).read_text(encoding="utf-8") for name in TEXTS}

    act.asked = asked
    return act


def version_of(text: str, name: str) -> str:
    return next(line.split("==")[1] for line in text.splitlines() if line.startswith(f"{name}=="))


def test_with_nothing_newer_every_file_is_the_same(update, capsys):
    assert update() == (0, TEXTS)
    assert "Nada mais novo" in capsys.readouterr().out


def test_a_newer_version_goes_to_every_file_and_brings_in_order_what_it_asks_for(update, capsys):
    code, texts = update([("gguf", "9.9.9", ["Aardvark-x>=1"]), ("Aardvark-x", "1.2", [])])
    assert code == 0 and "gguf 0.19.0 → 9.9.9" in capsys.readouterr().out
    lines = [line for line in texts["pacotes.txt"].splitlines() if not line.startswith("#")]
    assert lines[0] == "Aardvark-x==1.2" and lines == sorted(lines, key=str.lower)
    assert {version_of(texts[name], "gguf") for name in ("pacotes.txt", "colab.txt")} == {"9.9.9"}
    undone = {name: text.replace("==9.9.9", "==0.19.0") for name, text in texts.items()}
    assert {name: text.replace("Aardvark-x==1.2\n", "") for name, text in undone.items()} == TEXTS


def test_what_nobody_asks_for_any_more_leaves(update):
    assert "patsy==" in TEXTS["pacotes.txt"]
    _, texts = update([("statsmodels", "9.9", []), ("formulaic", "9.9", [])])
    assert "patsy==" not in texts["pacotes.txt"]


def test_torch_stays_where_it_is_and_brings_no_cuda(update):
    _, texts = update([("torch", "2.13.0", ["nvidia-cublas-cu13==1.0", "sympy"]), ("nvidia-cublas-cu13", "1.0", [])])
    assert "nvidia-cublas" not in texts["pacotes.txt"] and "sympy==" in texts["pacotes.txt"]
    whole = next(command for command in update.asked if "--no-deps" not in command)
    assert f"torch=={version_of(TEXTS['pacotes.txt'], 'torch')}" in whole


def test_without_a_solution_nothing_changes_and_no_address_is_shown(update, capsys):
    said = "ERROR: Cannot install a and b from https://registro.exemplo/simple and /opt/rodas/x.whl\nINFO: nada"
    code, texts = update(failure=said)
    shown = capsys.readouterr().err
    assert (code, texts) == (1, TEXTS)
    assert "Cannot install a and b" in shown and "nada foi mudado" in shown
    assert "registro.exemplo" not in shown and "/opt" not in shown
