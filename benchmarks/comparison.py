"""Mede a escrita da planilha com 500 itens e 6 sistemas: segundos de processador e pico de memória do processo."""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from comparison_run import make_run

from finetune_helpers import comparison

LIMIT_SECONDS, LIMIT_MB = 10, 300


def main(items: int = 500) -> int:
    """Pontua a rodada, escreve a planilha num processo novo e devolve 1 se a escrita passou de um dos limites."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), items, length=9, training=1500)
        clock = time.process_time()
        results = comparison.score(run)
        scored = time.process_time() - clock
        start, clock = time.perf_counter(), time.process_time()
        path = comparison.write_workbook(run, results=results)
        seconds, used = time.perf_counter() - start, time.process_time() - clock
        size = path.stat().st_size / 1e6
    # VmHWM começa do zero neste processo; ru_maxrss herdaria o pico de quem o chamou.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    times = f"planilha em {seconds:.1f} s ({used:.1f} s de processador; pontuar, {scored:.1f} s)"
    print(f"{items} itens, 6 sistemas e 3 referências: {times}, pico de {peak:.0f} MB, arquivo de {size:.1f} MB")
    # O limite vale para o tempo de processador: numa máquina dividida, o de relógio mede os vizinhos.
    return int(used > LIMIT_SECONDS or peak > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
