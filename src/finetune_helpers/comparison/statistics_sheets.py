"""As abas Estatística e Flexibilidade: diferenças com intervalo, efeitos, médias, aprovações e esquecimento."""

from collections.abc import Callable
from functools import partial
from statistics import pstdev

from ..portuguese import NOT_RUN
from . import flexibility
from .metrics import METRICS, Metric
from .results import Contrast, Results
from .tables import ALERT, P_VALUE, Column, Place, Sheet, Styled
from .wording import answered, between, colour, labels, p_cell, share_text

ALL = "Todas as perguntas"
Ends = tuple[float, float, float]


def statistics_sheet(sheet: Sheet, results: Results) -> Place | None:
    """Médias por sistema, diferenças pareadas e os efeitos do gráfico do Resumo; devolve onde os efeitos ficaram."""
    sheet.wide([44, 36, *[17] * 8, 26])
    sheet.title(
        "Estatística",
        "Diferenças no mesmo item, com intervalo de 95 % por grupo de quase duplicatas. Holm corrige o p pelas medidas "
        "todas: quem faz muitas perguntas acha algo por acaso. McNemar compara sim e não onde os dois divergem.",
        9,
    )
    sheet.heading("Diferenças (primeiro − segundo)")
    sheet.table(_contrast_columns(results), [contrast for contrast in results.contrasts if contrast.estimate.n])
    effects = _effects(sheet, results)
    sheet.heading("Média de cada sistema, com o intervalo de 95 %")
    known = {name: label for name, label in labels(results).items() if name in results.rows}
    means = [Column(label, partial(_average, results, name), "0") for name, label in known.items()]
    sheet.table([Column("Medida", lambda metric: metric.label), *means], METRICS)
    return effects


def _average(results: Results, system: str, metric: Metric) -> str:
    if metric.share:
        return share_text(results.mean(system, metric.key))
    digits = len(metric.form.partition(".")[2].rstrip("%"))
    return between(results.mean(system, metric.key), digits, percentage=metric.form.endswith("%"))


def _contrast_columns(results: Results) -> list[Column]:
    label = labels(results)

    def sides(contrast: Contrast) -> str:
        second = "base" if contrast.second.endswith("-base") else label[contrast.second]
        return f"{label[contrast.first]} − {second}"

    def number(title: str, tell: Callable[[Contrast], float | None]) -> Column:
        """No formato da medida, e forte onde o intervalo não contém zero."""

        def value(contrast: Contrast) -> Styled | None:
            low, high, told = contrast.estimate.low, contrast.estimate.high, tell(contrast)
            clear = low is not None and high is not None and not low <= 0 <= high
            return None if told is None else Styled(told, "forte" if clear else "", contrast.metric.form)

        return Column(title, value, "0.000")

    return [
        Column("Contraste", sides),
        Column("Medida", lambda c: c.metric.label),
        number("Diferença", lambda c: c.estimate.mean),
        number("de (95 %)", lambda c: c.estimate.low),
        number("até", lambda c: c.estimate.high),
        Column("p", lambda c: p_cell(c.estimate), P_VALUE),
        Column("p de Holm", lambda c: c.holm, P_VALUE),
        Column("Melhor é", lambda c: "menor" if c.metric.low_is_good else "maior"),
        number("Menor diferença visível", lambda c: c.detectable),
        Column("Itens", lambda c: c.estimate.n, "0"),
        Column("Teste", lambda c: c.estimate.test),
    ]


def effects(results: Results) -> dict[str, dict[str, Ends]]:
    """O que o ajuste mudou: por ajustado e medida, (efeito, de, até) em desvios-padrão da diferença por item.

    À direita do zero, melhorou: o sinal é trocado onde menos é melhor.
    """
    own = [contrast for contrast in results.contrasts if contrast.second.endswith("-base")]
    known: dict[str, dict[str, Ends]] = {contrast.first: {} for contrast in own}
    for contrast in own:
        key, estimate = contrast.metric.key, contrast.estimate
        one, two = results.values(contrast.first, key), results.values(contrast.second, key)
        spread = pstdev([one[item] - two[item] for item in one if item in two] or [0.0])
        sign = -1 if contrast.metric.low_is_good else 1
        ends = [
            sign * value / spread
            for value in (estimate.mean, estimate.low, estimate.high)
            if spread and value is not None
        ]
        if len(ends) == 3:
            known[contrast.first][key] = ends[0], min(ends[1:]), max(ends[1:])
    return known


def _effects(sheet: Sheet, results: Results) -> Place | None:
    """Uma linha por medida e três colunas por trilha, de onde sai o gráfico do Resumo."""
    known, label = effects(results), labels(results)
    rows = [metric for metric in METRICS if any(metric.key in ends for ends in known.values())]
    if not rows:
        return None

    def part(ends: dict[str, Ends], place: int, metric: Metric) -> float | None:
        drawn = ends.get(metric.key)
        return None if drawn is None else abs(drawn[place] - drawn[0]) if place else drawn[0]

    columns = [Column("Medida", lambda metric: metric.label)]
    for name, ends in known.items():
        titles = enumerate(("efeito", "para baixo", "para cima"))
        columns += [Column(f"{label[name]}: {title}", partial(part, ends, place), "0.00") for place, title in titles]
    sheet.heading("O que o ajuste mudou, em desvios-padrão do item (à direita do zero, melhor); é o gráfico do Resumo")
    return sheet.table(columns, rows)


def flexibility_sheet(sheet: Sheet, results: Results) -> None:
    """Aprovações por família com intervalo, o total, o esquecimento e o gráfico."""
    sheet.wide([46, *[18] * 7])
    sheet.title(
        "Flexibilidade",
        "Perguntas que nada têm com o catálogo, cada uma conferida por regra fechada: ou passa, ou não passa.",
        5,
    )
    systems = [system for system in answered(results) if results.flexibility(system.name)]
    if not systems:
        sheet.paragraph(f"{NOT_RUN.capitalize()}: nenhum sistema respondeu à suíte.", 5)
        return
    totals = {system.name: results.flexibility_total(system.name) for system in systems}
    shares = {name: results.flexibility(name) | {ALL: total} for name, total in totals.items()}
    families = [key for key in flexibility.FAMILIES if any(key in share for share in shares.values())]
    asked, whole = max(total.n for total in totals.values()), len(flexibility.load())
    if asked < whole:
        told = f"Só {asked} das {whole} perguntas foram feitas: os números ilustram, e os intervalos o dizem."
        sheet.paragraph(told, 5, bg_color=ALERT)

    def interval(name: str, key: str) -> str:
        return share_text(shares[name].get(key))

    def rate(name: str, key: str) -> float | None:
        share = shares[name].get(key)
        return share.mean if share else None

    family = Column("Família", lambda key: flexibility.FAMILIES.get(key, key))
    sheet.heading("Aprovação, com o intervalo de 95 %")
    top = sheet.row
    intervals = [Column(system.label, partial(interval, system.name), "0") for system in systems]
    sheet.table([family, *intervals], [*families, ALL])
    _forgetting(sheet, results)
    sheet.heading("As taxas do gráfico")
    rates = [Column(system.label, partial(rate, system.name), "0%") for system in systems]
    place = sheet.table([family, *rates], families)
    series = [
        {"name": system.label, "categories": place.range("Família"), "values": place.range(system.label)}
        | {"fill": {"color": colour(system)}, "gap": 40}
        for system in systems
    ]
    layout = {"x": {"min": 0, "max": 1, "num_format": "0%"}, "size": (600, 200 + 16 * len(families))}
    sheet.chart("bar", series, title="Aprovação por família", row=top, column=len(systems) + 1, offset=16, **layout)


def _forgetting(sheet: Sheet, results: Results) -> None:
    rows, label = results.forgetting(), labels(results)
    if not rows:
        return
    sheet.heading("Esquecimento: o que o ajuste fez com habilidades que o treino não exercita")
    columns = [
        Column("Ajustado", lambda row: label[row.tuned]),
        Column("Perguntas", lambda row: row.estimate.n, "0"),
        Column("Base", lambda row: row.base_passed / row.estimate.n, "0%"),
        Column("Depois do ajuste", lambda row: row.tuned_passed / row.estimate.n, "0%"),
        Column("Diferença", lambda row: between(row.estimate, 0, percentage=True), "0"),
        Column("Perdidas", lambda row: row.lost, "0"),
        Column("Ganhas", lambda row: row.gained, "0"),
        Column("p", lambda row: p_cell(row.estimate), P_VALUE),
    ]
    sheet.table(columns, rows)
