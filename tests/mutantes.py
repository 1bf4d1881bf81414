"""Erros plantados no código, um a um: quantos os testes rápidos veem, por módulo (``make mutantes``; leva horas)."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.85


def main() -> int:
    """Executa o mutmut e mostra a taxa por módulo; devolve 1 se ela fica abaixo de ``LEAST`` no total."""
    mutmut = [sys.executable, "-m", "mutmut"]
    subprocess.run([*mutmut, "run", *sys.argv[1:]], cwd=ROOT, check=False)
    listed = subprocess.run([*mutmut, "results", "--all", "true"], cwd=ROOT, capture_output=True, text=True, check=True)
    counts: dict[str, Counter] = {}
    for name, outcome in re.findall(r"^\s*(\S+?)\.x\S+__mutmut_\d+: (.+)$", listed.stdout, re.MULTILINE):
        counts.setdefault(name, Counter())[outcome] += 1
    total: Counter = sum(counts.values(), Counter())
    for name, outcomes in [*sorted(counts.items()), ("total", total)]:
        print(f"{rate(outcomes):6.1%}  {name:<45} {dict(outcomes)}")
    return int(rate(total) < LEAST)


def rate(outcomes: Counter) -> float:
    """A parte dos erros julgados que algum teste viu; um que nenhum teste executa conta como não visto."""
    seen = outcomes["killed"] + outcomes["timeout"]
    return seen / max(1, seen + outcomes["survived"] + outcomes["no tests"] + outcomes["suspicious"])


if __name__ == "__main__":
    sys.exit(main())
