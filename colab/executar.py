"""Executa os cadernos de cima a baixo, como uma pessoa faria, e mostra onde ficou a planilha.

python colab/executar.py --fonte amostra --rodada demonstracao
"""

import argparse
import os
import sys
import threading
import time
from pathlib import Path

import papermill
import psutil
from nbclient.exceptions import DeadKernelError

from finetune_helpers import comparison, portuguese
from finetune_helpers.errors import FinetuneError, notebook_text
from finetune_helpers.records import write_json
from finetune_helpers.runs import refuse_credentials

HERE = Path(__file__).resolve().parent
NOTEBOOKS = sorted(path.stem for path in HERE.glob("*.ipynb"))
PRODUCTION_LINE = NOTEBOOKS[:4]  # a busca e a página vêm depois, para quem quer mais


def main() -> int:
    """Executa os cadernos pedidos; devolve 1, com uma só mensagem, se um deles falhar."""
    asked = _arguments()
    refuse_credentials("--fonte", asked.fonte)  # o papermill escreveria a senha no caderno executado
    # Dois processos que treinam ou servem ao mesmo tempo não podem disputar os núcleos com laços de espera.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["FINETUNE_PASTA"] = str(asked.pasta.resolve())
    run = asked.pasta / "resultados" / asked.rodada
    measured = {}
    for name in asked.cadernos:
        measured[name] = _run(name, run / "cadernos", _parameters(name, asked))
        if measured[name] is None:
            return 1
    write_json(run / "cadernos" / "tempos.json", measured)
    print(_table(measured))
    if (run / "comparacao.xlsx").exists():
        print(f"\nPlanilha: {run / 'comparacao.xlsx'}\n")
        print(_headline(comparison.headline(run)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fonte", default="amostra", help='"amostra", um arquivo, uma pasta ou uma URL')
    parser.add_argument("--rodada", default="demonstracao", help="nome da rodada, que é também o das pastas")
    parser.add_argument("--modelo", default="", help="nome do Hub, pasta ou .gguf no lugar do modelo do perfil")
    parser.add_argument("--modelo-gpt", default="", help="o mesmo, só para a trilha GPT (vazio: o de --modelo)")
    parser.add_argument("--pasta", type=Path, default=HERE.parent, help="onde ficam dados/ e resultados/")
    parser.add_argument("--cadernos", nargs="+", default=PRODUCTION_LINE, choices=NOTEBOOKS, help="quais executar")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NOME", "VALOR"), help="outro parâmetro")
    return parser.parse_args()


def _parameters(name: str, asked: argparse.Namespace) -> dict:
    """Os parâmetros que este caderno tem; um nome que nenhum caderno tem seria ignorado em silêncio pelo papermill."""
    source = Path(asked.fonte)
    values = {"RODADA": asked.rodada, "FONTE": str(source.resolve()) if source.exists() else asked.fonte}
    # Outras linhas podem não ter nenhuma da faixa longa; a demonstração segue com as que há e diz o que fez.
    values |= {"SE_FALTAR": "desligar_tokens"}
    if model := (asked.modelo_gpt if name.startswith("03") else "") or asked.modelo:
        values["MODELO"] = str(Path(model).resolve()) if Path(model).exists() else model
    values |= {key: _literal(value) for key, value in asked.p}
    known = papermill.inspect_notebook(HERE / f"{name}.ipynb")
    return {key: value for key, value in values.items() if key in known}


def _literal(value: str) -> object:
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(value, value)


def _run(name: str, folder: Path, parameters: dict) -> dict | None:
    print(f"▶ {name}", flush=True)
    started, peak = time.monotonic(), _PeakMemory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            HERE / f"{name}.ipynb",
            folder / f"{name}.ipynb",
            parameters,
            cwd=HERE,
            kernel_name="python3",
            start_timeout=600,  # segundos; com o disco frio ou a máquina cheia, os 60 do papermill não bastam
            progress_bar=sys.stderr.isatty(),
        )
    except OSError as error:
        wrong = f"{folder} não pôde ser gravada ({error.strerror}). "
        return _stopped(name, wrong + "Libere espaço, ou monte a pasta de novo, e execute outra vez.")
    except DeadKernelError:
        wrong = f"o processo dele foi morto, talvez por falta de memória (usava {_gb(peak.bytes / 1e9)}). "
        return _stopped(name, wrong + "Feche outros programas e execute outra vez: o que já foi feito está guardado.")
    except papermill.PapermillExecutionError as error:
        known = error.ename in {kind.__name__ for kind in FinetuneError.__subclasses__()}
        return _stopped(name, notebook_text(error.evalue) if known else str(error))
    finally:
        peak.stop()
    return {"segundos": round(time.monotonic() - started, 1), "pico_gb": round(peak.bytes / 1e9, 2)}


def _stopped(name: str, why: str) -> None:
    print(f"\nO caderno {name} parou: {why}", file=sys.stderr)


def _gb(size: float) -> str:
    return f"{portuguese.number(size, 1)} GB"


class _PeakMemory(threading.Thread):
    """Pico da memória residente deste processo e de todos os que ele começa."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._stopped = 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(0.5):
            self.bytes = max(self.bytes, sum(map(_rss, psutil.Process().children(recursive=True))))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _rss(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _table(measured: dict) -> str:
    lines = [
        f"  {name:<18} {portuguese.duration(row['segundos']):>12}   pico de {_gb(row['pico_gb'])}"
        for name, row in measured.items()
    ]
    total = portuguese.duration(sum(row["segundos"] for row in measured.values()))
    return "\n".join(["", *lines, f"  {'total':<18} {total:>12}"])


def _headline(rows: list[dict[str, str]]) -> str:
    """A tabela principal em linhas de texto: um parágrafo por sistema, um critério por linha."""
    first = next(iter(rows[0]))
    return "\n".join(
        "\n".join([row[first], *(f"  {key:<28} {value}" for key, value in row.items() if key != first)]) for row in rows
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FinetuneError as error:
        sys.exit(f"Erro: {error}")
