"""A tabela de resultados do README: escrita da rodada e conferida contra a planilha."""

import argparse
import sys
from pathlib import Path
from statistics import fmean

from ..errors import InputError
from ..records import atomic_write
from . import results
from .cells import shown
from .headlines import COLUMNS, headline
from .sheet_items import METRIC_COLUMNS
from .study import read_study
from .workbook import FILE

START, END = "<!-- resultados: início -->", "<!-- resultados: fim -->"


def table(run_folder: Path | str, data_folder: Path | str | None = None) -> str:
    """A tabela em Markdown; sistemas que não foram executados ficam numa frase só."""
    rows = headline(run_folder, data_folder)
    ran = [row for row in rows if any(row[column] not in ("não executado", "—") for column in COLUMNS[1:])]
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(row[column] for column in COLUMNS) + " |" for row in ran]
    absent = [row["Sistema"] for row in rows if row not in ran]
    return "\n".join(lines + ([f"\nNão executado: {'; '.join(absent)}."] if absent else []))


def write(readme: Path | str, run_folder: Path | str, data_folder: Path | str | None = None) -> Path:
    """Troca no README o que está entre as marcas pela tabela da rodada; InputError se as marcas não estão lá."""
    before, _, after = _parts(Path(readme))
    with atomic_write(Path(readme)) as file:
        file.write(f"{before}{START}\n{table(run_folder, data_folder)}\n{END}{after}")
    return Path(readme)


def disagreements(readme: Path | str, run_folder: Path | str, data_folder: Path | str | None = None) -> list[str]:
    """O que difere entre o README, a rodada e a sua planilha; lista vazia quando tudo confere."""
    found = []
    if _parts(Path(readme))[1].strip() != table(run_folder, data_folder).strip():
        found.append(f"{readme}: a tabela não é a da rodada {run_folder}. Grave-a de novo com --gravar.")
    return found + _workbook(run_folder, data_folder)


def _parts(readme: Path) -> tuple[str, str, str]:
    content = readme.read_text(encoding="utf-8")
    if content.count(START) != 1 or content.count(END) != 1:
        raise InputError(f'{readme}: coloque uma vez as marcas "{START}" e "{END}" onde a tabela deve ficar.')
    before, rest = content.split(START)
    table, after = rest.split(END)
    return before, table, after


def _workbook(run_folder: Path | str, data_folder: Path | str | None) -> list[str]:
    """Compara a média de cada medida na folha Métricas com a que sai dos arquivos."""
    from openpyxl import load_workbook

    path = Path(run_folder) / FILE
    if not path.is_file():
        return [f"{path} não existe. Execute o caderno 04."]
    sheet = load_workbook(path)["Métricas"]
    computed = results.compute(read_study(run_folder, data_folder))
    found = []
    for system in computed.scores:
        rows = [row for row in range(5, sheet.max_row + 1) if shown(sheet[f"D{row}"].value) == system]
        for metric, letter in METRIC_COLUMNS.items():
            values = [sheet[f"{letter}{row}"].value for row in rows]
            values = [value for value in values if isinstance(value, (int, float))]
            mean, expected = fmean(values) if values else None, results.mean(computed, system, metric)
            same = mean == expected if mean is None or expected is None else abs(mean - expected) <= 1e-9
            if not same:
                found.append(
                    f"{path}: {metric} de {system} é {mean} na planilha e {expected} nos arquivos. Escreva-a de novo."
                )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Confere (ou, com ``--gravar``, escreve) a tabela; devolve 1 se algo difere."""
    parser = argparse.ArgumentParser(description="Confere a tabela de resultados do README com a rodada e a planilha.")
    parser.add_argument("readme"), parser.add_argument("rodada")
    parser.add_argument("--dados", help="pasta dos dados, se não for dados/<rodada>")
    parser.add_argument("--gravar", action="store_true", help="escreve a tabela em vez de conferir")
    given = parser.parse_args(arguments)
    if given.gravar:
        write(given.readme, given.rodada, given.dados)
    found = disagreements(given.readme, given.rodada, given.dados)
    print("\n".join(found) or "README, rodada e planilha concordam.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
