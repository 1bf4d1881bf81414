"""As células das planilhas: escreve tabelas, parágrafos e gráficos nativos com o XlsxWriter.

Só este módulo conhece células e estilos; quem escreve uma aba descreve colunas e linhas.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from math import ceil
from typing import Any

from xlsxwriter import Workbook
from xlsxwriter.utility import xl_range_abs, xl_rowcol_to_cell

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN

FACE = "Calibri"
ACCENT, PALE, INK, GREY, RULE = "#0B5C8A", "#EAF2F8", "#1F2937", "#6B7280", "#D5DBE1"
TYPED, ALERT, ORANGE = "#FFF8DC", "#FBE3D6", "#D55E00"
LINE_HEIGHT, HIGHEST = 15.0, 409.0
LIMIT, MAX_BREAKS = 32_000, 250  # caracteres e linhas de uma célula
EMPTY = "[resposta vazia]"
CUT = " […cortado; o texto inteiro está em respostas.jsonl]"
NO_REVIEW, NO_PRICE = "ainda sem revisão", "preço desconhecido"
MISSING = (ABSENT, NOT_RUN, NOT_MEASURED, NO_REVIEW, NO_PRICE)  # o que aparece em cinza no lugar de um número
P_VALUE = '[<0.00005]"< 0,0001";0.0000'
STYLES: dict[str, dict[str, Any]] = {
    "": {},
    "alerta": {"bg_color": ALERT},
    "forte": {"bold": True},
    "ausente": {"font_color": GREY, "italic": True},
    "discreto": {"font_color": GREY, "font_size": 9},
    "digitado": {"bg_color": TYPED, "border": 1, "border_color": RULE},
    "vazio": {"border": 1, "border_color": RULE},
}
# O XLSX guarda caracteres de controle como _x000D_ e escapa o texto literal com _x005F_. O Excel desfaz e refaz o
# escape; o LibreOffice 7.4 só o desfaz. Por isso o escape é sempre reduzido, ao escrever e ao ler.
_ESCAPE = re.compile(r"(?:_x005[Ff])+_")
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_REREAD = tuple("=+-@\t\n '")  # começos que um editor de planilhas relê como fórmula ou altera


def clean(text: str) -> str:
    """O texto como a célula vai mostrá-lo: sem caracteres que o XLSX não guarda, com tamanho e linhas limitados."""
    text = _BROKEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = text.split("\n")
    if len(lines) > MAX_BREAKS:
        text = "\n".join(lines[:MAX_BREAKS]) + CUT
    if len(text.encode("utf-16-le")) // 2 > LIMIT:
        text = text.encode("utf-16-le")[: 2 * LIMIT].decode("utf-16-le", "ignore") + CUT
    # O XlsxWriter escreve sem escapar o que começa com <r> e termina com </r>, que ele toma por texto formatado.
    text += " " if text.startswith("<r>") and text.endswith("</r>") else ""
    return _ESCAPE.sub("_", text) if text.strip() else EMPTY


def shown(value: Any) -> str:
    """O texto de uma célula lida de volta, como ``clean`` o deixou."""
    return "" if value is None else _ESCAPE.sub("_", str(value))


@dataclass(frozen=True)
class Formula:
    """Uma fórmula e o valor que ela dá; ``{Título}`` é a célula daquela coluna na mesma linha."""

    source: str
    value: float | str


@dataclass(frozen=True)
class Styled:
    """Um valor com aparência própria: uma chave de ``STYLES``."""

    value: Any
    style: str
    form: str = ""


@dataclass(frozen=True)
class Column:
    """Uma coluna: título, o valor tirado da linha, formato do número (vazio para texto), largura em caracteres."""

    title: str
    value: Callable[[Any], Any]
    form: str = ""
    width: float = 16
    style: str = ""


@dataclass(frozen=True)
class Place:
    """Onde uma tabela foi escrita, para fórmulas e gráficos que a citam por nome de coluna."""

    sheet: str
    first: int
    last: int
    columns: dict[str, int]

    def area(self, title: str) -> str:
        """As células de uma coluna, sem o nome da aba: ``$F$8:$F$60``."""
        return xl_range_abs(self.first, self.columns[title], self.last, self.columns[title])

    def range(self, title: str, first: int = 0, last: int | None = None) -> list:
        """Uma coluna (ou as linhas ``first`` a ``last`` dela) na forma que os gráficos pedem."""
        column, end = self.columns[title], self.last if last is None else self.first + last
        return [self.sheet, self.first + first, column, end, column]


class Book:
    """Uma planilha em construção na memória."""

    def __init__(self, title: str) -> None:
        self.content = BytesIO()
        options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self.workbook = Workbook(self.content, options)
        quiet = datetime(2026, 1, 1)  # nada aqui depende do dia nem da máquina
        self.workbook.set_properties({"title": title, "author": "", "created": quiet})
        self.workbook.formats[0].set_font_name(FACE)
        self.formats: dict[tuple, Any] = {}

    def format(self, **properties: Any) -> Any:
        """O formato com estas propriedades, criado uma só vez."""
        key = tuple(sorted(properties.items()))
        if key not in self.formats:
            base = {"font_name": FACE, "font_size": 10, "font_color": INK, "valign": "top"}
            self.formats[key] = self.workbook.add_format(base | properties)
        return self.formats[key]

    def sheet(self, name: str, pages: int = 1) -> "Sheet":
        """Uma aba nova, em paisagem, na largura de ``pages`` páginas A4."""
        worksheet = self.workbook.add_worksheet(name)
        worksheet.hide_gridlines(2)
        worksheet.set_landscape()
        worksheet.set_paper(9)
        worksheet.fit_to_pages(pages, 0)
        worksheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
        worksheet.set_footer("&C&A, página &P de &N")
        worksheet.set_default_row(LINE_HEIGHT)
        return Sheet(self, worksheet)

    def data(self) -> bytes:
        """Fecha a planilha e devolve os bytes do arquivo: os mesmos sempre que o conteúdo é o mesmo."""
        self.workbook.close()
        return self.content.getvalue()


@dataclass
class Sheet:
    """Uma aba escrita de cima para baixo; ``row`` é a próxima linha livre."""

    book: Book
    worksheet: Any
    row: int = 0
    widths: list[float] = field(default_factory=list)

    def wide(self, widths: Iterable[float]) -> None:
        """Larguras das colunas, da primeira em diante; as que uma tabela tiver a mais têm a sua."""
        for width in widths:
            self.worksheet.set_column(len(self.widths), len(self.widths), width, self.book.format())
            self.widths.append(width)

    def title(self, heading: str, note: str = "", columns: int = 8) -> None:
        """O título da aba e, abaixo, o que ela mostra."""
        self._line(heading, 24, font_size=16, bold=True, font_color=ACCENT)
        if note:
            self.paragraph(note, columns, font_color=GREY)

    def heading(self, words: str) -> None:
        """O título de um bloco."""
        self._line(words, 20, font_size=12, bold=True, font_color=ACCENT)

    def _line(self, words: str, height: float, **look: Any) -> None:
        self.worksheet.set_row(self.row, height)
        self.worksheet.write_string(self.row, 0, clean(words), self.book.format(**look, valign="vcenter"))
        self.row += 1

    def groups(self, groups: Sequence[tuple[str, int]]) -> None:
        """Uma linha acima do cabeçalho com o nome de cada grupo de colunas."""
        look = {"bold": True, "font_color": ACCENT, "bg_color": PALE, "align": "center", "valign": "vcenter"}
        style, column = self.book.format(**look, left=1, left_color="white"), 0
        for words, count in groups:
            if count > 1:
                self.worksheet.merge_range(self.row, column, self.row, column + count - 1, words, style)
            elif words:
                self.worksheet.write_string(self.row, column, words, style)
            column += count
        self.worksheet.set_row(self.row, 18)
        self.row += 1

    def paragraph(self, words: str, columns: int, **properties: Any) -> None:
        """Um parágrafo sobre ``columns`` colunas, alto o bastante para ser lido inteiro."""
        look, size = {"text_wrap": True} | properties, properties.get("font_size", 10)
        lines = _lines(words, sum(self.widths[:columns]) * 10 / size)
        self.worksheet.merge_range(self.row, 0, self.row, columns - 1, "", self.book.format(**look, valign="vcenter"))
        self._line(words, max(16.0, (size + 4.5) * lines + 3), **look)

    def labelled(self, label: str, value: Formula | None = None) -> None:
        """Uma linha do alto: o nome de um dado na primeira coluna e, na segunda, o dado ou onde digitá-lo."""
        look = self.book.format(**STYLES["forte" if value else "digitado"], valign="vcenter", align="left")
        if value:
            self.worksheet.write_formula(self.row, 1, f"={value.source}", look, value.value)
        else:
            self.worksheet.write_blank(self.row, 1, None, look)
        self._line(label, 18)

    def table(self, columns: Sequence[Column], rows: Iterable[Any], *, tall: bool = False) -> Place:
        """Escreve cabeçalho e linhas e devolve onde ficaram; ``tall`` deixa crescer linhas de textos longos."""
        self.wide(column.width for column in columns[len(self.widths) :])
        self._head(columns)
        values = [[column.value(row) for column in columns] for row in rows]
        places = {column.title: number for number, column in enumerate(columns)}
        place = Place(self.worksheet.name, self.row, self.row + len(values) - 1, places)
        for line in values:
            self.worksheet.set_row(self.row, self._height(line, HIGHEST if tall else 4.2 * LINE_HEIGHT))
            for number, (column, value) in enumerate(zip(columns, line, strict=True)):
                self._cell(number, column, value, place)
            self.row += 1
        self.row += 1
        return place

    def _head(self, columns: Sequence[Column]) -> None:
        lines = max(_lines(column.title, (self.widths[number] - 1) * 0.85) for number, column in enumerate(columns))
        self.worksheet.set_row(self.row, max(20, 14 * lines + 5))
        style = {"bold": True, "font_color": "white", "bg_color": ACCENT, "text_wrap": True, "valign": "vcenter"}
        for number, column in enumerate(columns):
            look = self.book.format(**style, align="right" if column.form else "left", indent=1)
            self.worksheet.write_string(self.row, number, clean(column.title), look)
        self.row += 1

    def _height(self, values: Sequence[Any], limit: float) -> float:
        texts = [value.value if isinstance(value, Styled) else value for value in values]
        lines = [_lines(text, self.widths[place] - 1) for place, text in enumerate(texts) if isinstance(text, str)]
        return min(limit, 12.6 * max([1, *lines]) + 5)

    def _cell(self, number: int, column: Column, value: Any, place: Place) -> None:
        style, form = column.style, column.form or "General"
        if isinstance(value, Styled):
            value, style, form = value.value, value.style, value.form or form
        value = ABSENT if value is None else value
        if value in MISSING:
            style = style or "ausente"
        look = STYLES[style] | {"bottom": 1, "bottom_color": RULE, "indent": 1, "align": "right"}
        if style == "vazio":
            blank = self.book.format(**look | {"text_wrap": True, "align": "left"})
            self.worksheet.write_blank(self.row, number, None, blank)
        elif isinstance(value, str):
            look |= {"text_wrap": True, "align": "right" if column.form else "left"}
            look |= {"quote_prefix": True} if value.startswith(_REREAD) else {}
            self.worksheet.write_string(self.row, number, clean(value), self.book.format(**look))
        elif isinstance(value, Formula):
            source, given = _resolved(value.source, place, self.row), self.book.format(**look, num_format=form)
            self.worksheet.write_formula(self.row, number, f"={source}", given, value.value)
        else:
            self.worksheet.write_number(self.row, number, value, self.book.format(**look, num_format=form))

    def choices(self, place: Place, title: str, options: Sequence[str | int]) -> None:
        """Lista suspensa numa coluna; ValueError se as opções, juntas, passam dos 255 caracteres do Excel."""
        source = ",".join(map(str, options))
        if len(source) > 255:
            raise ValueError(f"a lista tem {len(source)} caracteres e o Excel aceita 255: {source}")
        rule = {"validate": "list", "source": list(options), "error_title": "Valor fora da lista"}
        area = (place.first, place.columns[title], place.last, place.columns[title])
        self.worksheet.data_validation(*area, rule | {"error_message": "Escolha um valor da lista."})

    def missing(self, place: Place, titles: Iterable[str], after: str) -> None:
        """Cor no que falta preencher: clara antes de ``after`` estar preenchida na linha, forte depois."""
        done = xl_rowcol_to_cell(place.first, place.columns[after], False, True)
        for title in titles:
            column = place.columns[title]
            own = xl_rowcol_to_cell(place.first, column)
            for test, colour in ((f'=AND({own}="",{done}<>"")', ALERT), (f'={own}=""', TYPED)):
                look = self.book.workbook.add_format({"bg_color": colour})
                rule = {"type": "formula", "criteria": test, "format": look}
                self.worksheet.conditional_format(place.first, column, place.last, column, rule)

    def fixed(self, place: Place, *, columns: int = 1) -> None:
        """Congela o cabeçalho e as primeiras colunas, repete-os em cada página e põe o filtro."""
        self.worksheet.freeze_panes(place.first, columns)
        self.worksheet.repeat_rows(place.first - 1)
        self.worksheet.repeat_columns(0, columns - 1)
        if place.last >= place.first:
            self.worksheet.autofilter(place.first - 1, 0, place.last, len(place.columns) - 1)

    def chart(self, kind: str, series: Sequence[dict], **layout: Any) -> None:
        """Um gráfico nativo na linha atual: ``title``, ``x`` e ``y`` (eixos), ``column``, ``offset`` e ``size``."""
        lined = {"type": "scatter", "subtype": "straight_with_markers"}
        chart = self.book.workbook.add_chart(lined if kind == "curves" else {"type": kind})
        for drawn in series:
            chart.add_series(drawn)
        font = {"name": FACE, "size": 9, "color": INK}
        axis = {"num_font": font, "name_font": font | {"bold": False}, "line": {"color": RULE}, "label_position": "low"}
        grid = {"major_gridlines": {"visible": True, "line": {"color": "#E6EAEE", "width": 0.75}}}
        none: dict[str, Any] = {"major_gridlines": {"visible": False}}
        across, along = (none, grid) if kind == "bar" else (grid, grid if kind == "scatter" else none)
        # Nas barras, a primeira categoria fica em cima e o eixo dos valores embaixo.
        turned = {"reverse": True, "crossing": "max"} if kind == "bar" else {}
        chart.set_title({"name": layout["title"], "name_font": font | {"size": 11, "bold": True}, "overlay": False})
        chart.set_x_axis(axis | along | layout.get("x", {}))
        chart.set_y_axis(axis | across | turned | layout.get("y", {}))
        chart.set_legend({"position": "bottom", "font": font} if len(series) > 1 else {"none": True})
        chart.set_chartarea({"border": {"color": RULE}})
        chart.set_size(dict(zip(("width", "height"), layout["size"], strict=True)))
        place = {"x_offset": layout.get("offset", 4), "y_offset": 4, "object_position": 1}
        self.worksheet.insert_chart(layout.get("row", self.row), layout.get("column", 0), chart, place)


def _resolved(source: str, place: Place, row: int) -> str:
    return re.sub(r"\{([^}]+)\}", lambda cited: xl_rowcol_to_cell(row, place.columns[cited[1]], False, True), source)


def _lines(text: str, width: float) -> int:
    """Linhas de um texto de corpo 10 numa coluna: 1,2 letra por unidade de largura, menos a quebra de palavras."""
    room = 1.2 * width
    return sum(1 if len(line) <= room else ceil(len(line) / max(room - 3, 1)) for line in text.split("\n"))
