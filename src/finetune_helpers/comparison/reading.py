"""Lê uma planilha revisada: colunas pelo cabeçalho, linhas pelo código, textos conferidos pela marca da Chave."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..records import normalise
from .blind import PREFERENCES, PROBLEM_CODES, Row
from .cells import shown
from .sheet_key import PAIR_START, START, TOP, review_name
from .sheet_review import COLUMNS, REVIEWER
from .tally import Rating, Ratings

if TYPE_CHECKING:
    from openpyxl import Workbook

KEY = (
    "código",
    "folha",
    "par",
    "item_id",
    "tipo",
    "contraste",
    "primeiro",
    "segundo",
    "A é",
    "B é",
    "textos",
    "esperado",
)
NOTES = {"Correção A": "correct_a", "Correção B": "correct_b", "Fluência A": "fluent_a", "Fluência B": "fluent_b"}
CODES = {"Problema A": "problem_a", "Problema B": "problem_b"}


@dataclass(frozen=True)
class Sheet:
    """Uma folha de revisão lida de um arquivo, com as marcas que a Chave guarda para cada código."""

    file: str
    number: int
    reviewer: str
    rows: tuple[Row, ...]
    ratings: Ratings
    marks: dict[str, str]
    contrasts: dict[tuple[str, str], int]
    problems: tuple[str, ...]


def load(path: Path) -> "Workbook":
    """Abre uma planilha revisada; InputError se não existe, não abre ou não tem as folhas do projeto."""
    from openpyxl import load_workbook

    try:
        book = load_workbook(path)
    except FileNotFoundError:
        raise InputError(f"A planilha {path} não existe. Confira o caminho do arquivo revisado.") from None
    except Exception as error:  # o openpyxl levanta tipos variados para um arquivo danificado
        raise InputError(f"{path} não abre como .xlsx ({error}). Salve de novo a planilha como .xlsx.") from error
    missing = [name for name in ("Leia-me", "Chave") if name not in book.sheetnames]
    if missing:
        raise InputError(f"{path}: falta a folha {missing[0]}. Use a planilha inteira que o caderno 04 escreveu.")
    return book


def sheets(path: Path, book: "Workbook") -> list[Sheet]:
    """Folhas de revisão de uma planilha aberta."""
    key = _key(path, book["Chave"])
    return [_sheet(path, book, number, [row for row in key if row["folha"] == number]) for number in _numbers(key)]


def _numbers(key: list[dict]) -> list[int]:
    return sorted({row["folha"] for row in key})


def _key(path: Path, sheet) -> list[dict]:
    heads = {shown(cell.value): cell.column for cell in sheet[TOP - 1] if START <= cell.column < PAIR_START}
    columns = {name: heads[name] for name in KEY if name in heads}
    if len(columns) < len(KEY):
        raise InputError(f"{path}, folha Chave: faltam as colunas {sorted(set(KEY) - set(columns))}. Não a edite.")
    rows = []
    for line in range(TOP, sheet.max_row + 1):
        row = {name: shown(sheet.cell(line, column).value) for name, column in columns.items()}
        if row["código"]:
            rows.append(row | {"folha": int(float(row["folha"]))})
    return rows


def _sheet(path: Path, book, number: int, key: list[dict]) -> Sheet:
    name, problems = review_name(number), []
    present = name in book.sheetnames
    if not present:
        problems.append(f"{path.name}: falta a folha {name}; ela conta como vazia.")
    lines = _lines(path, book[name], problems) if present else {}
    rows, ratings = [], {}
    for known in key:
        code, found = known["código"], lines.pop(known["código"], None)
        rows.append(_row(known, found[1] if found else {}))
        if found is None and not present:
            continue
        if found is None:
            problems.append(f"{path.name}, {name}: falta a linha {code}; ela conta como não avaliada.")
            continue
        ratings[code] = _rating(f"{path.name}, {name}!", found, problems)
        if rows[-1].mark != known["textos"]:
            problems.append(
                f"{path.name}, {name}!A{found[0]}: os textos da linha {code} foram editados depois de escritos."
            )
    problems += [
        f"{path.name}, {name}!A{line[0]}: código {code} desconhecido; linha ignorada." for code, line in lines.items()
    ]
    reviewer = shown(book[name][REVIEWER].value).strip() if present else ""
    contrasts = {(row["primeiro"], row["segundo"]): int(float(row["contraste"])) for row in key if row["primeiro"]}
    marks = {known["código"]: known["textos"] for known in key}
    return Sheet(path.name, number, reviewer, tuple(rows), ratings, marks, contrasts, tuple(problems))


def _lines(path: Path, sheet, problems: list[str]) -> dict[str, tuple[int, dict]]:
    """Linhas por código: número da linha e valores por cabeçalho."""
    head: tuple = next(
        (row for row in sheet.iter_rows(min_row=1, max_row=20) if shown(row[0].value).strip() == COLUMNS[0]), ()
    )
    names = {shown(cell.value).strip(): cell.column for cell in head}
    if missing := [name for name in COLUMNS if name not in names]:
        raise InputError(f"{path}, folha {sheet.title}: faltam as colunas {missing}. Devolva os cabeçalhos originais.")
    lines: dict[str, tuple[int, dict]] = {}
    for line in range(head[0].row + 1, sheet.max_row + 1):
        cells = {name: sheet.cell(line, names[name]) for name in COLUMNS}
        code = shown(cells["Código"].value).strip()
        if code in lines:
            problems.append(f"{path.name}, {sheet.title}!A{line}: código {code} repetido; vale a primeira linha.")
        elif code:
            lines[code] = (line, cells)
        elif any(shown(cell.value).strip() for cell in cells.values()):
            problems.append(f"{path.name}, {sheet.title}!A{line}: linha sem código; ela foi ignorada.")
    return lines


def _row(known: dict, cells: dict) -> Row:
    title, reference, a, b = (shown(cells[name].value) if cells else "" for name in COLUMNS[1:5])
    return Row(
        known["código"],
        known["folha"],
        known["par"],
        known["item_id"],
        known["tipo"],
        known["primeiro"],
        known["segundo"],
        known["A é"],
        known["B é"],
        title,
        reference,
        a,
        b,
        known["esperado"],
    )


def _rating(where: str, found: tuple[int, dict], problems: list[str]) -> Rating:
    cells = found[1]
    values: dict[str, Any] = {"preference": _choice(where, cells["Preferência"], PREFERENCES, problems)}
    values |= {field: _note(where, cells[name], problems) for name, field in NOTES.items()}
    values |= {field: _choice(where, cells[name], PROBLEM_CODES, problems) for name, field in CODES.items()}
    return Rating(**values, comment=shown(cells["Comentário"].value))


def _choice(where: str, cell, choices: Sequence[str], problems: list[str]) -> str:
    given = normalise(shown(cell.value))
    found = next((choice for choice in choices if normalise(choice) == given), "")
    if given and not found:
        problems.append(f'{where}{cell.coordinate}: "{shown(cell.value)}" não está na lista ({", ".join(choices)}).')
    return found


def _note(where: str, cell, problems: list[str]) -> int | None:
    given = shown(cell.value).strip().replace(",", ".")
    try:
        value = float(given) if given else None
    except ValueError:
        value = -1.0
    if value is None or value in (1, 2, 3, 4, 5):
        return None if value is None else int(value)
    problems.append(f'{where}{cell.coordinate}: "{shown(cell.value)}" não é uma nota inteira de 1 a 5.')
    return None
