"""Cenários da folha Custo: o mesmo volume em modelos hospedados e o ponto de equilíbrio da GPU própria."""

from openpyxl.chart import LineChart, Reference
from openpyxl.styles import Alignment
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from .. import prices
from . import costs
from .cells import EDIT, NO_DATA, Book, absent, formula, header, put, section, text
from .sheet_items import Area
from .sheet_prices import USD, lookup_price
from .study import NOT_RUN, Study

GPU, API = "T4", "gpt-4o-mini-2024-07-18"


def hosted(book: Book, sheet: Worksheet, row: int, study: Study, table: Area) -> int:
    """Quanto custariam o mesmo treino e as mesmas respostas em cada modelo hospedado da tabela."""
    row = section(sheet, row, "E se fosse hospedado? O mesmo volume, nos preços da tabela")
    tuned = [costs.serving(study, system) for system in study.systems if system.endswith("-tuned")]
    volume = [one for one in tuned if one]
    if not volume:
        put(sheet.cell(row, 1), NOT_RUN)
        return row + 1
    put(sheet.cell(row, 1), "Tokens de um treino (o maior da rodada)")
    tokens = max([report.get("tokens_seen") or 0 for report in study.reports.values()], default=0)
    put(sheet.cell(row, 2), tokens, "#,##0").fill = EDIT
    put(sheet.cell(row + 1, 1), "Tokens de entrada e de saída por resposta")
    mean_in = sum(one.tokens_in for one in volume) / len(volume)
    mean_out = sum(one.tokens_out for one in volume) / len(volume)
    put(sheet.cell(row + 1, 2), mean_in, "0.0").fill = EDIT
    put(sheet.cell(row + 1, 3), mean_out, "0.0").fill = EDIT
    inputs = row
    row = header(sheet, row + 2, ["Modelo", "Treino (US$)", "Base, US$ por 1.000", "Ajustado, US$ por 1.000"])
    for sku in dict.fromkeys(price.sku for price in prices.load() if price.item == "input"):
        put(sheet.cell(row, 1), sku)
        _hosted_row(book, sheet, row, sku, table, inputs, (tokens, mean_in, mean_out))
        row += 1
    return row


def _hosted_row(book: Book, sheet, row: int, sku: str, table: Area, at: int, volume: tuple[float, ...]) -> None:
    tokens, mean_in, mean_out = volume
    training = costs.find(sku, "train")
    if training:
        source = f"$B${at}*{lookup_price(table, training)}/1000000"
        formula(book, sheet.cell(row, 2), source, tokens * training.usd / 1e6, USD)
    else:
        absent(sheet.cell(row, 2), "não se ajusta")
    for column, prefix in ((3, ""), (4, "tuned_")):
        one, two = costs.find(sku, f"{prefix}input"), costs.find(sku, f"{prefix}output")
        if one and two:
            source = f"1000*($B${at + 1}*{lookup_price(table, one)}+$C${at + 1}*{lookup_price(table, two)})/1000000"
            formula(book, sheet.cell(row, column), source, (mean_in * one.usd + mean_out * two.usd) / 1000, USD)
        else:
            absent(sheet.cell(row, column), NO_DATA)


def break_even(book: Book, sheet: Worksheet, row: int, study: Study, table: Area) -> None:
    """Custo por mil respostas da GPU própria, por ocupação, contra a API; com o gráfico."""
    row = section(sheet, row, "Ponto de equilíbrio: GPU própria contra API (edite as células claras)")
    tuned = [costs.serving(study, system) for system in ("llama3-tuned", "gpt-tuned")]
    measured = [one for one in tuned if one]
    if not measured:
        put(sheet.cell(row, 1), NOT_RUN)
        return
    inputs = _inputs(book, sheet, row, measured[0], table)
    _verdict(book, sheet, row, inputs)
    first = header(sheet, row + 7, ["Ocupação da GPU", "GPU própria, US$ por 1.000", "API, US$ por 1.000"])
    for place, share in enumerate(costs.UTILISATION, start=first):
        put(sheet.cell(place, 1), share, "0%").fill = EDIT
        value = costs.self_hosted(inputs[0], inputs[1], share)
        formula(book, sheet.cell(place, 2), f"1000*$B${row + 1}/3600*$B${row + 2}/A{place}", value, USD)
        formula(book, sheet.cell(place, 3), f"$B${row + 4}", inputs[2], USD)
    _chart(sheet, first, first + len(costs.UTILISATION) - 1)


def _inputs(book: Book, sheet: Worksheet, row: int, serving: costs.Serving, table: Area) -> tuple[float, float, float]:
    """Escreve as entradas do cenário; devolve segundos por resposta, US$ por hora e US$ da API por mil."""
    labels = ("GPU", "Segundos por resposta", "US$ por hora da GPU", "Modelo da API", "US$ da API por 1.000 respostas")
    for step, wording in enumerate(labels):
        put(sheet.cell(row + step, 1), wording)
    put(sheet.cell(row, 2), GPU).fill = EDIT
    put(sheet.cell(row + 1, 2), serving.seconds, "0.00").fill = EDIT
    text(sheet.cell(row + 1, 3), "medido nesta rodada; troque pelo tempo na GPU que você alugaria", wrap=False)
    put(sheet.cell(row + 3, 2), API).fill = EDIT
    _choices(sheet, f"B{row}", "gpu_hour"), _choices(sheet, f"B{row + 3}", "tuned_input")
    hour = prices.find(GPU, "gpu_hour").usd
    one, two = prices.find(API, "tuned_input").usd, prices.find(API, "tuned_output").usd
    api = (serving.tokens_in * one + serving.tokens_out * two) / 1000
    formula(book, sheet.cell(row + 2, 2), _by_name(table, f"$B${row}", "gpu_hour"), hour, USD)
    source = "+".join(
        f"{value!r}*{_by_name(table, f'$B${row + 3}', item)}"
        for value, item in ((serving.tokens_in, "tuned_input"), (serving.tokens_out, "tuned_output"))
    )
    formula(book, sheet.cell(row + 4, 2), f"1000*({source})/1000000", api, USD)
    return serving.seconds, hour, api


def _by_name(table: Area, sku: str, item: str) -> str:
    """Preço mais recente de um modelo escolhido na folha, em fórmula que serve com qualquer ordem das linhas."""
    names, items, dates = table.column("C"), table.column("D"), table.column("G")
    newest = f'SUMPRODUCT(MAX(({names}={sku})*({items}="{costs.ITEMS[item]}")*{dates}))'
    return f'SUMIFS({table.column("F")},{names},{sku},{items},"{costs.ITEMS[item]}",{dates},{newest})'


def _choices(sheet: Worksheet, cell: str, item: str) -> None:
    skus = dict.fromkeys(price.sku for price in prices.load() if price.item == item)
    rule = DataValidation(type="list", formula1=f'"{",".join(skus)}"', allow_blank=False)
    sheet.add_data_validation(rule)
    rule.add(cell)


def _verdict(book: Book, sheet: Worksheet, row: int, inputs: tuple[float, float, float]) -> None:
    put(sheet.cell(row + 5, 1), "Ocupação em que os dois custam o mesmo")
    share = costs.break_even(*inputs)
    source = f"1000*B{row + 1}/3600*B{row + 2}/B{row + 4}"
    formula(book, sheet.cell(row + 5, 2), f'IFERROR({source},"{NO_DATA}")', NO_DATA if share is None else share, "0%")
    always, above = "a API é sempre mais barata", "acima desta ocupação, a GPU própria é mais barata"
    verdict = NO_DATA if share is None else always if share > 1 else above
    source = f'IF(ISNUMBER(B{row + 5}),IF(B{row + 5}>1,"{always}","{above}"),"{NO_DATA}")'
    formula(book, sheet.cell(row + 5, 3), source, verdict).alignment = Alignment(wrap_text=False)


def _chart(sheet: Worksheet, first: int, last: int) -> None:
    chart = LineChart()
    chart.title, chart.height, chart.width = "Custo de 1.000 respostas por ocupação da GPU", 8, 16
    chart.add_data(Reference(sheet, min_col=2, max_col=3, min_row=first - 1, max_row=last), titles_from_data=True)
    chart.set_categories(Reference(sheet, min_col=1, min_row=first, max_row=last))
    chart.x_axis.title, chart.y_axis.title = "ocupação", "US$"
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.legend.position = "b"
    for series, colour in zip(chart.series, ("0072B2", "D55E00"), strict=True):
        series.graphicalProperties.line.solidFill, series.smooth = colour, False
    sheet.add_chart(chart, f"E{first - 2}")
