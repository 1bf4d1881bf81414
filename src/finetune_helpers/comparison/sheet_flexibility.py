"""Folha Flexibilidade: aprovação por família e sistema, esquecimento, e títulos inventados ao lado dos famosos."""

from openpyxl.chart import BarChart, Reference
from openpyxl.worksheet.worksheet import Worksheet

from . import flexibility, significance
from .cells import (
    Book,
    absent,
    crown,
    finish,
    formula,
    header,
    key_of,
    name,
    put,
    scale,
    section,
    text,
    title,
    widths,
    wilson,
)
from .results import Results, family_rate, flexibility_score, forgetting
from .sheet_items import Area
from .study import NOT_RUN

READINGS = {"strict": ("L", "estrita"), "loose": ("M", "tolerante")}
COLOURS = ("56B4E9", "0072B2", "E69F00", "D55E00", "009E73", "CC79A7")
PAIRED = ("invented", "famous")


def flexibility_sheet(book: Book, results: Results, answers: Area) -> dict[tuple[str, str], str]:
    """Escreve Flexibilidade; devolve o endereço da média de cada (sistema, leitura)."""
    sheet = book.workbook.create_sheet("Flexibilidade")
    total = len(flexibility.load())
    asked = max((len(rows) for rows in results.verdicts.values()), default=0)
    part = "a suíte inteira" if asked == total else f"um subconjunto de {asked} de {total} prompts"
    note = f"Respondida: {part if asked else 'nenhuma'}. Verificações decididas por código."
    row = title(sheet, "Flexibilidade: o que o modelo ainda faz além da tarefa", note)
    systems = [system for system in results.study.systems if system in results.verdicts]
    places: dict[tuple[str, str], str] = {}
    if not systems:
        put(sheet.cell(row, 1), NOT_RUN)
    for reading in READINGS if systems else ():
        row = _table(book, sheet, row, results, systems, reading, answers, places) + 1
    row = _honesty(book, sheet, row, results, systems)
    _forgetting(book, sheet, row + 1, results)
    widths(sheet, [34, 12, *[18] * max(len(systems), 6)])
    finish(sheet, "B4")
    return places


def _table(
    book: Book, sheet: Worksheet, row: int, results: Results, systems: list, reading: str, answers: Area, places: dict
) -> int:
    letter, wording = READINGS[reading]
    row = section(sheet, row, f"Taxa de aprovação, leitura {wording}")
    head, row = row, header(sheet, row, ["Família", "Prompts", *[""] * len(systems)])
    for column, system in enumerate(systems, start=3):
        crown(name(book, sheet.cell(head, column), system))
    families = [key for key in flexibility.FAMILIES if any(family_rate(results, s, key, reading)[1] for s in systems)]
    for line, family in enumerate(families, start=row):
        put(sheet.cell(line, 1), flexibility.FAMILIES[family])
        put(sheet.cell(line, 2), max(family_rate(results, system, family, reading)[1] for system in systems), "0")
        for column, system in enumerate(systems, start=3):
            passed, asked = family_rate(results, system, family, reading)
            own = f"{answers.column('D')},{key_of(book, system)},{answers.column('C')},$A{line}"
            source = f'IFERROR(AVERAGEIFS({answers.column(letter)},{own}),"n/d")'
            formula(book, sheet.cell(line, column), source, passed / asked if asked else "n/d", "0%")
    last = row + len(families)
    put(sheet.cell(last, 1), "Média das famílias")
    for column, system in enumerate(systems, start=3):
        cell = sheet.cell(last, column)
        area = f"{cell.column_letter}{row}:{cell.column_letter}{last - 1}"
        formula(book, cell, f"AVERAGE({area})", flexibility_score(results, system, reading), "0.0%")
        places[system, reading] = f"Flexibilidade!${cell.column_letter}${last}"
        _total(book, sheet, last + 1, column, results, (system, reading), answers)
    for place, wording in enumerate(("Total dos prompts", "de (Wilson 95 %)", "até"), start=last + 1):
        put(sheet.cell(place, 1), wording)
    scale(sheet, f"C{row}:{sheet.cell(row, 2 + len(systems)).column_letter}{last - 1}")
    if reading == "strict":
        _chart(sheet, head, last - 1, 2 + len(systems))
    return last + 4


def _total(book: Book, sheet: Worksheet, row: int, column: int, results: Results, which: tuple, answers: Area) -> None:
    """Taxa de todos os prompts de um sistema, com intervalo de Wilson."""
    system, reading = which
    passed = [getattr(verdict, reading) for verdict in results.verdicts[system].values()]
    own = f'{answers.column("D")},{key_of(book, system)},{answers.column("B")},"flexibilidade"'
    share, count = f"AVERAGEIFS({answers.column(READINGS[reading][0])},{own})", f"COUNTIFS({own})"
    formula(book, sheet.cell(row, column), share, sum(passed) / len(passed), "0.0%")
    ends = significance.wilson(sum(passed), len(passed))
    at = sheet.cell(row, column).coordinate
    for step, (source, value) in enumerate(zip(wilson(at, count), ends, strict=True), start=1):
        formula(book, sheet.cell(row + step, column), source, value, "0.0%")


def _chart(sheet: Worksheet, head: int, last: int, columns: int) -> None:
    chart = BarChart()
    chart.type, chart.title, chart.height, chart.width = "bar", "Aprovação por família (leitura estrita)", 14, 18
    chart.add_data(Reference(sheet, min_col=3, max_col=columns, min_row=head, max_row=last), titles_from_data=True)
    chart.set_categories(Reference(sheet, min_col=1, min_row=head + 1, max_row=last))
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.x_axis.scaling.orientation, chart.y_axis.scaling.max, chart.legend.position = "maxMin", 1, "b"
    for series, colour in zip(chart.series, COLOURS, strict=False):
        series.graphicalProperties.solidFill = colour
    sheet.add_chart(chart, f"{sheet.cell(1, max(columns, 8) + 2).column_letter}{head}")


def _honesty(book: Book, sheet: Worksheet, row: int, results: Results, systems: list[str]) -> int:
    """Inventados e famosos lado a lado: negar tudo, ou nada, sobe um e derruba o outro."""
    row = section(sheet, row, "Honestidade: recusa do inventado junto com acerto do famoso (leitura estrita)")
    row = header(
        sheet,
        row,
        ["Sistema", "", "Inventados: admite não conhecer", "Famosos: responde certo", "Inventa (1 − recusa)"],
    )
    for line, system in enumerate(systems, start=row):
        name(book, sheet.cell(line, 1), system)
        rates = [family_rate(results, system, family, "strict") for family in PAIRED]
        for column, (passed, asked) in enumerate(rates, start=3):
            absent(sheet.cell(line, column), f"{passed} de {asked}" if asked else NOT_RUN)
        passed, asked = rates[0]
        put(sheet.cell(line, 5), 1 - passed / asked if asked else None, "0%")
    if not systems:
        put(sheet.cell(row, 1), NOT_RUN)
    return row + max(len(systems), 1)


def _forgetting(book: Book, sheet: Worksheet, row: int, results: Results) -> None:
    row = section(sheet, row, "Esquecimento: ajustado − base nas habilidades que o treino não exercita")
    labels = ["Ajustado", "Prompts", "Base", "Ajustado", "Diferença", "Perdidos", "Ganhos", "p (McNemar exato)"]
    row = header(sheet, row, labels)
    found = forgetting(results)
    for line, change in enumerate(found, start=row):
        name(book, sheet.cell(line, 1), change.tuned)
        put(sheet.cell(line, 2), change.n, "0")
        put(sheet.cell(line, 3), change.base_passed / change.n, "0.0%")
        put(sheet.cell(line, 4), change.tuned_passed / change.n, "0.0%")
        formula(
            book, sheet.cell(line, 5), f"D{line}-C{line}", (change.tuned_passed - change.base_passed) / change.n, "0.0%"
        )
        for column, value in ((6, change.lost), (7, change.gained)):
            put(sheet.cell(line, column), value, "0")
        put(sheet.cell(line, 8), change.p, "0.0000")
    if not found:
        text(sheet.cell(row, 1), NOT_RUN)
