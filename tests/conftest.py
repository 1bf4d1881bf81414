"""O que vários testes usam: um LLaMA de brinquedo, exemplos pequenos e a divisão dos testes em dois processos."""

import os

# Antes de qualquer torch ou numpy: cada processo dos testes usa um núcleo, sem disputar com laços de espera.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from finetune_helpers.records import Example

# O tempo de um exemplo depende de quem mais usa a máquina; as propriedades não dependem dele.
settings.register_profile("projeto", deadline=None)
settings.load_profile("projeto")

TITLES = ["The {curly} Garden", "Naïve Stories & Tales", "A Sea Voyage", "The Clockmaker", "Winter Light", "Old Roads"]
# Os pacotes do sistema que um computador pode não ter; na integração, todos são instalados.
SYSTEM_TOOLS = re.compile("LibreOffice|hunspell|Chromium|chromium", re.IGNORECASE)


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Um arquivo inteiro vai para um processo; os que treinam, todos para o mesmo: nunca dois de uma vez.

    ``--dist loadgroup`` não serve: no pytest 9.2 os grupos do xdist 3.8 não chegam a quem distribui.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        """A fila por arquivo, com uma só para todos os que treinam."""

        def _split_scope(self, nodeid: str) -> str:
            name = nodeid.split("::")[0]
            return "treino" if trains(config.rootpath / name) else name

    return ByFile(config, log)


@cache
def trains(path: Path) -> bool:
    """Se algum teste do arquivo treina um modelo."""
    return bool(re.search(r"mark\.treino", path.read_text(encoding="utf-8")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Na integração, um teste pulado por falta de um programa do sistema é uma falha: ele seria pulado para sempre."""
    report = yield
    if report.skipped and os.environ.get("CI") and SYSTEM_TOOLS.search(str(report.longrepr)):
        report.outcome = "failed"
    return report


@pytest.fixture
def bars(monkeypatch) -> list[tuple]:
    """O que cada barra de progresso anuncia: os textos e o total e, por último, as opções."""
    from finetune_helpers import progress

    announced, bar = [], progress.bar
    monkeypatch.setattr(progress, "bar", lambda *named, **more: announced.append((*named, more)) or bar(*named, **more))
    return announced


@pytest.fixture(scope="module")
def service():
    """Um serviço com roteiro, um por arquivo, no lugar do provedor da trilha GPT."""
    from gpt_server import scripted

    with scripted() as state:
        yield state


@pytest.fixture(scope="session")
def toy_examples() -> list[Example]:
    """Vinte e quatro exemplos curtos, todos diferentes."""
    return [
        Example(
            f"{TITLES[n % len(TITLES)]} {n}", f"Book number {n} tells of {n} travellers and the author who met them."
        )
        for n in range(24)
    ]


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory) -> Path:
    """Pasta com um LLaMA de duas camadas, pesos ao acaso, e o tokenizador do modelo embutido."""
    from tiny_llama import tiny_model

    return tiny_model(tmp_path_factory.mktemp("modelo") / "llama-de-brinquedo")


@pytest.fixture(scope="session")
def toy_tuned(toy_model) -> tuple:
    """O modelo de brinquedo com um adaptador LoRA que muda as respostas, e o tokenizador."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(toy_model), config).eval()
    return model, AutoTokenizer.from_pretrained(toy_model)
