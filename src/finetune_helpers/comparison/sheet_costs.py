"""Folha Custo: o que custou treinar e quanto custa responder, em fórmulas sobre a folha Preços."""

from datetime import date

from .. import prices
from ..prices import Price
from . import costs
from .cells import WARN, Book, finish, formula, header, key_of, name, put, section, text, title, widths
from .results import Results
from .sheet_items import Area
from .sheet_prices import USD, lookup
from .sheet_scenarios import break_even, hosted
from .study import NOT_RUN, Study


def cost_sheet(book: Book, results: Results, table: Area, answers: Area) -> dict[str, str]:
    """Escreve Custo e devolve o endereço do custo de cada treino e de mil respostas de cada sistema."""
    sheet = book.workbook.create_sheet("Custo")
    row = 1 + title(sheet, "Custo operacional", "Em dólares, sem impostos. Fórmulas sobre a folha Preços.")
    places: dict[str, str] = {}
    _warned(book, sheet, table)
    row = _trainings(book, sheet, row, results.study, table, places)
    row = _servings(book, sheet, row + 1, results.study, table, answers, places)
    row = hosted(book, sheet, row + 1, results.study, table)
    break_even(book, sheet, row + 1, results.study, table)
    widths(sheet, [44, 28, 18, 18, 18, 18, 20, 30])
    finish(sheet, "B4")
    return places


def _warned(book: Book, sheet, table: Area) -> None:
    """Quantos preços da tabela pedem conferência ou são de modelos que encerram em breve."""
    text(sheet["A3"], "Preços com aviso na folha Preços (antigos ou de modelos que encerram):", wrap=False)
    found = sum(bool(costs.warnings(price, date.today())) for price in prices.load())
    formula(book, sheet["D3"], f'SUMPRODUCT(({table.column("K")}<>"")*1)', found, "0").fill = WARN


def _trainings(book: Book, sheet, row: int, study: Study, table: Area, places: dict[str, str]) -> int:
    row = section(sheet, row, "Treino desta rodada")
    row = header(sheet, row, ["Braço", "Preço usado", "Cobrança", "Quantidade", "US$ por unidade", "US$ do treino"])
    found = costs.trainings(study)
    for training in found:
        name(book, sheet.cell(row, 1), f"braço:{training.arm}")
        name(book, sheet.cell(row, 2), f"preço:{training.sku}")
        put(sheet.cell(row, 3), "tokens cobrados" if training.item == "train" else "horas de máquina")
        put(sheet.cell(row, 4), training.quantity, "#,##0" if training.item == "train" else "0.0000")
        if training.price is None:
            put(sheet.cell(row, 5), None), put(sheet.cell(row, 6), None)
        else:
            _priced_training(book, sheet, row, training, training.price, table)
        places[f"treino:{training.arm}"] = f"Custo!$F${row}"
        row += 1
    return row if found else _nothing(sheet, row)


def _priced_training(book: Book, sheet, row: int, training: costs.Training, price: Price, table: Area) -> None:
    unit = costs.per_unit(price)
    key = f'{key_of(book, f"preço:{training.sku}")}&"|{training.item}|{price.effective_from}"'
    formula(book, sheet.cell(row, 5), lookup(table, key), price.usd, USD)
    formula(book, sheet.cell(row, 6), f"D{row}*E{row}/{unit:.0f}", training.usd, USD)


def _servings(book: Book, sheet, row: int, study: Study, table: Area, answers: Area, places: dict[str, str]) -> int:
    row = section(sheet, row, "Responder: custo de 1.000 respostas do teste")
    labels = ["Sistema", "Preço usado", "Tokens de entrada", "Tokens de saída", "Segundos por resposta"]
    row = header(sheet, row, [*labels, "US$ por 1.000", "Como se cobra"])
    found = [costs.serving(study, system) for system in study.systems if not system.startswith("ref-")]
    for serving in [one for one in found if one]:
        name(book, sheet.cell(row, 1), serving.system)
        name(book, sheet.cell(row, 2), f"preço:{serving.sku}")
        criteria = f'{answers.column("D")},{key_of(book, serving.system)},{answers.column("B")},"teste"'
        measured = (("H", serving.tokens_in), ("I", serving.tokens_out), ("J", serving.seconds))
        for column, (letter, value) in enumerate(measured, start=3):
            formula(book, sheet.cell(row, column), f"AVERAGEIFS({answers.column(letter)},{criteria})", value, "0.00")
        _serving_cost(book, sheet, row, serving, table)
        places[f"mil:{serving.system}"] = f"Custo!$F${row}"
        row += 1
    return row if any(found) else _nothing(sheet, row)


def _serving_cost(book: Book, sheet, row: int, serving: costs.Serving, table: Area) -> None:
    sku, one, two, hour = serving.sku, serving.input_price, serving.output_price, serving.hour_price

    def price_of(price: Price) -> str:
        return lookup(table, f'{key_of(book, f"preço:{sku}")}&"|{price.item}|{price.effective_from}"')

    if one and two:
        source, way = f"1000*(C{row}*{price_of(one)}+D{row}*{price_of(two)})/1000000", "por token"
    elif hour:
        source, way = f"1000*E{row}/3600*{price_of(hour)}", "por hora de máquina, ocupada o tempo todo"
    else:
        put(sheet.cell(row, 6), None), put(sheet.cell(row, 7), "sem preço na tabela")
        return
    formula(book, sheet.cell(row, 6), source, serving.usd_per_thousand, USD)
    text(sheet.cell(row, 7), way, wrap=False)


def _nothing(sheet, row: int) -> int:
    text(sheet.cell(row, 1), NOT_RUN)
    return row + 1
