"""A aba Custo: preços digitados, com data e fonte, e o que a rodada custou em fórmulas sobre eles."""

from dataclasses import dataclass
from datetime import date
from operator import itemgetter
from statistics import fmean

from .. import portuguese, prices
from ..portuguese import ABSENT
from ..prices import Price
from . import costs
from .columns import NO_PRICE, Column, Formula, Place
from .costs import Serving, Training
from .results import Results
from .tables import ACCENT, ORANGE, Sheet
from .wording import answered

USD = '"US$" 0.0000;-"US$" 0.0000;"sem cobrança"'
HOSTED = 4  # modelos hospedados do cenário


@dataclass(frozen=True)
class Block:
    """Uma tabela da aba, descrita antes de os preços terem lugar: as fórmulas só são feitas ao escrever."""

    heading: str
    columns: list[Column]
    rows: list


def costs_sheet(sheet: Sheet, results: Results, quality: list[dict], axis: dict[str, str]) -> Place | None:
    """Escreve Custo e devolve onde ficaram os pontos do gráfico de custo contra qualidade."""
    sheet.wide([40, 26, 19, 16, 16, 16, 14, 14, 44, 34])
    sheet.title(
        "Custo operacional",
        "Em dólares, sem impostos. Mude as células amarelas: os custos desta aba são fórmulas sobre elas. Trabalho na "
        "própria máquina custa horas; digite um preço por hora para vê-lo em dinheiro.",
        6,
    )
    table = sorted(prices.load(), key=lambda price: price.item != "gpu_hour")
    book = _PriceTable(table)
    blocks = [_trainings(results, book), _servings(results, book), _scenario(results, book), _break_even(results, book)]
    kept = [block for block in blocks if block.rows]
    # As fórmulas citam os preços, que ficam embaixo: um bloco é um título, um cabeçalho, as linhas e uma em branco.
    first = sheet.row + sum(len(block.rows) + 3 for block in kept) + (len(quality) + 3 if quality else 0) + 2
    book.place = Place(
        sheet.worksheet.name, first, first + len(table) - 1, {c.title: n for n, c in enumerate(book.columns())}
    )
    places = {}
    for block in kept:
        sheet.heading(block.heading)
        places[block.heading] = sheet.table(block.columns, block.rows)
    if quality:
        sheet.heading("Custo e qualidade de cada sistema; é o gráfico do Resumo")
        titles = ["Sistema", axis["x"], axis["y"]]
        forms = zip(titles, ("", "0.00", "0.00"), strict=True)
        dots = sheet.table([Column(title, 20, form, itemgetter(title)) for title, form in forms], quality)
    sheet.heading("Preços (células amarelas: digite)")
    written = sheet.table(book.columns(), table)
    assert written.first == first
    chart = next((place for heading, place in places.items() if heading == EQUAL), None)
    if chart:
        _chart(sheet, chart)
    return dots if quality else None


class _PriceTable:
    """A tabela de preços: onde fica, e a fórmula que acha um preço por modelo, item e data em qualquer ordem."""

    def __init__(self, rows: list[Price]) -> None:
        self.rows = rows
        self.place: Place | None = None

    def columns(self) -> list[Column]:
        today = date.today()
        return [
            Column("Chave", 40, "", costs.key, "discreto"),
            Column("Modelo ou máquina", 26, "", lambda price: price.sku),
            Column("Item", 19, "", lambda price: costs.ITEMS.get(price.item, price.item)),
            Column("US$", 16, "0.0000", lambda price: price.usd, "digitado"),
            Column("Por", 16, "", lambda price: price.unit),
            Column("Vale desde", 16, "", lambda price: _day(price.effective_from)),
            Column("Declarado", 14, "", lambda price: _day(price.stated_on)),
            Column("Conferido", 14, "", lambda price: _day(price.checked_on)),
            Column("Fonte", 44, "", _source),
            Column("Aviso", 34, "", lambda price: "; ".join([*costs.warnings(price, today), price.note]).strip("; ")),
        ]

    def of(self, price: Price) -> str:
        assert self.place
        usd, keys = self.place.area("US$"), self.place.area("Chave")
        return f'INDEX({usd},MATCH("{costs.key(price)}",{keys},0))'


def _source(price: Price) -> str:
    return f"{costs.KINDS.get(price.source_kind, price.source_kind)}: {price.source_url or 'esta máquina'}"


def _day(day: str) -> str:
    return portuguese.date(day) if day else ABSENT


def _trainings(results: Results, book: _PriceTable) -> Block:
    rows = [training for arm in results.study.reports if (training := results.training(arm))]

    def rate(row: Training) -> Formula | str:
        return Formula(book.of(row.price), row.price.usd) if row.price else NO_PRICE

    def total(row: Training) -> Formula | str:
        if row.price is None or row.usd is None:
            return NO_PRICE
        return Formula(f"{{Quantidade}}*{{US$ por unidade}}/{costs.per_unit(row.price):.0f}", row.usd)

    columns = [
        Column("Trilha", 40, "", lambda row: results.study.system(f"{row.arm}-tuned").label.partition(",")[0]),
        Column("Preço usado", 26, "", lambda row: row.sku or ABSENT),
        Column(
            "Cobrança", 19, "", lambda row: "por milhão de tokens" if row.item == "train" else "por hora de máquina"
        ),
        Column("Quantidade", 16, "#,##0.00", lambda row: row.quantity),
        Column("US$ por unidade", 16, USD, rate),
        Column("US$ do treino", 16, USD, total),
    ]
    return Block("Treino desta rodada", columns, rows)


def _servings(results: Results, book: _PriceTable) -> Block:
    rows = [serving for system in answered(results) if (serving := results.serving(system.name))]

    def each(row: Serving) -> Formula | str:
        if row.input_price and row.output_price and row.usd_per_thousand is not None:
            into, out = book.of(row.input_price), book.of(row.output_price)
            return Formula(f"({{Tokens de entrada}}*{into}+{{Tokens de saída}}*{out})/1000", row.usd_per_thousand)
        if row.hour_price and row.usd_per_thousand is not None:
            return Formula(f"{{Horas por 1.000}}*{book.of(row.hour_price)}", row.usd_per_thousand)
        return NO_PRICE

    columns = [
        Column("Sistema", 40, "", lambda row: results.study.system(row.system).label),
        Column(
            "Preço usado", 26, "", lambda row: f"{row.sku or ABSENT}, {'por token' if row.input_price else 'por hora'}"
        ),
        Column("Tokens de entrada", 19, "0.0", lambda row: row.tokens_in),
        Column("Tokens de saída", 16, "0.0", lambda row: row.tokens_out),
        Column("Horas por 1.000", 16, "0.00", lambda row: row.hours_per_thousand),
        Column("US$ por 1.000", 16, USD, each),
    ]
    return Block("Responder: 1.000 respostas do teste, uma depois da outra", columns, rows)


def _scenario(results: Results, book: _PriceTable) -> Block:
    """O mesmo volume em modelos hospedados que ainda respondem."""
    tuned = [serving for name in _tuned(results) if (serving := results.serving(name))]
    tokens = max((report.get("tokens_seen") or 0 for report in results.study.reports.values()), default=0)
    if not tuned or not tokens:
        return Block("", [], [])
    into, out = fmean(row.tokens_in for row in tuned), fmean(row.tokens_out for row in tuned)

    def training(sku: str) -> Formula | str:
        price = costs.find(sku, "train")
        return Formula(f"{tokens}*{book.of(price)}/1000000", tokens * price.usd / 1e6) if price else "não se ajusta"

    def asking(prefix: str):
        def value(sku: str) -> Formula | None:
            one, two = costs.find(sku, f"{prefix}input"), costs.find(sku, f"{prefix}output")
            if not one or not two:
                return None
            source = f"({into!r}*{book.of(one)}+{out!r}*{book.of(two)})/1000"
            return Formula(source, (into * one.usd + out * two.usd) / 1000)

        return value

    columns = [
        Column("Modelo hospedado", 40, "", str),
        Column("Deixa de responder em", 26, "", lambda sku: _day(prices.ends_on(sku))),
        Column("Treino, US$", 19, USD, training),
        Column("Base, US$ por 1.000", 16, USD, asking("")),
        Column("Ajustado, US$ por 1.000", 16, USD, asking("tuned_")),
    ]
    return Block(
        "E se fosse hospedado? O mesmo treino e as mesmas respostas, nos preços abaixo",
        columns,
        costs.hosted(date.today())[:HOSTED],
    )


EQUAL = "Ponto de equilíbrio: máquina própria, por ocupação, contra a API (a máquina é a que foi medida)"


def _break_even(results: Results, book: _PriceTable) -> Block:
    """Só com um ritmo medido na máquina que tem preço por hora: tempo de uma e preço de outra não se misturam."""
    served = [serving for name in _tuned(results) if (serving := results.serving(name))]
    own = next((row for row in served if row.hour_price and row.hour_price.usd), None)
    api = next((sku for sku in costs.hosted(date.today()) if costs.find(sku, "input")), None)
    if own is None or own.hour_price is None or api is None:
        return Block("", [], [])
    hour, one, two = own.hour_price, costs.find(api, "input"), costs.find(api, "output")
    assert one and two
    hosted = (own.tokens_in * one.usd + own.tokens_out * two.usd) / 1000
    columns = [
        Column("Ocupação da máquina", 40, "0%", lambda share: share, "digitado"),
        Column(
            f"{own.sku}, US$ por 1.000",
            26,
            USD,
            lambda share: Formula(
                f"{own.hours_per_thousand!r}*{book.of(hour)}/{{Ocupação da máquina}}",
                costs.self_hosted(own.seconds, hour.usd, share),
            ),
        ),
        Column(
            f"{api}, US$ por 1.000",
            19,
            USD,
            lambda share: Formula(f"({own.tokens_in!r}*{book.of(one)}+{own.tokens_out!r}*{book.of(two)})/1000", hosted),
        ),
    ]
    return Block(EQUAL, columns, list(costs.UTILISATION))


def _chart(sheet: Sheet, place: Place) -> None:
    titles = [title for title in place.columns if title.endswith("por 1.000")]
    series = [
        {
            "name": title.partition(",")[0],
            "categories": place.range("Ocupação da máquina"),
            "values": place.range(title),
            "line": {"color": colour, "width": 2},
        }
        for title, colour in zip(titles, (ACCENT, ORANGE), strict=True)
    ]
    title, x = "US$ por 1.000 respostas, por ocupação da máquina", {"num_format": "0%"}
    sheet.chart(
        "line", series, title=title, x=x, y={"num_format": "0.00"}, row=place.first - 2, column=6, size=(520, 240)
    )


def _tuned(results: Results) -> list[str]:
    return [system.name for system in answered(results) if system.role == "ajustado"]
