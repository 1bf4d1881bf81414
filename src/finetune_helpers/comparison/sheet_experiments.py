"""Folha Hiperparâmetros: os ensaios do caderno 05, o vencedor, o ruído entre sementes e o que cada mudança fez."""

from itertools import count
from pathlib import Path
from typing import Any

from openpyxl.chart import Reference, ScatterChart, Series
from openpyxl.worksheet.worksheet import Worksheet

from ..portuguese import duration
from ..records import read_json, read_jsonl
from .cells import BAND, Book, absent, finish, header, put, section, title, widths
from .study import NOT_RUN

SHEET, FOLDER = "Hiperparâmetros", "hiperparametros"
STATES = {"complete": "completo", "pruned": "podado", "failed": "falhou", "interrupted": "interrompido"}
TRIALS = ("Ensaio", "Estado", "Taxa", "r", "alpha", "Linhas", "Melhor perda", "Época", "Tempo (s)", "Motivo")
CHANGES = ("Mudança", "Estado", "Linhas", "Perda", "Diferença", "Leitura", "Motivo")


def experiments_sheet(book: Book, run: Path) -> bool:
    """Escreve a folha, se a rodada tem experimentos concluídos (``resumo.json``); diz se a escreveu."""
    folder = run / FOLDER
    if not (folder / "resumo.json").is_file():
        return False
    found, trials = read_json(folder / "resumo.json"), read_jsonl(folder / "ensaios.jsonl")
    sheet = book.workbook.create_sheet(SHEET)
    note = "Do braço LLaMA. A perda é a da validação, uma parte das linhas de treino; o teste não foi lido."
    row = _facts(sheet, title(sheet, "Hiperparâmetros", note), found)
    row = _changes(sheet, row + 1, found)
    _trials(sheet, row + 1, trials, found["winner"]["trial"])
    widths(sheet, [38, 16, 12, 12, 12, 22, 16, 12, 12, 60])
    finish(sheet, "B4")
    return True


def _facts(sheet: Worksheet, row: int, found: dict[str, Any]) -> int:
    winner, importance = found["winner"], found["importance"]
    facts = [
        ("Vencedor", winner["trial"], None),
        ("Perda do vencedor (nats por token)", winner["heldout_loss"], "0.000"),
        ("Perda do perfil como era", found["profile_loss"], "0.000"),
        ("Época do melhor ponto da curva", winner["best_epoch"], "0.00"),
        ("Distância entre as sementes (ruído)", found["spread"], "0.000"),
        ("Importância na busca", _importance(importance), None),
        ("Orçamento", f"“{found['budget']}”: {duration(found['spent_seconds'])} usados", None),
        ("Ficou de fora", ", ".join(found["left_out"]) or "nada", None),
    ]
    for place, (label, value, form) in enumerate(facts, start=row):
        put(sheet.cell(place, 1), label)
        cell = sheet.cell(place, 2)
        absent(cell, NOT_RUN) if value is None else put(cell, value, form)
        if isinstance(value, str):
            _wide(sheet, place, 2)
    return row + len(facts)


def _wide(sheet: Worksheet, row: int, column: int) -> None:
    """Estende uma célula de texto até a última coluna: o texto inteiro cabe numa linha."""
    sheet.merge_cells(start_row=row, end_row=row, start_column=column, end_column=len(TRIALS))


def _importance(found: dict[str, Any]) -> str:
    shares = [f"{key} {100 * share:.0f} %" for key, share in (found["shares"] or {}).items()]
    return "; ".join([*shares, found["note"]])


def _changes(sheet: Worksheet, row: int, found: dict[str, Any]) -> int:
    row = section(sheet, row, "Uma mudança por vez no vencedor (diferença para a média das sementes; menor é melhor)")
    row = header(sheet, row, CHANGES)
    _wide(sheet, row - 1, len(CHANGES))
    for change in found["changes"]:
        values = [change["label"], STATES[change["state"]], change["rows"], change["loss"], change["difference"]]
        forms = [None, None, "#,##0", "0.000", "+0.000;-0.000;0.000", None, None]
        for column, value, form in zip(
            count(1), [*values, change["verdict"], change["reason"] or "—"], forms, strict=False
        ):
            put(sheet.cell(row, column), value, form)
        _wide(sheet, row, len(CHANGES))
        row += 1
    if not found["changes"]:
        absent(sheet.cell(row, 1), NOT_RUN)
    return row + 1


def _trials(sheet: Worksheet, row: int, trials: list[dict[str, Any]], winner: str) -> None:
    """Todos os ensaios, também os podados e os que falharam; depois deles, os pontos de cada curva e o gráfico."""
    row = header(sheet, section(sheet, row, "Todos os ensaios"), TRIALS)
    for trial in trials:
        for column, (value, form) in enumerate(_cells(trial), start=1):
            cell = put(sheet.cell(row, column), value, form)
            if trial["trial"] == winner:
                cell.fill = BAND
        row += 1
    _curves(sheet, row + 1, trials)


def _cells(trial: dict[str, Any]) -> list[tuple[Any, str | None]]:
    changes, best = trial["changes"], trial["best"] or {}
    return [
        (trial["trial"], None),
        (STATES[trial["state"]], None),
        (changes["learning_rate"], "0.0E+00"),
        (changes["lora_r"], "0"),
        (changes["lora_alpha"], "0"),
        (trial["rows"], "#,##0"),
        (best.get("loss"), "0.000"),
        (best.get("epoch"), "0.00"),
        (trial["seconds"], "0.0"),
        (trial["reason"] or "—", None),
    ]


def _curves(sheet: Worksheet, row: int, trials: list[dict[str, Any]]) -> None:
    row = header(sheet, section(sheet, row, "Perda na validação, passo a passo"), ["Ensaio", "Passo", "Perda"])
    chart, top = _scatter(), row
    for trial in trials:
        for place, point in enumerate(trial["curve"], start=row):
            for column, (value, form) in enumerate(
                ((trial["trial"], None), (point["step"], "0"), (point["loss"], "0.000")), start=1
            ):
                put(sheet.cell(place, column), value, form)
        last = row + len(trial["curve"]) - 1
        if trial["kind"] == "busca" and trial["curve"]:
            areas = [Reference(sheet, min_col=column, min_row=row, max_row=last) for column in (3, 2)]
            series = Series(*areas, title=trial["trial"])
            series.smooth, series.marker.symbol = False, "circle"
            chart.series.append(series)
        row = last + 1
    if chart.series:
        sheet.add_chart(chart, f"E{top - 1}")


def _scatter() -> ScatterChart:
    chart = ScatterChart()
    chart.title, chart.style, chart.height, chart.width = "Ensaios da busca", 13, 8, 17
    chart.x_axis.title, chart.y_axis.title = "passo", "perda na validação (nats por token)"
    chart.x_axis.delete = chart.y_axis.delete = False
    return chart
