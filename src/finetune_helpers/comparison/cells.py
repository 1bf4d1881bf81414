"""Células da planilha: texto que não vira fórmula, fórmulas com o valor esperado, tabelas, nomes cegos e impressão."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import Cell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.formatting.rule import ColorScaleRule
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

SWITCH = "'Leia-me'!$B$4"
OPEN = f'{SWITCH}="sim"'
LIMIT = 32_000
MAX_BREAKS = 250
EMPTY = "[resposta vazia]"
CUT = " […cortado; o texto inteiro está em respostas.jsonl]"
NO_DATA = "n/d"
HIDDEN = "oculto"
FACE = "Calibri"
Z = "1.959963984540054"

HEAD = PatternFill("solid", fgColor="1F4E79")
EDIT = PatternFill("solid", fgColor="FFF8DC")
BAND = PatternFill("solid", fgColor="EAF1F8")
WARN = PatternFill("solid", fgColor="FBE3D6")
LINE = Border(bottom=Side(style="hair", color="999999"))
# O XLSX guarda caracteres de controle como _x000D_ e escapa o texto literal com _x005F_. O Excel desfaz e refaz o
# escape; o LibreOffice 7.4 só o desfaz. Por isso o escape é sempre reduzido, ao escrever e ao ler.
_ESCAPE = re.compile(r"(?:_x005[Ff])+_")
_BROKEN = re.compile("[\x7f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True)
class Book:
    """A planilha em construção; ``expected`` guarda o valor em Python de cada fórmula e ``names`` os nomes cegos."""

    workbook: Workbook
    opened: bool
    names: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    expected: dict[tuple[str, str], Any] = field(default_factory=dict)


def clean(text: str) -> str:
    """O texto como a célula vai mostrá-lo: sem caracteres que o XLSX não guarda, com tamanho e linhas limitados."""
    text = _BROKEN.sub("", ILLEGAL_CHARACTERS_RE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    lines = text.split("\n")
    if len(lines) > MAX_BREAKS:
        text = "\n".join(lines[:MAX_BREAKS]) + CUT
    if len(text.encode("utf-16-le")) // 2 > LIMIT:
        text = text.encode("utf-16-le")[: 2 * LIMIT].decode("utf-16-le", "ignore") + CUT
    return _ESCAPE.sub("_", text) if text.strip() else EMPTY


def text(cell: Cell, value: str, *, wrap: bool = True) -> Cell:
    """Escreve um texto que nenhum programa lê como fórmula, erro ou caractere de controle, alinhado ao alto."""
    plain(cell, value)
    cell.alignment = Alignment(wrap_text=wrap, vertical="top", horizontal="left", indent=int(wrap))
    return cell


def plain(cell: Cell, value: str) -> Cell:
    """O mesmo texto seguro, sem alinhamento: estilizar cada célula de uma folha grande custa tempo e memória."""
    cell.value = re.sub(r"_(?=x[0-9A-Fa-f]{4}_)", "_x005F_", clean(value))
    cell.data_type = "s"
    if value[:1] in tuple("=+-@\t\n "):
        cell.quotePrefix = True
    return cell


def shown(value: Any) -> str:
    """O texto de uma célula lida de volta, como ``clean`` o deixou."""
    return "" if value is None else _ESCAPE.sub("_", str(value))


def put(cell: Cell, value: Any, form: str | None = None) -> Cell:
    """Escreve número, texto ou None (``n/d``), com alinhamento e formato."""
    if isinstance(value, str):
        return text(cell, value)
    if value is None:
        return absent(cell, NO_DATA)
    cell.value, cell.alignment = value, Alignment(vertical="top", horizontal="right")
    if form:
        cell.number_format = form
    return cell


def absent(cell: Cell, why: str) -> Cell:
    """Escreve por que não há número (``n/d``, ``não executado``), em cinza, à direita."""
    cell.value, cell.font = why, Font(name=FACE, color="808080", italic=True)
    cell.alignment = Alignment(vertical="top", horizontal="right", shrink_to_fit=True)
    return cell


def formula(book: Book, cell: Cell, source: str, value: Any, form: str | None = None) -> Cell:
    """Escreve uma fórmula e anota o valor que ela deve dar."""
    cell.value = f"={source}"
    wide = isinstance(value, str) and not form
    side = "left" if wide else "right"
    cell.alignment = Alignment(vertical="top", wrap_text=wide, horizontal=side, indent=int(wide))
    if form:
        cell.number_format = form
    book.expected[cell.parent.title, cell.coordinate] = value
    return cell


def guarded(book: Book, cell: Cell, source: str, value: Any, form: str | None = None) -> Cell:
    """Fórmula que só mostra o resultado quando os nomes dos modelos estão abertos."""
    shown_value = (NO_DATA if value is None else value) if book.opened else HIDDEN
    return formula(book, cell, f'IF({OPEN},IFERROR({source},"{NO_DATA}"),"{HIDDEN}")', shown_value, form)


def wilson(share: str, n: str) -> tuple[str, str]:
    """Fórmulas dos dois extremos do intervalo de Wilson de 95 %."""
    centre = f"({share}+{Z}^2/(2*{n}))/(1+{Z}^2/{n})"
    half = f"{Z}*SQRT({share}*(1-{share})/{n}+{Z}^2/(4*{n}^2))/(1+{Z}^2/{n})"
    return f"MAX(0,{centre}-{half})", f"MIN(1,{centre}+{half})"


def register(book: Book, key: str, label: str, alias: str) -> None:
    """Anota um nome de modelo que só aparece com os nomes abertos."""
    book.names.setdefault(key, (len(book.names) + 4, label, alias))


def key_of(book: Book, key: str) -> str:
    """Endereço, na folha Chave, da célula com o nome usado nos arquivos."""
    return f"Chave!$A${book.names[key][0]}"


def name(book: Book, cell: Cell, key: str) -> Cell:
    """Nome de um modelo: o verdadeiro com os nomes abertos, o apelido antes disso."""
    row, label, alias = book.names[key]
    value = clean(label) if book.opened else alias
    return formula(book, cell, f"IF({OPEN},Chave!$B${row},Chave!$C${row})", value)


def title(sheet: Worksheet, heading: str, note: str = "") -> int:
    """Escreve o título e a explicação da folha; devolve a próxima linha livre."""
    sheet["A1"].value, sheet["A1"].font = heading, Font(name=FACE, size=16, bold=True, color="1F4E79")
    if note:
        text(sheet["A2"], note, wrap=False).font = Font(name=FACE, italic=True, color="555555")
    return 4


def section(sheet: Worksheet, row: int, heading: str) -> int:
    """Escreve o título de um bloco e devolve a linha seguinte."""
    sheet.cell(row, 1, heading).font = Font(name=FACE, size=12, bold=True, color="1F4E79")
    return row + 1


def header(sheet: Worksheet, row: int, labels: Sequence[str], height: float = 34) -> int:
    """Escreve uma linha de cabeçalho e devolve a linha seguinte."""
    for column, label in enumerate(labels, start=1):
        cell = sheet.cell(row, column, label)
        crown(cell)
    sheet.row_dimensions[row].height = height
    return row + 1


def crown(cell: Cell) -> Cell:
    """Dá a uma célula a aparência de cabeçalho."""
    cell.fill, cell.font = HEAD, Font(name=FACE, bold=True, color="FFFFFF")
    cell.alignment = Alignment(wrap_text=True, vertical="center", horizontal="center")
    return cell


def widths(sheet: Worksheet, sizes: Iterable[float]) -> None:
    """Larguras das colunas, a partir da primeira, em caracteres."""
    for column, size in enumerate(sizes, start=1):
        sheet.column_dimensions[get_column_letter(column)].width = size


def scale(sheet: Worksheet, area: str, *, low_is_good: bool = False) -> None:
    """Escala de duas cores: a mais forte marca o melhor valor."""
    ends = ("9BC2E6", "FFFFFF") if low_is_good else ("FFFFFF", "9BC2E6")
    rule = ColorScaleRule(start_type="min", start_color=ends[0], end_type="max", end_color=ends[1])
    sheet.conditional_formatting.add(area, rule)


def finish(sheet: Worksheet, freeze: str, repeat_row: int = 0, *, filter_area: str = "") -> None:
    """Painéis congelados, filtro e impressão em paisagem, uma página de largura, cabeçalho repetido se há um só."""
    sheet.freeze_panes = freeze
    if filter_area:
        sheet.auto_filter.ref = filter_area
    sheet.sheet_view.showGridLines = False
    sheet.page_setup.orientation, sheet.page_setup.paperSize = "landscape", sheet.PAPERSIZE_A4
    sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    if repeat_row:
        sheet.print_title_rows = f"{repeat_row}:{repeat_row}"
    sheet.oddFooter.center.text = "&A, página &P de &N"
    sheet.page_margins.left = sheet.page_margins.right = 0.4
