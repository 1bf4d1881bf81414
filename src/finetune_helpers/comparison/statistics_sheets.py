"""As abas Estatística e Flexibilidade: diferenças com intervalo, efeitos, médias, aprovações e esquecimento."""

from collections.abc import Callable
from statistics import pstdev

from ..portuguese import NOT_MEASURED, NOT_RUN, p_value
from . import flexibility
from .columns import P_VALUE, Column, Place, Styled
from .metrics import METRICS, Metric
from .results import Contrast, Forgetting, Results, Share
from .statistics import Estimate
from .tables import ALERT, Sheet
from .wording import answered, between, colour, share_text

NO_SHARE = Share(0, 0, None, None)


def compared(results: Results) -> list[str]:
    """Os ajustados que se comparam com a própria base."""
    return [first for first, second in results.study.pairs() if second.endswith("-base")]


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
    systems = [system for system in results.study.systems if system.name in results.rows]
    means = [Column("Medida", 34, "", lambda metric: metric.label)]
    means += [Column(system.label, 13, "0", _mean(results, system.name)) for system in systems]
    sheet.table(means, METRICS)
    return effects


def _contrast_columns(results: Results) -> list[Column]:
    label = {system.name: system.label for system in results.study.systems}

    def end(contrast: Contrast, value: float | None) -> Styled | None:
        style = "forte" if _clear(contrast.estimate) else ""
        return None if value is None else Styled(value, style, contrast.metric.form)

    def sides(contrast: Contrast) -> str:
        own = contrast.second.endswith("-base")
        return f"{label[contrast.first]} − {'base' if own else label[contrast.second]}"

    return [
        Column("Contraste", 34, "", sides),
        Column("Medida", 34, "", lambda c: c.metric.label),
        Column("Diferença", 13, "0.000", lambda c: end(c, c.estimate.mean)),
        Column("de (95 %)", 13, "0.000", lambda c: end(c, c.estimate.low)),
        Column("até", 13, "0.000", lambda c: end(c, c.estimate.high)),
        Column("p", 13, P_VALUE, lambda c: p_cell(c.estimate)),
        Column("p de Holm", 13, P_VALUE, lambda c: c.holm),
        Column("Melhor é", 13, "", lambda c: "menor" if c.metric.low_is_good else "maior"),
        Column("Menor diferença visível", 13, "0.000", lambda c: end(c, c.detectable)),
        Column("Itens", 13, "0", lambda c: c.estimate.n),
        Column("Teste", 22, "", lambda c: c.estimate.test),
    ]


def p_cell(estimate: Estimate) -> float | str | None:
    """O valor p; no piso de uma reamostragem, ``≤ 0,0001``."""
    if estimate.p is not None and estimate.floor is not None and estimate.p <= estimate.floor:
        return p_value(estimate.p, estimate.floor).removeprefix("p ")
    return estimate.p


def _clear(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.high is not None and not estimate.low <= 0 <= estimate.high


def _mean(results: Results, system: str):
    def told(metric: Metric) -> str:
        interval = results.mean(system, metric.key)
        if metric.share:
            return share_text(results.share(system, metric.key))
        digits = len(metric.form.partition(".")[2].rstrip("%"))
        if not interval.n:
            return NOT_MEASURED
        return between(interval.mean, interval.low, interval.high, digits, percentage=metric.form.endswith("%"))

    return told


def effect(results: Results, contrast: Contrast) -> tuple[float, float, float] | None:
    """Um contraste em desvios-padrão da diferença por item: (efeito, de, até); sinal trocado onde menos é melhor."""
    one, two, key = results.rows[contrast.first], results.rows[contrast.second], contrast.metric.key
    pairs = [(one[item].values.get(key), two[item].values.get(key)) for item in one if item in two]
    spread = pstdev([a - b for a, b in pairs if a is not None and b is not None] or [0.0])
    estimate = contrast.estimate
    if not spread or estimate.mean is None or estimate.low is None or estimate.high is None:
        return None
    sign = -1 if contrast.metric.low_is_good else 1
    ends = [sign * value / spread for value in (estimate.mean, estimate.low, estimate.high)]
    return ends[0], min(ends[1:]), max(ends[1:])


def _effects(sheet: Sheet, results: Results) -> Place | None:
    """Os efeitos do ajuste, uma linha por medida e três colunas por trilha, de onde sai o gráfico do Resumo."""
    own = {(c.first, c.metric.key): effect(results, c) for c in results.contrasts if c.second.endswith("-base")}
    tuned = compared(results)
    rows = [metric for metric in METRICS if any(own.get((name, metric.key)) for name in tuned)]
    if not rows:
        return None
    columns = [Column("Medida", 34, "", lambda metric: metric.label)]
    for name in tuned:
        label = results.study.system(name).label
        for title, part in (("efeito", 0), ("para baixo", 1), ("para cima", 2)):
            columns.append(Column(f"{label}: {title}", 13, "0.00", _part(own, name, part)))
    sheet.heading("O que o ajuste mudou, em desvios-padrão do item (à direita do zero, melhor); é o gráfico do Resumo")
    return sheet.table(columns, rows)


def _part(own: dict, name: str, part: int):
    def value(metric: Metric) -> float | None:
        ends = own.get((name, metric.key))
        return None if ends is None else ends[0] if part == 0 else abs(ends[part] - ends[0])

    return value


def flexibility_sheet(sheet: Sheet, results: Results) -> None:
    """Aprovações por família com intervalo, o total, o esquecimento e o gráfico."""
    systems = [system for system in answered(results) if results.flexibility(system.name)]
    sheet.wide([46, *[18] * 7])
    sheet.title(
        "Flexibilidade",
        "Perguntas que nada têm com o catálogo, cada uma conferida por regra fechada: ou passa, ou não passa.",
        5,
    )
    if not systems:
        sheet.paragraph(f"{NOT_RUN.capitalize()}: nenhum sistema respondeu à suíte.", 5)
        return
    shares = {system.name: results.flexibility(system.name) for system in systems}
    totals = {system.name: results.flexibility_total(system.name) or NO_SHARE for system in systems}
    families = [key for key in flexibility.FAMILIES if any(key in share for share in shares.values())]
    asked, whole = max(total.n for total in totals.values()), len(flexibility.load())
    if asked < whole:
        told = f"Só {asked} das {whole} perguntas foram feitas: os números ilustram, e os intervalos o dizem."
        sheet.paragraph(told, 5, bg_color=ALERT)

    def interval(name: str) -> Callable[[str], str]:
        return lambda key: share_text(shares[name].get(key, totals[name]))

    def rate(name: str) -> Callable[[str], float | None]:
        return lambda key: shares[name].get(key, NO_SHARE).rate

    family = Column("Família", 46, "", lambda key: flexibility.FAMILIES.get(key, key))
    sheet.heading("Aprovação, com o intervalo de 95 %")
    top = sheet.row
    told_columns = [Column(system.label, 18, "0", interval(system.name)) for system in systems]
    sheet.table([family, *told_columns], [*families, "Todas as perguntas"])
    _forgetting(sheet, results)
    sheet.heading("As taxas do gráfico")
    rates = [Column(system.label, 18, "0%", rate(system.name)) for system in systems]
    place = sheet.table([family, *rates], families)
    series = [
        {"name": system.label, "categories": place.range("Família"), "values": place.range(system.label)}
        | {"fill": {"color": colour(system)}, "gap": 40}
        for system in systems
    ]
    layout = {"x": {"min": 0, "max": 1, "num_format": "0%"}, "size": (600, 200 + 16 * len(families))}
    sheet.chart("bar", series, title="Aprovação por família", row=top, column=len(systems) + 1, offset=16, **layout)


def _forgetting(sheet: Sheet, results: Results) -> None:
    rows = results.forgetting()
    if not rows:
        return
    label = {system.name: system.label for system in results.study.systems}
    sheet.heading("Esquecimento: o que o ajuste fez com habilidades que o treino não exercita")

    def change(row: Forgetting) -> str:
        return between(row.estimate.mean, row.estimate.low, row.estimate.high, 0, percentage=True)

    columns = [
        Column("Ajustado", 46, "", lambda row: label[row.tuned]),
        Column("Perguntas", 18, "0", lambda row: row.n),
        Column("Base", 18, "0%", lambda row: row.base_passed / row.n),
        Column("Depois do ajuste", 18, "0%", lambda row: row.tuned_passed / row.n),
        Column("Diferença", 18, "0", change),
        Column("Perdidas", 18, "0", lambda row: row.lost),
        Column("Ganhas", 18, "0", lambda row: row.gained),
        Column("p", 18, P_VALUE, lambda row: p_cell(row.estimate)),
    ]
    sheet.table(columns, rows)
