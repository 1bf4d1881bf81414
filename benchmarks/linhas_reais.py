"""A comparação na amostra e em linhas de verdade: ``python benchmarks/linhas_reais.py RODADA [RODADA...]`` (pastas).

Das linhas de verdade, que não são do projeto, só os números agregados entram no repositório.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "resultados"))

import paginas

from finetune_helpers.comparison.results import score
from finetune_helpers.records import atomic_write

TARGET = Path(__file__).parent / "resultados" / "linhas_reais.md"


def main(*runs: str) -> int:
    """Escreve uma tabela por rodada e as imprime."""
    lines = ["# A mesma comparação em linhas escritas para o projeto e em linhas de verdade"]
    for run in runs:
        results = score(run)
        lines += ["", f"## {Path(run).name}: {len(results.study.items)} itens", "", paginas.table(results)]
    with atomic_write(TARGET) as file:
        file.write("\n".join([*lines, ""]))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
