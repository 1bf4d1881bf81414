"""Folha Resumo, parte automática: os quatro critérios por sistema, em fórmulas sobre as outras folhas."""

from dataclasses import dataclass

from openpyxl.worksheet.worksheet import Worksheet

from . import costs, significance
from .blind import Plan
from .cells import (
    NO_DATA,
    WARN,
    Book,
    absent,
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
from .efficiency import efficiency
from .results import METRICS, Results, flexibility_score, mean, proof
from .sheet_human import human_block, notes
from .sheet_items import METRIC_COLUMNS, Area
from .study import ARMS, NOT_RUN
from .tally import Ratings

LABELS = [
    "Sistema",
    "Respostas",
    "Faltam",
    *(metric.label for metric in METRICS[:5]),
    "defeito: de (Wilson 95 %)",
    "defeito: até",
]
LABELS += [METRICS[5].label, METRICS[6].label, "Correção (1–5), humana", "Fluência (1–5), humana"]
LABELS += [
    "Flexibilidade, estrita",
    "Flexibilidade, tolerante",
    "Treino (min)",
    "Tokens por segundo",
    "Pico de memória (GB)",
]
LABELS += ["US$ do treino", "US$ por 1.000 respostas"]
PLACES = dict(zip(("chrf", "rouge_l", "cosine", "loss", "defective", "unsupported", "copied"), "DEFGHKL", strict=True))

PROOF_FORMS = {"n": "0", "mean": "0.000", "low": "0.000", "high": "0.000", "p": "0.0000"}


@dataclass(frozen=True)
class Sources:
    """Onde o Resumo busca cada número: áreas de folhas e endereços de células."""

    metrics: Area
    judged: Area
    pairs: Area
    costs: dict[str, str]
    training: dict[tuple[str, str], str]
    flexibility: dict[tuple[str, str], str]


def summary_sheet(book: Book, results: Results, plan: Plan, ratings: Ratings, sources: Sources) -> None:
    """Escreve Resumo."""
    sheet = book.workbook.create_sheet("Resumo")
    note = "Tudo é calculado das outras folhas e muda com elas. Proximidade ao catálogo não é precisão."
    row = title(sheet, f"Comparação: rodada {results.study.run.name}", note)
    first = header(sheet, row, LABELS, 78)
    for row, system in enumerate(results.study.systems, start=first):
        _system(book, sheet, row, system, results, sources)
        notes(book, sheet, row, system, plan, ratings, sources.judged)
    for metric in METRICS:
        letter = PLACES[metric.key]
        scale(sheet, f"{letter}{first}:{letter}{row}", low_is_good=metric.low_is_good)
    row = human_block(book, sheet, row + 2, plan, ratings, sources.judged, sources.pairs)
    row = _proofs(book, sheet, row + 1, results, sources.training)
    _notices(book, sheet, row + 1, results)
    widths(sheet, [40, 16, 11, 12, 12, 14, 13, 12, 12, 12, 12, 12, 12, 12, 13, 13, 9, 10, 11, 13, 13])
    finish(sheet, "B5")


def _system(book: Book, sheet: Worksheet, row: int, system: str, results: Results, sources: Sources) -> None:
    name(book, sheet.cell(row, 1), system)
    answered = len(results.scores.get(system, {}))
    if not answered:
        absent(sheet.cell(row, 2), NOT_RUN)
    else:
        _precision(book, sheet, row, system, results, sources.metrics)
    for column, reading in ((15, "strict"), (16, "loose")):
        value = flexibility_score(results, system, reading)
        if value is not None:
            formula(book, sheet.cell(row, column), sources.flexibility[system, reading], value, "0.0%")
    _expenses(book, sheet, row, system, results, sources)


def _precision(book: Book, sheet: Worksheet, row: int, system: str, results: Results, area: Area) -> None:
    own = f"{area.column('D')},{key_of(book, system)}"
    answered = len(results.scores[system])
    formula(book, sheet.cell(row, 2), f"COUNTIF({own})", answered, "0")
    put(sheet.cell(row, 3), len(results.study.missing(system)), "0")
    for metric in METRICS:
        value = mean(results, system, metric.key)
        if value is not None:
            source = f"AVERAGEIFS({area.column(METRIC_COLUMNS[metric.key])},{own})"
            formula(book, sheet[f"{PLACES[metric.key]}{row}"], source, value, metric.form)
        else:
            absent(sheet[f"{PLACES[metric.key]}{row}"], NOT_RUN if metric.key == "cosine" else NO_DATA)
    ends = significance.wilson(sum(score.defective for score in results.scores[system].values()), answered)
    for letter, value, source in zip("IJ", ends, wilson(f"H{row}", f"B{row}"), strict=True):
        formula(book, sheet[f"{letter}{row}"], source, value, "0.0%")


def _expenses(book: Book, sheet: Worksheet, row: int, system: str, results: Results, sources: Sources) -> None:
    arm = results.study.arms.get(system, "")
    measured = efficiency(results.study, arm) if system.endswith("-tuned") else None
    if measured:
        facts = [(17, "train", measured.minutes, "/60", "0.0")]
        facts += [(18, "tokens_per_second", measured.tokens_per_second, "", "0.0")]
        facts += [(19, *_memory(measured), "", "0.00")]
        for column, key, value, unit, form in facts:
            if value is not None:
                formula(book, sheet.cell(row, column), sources.training[arm, key] + unit, value, form)
    if measured and f"treino:{arm}" in sources.costs:
        usd = next(training.usd for training in costs.trainings(results.study) if training.arm == arm)
        _linked(book, sheet.cell(row, 20), sources.costs[f"treino:{arm}"], usd)
    served = costs.serving(results.study, system)
    if served and f"mil:{system}" in sources.costs:
        _linked(book, sheet.cell(row, 21), sources.costs[f"mil:{system}"], served.usd_per_thousand)


def _memory(measured) -> tuple[str, float | None]:
    key = "peak_rss_gb" if measured.peak_gpu_gb is None else "peak_gpu_gb"
    return key, getattr(measured, key)


def _linked(book: Book, cell, place: str, usd: float | None) -> None:
    formula(book, cell, place, NO_DATA if usd is None else usd, '"US$" 0.0000')


def _proofs(book: Book, sheet: Worksheet, row: int, results: Results, places: dict) -> int:
    """Prova de aprendizado de cada braço, da folha Treino."""
    row = section(sheet, row, "Prova de aprendizado: queda da perda nos itens de teste (nats por token)")
    row = header(sheet, row, ["Braço", "Itens", "Queda média", "de (95 %)", "até", "p (permutação)"])
    for arm in ARMS:
        name(book, sheet.cell(row, 1), f"braço:{arm}")
        found = proof(results.study, arm)
        if not found.n:
            absent(sheet.cell(row, 2), NOT_RUN)
        for column, (key, form) in enumerate(PROOF_FORMS.items(), start=2) if found.n else ():
            value = getattr(found, key)
            formula(book, sheet.cell(row, column), places[arm, key], NO_DATA if value is None else value, form)
        row += 1
    return row


def _notices(book: Book, sheet: Worksheet, row: int, results: Results) -> None:
    """Alarmes e itens sem resposta, pelo id."""
    row = section(sheet, row, "Avisos")
    found = results.study.notices()
    for number in range(len(found)):
        name(book, sheet.cell(row + number, 1), f"aviso:{number}").fill = WARN
    if not found:
        text(sheet.cell(row, 1), "Nenhum.")
