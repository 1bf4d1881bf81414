"""``comparacao.xlsx``: o que a rodada mostrou, em oito abas que se leem; só Custo tem fórmulas."""

from collections.abc import Sequence
from pathlib import Path

from .. import progress
from ..errors import InputError
from . import answers_sheets, judge, judgements, statistics_sheets
from .costs_sheet import costs_sheet
from .reading import read_review
from .results import Results, score
from .summary_sheet import Charts, Evidence, charts, evidence_blocks, quality_rows, summary_sheet
from .tables import Book
from .training_sheet import training_sheet

FILE = "comparacao.xlsx"
ANSWERS_PER_SECOND = 900  # respostas que entram na planilha por segundo, em dois núcleos


def write_workbook(
    run_folder: Path | str,
    data_folder: Path | str | None = None,
    reviews: Path | str | Sequence[Path | str] | None = None,
    *,
    results: Results | None = None,
) -> Path:
    """Escreve ``comparacao.xlsx`` na pasta da rodada, de forma atômica, e devolve o caminho.

    ``reviews`` são planilhas de revisão preenchidas, que aparecem em Resumo e em Lado a lado; ``results`` evita pontuar
    a rodada outra vez. InputError se a rodada não tem itens de teste; RunMismatchError se a revisão é de outra rodada.
    """
    results = results or score(run_folder, data_folder)
    study = results.study
    if not study.items:
        raise InputError(f"{study.data}/comparacao/teste.jsonl não tem itens. Refaça o caderno 01.")
    evidence = read_evidence(results, reviews)
    count = sum(map(len, results.rows.values()))
    with progress.waiting("montando a planilha", 1 + count / ANSWERS_PER_SECOND):
        return build(results, evidence).save(study.run / FILE)


def read_evidence(results: Results, reviews: Path | str | Sequence[Path | str] | None) -> Evidence:
    """A revisão, os votos da página e o juiz de uma rodada, até onde existem."""
    study = results.study
    review = read_review(reviews, study.run) if reviews else None
    if review:
        judgements.refuse_strangers(study, review)
    votes = tuple(judgements.vote_contests(study))
    human = {pair: review.points(pair) for pair in study.pairs()} if review else {}
    return Evidence(review, votes, tuple(judge.audits(judge.read(study), human)))


def build(results: Results, evidence: Evidence) -> Book:
    """Monta a planilha em memória."""
    book = Book(f"Comparação: {results.study.run.name}")
    summary = book.sheet("Resumo")
    summary_sheet(summary, results, evidence)
    answers_sheets.side_by_side(book.sheet("Lado a lado", pages=3), results, evidence)
    answers_sheets.metrics_sheet(book.sheet("Métricas", pages=2), results)
    effects = statistics_sheets.statistics_sheet(book.sheet("Estatística"), results)
    statistics_sheets.flexibility_sheet(book.sheet("Flexibilidade"), results)
    training_sheet(book.sheet("Treino"), results)
    rows, axis = quality_rows(results, evidence.review)
    quality = costs_sheet(book.sheet("Custo"), results, rows, axis)
    answers_sheets.provenance_sheet(book.sheet("Proveniência"), results)
    charts(summary, results, Charts(effects, quality, axis))
    evidence_blocks(summary, results, evidence)
    return book
