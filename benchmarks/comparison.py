"""Mede a escrita da planilha com 500 itens e 4 sistemas: segundos e pico de memória do processo."""

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from test_comparison_study import make_run

from finetune_helpers import comparison

LIMIT_SECONDS, LIMIT_MB = 20, 400


def main(items: int = 500) -> int:
    """Escreve a planilha uma vez, num processo novo, e devolve 1 se passou de um dos limites."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), items, length=9, training=1500)
        start = time.perf_counter()
        path = comparison.write_workbook(run)
        seconds, size = time.perf_counter() - start, path.stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{items} itens, 4 sistemas e 3 referências: {seconds:.1f} s, pico de {peak:.0f} MB, arquivo de {size:.1f} MB"
    )
    return int(seconds > LIMIT_SECONDS or peak > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
