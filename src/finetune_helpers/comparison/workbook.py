"""A planilha da comparação, escrita inteira a partir dos arquivos da rodada."""

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path

from openpyxl import Workbook
from openpyxl.packaging.core import DocumentProperties

from .. import progress, votes
from ..errors import InputError
from ..records import atomic_write
from . import blind, costs, judge, results
from .audit import audits
from .cells import HIDDEN, Book, register
from .efficiency import efficiency
from .results import Results
from .review import merge, read_review
from .sheet_arena import arena_sheets, system_key
from .sheet_costs import cost_sheet
from .sheet_experiments import experiments_sheet
from .sheet_flexibility import flexibility_sheet
from .sheet_items import answers_sheet, metrics_sheet
from .sheet_key import key_sheet, review_name
from .sheet_prices import prices_sheet
from .sheet_provenance import provenance_sheet
from .sheet_review import lists_sheet, readme_sheet, review_sheets
from .sheet_statistics import statistics_sheet
from .sheet_summary import Sources, summary_sheet
from .sheet_training import training_sheet
from .study import ARMS, Study, label, read_study
from .tally import Ratings

ANSWERS_PER_SECOND = 300  # respostas que entram na planilha por segundo, em dois núcleos
FILE, REVIEWED = "comparacao.xlsx", "comparacao_revisada.xlsx"
AFTER = ["Métricas", "Estatística", "Flexibilidade", "Treino", "Hiperparâmetros", "Custo", "Preços", "Arena"]
AFTER += ["Respostas", "Votos", "Proveniência", "Listas"]
# O que liga uma resposta ao modelo que a escreveu fica oculto até que os nomes sejam abertos.
REVEALING = ("Métricas", "Respostas", "Votos", "Proveniência")


def write_workbook(
    run_folder: Path | str,
    data_folder: Path | str | None = None,
    *,
    reviews: Path | str | Sequence[Path | str] | None = None,
    reviewers: int = 2,
    rows: int = 100,
    shared: int = 20,
) -> Path:
    """Escreve a planilha na pasta da rodada, de forma atômica, e devolve o caminho.

    Sem ``reviews``, a planilha é cega e espera ``reviewers`` pessoas, ``rows`` pares ao todo e ``shared`` em comum.
    Se a planilha já tem notas, elas são mantidas. Com ``reviews`` (planilhas revisadas), escreve
    ``comparacao_revisada.xlsx``, com as notas de todos e os nomes abertos. InputError se a rodada não tem itens de
    teste ou se as revisões são de outra rodada.
    """
    study = read_study(run_folder, data_folder)
    path = study.run / (FILE if reviews is None else REVIEWED)
    if reviews is None and path.is_file() and (kept := read_review(path)).ratings:
        # Há notas na planilha que seria reescrita: elas passam para a nova, com o mesmo plano.
        book = _merged(study, path, opened=kept.opened)
    elif reviews is not None:
        book = _merged(study, reviews, opened=True)
    else:
        plan = blind.plan(study, reviewers=reviewers, rows=rows, shared=shared)
        book = build(results.compute(study), plan, {})
    # Montada na memória: o zip que o openpyxl escreve não sabe desistir quando o disco enche.
    content = BytesIO()
    book.workbook.save(content)
    with atomic_write(path, "wb") as file:
        file.write(content.getbuffer())
    return path


def _merged(study: Study, reviews: Path | str | Sequence[Path | str], *, opened: bool) -> Book:
    plan, ratings, names = merge(study, reviews)
    return build(results.compute(study), plan, ratings, names, opened=opened)


def build(
    found: Results, plan: blind.Plan, ratings: Ratings, reviewers: dict[int, str] | None = None, *, opened: bool = False
) -> Book:
    """Monta a planilha em memória; ``Book.expected`` tem o valor em Python de cada fórmula."""
    if not found.study.items:
        raise InputError(f"{found.study.data}/comparacao/teste.jsonl não tem itens. Refaça o caderno 01.")
    answers = sum(map(len, found.scores.values()))
    with progress.waiting("montando a planilha", 1 + answers / ANSWERS_PER_SECOND):
        return _assemble(found, plan, ratings, reviewers, opened)


def _assemble(
    found: Results, plan: blind.Plan, ratings: Ratings, reviewers: dict[int, str] | None, opened: bool
) -> Book:
    book = Book(Workbook(), opened)
    book.workbook.remove(book.workbook.active)
    cast = votes.read(found.study.run)
    _register(book, found.study, cast)
    readme_sheet(book, bool(plan.rows))
    review_sheets(book, plan, ratings, reviewers)
    metrics, answers, prices = metrics_sheet(book, found), answers_sheet(book, found), prices_sheet(book)
    judged, pairs = key_sheet(book, plan, ratings)
    (
        lists_sheet(book),
        provenance_sheet(book, found.study, plan),
        statistics_sheet(book, found, audits(judge.read(found.study), plan, ratings)),
    )
    sources = Sources(
        metrics,
        judged,
        pairs,
        cost_sheet(book, found, prices, answers),
        training_sheet(book, found),
        flexibility_sheet(book, found, answers),
    )
    summary_sheet(book, found, plan, ratings, sources)
    experiments_sheet(book, found.study.run)
    if cast:
        arena_sheets(book, found.study, cast)
    _arrange(book, plan)
    return book


def _register(book: Book, study: Study, cast: Sequence[votes.Vote]) -> None:
    """Anota todo nome de modelo antes de escrever as folhas; a ordem dos sistemas não revela a das respostas."""
    for number, system in enumerate(study.systems, start=1):
        reference = system.startswith("ref-")
        register(book, system, label(system), label(system) if reference else f"Sistema {number}")
    for number, arm in enumerate([*ARMS, *sorted(set(study.reports) - set(ARMS))], start=1):
        register(book, f"braço:{arm}", ARMS.get(arm, arm), f"Braço {number}")
        measured = efficiency(study, arm)
        for key in ("model", "engine", "device") if measured else ():
            register(book, f"{key}:{arm}", getattr(measured, key), HIDDEN)
    skus = [report.get("price_sku") or "" for report in study.reports.values()]
    used = [serving.sku for system in study.systems if (serving := costs.serving(study, system))]
    for sku in dict.fromkeys(skus + used):
        register(book, f"preço:{sku}", sku or "sem preço", HIDDEN)
    for number, notice in enumerate(study.notices()):
        register(book, f"aviso:{number}", notice, f"Aviso {number + 1}: abra os nomes para ler.")
    voted = {system for vote in cast for system in (vote.system_a, vote.system_b)}
    for number, system in enumerate(sorted(voted - set(study.systems)), start=len(study.systems) + 1):
        register(book, system_key(study, system), system, f"Sistema {number}")


def _arrange(book: Book, plan: blind.Plan) -> None:
    order = ["Leia-me", "Resumo", *[review_name(n) for n in range(1, plan.reviewers + 1)], *AFTER, "Chave"]
    workbook = book.workbook
    for place, sheet in enumerate([name for name in order if name in workbook.sheetnames]):
        workbook.move_sheet(sheet, place - workbook.sheetnames.index(sheet))
    for sheet in workbook:
        if sheet.title == "Chave" or (sheet.title in REVEALING and not book.opened):
            sheet.sheet_state = "hidden"
    workbook.active = 1 if book.opened else 0
    for sheet in workbook:
        sheet.sheet_view.tabSelected = sheet is workbook.active
    quiet = datetime(2026, 1, 1)
    workbook.properties = DocumentProperties(creator="", title="Comparação", created=quiet, modified=quiet)
