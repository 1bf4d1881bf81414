"""As mesmas provas do braço GPT com a versão maior anterior do pacote ``openai`` (a do Colab)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PREVIOUS = Path(os.environ.get("OPENAI_ANTERIOR", Path(sys.prefix) / "openai-2.54"))
SUITES = ["test_gpt_job.py", "test_gpt_answers.py", "test_gpt_results.py"]


@pytest.mark.skipif(not PREVIOUS.is_dir(), reason="openai 2.54 não está instalado ao lado (veja OPENAI_ANTERIOR)")
def test_everything_holds_with_the_previous_major_version():
    files = [str(Path(__file__).with_name(name)) for name in SUITES]
    check = "import openai, sys, pytest; assert openai.__version__[0] == '2'; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", check, "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(PREVIOUS)})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
