"""Folha Preços: a tabela de preços do pacote, editável, de onde saem todos os custos."""

from datetime import date

from .. import prices
from ..prices import Price
from . import costs
from .cells import EDIT, Book, finish, formula, header, put, text, title, widths
from .sheet_items import Area

USD = '"US$" 0.0000'


def prices_sheet(book: Book) -> Area:
    """Escreve Preços: a tabela do pacote, com a idade de cada preço e avisos."""
    sheet = book.workbook.create_sheet("Preços")
    title(sheet, "Preços", "Edite a coluna US$ (fundo claro): todos os custos mudam. Fontes e datas em cada linha.")
    labels = ["Chave", "Fornecedor", "Modelo ou máquina", "Item", "Unidade", "US$", "Vale desde", "Conferido em"]
    first = header(sheet, 4, [*labels, "Encerra em", "Idade (dias)", "Aviso", "Tipo de fonte", "Fonte", "Nota"])
    for row, price in enumerate(prices.load(), start=first):
        _price_row(book, sheet, row, price)
    last = first + len(prices.load()) - 1
    widths(sheet, [44, 11, 26, 21, 12, 10, 12, 13, 16, 9, 26, 15, 46, 46])
    finish(sheet, "D5", 4, filter_area=f"A4:N{last}")
    return Area("Preços", first, last)


def _price_row(book: Book, sheet, row: int, price: Price) -> None:
    today, closing = date.today(), costs.closes_on(price)
    plain = [costs.key(price), price.provider, price.sku, costs.ITEMS.get(price.item, price.item), price.unit]
    for column, value in enumerate(plain, start=1):
        text(sheet.cell(row, column), value, wrap=False)
    put(sheet.cell(row, 6), price.usd, "0.000").fill = EDIT
    dates = (date.fromisoformat(price.effective_from), date.fromisoformat(price.checked_on), closing)
    for column, day in enumerate(dates, start=7):
        put(sheet.cell(row, column), day or "não anunciado", "dd/mm/yyyy")
    formula(book, sheet.cell(row, 10), f"TODAY()-H{row}", price.age_days(today), "0")
    closes = (
        f'IF(ISNUMBER(I{row}),IF(I{row}<=TODAY(),"modelo encerrado",'
        f'IF(I{row}-TODAY()<={costs.CLOSING_DAYS},"modelo encerra em breve","")),"")'
    )
    both = f'IF(AND(J{row}>{costs.STALE_DAYS},{closes}<>""),"; ","")'
    stale = f'IF(J{row}>{costs.STALE_DAYS},"conferir: preço antigo","")'
    formula(book, sheet.cell(row, 11), f"{stale}&{both}&{closes}", "; ".join(costs.warnings(price, today)))
    for column, value in enumerate(
        (costs.KINDS.get(price.source_kind, price.source_kind), price.source_url or "—", price.note or "—"), start=12
    ):
        text(sheet.cell(row, column), value)


def lookup(area: Area, key: str) -> str:
    """Fórmula do preço de uma chave (texto entre aspas ou endereço)."""
    return f"INDEX({area.column('F')},MATCH({key},{area.column('A')},0))"


def lookup_price(table: Area, price: Price) -> str:
    """Fórmula do valor de um preço da tabela."""
    return lookup(table, f'"{costs.key(price)}"')
