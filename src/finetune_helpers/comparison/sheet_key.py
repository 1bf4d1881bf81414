"""Folha Chave (oculta): nomes dos modelos, quem é A e B em cada linha e as notas lidas das folhas de revisão."""

from openpyxl.worksheet.worksheet import Worksheet

from . import tally
from .blind import ATTENTION, MAIN, PREFERENCES, REPEAT, Plan, Row
from .cells import Book, formula, put, text
from .sheet_items import Area
from .tally import FIRST, SECOND, Rating, Ratings

LABELS = ["código", "folha", "par", "item_id", "tipo", "contraste", "primeiro", "segundo", "A é", "B é", "textos"]
LABELS += ["esperado", "preferência", "correção A", "correção B", "fluência A", "fluência B", "resultado", "pontos"]
LABELS += ["feita", "confere"]
PAIR_LABELS = ["par", "contraste", "pontos", "pontos²", "revisor 1", "revisor 2"]
START, PAIR_START, TOP = 5, 27, 4
RATED = {"preference": "F", "correct_a": "G", "correct_b": "H", "fluent_a": "I", "fluent_b": "J"}


def review_name(number: int) -> str:
    """Nome da folha de um revisor."""
    return f"Revisão {number}"


def key_sheet(book: Book, plan: Plan, ratings: Ratings) -> tuple[Area, Area]:
    """Escreve Chave; devolve as áreas dos julgamentos e dos pares. As fórmulas casam por código, nunca por posição."""
    sheet = book.workbook.create_sheet("Chave")
    put(sheet["A1"], "Chave da revisão: não abra antes de terminar"), put(sheet["A2"], f"plano {plan.mark}")
    for column, label in enumerate(("nome no arquivo", "nome", "apelido"), start=1):
        put(sheet.cell(TOP - 1, column), label)
    for key, (place, label, alias) in book.names.items():
        for column, value in enumerate((key.removeprefix("preço:"), label, alias), start=1):
            text(sheet.cell(place, column), value, wrap=False)
    for start, labels in ((START, LABELS), (PAIR_START, PAIR_LABELS)):
        for column, label in enumerate(labels, start=start):
            put(sheet.cell(TOP - 1, column), label)
    results, lines = tally.outcomes(plan, ratings), {row.code: TOP + place for place, row in enumerate(plan.rows)}
    for row in plan.rows:
        _judgement(book, sheet, plan, row, ratings.get(row.code, Rating()), results, lines)
    judged = Area("Chave", TOP, TOP + len(plan.rows) - 1)
    last = _pairs(book, sheet, plan, ratings, results, lines, judged)
    return judged, Area("Chave", TOP, last)


def _judgement(book: Book, sheet: Worksheet, plan: Plan, row: Row, rating: Rating, results: dict, lines: dict) -> None:
    line = lines[row.code]
    number = plan.contrasts.index((row.first, row.second)) + 1 if row.kind != ATTENTION else 0
    fixed = [row.code, row.sheet, row.pair, row.item_id, row.kind, number, row.first or None, row.second or None]
    for column, value in enumerate(
        [*fixed, row.left or None, row.right or None, row.mark, row.expected or None], start=START
    ):
        if value is not None:
            put(sheet.cell(line, column), value)
    _typed(book, sheet, plan, row, rating, line)
    result = results.get(row.code, "") if row.kind != ATTENTION else rating.preference
    same = f'IF(Q{line}="A",IF(M{line}=K{line},"{FIRST}","{SECOND}"),IF(M{line}=K{line},"{SECOND}","{FIRST}"))'
    source = f'IF(OR(Q{line}="A",Q{line}="B"),{same},Q{line})' if row.kind != ATTENTION else f"Q{line}"
    formula(book, sheet.cell(line, 22), source, result)
    scored = f'IF(V{line}="","",IF(V{line}="{FIRST}",1,IF(V{line}="{SECOND}",0,0.5)))'
    formula(book, sheet.cell(line, 23), scored, tally.points(result) if result else "")
    formula(book, sheet.cell(line, 24), f'IF(Q{line}="",0,1)', int(bool(rating.preference)))
    _check(book, sheet, plan, row, rating, results, lines)


def _typed(book: Book, sheet: Worksheet, plan: Plan, row: Row, rating: Rating, line: int) -> None:
    last = TOP + len(plan.sheet(row.sheet))
    tab = f"'{review_name(row.sheet)}'"
    at = f"MATCH(E{line},{tab}!$A${TOP + 1}:$A${last},0)"
    for column, (field, letter) in enumerate(RATED.items(), start=17):
        cell = f"INDEX({tab}!${letter}${TOP + 1}:${letter}${last},{at})"
        value = getattr(rating, field)
        if field == "preference":
            allowed = ",".join(f'TRIM({cell})="{choice}"' for choice in PREFERENCES)
            source = f'IF(OR({allowed}),TRIM({cell}),"")'
        else:
            note = f"VALUE(TRIM({cell}))"
            source = f'IF(AND({note}>=1,{note}<=5,{note}=INT({note})),{note},"")'
        formula(book, sheet.cell(line, column), f'IFERROR({source},"")', "" if value is None else value)


def _check(book: Book, sheet: Worksheet, plan: Plan, row: Row, rating: Rating, results: dict, lines: dict) -> None:
    """1 ou 0 onde uma linha repetida ou de atenção confere; vazio enquanto falta avaliação."""
    line, cell = lines[row.code], sheet.cell(lines[row.code], 25)
    if row.kind == ATTENTION:
        value = int(rating.preference == row.expected) if rating.preference else ""
        formula(book, cell, f'IF(Q{line}="","",IF(Q{line}=P{line},1,0))', value)
    elif row.kind == REPEAT:
        original = next(one.code for one in plan.sheet(row.sheet) if one.pair == row.pair and one.kind == MAIN)
        first, again, other = results.get(original), results.get(row.code), lines[original]
        source = f'IF(OR(V{line}="",V{other}=""),"",IF(V{line}=V{other},1,0))'
        formula(book, cell, source, int(first == again) if first and again else "")


def _pairs(book: Book, sheet: Worksheet, plan: Plan, ratings: Ratings, results: dict, lines: dict, judged: Area) -> int:
    seen: dict[str, list[Row]] = {}
    for row in plan.rows:
        if row.kind == MAIN:
            seen.setdefault(row.pair, []).append(row)
    known = {
        key: value for contrast in plan.contrasts for key, value in tally.pair_points(plan, ratings, contrast).items()
    }
    for line, (pair, rows) in enumerate(seen.items(), start=TOP):
        put(sheet.cell(line, 27), pair)
        put(sheet.cell(line, 28), plan.contrasts.index((rows[0].first, rows[0].second)) + 1)
        source = f'AVERAGEIFS({judged.column("W")},{judged.column("G")},AA{line},{judged.column("I")},"{MAIN}")'
        value = known.get(pair, "")
        formula(book, sheet.cell(line, 29), f'IFERROR({source},"")', value)
        square = "" if isinstance(value, str) else value * value
        formula(book, sheet.cell(line, 30), f'IF(AC{line}="","",AC{line}*AC{line})', square)
        if len(rows) > 1:
            for column, row in enumerate(rows[:2], start=31):
                formula(book, sheet.cell(line, column), f"V{lines[row.code]}", results.get(row.code, ""))
    return TOP + len(seen) - 1
