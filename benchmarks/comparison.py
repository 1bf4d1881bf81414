"""Mede a escrita da planilha com 500 itens e 4 sistemas: segundos e pico de memória do processo."""

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
        start, busy = time.perf_counter(), time.process_time()
        path = comparison.write_workbook(run)
        seconds, used = time.perf_counter() - start, time.process_time() - busy
        size = path.stat().st_size / 1e6
    # VmHWM começa do zero neste processo; ru_maxrss herdaria o pico de quem o chamou.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    times = f"{seconds:.1f} s ({used:.1f} s de processador)"
    print(f"{items} itens, 4 sistemas e 3 referências: {times}, pico de {peak:.0f} MB, arquivo de {size:.1f} MB")
    # O limite vale para o tempo de processador: numa máquina dividida, o de relógio mede os vizinhos.
    return int(used > LIMIT_SECONDS or peak > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
