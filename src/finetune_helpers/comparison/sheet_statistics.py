"""Folha Estatística: diferenças pareadas com intervalo, p, Holm e o que a amostra consegue mostrar."""

from typing import Any

from ..portuguese import percent
from . import metrics, significance
from .audit import Audit
from .cells import Book, absent, finish, header, name, put, scale, text, title, widths
from .results import Contrast, Results, contrasts
from .sheet_judge import judge_block
from .study import NOT_RUN

LABELS = ["Sistema", "menos", "Medida", "Itens", "Grupos", "Diferença média", "de (95 %)", "até", "p", "p de Holm"]
LABELS += ["Teste", "Leitura"]
METHOD = (
    "Desfecho principal, declarado antes de olhar: {primary}. As medidas abaixo são secundárias, com Holm sobre todas.",
    "Unidade: o item de teste. Grupo: quase duplicatas e títulos da mesma série contam juntos no sorteio.",
    "Intervalo: bootstrap BCa por grupo, {resamples} reamostragens. p: troca de sinais por grupo ({flips} sorteios, "
    "exata até 13 grupos); sim ou não sem grupos: McNemar exato. Semente {seed}.",
    "Assinatura do chrF++: {signature}. ROUGE-L: F, sem radicais.",
    "Com {n} itens, a menor taxa de vitória que se vê com 80 % de poder é {rate}: diferenças menores passam por acaso.",
)


def statistics_sheet(book: Book, results: Results, judged: list[Audit]) -> None:
    """Escreve Estatística."""
    sheet = book.workbook.create_sheet("Estatística")
    row = title(
        sheet, "Estatística: diferenças entre sistemas nos mesmos itens", "Intervalos e p calculados em Python."
    )
    for wording in METHOD:
        text(sheet.cell(row, 1), wording.format(**_facts(results)), wrap=False)
        row += 1
    head, row = row + 1, header(sheet, row + 1, LABELS)
    found = contrasts(results)
    for line, contrast in enumerate(found, start=row):
        _contrast_row(book, sheet, line, contrast)
    if not found:
        put(sheet.cell(row, 1), NOT_RUN)
    last = row + max(len(found), 1) - 1
    judge_block(book, sheet, last + 2, judged)
    scale(sheet, f"J{row}:J{last}", low_is_good=True)
    widths(sheet, [28, 28, 36, 8, 8, 13, 13, 13, 13, 13, 28, 24])
    finish(sheet, f"D{row}", head, filter_area=f"A{head}:L{last}")


def _facts(results: Results) -> dict:
    n = len(results.study.items)
    rate = significance.detectable_rate(n)
    return {
        "primary": significance.PRIMARY,
        "resamples": significance.RESAMPLES,
        "flips": significance.FLIPS,
        "seed": significance.SEED,
        "signature": metrics.chrf_signature(),
        "n": n,
        "rate": "n/d" if rate is None else percent(rate),
    }


def _contrast_row(book: Book, sheet, row: int, contrast: Contrast) -> None:
    found, form = contrast.estimate, contrast.metric.form
    name(book, sheet.cell(row, 1), contrast.first), name(book, sheet.cell(row, 2), contrast.second)
    put(sheet.cell(row, 3), contrast.metric.label)
    values: list[tuple[Any, str | None]]
    values = [(found.n, "0"), (found.clusters, "0"), (found.mean, form), (found.low, form), (found.high, form)]
    values += [(found.p, "0.0000"), (contrast.holm, "0.0000"), (found.test, None), (reading(contrast), None)]
    for column, (value, shape) in enumerate(values, start=4):
        if found.n or column < 6:
            put(sheet.cell(row, column), value, shape)
        else:
            absent(sheet.cell(row, column), NOT_RUN)


def reading(contrast: Contrast) -> str:
    """O que a linha diz, em palavras: quem é melhor, ou que não se vê diferença."""
    found = contrast.estimate
    if found.mean is None or contrast.holm is None:
        return "n/d"
    if contrast.holm >= 0.05:
        return "sem diferença visível"
    return "o primeiro é melhor" if (found.mean < 0) == contrast.metric.low_is_good else "o segundo é melhor"
