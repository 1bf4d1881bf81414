"""Uma busca de hiperparâmetros num processo próprio, para os testes que a interrompem.

python experiments_run.py PASTA MODELO ENSAIOS
"""

import sys
from pathlib import Path

from finetune_helpers import runs
from finetune_helpers.training import search


def bench(root: Path, model: str, trials: int) -> search.Bench:
    """Os experimentos da rodada ``r`` de ``root``, com dois passos por ensaio e tempo de sobra."""
    budget = search.budget("demonstracao", minutes=60, trials=trials)
    profile = search.base_profile(budget, engine="transformers", model=model, max_steps=2)
    return search.prepare(root / "resultados" / "r", root / "dados" / "r" / "llama" / "treino.jsonl", budget, profile)


if __name__ == "__main__":
    asked = bench(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    runs.open_run(asked.folder.parent, search.STEP, {"MODELO": sys.argv[2]}, output=asked.folder)
    search.search(asked)
