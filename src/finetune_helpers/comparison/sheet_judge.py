"""Folha Estatística, bloco do juiz automático: sempre ao lado da sua auditoria, em cinza quando ela o reprova."""

from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from ..portuguese import percent, plain
from .audit import MAX_FLIPS, MIN_HUMAN, MIN_KAPPA, Audit
from .cells import FACE, Book, absent, header, name, put, section, text
from .study import NOT_RUN

LABELS = [
    "Sistema",
    "contra",
    "Leitura",
    "Itens",
    "Itens com nota humana",
    "Pontos do primeiro (juiz)",
    "Com tamanho igual",
]
LABELS += ["Pessoas + juiz (PPI++)", "de (95 %)", "até", "Kappa com as pessoas", "Troca com a ordem", "Sem veredicto"]


def judge_block(book: Book, sheet: Worksheet, row: int, found: list[Audit]) -> int:
    """Escreve o bloco do juiz e devolve a próxima linha livre."""
    row = section(sheet, row, "Juiz automático e sua auditoria")
    if not found:
        absent(sheet.cell(row, 1), NOT_RUN)
        return row + 1
    kappa, flips = plain(MIN_KAPPA), percent(MAX_FLIPS, 0)
    rule = f"Vale com kappa ≥ {kappa}, trocas ≤ {flips} e {MIN_HUMAN} itens com nota humana; senão fica em cinza."
    text(sheet.cell(row, 1), rule, wrap=False)
    row = header(sheet, row + 1, LABELS)
    for line, audit in enumerate(found, start=row):
        _line(book, sheet, line, audit)
    return row + len(found)


def _line(book: Book, sheet: Worksheet, row: int, audit: Audit) -> None:
    name(book, sheet.cell(row, 1), audit.first), name(book, sheet.cell(row, 2), audit.second)
    put(sheet.cell(row, 3), "aprovado na auditoria" if audit.passed else "reprovado: não use")
    joint = audit.combined
    values = [(audit.n, "0"), (audit.humans, "0"), (audit.mean, "0.0%"), (audit.length_controlled, "0.0%")]
    values += [(value, "0.0%") for value in (joint.mean, joint.low, joint.high)]
    values += [(audit.kappa, "0.00"), (audit.flips, "0.0%"), (audit.unparsed, "0.0%")]
    for column, (value, form) in enumerate(values, start=4):
        put(sheet.cell(row, column), value, form)
    if not audit.passed:
        for column in range(1, 14):
            sheet.cell(row, column).font = Font(name=FACE, color="A6A6A6", italic=True)
