"""Erros plantados no código, um a um: quantos os testes rápidos veem, por módulo (``make mutantes``; leva horas)."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.85
# O código com que o mutmut deixa cada erro: o do pytest ou o sinal que o interrompeu.
OUTCOMES = {0: "escaparam", 1: "vistos", 3: "vistos", 5: "sem teste", 33: "sem teste"}
OUTCOMES |= dict.fromkeys((24, -24, 36, 152), "não acabaram")


def main() -> int:
    """Executa o mutmut e mostra a taxa por módulo; devolve 1 se ela fica abaixo de ``LEAST`` no total."""
    subprocess.run([sys.executable, "-m", "mutmut", "run", *sys.argv[1:]], cwd=ROOT, check=False)
    counts: dict[str, Counter] = {}
    for path in sorted((ROOT / "mutants" / "src").rglob("*.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"].values()
        name = path.relative_to(ROOT / "mutants" / "src").as_posix().removesuffix(".py.meta")
        counts[name] = Counter(OUTCOMES.get(code, "não julgados") for code in codes)
    total: Counter = sum(counts.values(), Counter())
    for name, outcomes in [*counts.items(), ("total", total)]:
        print(f"{rate(outcomes):6.1%}  {name:<45} {dict(outcomes)}")
    return int(rate(total) < LEAST)


def rate(outcomes: Counter) -> float:
    """A parte dos erros julgados que algum teste viu; um que nenhum teste executa conta como não visto."""
    seen = outcomes["vistos"] + outcomes["não acabaram"]
    return seen / max(1, seen + outcomes["escaparam"] + outcomes["sem teste"])


if __name__ == "__main__":
    sys.exit(main())
