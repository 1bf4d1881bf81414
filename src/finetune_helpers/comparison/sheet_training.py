"""Folhas Treino e Proveniência: eficiência medida, curvas de perda, prova de aprendizado e origem de cada número."""

from openpyxl.chart import Reference, ScatterChart, Series
from openpyxl.chart.data_source import StrRef
from openpyxl.chart.series import SeriesLabel
from openpyxl.worksheet.worksheet import Worksheet

from .cells import Book, absent, crown, finish, header, name, put, section, title, widths
from .efficiency import Efficiency, efficiency
from .results import Results, proof
from .study import ARMS, NOT_RUN, Study

FACTS = (
    ("Modelo", "model", None),
    ("Motor", "engine", None),
    ("Máquina", "device", None),
    ("Carregar o modelo (s)", "load", "0.0"),
    ("Treinar (s)", "train", "0.0"),
    ("Avaliar (s)", "evaluate", "0.0"),
    ("Tokens vistos", "tokens_seen", "#,##0"),
    ("Tokens por segundo", "tokens_per_second", "0.0"),
    ("Exemplos vistos", "examples_seen", "#,##0"),
    ("Passos", "steps", "#,##0"),
    ("Parâmetros treináveis", "trainable_parameters", "#,##0"),
    ("Pico de memória da GPU (GB)", "peak_gpu_gb", "0.00"),
    ("Pico de memória do processo (GB)", "peak_rss_gb", "0.00"),
    ("Horas de máquina", "gpu_hours", "0.0000"),
    ("Tokens cobrados", "billed_tokens", "#,##0"),
    ("Parte do pico de FLOP da GPU (estimativa)", "flop_share", "0.0%"),
    ("Energia (kWh; estimativa pela potência máxima)", "energy_kwh", "0.000"),
    ("Queda da perda por hora de máquina", "gain_per_hour", "0.00"),
)

PROOF = {"n": "B", "mean": "D", "low": "E", "high": "F", "p": "G"}
COLOURS = ("0072B2", "D55E00", "009E73", "CC79A7")


def training_sheet(book: Book, results: Results) -> dict[tuple[str, str], str]:
    """Escreve Treino; devolve o endereço de cada fato por (braço, chave)."""
    sheet = book.workbook.create_sheet("Treino")
    row = title(sheet, "Eficiência no treinamento", "De treino.json, sem arredondar; o que não foi medido diz n/d.")
    arms = _arms(results.study)
    places = _facts(book, sheet, row, results, arms)
    row = _proof(book, sheet, row + len(FACTS) + 2, results, arms, places)
    _curves(book, sheet, row + 1, results.study, arms)
    widths(sheet, [46, 26, 26, 14, 14, 14, 14, 30])
    finish(sheet, "B5")
    return places


def _arms(study: Study) -> list[str]:
    return [*ARMS, *sorted(set(study.reports) - set(ARMS))]


def _facts(book: Book, sheet: Worksheet, row: int, results: Results, arms: list[str]) -> dict[tuple[str, str], str]:
    places = {}
    first = header(sheet, row, ["Fato", *[""] * len(arms)])
    for column, arm in enumerate(arms, start=2):
        crown(name(book, sheet.cell(row, column), f"braço:{arm}"))
        measured = efficiency(results.study, arm)
        for place, (wording, key, form) in enumerate(FACTS, start=first):
            put(sheet.cell(place, 1), wording)
            places[arm, key] = f"Treino!${sheet.cell(place, column).column_letter}${place}"
            _fact(book, sheet, place, column, measured, arm, (key, form))
    return places


def _fact(book: Book, sheet, row: int, column: int, measured: Efficiency | None, arm: str, fact: tuple) -> None:
    key, form = fact
    cell = sheet.cell(row, column)
    if measured is None:
        absent(cell, NOT_RUN)
    elif key in ("model", "engine", "device"):
        name(book, cell, f"{key}:{arm}")
    else:
        put(cell, getattr(measured, key), form)


def _proof(book: Book, sheet: Worksheet, row: int, results: Results, arms: list[str], places: dict) -> int:
    """Prova de que o treino ensinou algo: queda da perda nos itens de teste, com permutação pareada."""
    row = section(sheet, row, "Prova de aprendizado: perda nos itens de teste, antes e depois (nats por token)")
    labels = ["Braço", "Itens", "Grupos", "Queda média", "De", "Até", "p", "Teste"]
    row = header(sheet, row, labels)
    for arm in arms:
        name(book, sheet.cell(row, 1), f"braço:{arm}")
        found = proof(results.study, arm)
        values = [found.n, found.clusters, found.mean, found.low, found.high, found.p, found.test]
        forms = ["0", "0", "0.000", "0.000", "0.000", "0.0000", None]
        for column, (value, form) in enumerate(zip(values if found.n else [NOT_RUN], forms, strict=False), start=2):
            put(sheet.cell(row, column), value, form)
        places |= {(arm, key): f"Treino!${letter}${row}" for key, letter in PROOF.items()}
        row += 1
    return row


def _curves(book: Book, sheet: Worksheet, row: int, study: Study, arms: list[str]) -> None:
    row = section(sheet, row, "Curvas de perda (minutos de treino; perda no treino e nos itens separados)")
    first = header(sheet, row, ["Braço", "Curva", "Minutos", "Perda"])
    chart, place = _scatter(), first
    for arm in arms:
        for key, wording in (("loss_curve", "treino"), ("heldout_curve", "itens separados")):
            points = study.reports.get(arm, {}).get(key) or []
            for point in points:
                name(book, sheet.cell(place, 1), f"braço:{arm}")
                put(sheet.cell(place, 2), wording)
                # Um provedor pode publicar a curva sem dizer a hora de cada passo.
                minutes = None if point["seconds"] is None else point["seconds"] / 60
                put(sheet.cell(place, 3), minutes, "0.00")
                put(sheet.cell(place, 4), point["loss"], "0.000")
                place += 1
            if points and key == "loss_curve":
                _series(chart, sheet, place - len(points), place - 1)
    if place == first:
        put(sheet.cell(first, 1), NOT_RUN)
    else:
        sheet.add_chart(chart, f"F{first - 1}")


def _scatter() -> ScatterChart:
    chart = ScatterChart()
    chart.title, chart.style, chart.height, chart.width = "Perda contra tempo", 13, 9, 17
    chart.x_axis.title, chart.y_axis.title = "minutos", "perda (nats por token)"
    chart.x_axis.delete = chart.y_axis.delete = False
    return chart


def _series(chart: ScatterChart, sheet: Worksheet, first: int, last: int) -> None:
    areas = [Reference(sheet, min_col=column, min_row=first, max_row=last) for column in (4, 3)]
    series = Series(areas[0], areas[1])
    series.tx = SeriesLabel(strRef=StrRef(f"Treino!$A${first}"))
    series.marker.symbol = "none"
    series.smooth = False
    series.graphicalProperties.line.solidFill = COLOURS[len(chart.series) % len(COLOURS)]
    chart.series.append(series)
