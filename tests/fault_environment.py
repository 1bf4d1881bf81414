"""O modelo com que os testes de falhas percorrem a linha, e o ambiente dos processos dela."""

import os
from pathlib import Path

from tiny_llama import tiny_model


def environment(cache: Path) -> dict[str, str]:
    """O ambiente da linha, com um LLaMA minúsculo no lugar do modelo embutido.

    Com FALHAS_MODELO=embutido, é o SmolLM2-135M de verdade (umas cinco vezes mais lento).
    """
    chosen = {"FALHA_SALVAR": "0.03", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    if os.environ.get("FALHAS_MODELO") == "embutido":
        return chosen
    from finetune_helpers.training import smollm2_folder

    embedded = smollm2_folder()
    if not (cache / embedded.name).is_dir():
        tiny_model(cache / embedded.name)
    return chosen | {"FINETUNE_CACHE": str(cache)}
