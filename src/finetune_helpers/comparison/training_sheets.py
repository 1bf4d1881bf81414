"""As abas Treino e Custo: as trilhas lado a lado com as suas curvas, e o que a rodada custou sobre preços digitados."""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import fmean

from .. import portuguese, prices
from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, duration
from ..prices import Price
from ..records import read_json
from . import costs
from .costs import Serving, Training
from .results import Results
from .study import ARMS
from .tables import ACCENT, NO_PRICE, ORANGE, P_VALUE, Column, Formula, Place, Sheet, Styled
from .wording import TONES, answered, between, labels, p_cell

FACTS = (
    ("Modelo", "model", ""),
    ("Motor", "engine", ""),
    ("Máquina", "device", ""),
    ("Carregar o modelo (s)", "load", "0.0"),
    ("Treinar (s)", "train", "0.0"),
    ("Avaliar (s)", "evaluate", "0.0"),
    ("Passos", "steps", "#,##0"),
    ("Exemplos vistos", "examples_seen", "#,##0"),
    ("Tokens vistos", "tokens_seen", "#,##0"),
    ("Tokens por segundo", "tokens_per_second", "0.0"),
    ("Parâmetros treináveis", "trainable_parameters", "#,##0"),
    ("Pico de memória da GPU (GB)", "peak_gpu_gb", "0.00"),
    ("Pico de memória do processo (GB)", "peak_rss_gb", "0.00"),
    ("Tokens cobrados", "billed_tokens", "#,##0"),
    ("Queda da perda por hora de treino", "gain_per_hour", "0.00"),
)
USD = '"US$" 0.0000;-"US$" 0.0000;"sem cobrança"'
HOSTED = 4  # modelos hospedados do cenário


def training_sheet(sheet: Sheet, results: Results) -> None:
    """As trilhas lado a lado, o que foi aprendido, as curvas e os experimentos do caderno 05."""
    reports = results.study.reports
    arms = {arm: ARMS.get(arm, arm) for arm in [*ARMS, *reports] if arm in reports}
    sheet.wide([40, *[22] * 4])
    sheet.title(
        "Treino", "As mesmas fases nas duas trilhas. Uma execução por trilha: outra semente daria outros números.", 4
    )
    if not arms:
        sheet.paragraph(f"{NOT_RUN.capitalize()}: nenhuma trilha treinou.", 4)
        return

    def fact(arm: str, row: tuple[str, str, str]) -> Styled | str:
        measured = costs.efficiency(reports[arm]).get(row[1])
        return NOT_MEASURED if measured is None else Styled(measured, "", row[2])

    top = sheet.row
    measures = [Column(name, partial(fact, arm), "0") for arm, name in arms.items()]
    sheet.table([Column("Fato", itemgetter(0)), *measures], FACTS)
    _learning(sheet, results, arms)
    _experiments(sheet, results.study.run / "hiperparametros" / "resumo.json")
    _curves(sheet, results, arms, top)


def _learning(sheet: Sheet, results: Results, arms: dict[str, str]) -> None:
    rows = []
    for arm, name in arms.items():
        known = results.title_learning(arm)
        drops = {"sob o próprio título": known.own if known else results.learning(arm)}
        if known:
            drops |= {"sob o título de outro item (estilo)": known.style, "que é do título (conteúdo)": known.content}
        rows += [(f"{name}, {words}", drop) for words, drop in drops.items() if drop.n]
    if not rows:
        return
    sheet.heading("O que foi aprendido: queda da perda de teste (base − ajustado, nats por token)")
    columns = [
        Column("Queda", itemgetter(0)),
        Column("Média", lambda row: row[1].mean, "0.000"),
        Column("Intervalo de 95 %", lambda row: between(row[1], 3).partition(" ")[2] or ABSENT, "0"),
        Column("p", lambda row: p_cell(row[1]), P_VALUE),
        Column("Itens", lambda row: row[1].n, "0"),
    ]
    sheet.table(columns, rows)


def _experiments(sheet: Sheet, path: Path) -> None:
    if not path.is_file():
        return
    known = read_json(path)
    winner = known.get("winner") or {}
    facts = [
        ("Vencedor", winner.get("trial")),
        ("Perda na validação do vencedor", winner.get("heldout_loss")),
        ("Perda na validação do perfil sem mudanças", known.get("profile_loss")),
        ("Distância entre as sementes (ruído)", known.get("spread")),
        ("Tempo usado", duration(known["spent_seconds"]) if known.get("spent_seconds") else None),
    ]
    sheet.heading("Experimentos do caderno 05 (a perda é a da validação; o teste não foi lido)")
    sheet.table([Column("Fato", itemgetter(0)), Column("Valor", itemgetter(1), "0.000")], facts)


def _curves(sheet: Sheet, results: Results, arms: dict[str, str], top: int) -> None:
    curves = {
        (arm, f"{name}, {words}"): points
        for arm, name in arms.items()
        for key, words in (("loss_curve", "treino"), ("heldout_curve", "validação"))
        if (points := [p for p in results.study.reports[arm].get(key) or [] if p.get("seconds") is not None])
    }
    if not curves:
        return
    sheet.heading("Os pontos do gráfico")
    columns = [
        Column("Curva", itemgetter(0)),
        Column("Passo", lambda row: row[1]["step"], "0"),
        Column("Minutos", lambda row: row[1]["seconds"] / 60, "0.00"),
        Column("Perda", lambda row: row[1]["loss"], "0.000"),
    ]
    place = sheet.table(columns, [(name, point) for (_, name), points in curves.items() for point in points])
    series, first = [], 0
    for (arm, name), points in curves.items():
        measured, last = name.endswith("validação"), first + len(points) - 1
        tone = TONES.get(arm, TONES["llama3"])[0 if measured else 1]
        dot = {"type": "circle", "size": 6, "fill": {"color": tone}, "border": {"color": tone}}
        span = {"categories": place.range("Minutos", first, last), "values": place.range("Perda", first, last)}
        look = {"line": {"color": tone, "width": 1.75}, "marker": dot if measured else {"type": "none"}}
        series.append({"name": name} | look | span)
        first = last + 1
    x = {"name": "Minutos de treino", "min": 0, "num_format": "0.0"}
    y = {"name": "Perda (nats por token)", "num_format": "0.0"}
    layout = {"x": x, "y": y, "row": top, "column": len(arms) + 1, "offset": 16, "size": (560, 350)}
    sheet.chart("curves", series, title="Perda contra tempo", **layout)


Priced = Callable[[Price], str]  # a fórmula que acha um preço na tabela da aba, em qualquer ordem dela
Block = tuple[str, list[Column], Sequence]  # título, colunas e linhas de uma tabela da aba
EQUAL = "Ponto de equilíbrio: máquina própria, por ocupação, contra a API (a máquina é a que foi medida)"
DOTS = "Custo e qualidade de cada sistema; é o gráfico do Resumo"


def costs_sheet(sheet: Sheet, results: Results, quality: list[dict]) -> Place | None:
    """Escreve Custo e devolve onde ficaram os pontos do gráfico de custo contra qualidade, as linhas ``quality``."""
    sheet.wide([40, 26, 19, 16, 16, 16, 14, 14, 44, 34])
    sheet.title(
        "Custo operacional",
        "Em dólares, sem impostos. Mude as células amarelas: os custos desta aba são fórmulas sobre elas. Trabalho na "
        "própria máquina custa horas; digite um preço por hora para vê-lo em dinheiro.",
        6,
    )

    def priced(price: Price) -> str:
        return f'INDEX({place.area("US$")},MATCH("{costs.key(price)}",{place.area("Chave")},0))'

    study = results.study
    served = {system: serving for system in answered(results) if (serving := costs.serving(study, system.name))}
    tuned = [serving for system, serving in served.items() if system.role == "ajustado"]
    dots = [Column(title, itemgetter(title), "0.00" if title != "Sistema" else "") for title in (quality or [{}])[0]]
    blocks: list[Block] = [
        _trainings(results, priced),
        _servings(results, list(served.values()), priced),
        _scenario(results, tuned, priced),
        _break_even(tuned, priced),
        (DOTS, dots, quality),
    ]
    blocks = [block for block in blocks if block[2]]
    table = sorted(prices.load(), key=lambda price: price.item != "gpu_hour")
    columns = _price_columns()
    # As fórmulas citam os preços, que ficam embaixo: um bloco é um título, um cabeçalho, as linhas e uma em branco.
    first = sheet.row + sum(len(rows) + 3 for _, _, rows in blocks) + 2
    order = {column.title: number for number, column in enumerate(columns)}
    place = Place(sheet.worksheet.name, first, first + len(table) - 1, order)
    places = {}
    for heading, described, rows in blocks:
        sheet.heading(heading)
        places[heading] = sheet.table(described, rows)
    sheet.heading("Preços (células amarelas: digite)")
    assert sheet.table(columns, table) == place
    if equal := places.get(EQUAL):
        occupation, *titles = equal.columns
        series = [
            {"name": title.partition(",")[0], "categories": equal.range(occupation), "values": equal.range(title)}
            | {"line": {"color": tone, "width": 2}}
            for title, tone in zip(titles, (ACCENT, ORANGE), strict=True)
        ]
        layout = {"x": {"num_format": "0%"}, "y": {"num_format": "0.00"}, "row": equal.first - 2, "column": 6}
        sheet.chart("line", series, title="US$ por 1.000 respostas, por ocupação da máquina", size=(520, 240), **layout)
    return places.get(DOTS)


def _price_columns() -> list[Column]:
    def source(price: Price) -> str:
        return f"{costs.KINDS.get(price.source_kind, price.source_kind)}: {price.source_url or 'esta máquina'}"

    def warning(price: Price) -> str:
        return "; ".join([*costs.warnings(price, date.today()), price.note]).strip("; ")

    return [
        Column("Chave", costs.key, style="discreto"),
        Column("Modelo ou máquina", lambda price: price.sku),
        Column("Item", lambda price: costs.ITEMS.get(price.item, price.item)),
        Column("US$", lambda price: price.usd, "0.0000", style="digitado"),
        Column("Por", lambda price: price.unit),
        Column("Vale desde", lambda price: _day(price.effective_from)),
        Column("Declarado", lambda price: _day(price.stated_on)),
        Column("Conferido", lambda price: _day(price.checked_on)),
        Column("Fonte", source),
        Column("Aviso", warning),
    ]


def _day(day: str) -> str:
    return portuguese.date(day) if day else ABSENT


def _trainings(results: Results, priced: Priced) -> Block:
    def rate(row: Training) -> Formula | str:
        return Formula(priced(row.price), row.price.usd) if row.price else NO_PRICE

    def total(row: Training) -> Formula | str:
        if row.price is None or row.usd is None:
            return NO_PRICE
        return Formula(f"{{Quantidade}}*{{US$ por unidade}}/{costs.per_unit(row.price):.0f}", row.usd)

    columns = [
        Column("Trilha", lambda row: labels(results).get(f"{row.arm}-tuned", row.arm).partition(",")[0]),
        Column("Preço usado", lambda row: row.sku or ABSENT),
        Column("Cobrança", lambda row: "por milhão de tokens" if row.item == "train" else "por hora de máquina"),
        Column("Quantidade", lambda row: row.quantity, "#,##0.00"),
        Column("US$ por unidade", rate, USD),
        Column("US$ do treino", total, USD),
    ]
    rows = [training for arm in results.study.reports if (training := costs.training(results.study, arm))]
    return "Treino desta rodada", columns, rows


def _servings(results: Results, rows: list[Serving], priced: Priced) -> Block:
    label = labels(results)

    def each(row: Serving) -> Formula | str:
        if row.usd_per_thousand is None:
            return NO_PRICE
        if row.input_price and row.output_price:
            into, out = priced(row.input_price), priced(row.output_price)
            return Formula(f"({{Tokens de entrada}}*{into}+{{Tokens de saída}}*{out})/1000", row.usd_per_thousand)
        assert row.hour_price
        return Formula(f"{{Horas por 1.000}}*{priced(row.hour_price)}", row.usd_per_thousand)

    columns = [
        Column("Sistema", lambda row: label[row.system]),
        Column("Preço usado", lambda row: f"{row.sku or ABSENT}, {'por token' if row.input_price else 'por hora'}"),
        Column("Tokens de entrada", lambda row: row.tokens_in, "0.0"),
        Column("Tokens de saída", lambda row: row.tokens_out, "0.0"),
        Column("Horas por 1.000", lambda row: row.hours_per_thousand, "0.00"),
        Column("US$ por 1.000", each, USD),
    ]
    return "Responder: 1.000 respostas do teste, uma depois da outra", columns, rows


def _asking(into: float, out: float, of: tuple[Price, Price], priced: Priced) -> Formula:
    """Dólares de 1.000 respostas com ``into`` tokens de entrada e ``out`` de saída num modelo hospedado."""
    source = f"({into!r}*{priced(of[0])}+{out!r}*{priced(of[1])})/1000"
    return Formula(source, (into * of[0].usd + out * of[1].usd) / 1000)


def _scenario(results: Results, tuned: list[Serving], priced: Priced) -> Block:
    heading = "E se fosse hospedado? O mesmo treino e as mesmas respostas, nos preços abaixo"
    tokens = max((report.get("tokens_seen") or 0 for report in results.study.reports.values()), default=0)
    if not tuned or not tokens:
        return heading, [], []
    into, out = fmean(row.tokens_in for row in tuned), fmean(row.tokens_out for row in tuned)

    def training(sku: str) -> Formula | str:
        price = costs.find(sku, "train")
        return Formula(f"{tokens}*{priced(price)}/1000000", tokens * price.usd / 1e6) if price else "não se ajusta"

    def asking(prefix: str, sku: str) -> Formula | None:
        one, two = costs.find(sku, f"{prefix}input"), costs.find(sku, f"{prefix}output")
        return _asking(into, out, (one, two), priced) if one and two else None

    columns = [
        Column("Modelo hospedado", str),
        Column("Deixa de responder em", lambda sku: _day(prices.ends_on(sku))),
        Column("Treino, US$", training, USD),
        Column("Base, US$ por 1.000", partial(asking, ""), USD),
        Column("Ajustado, US$ por 1.000", partial(asking, "tuned_"), USD),
    ]
    return heading, columns, costs.hosted(date.today())[:HOSTED]


def _break_even(tuned: list[Serving], priced: Priced) -> Block:
    # Só com um ritmo medido na máquina que tem preço por hora: tempo de uma e preço de outra não se misturam.
    own = next((row for row in tuned if row.hour_price and row.hour_price.usd), None)
    api = next(iter(costs.hosted(date.today())), None)
    if own is None or own.hour_price is None or api is None:
        return EQUAL, [], []
    hour, one, two = own.hour_price, prices.find(api, "input"), prices.find(api, "output")

    def owned(share: float) -> Formula:
        source = f"{own.hours_per_thousand!r}*{priced(hour)}/{{Ocupação da máquina}}"
        return Formula(source, own.hours_per_thousand * hour.usd / share)

    columns = [
        Column("Ocupação da máquina", float, "0%", style="digitado"),
        Column(f"{own.sku}, US$ por 1.000", owned, USD),
        Column(f"{api}, US$ por 1.000", lambda _: _asking(own.tokens_in, own.tokens_out, (one, two), priced), USD),
    ]
    return EQUAL, columns, costs.UTILISATION
