"""Folhas do revisor: Leia-me com a chave de abrir os nomes, uma Revisão por pessoa e as Listas."""

from openpyxl.formatting.rule import ColorScaleRule, FormulaRule
from openpyxl.styles import Font, PatternFill
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from .blind import PREFERENCES, PROBLEM_CODES, Plan, Row
from .cells import EDIT, FACE, LINE, Book, finish, header, put, section, text, title, widths
from .sheet_key import RATED, TOP, review_name
from .tally import Rating, Ratings

COLUMNS = (
    *("Código", "Título", "Referência do catálogo", "Resposta A", "Resposta B", "Preferência", "Correção A"),
    *("Correção B", "Fluência A", "Fluência B", "Problema A", "Problema B", "Comentário"),
)
FIELDS = RATED | {"problem_a": "K", "problem_b": "L", "comment": "M"}
REVIEWER = "B2"
DONE = PatternFill("solid", bgColor="E2F0D9")
STEPS = (
    "1. Cada pessoa avalia uma folha Revisão e escreve o nome na célula clara do alto. Não leia a folha alheia.",
    "2. Em cada linha, leia o título e a referência. Ela é uma descrição válida entre muitas: outra pode ser boa.",
    "3. Escolha primeiro a preferência: A, B, empate ou ambas ruins. Só depois dê as notas.",
    "4. Marque o problema mais grave de cada resposta e comente se quiser. Pode ordenar e filtrar as linhas.",
    "5. Salve como .xlsx. O caderno 04 lê a planilha de volta, sozinha ou com as de outros revisores.",
    '6. Só abra os nomes depois que todos terminarem: escolha "sim" na célula clara acima e reexiba as folhas ocultas.',
)
SCALES = (
    ("Correção", 1, "assunto errado ou quase tudo falso ou inventado"),
    ("Correção", 2, "assunto certo, mas com fatos centrais errados"),
    ("Correção", 3, "certo no geral, com um fato duvidoso que não se confirma no título nem na referência"),
    ("Correção", 4, "nada errado; algum detalhe que não dá para confirmar"),
    ("Correção", 5, "tudo o que diz se confirma ou decorre do título e da referência"),
    ("Fluência", 1, "não se entende, ou se repete sem fim"),
    ("Fluência", 2, "entende-se com esforço; frases quebradas"),
    ("Fluência", 3, "legível, com tropeços"),
    ("Fluência", 4, "boa, com um deslize pequeno"),
    ("Fluência", 5, "poderia ir ao catálogo como está"),
)


def readme_sheet(book: Book, reviewed: bool) -> None:
    """Escreve Leia-me: como revisar em três minutos e a célula que abre os nomes."""
    sheet = book.workbook.create_sheet("Leia-me")
    title(sheet, "Comparação de modelos: como revisar", "Leia em três minutos antes de avaliar.")
    put(sheet["A4"], "Abrir os nomes dos modelos?").font = Font(name=FACE, bold=True)
    put(sheet["B4"], "sim" if book.opened else "não").fill = EDIT
    rule = DataValidation(type="list", formula1='"não,sim"', allow_blank=False)
    sheet.add_data_validation(rule), rule.add("B4")
    for row, step in enumerate(STEPS, start=6):
        sheet.merge_cells(start_row=row, start_column=1, end_row=row, end_column=3)
        text(sheet.cell(row, 1), step)
        sheet.row_dimensions[row].height = 32
    row = section(sheet, 7 + len(STEPS), "Escalas")
    row = header(sheet, row, ["Nota", "Valor", "Quando dar"])
    for place, values in enumerate(SCALES, start=row):
        for column, value in enumerate(values, start=1):
            put(sheet.cell(place, column), value)
    if not reviewed:
        put(sheet.cell(row + len(SCALES) + 1, 1), "Revisão: não executado (é preciso ter respostas de dois sistemas).")
    widths(sheet, [30, 12, 90])
    finish(sheet, "A5")


def review_sheets(book: Book, plan: Plan, ratings: Ratings, reviewers: dict[int, str] | None = None) -> None:
    """Escreve uma folha por revisor; ``ratings`` e ``reviewers`` vêm de planilhas já revisadas."""
    for number in range(1, plan.reviewers + 1):
        if rows := plan.sheet(number):
            _review(book, number, rows, ratings, (reviewers or {}).get(number, ""))


def _review(book: Book, number: int, rows: list[Row], ratings: Ratings, reviewer: str) -> None:
    sheet = book.workbook.create_sheet(review_name(number))
    title(sheet, f"Revisão {number}")
    text(sheet["A2"], "Revisor(a):", wrap=False).font = Font(name=FACE, bold=True)
    if reviewer:
        text(sheet[REVIEWER], reviewer, wrap=False)
    sheet[REVIEWER].fill = EDIT
    first = header(sheet, TOP, COLUMNS)
    for line, row in enumerate(rows, start=first):
        _line(sheet, line, row, ratings.get(row.code, Rating()))
    last = first + len(rows) - 1
    _choices(sheet, first, last)
    done = FormulaRule(formula=[f'$F{first}<>""'], fill=DONE)
    sheet.conditional_formatting.add(f"A{first}:A{last}", done)
    tones = {"start_color": "F8CBAD", "mid_color": "FFFFFF", "end_color": "A9D18E"}
    levels = {
        "start_value": 1,
        "mid_value": 3,
        "end_value": 5,
        "start_type": "num",
        "mid_type": "num",
        "end_type": "num",
    }
    sheet.conditional_formatting.add(f"G{first}:J{last}", ColorScaleRule(**tones, **levels))
    widths(sheet, [12, 28, 44, 48, 48, 12, 10, 10, 10, 10, 16, 16, 30])
    finish(sheet, f"C{first}", TOP, filter_area=f"A{TOP}:M{last}")


def _line(sheet: Worksheet, line: int, row: Row, rating: Rating) -> None:
    for column, value in enumerate((row.code, row.title, row.reference, row.a, row.b), start=1):
        text(sheet.cell(line, column), value).border = LINE
    for field, letter in FIELDS.items():
        value, cell = getattr(rating, field), sheet[f"{letter}{line}"]
        if value not in ("", None):
            put(cell, value)
        cell.fill, cell.border = EDIT, LINE
    longest = max(len(row.reference) / 44, len(row.a) / 48, len(row.b) / 48, len(row.title) / 28)
    sheet.row_dimensions[line].height = min(409, max(60, 15 * (longest + 2)))


def _choices(sheet: Worksheet, first: int, last: int) -> None:
    """Listas e limites de cada coluna; as listas ficam na folha Listas, sem o limite de 255 caracteres."""
    lists = {"F": ("A", len(PREFERENCES)), "K": ("C", len(PROBLEM_CODES)), "L": ("C", len(PROBLEM_CODES))}
    lists |= {letter: ("B", 5) for letter in "GHIJ"}
    for letter, (source, size) in lists.items():
        rule = DataValidation(type="list", formula1=f"=Listas!${source}$5:${source}${4 + size}", allow_blank=True)
        rule.error, rule.errorTitle, rule.showErrorMessage = "Escolha um valor da lista.", "Valor fora da lista", True
        sheet.add_data_validation(rule), rule.add(f"{letter}{first}:{letter}{last}")


def lists_sheet(book: Book) -> None:
    """Escreve Listas: os valores das listas suspensas."""
    sheet = book.workbook.create_sheet("Listas")
    title(sheet, "Listas", "Valores que as folhas de revisão aceitam.")
    header(sheet, 4, ["Preferência", "Nota", "Problema"])
    for column, values in enumerate((PREFERENCES, range(1, 6), PROBLEM_CODES), start=1):
        for row, value in enumerate(values, start=5):
            put(sheet.cell(row, column), value)
    widths(sheet, [16, 8, 28])
    finish(sheet, "A5", 4)
