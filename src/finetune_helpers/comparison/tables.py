"""As células das planilhas: escreve tabelas, parágrafos e gráficos nativos com o XlsxWriter.

Só este módulo conhece células e estilos; quem escreve uma aba descreve colunas e linhas (``columns``).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

from ..portuguese import ABSENT
from ..records import atomic_write
from .columns import MISSING, REREAD, Column, Formula, Place, Styled, clean

FACE = "Calibri"
ACCENT, PALE, INK, GREY, RULE = "#0B5C8A", "#EAF2F8", "#1F2937", "#6B7280", "#D5DBE1"
TYPED, ALERT, ORANGE = "#FFF8DC", "#FBE3D6", "#D55E00"
LINE_HEIGHT, HIGHEST = 15.0, 409.0


@dataclass
class Book:
    """Uma planilha em construção na memória."""

    title: str
    content: BytesIO = field(default_factory=BytesIO)

    def __post_init__(self) -> None:
        import xlsxwriter

        options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self.workbook = xlsxwriter.Workbook(self.content, options)
        quiet = datetime(2026, 1, 1)  # nada aqui depende do dia nem da máquina
        self.workbook.set_properties({"title": self.title, "author": "", "created": quiet})
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
        return Sheet(self, self.workbook.add_worksheet(name), pages)

    def data(self) -> bytes:
        """Fecha a planilha e devolve os bytes do arquivo: os mesmos sempre que o conteúdo é o mesmo."""
        self.workbook.close()
        return self.content.getvalue()

    def save(self, path: Path) -> Path:
        """Fecha a planilha e a grava inteira de uma vez; StorageError se o disco não a aceita."""
        with atomic_write(path, "wb") as file:
            file.write(self.data())
        return path


_STYLES: dict[str, dict[str, Any]] = {
    "": {},
    "alerta": {"bg_color": ALERT},
    "forte": {"bold": True},
    "ausente": {"font_color": GREY, "italic": True},
    "discreto": {"font_color": GREY, "font_size": 9},
    "digitado": {"bg_color": TYPED, "border": 1, "border_color": RULE},
    "vazio": {"border": 1, "border_color": RULE},
}


class Sheet:
    """Uma aba escrita de cima para baixo; ``row`` é a próxima linha livre."""

    def __init__(self, book: Book, worksheet, pages: int) -> None:
        self.book, self.worksheet, self.row = book, worksheet, 0
        self.widths: dict[int, float] = {}
        worksheet.hide_gridlines(2)
        worksheet.set_landscape()
        worksheet.set_paper(9)
        worksheet.fit_to_pages(pages, 0)
        worksheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
        worksheet.set_footer("&C&A, página &P de &N")
        worksheet.set_default_row(LINE_HEIGHT)

    def title(self, heading: str, note: str = "", columns: int = 8) -> None:
        """O título da aba e, abaixo, o que ela mostra."""
        style = self.book.format(font_size=16, bold=True, font_color=ACCENT, valign="vcenter")
        self.worksheet.set_row(self.row, 24)
        self.worksheet.write_string(self.row, 0, clean(heading), style)
        self.row += 1
        if note:
            self.paragraph(note, columns, font_color=GREY)

    def heading(self, words: str) -> None:
        """O título de um bloco."""
        self.worksheet.set_row(self.row, 20)
        self.worksheet.write_string(
            self.row, 0, clean(words), self.book.format(font_size=12, bold=True, font_color=ACCENT, valign="vcenter")
        )
        self.row += 1

    def groups(self, groups: Sequence[tuple[str, int]]) -> None:
        """Uma linha acima do cabeçalho com o nome de cada grupo de colunas."""
        column = 0
        for words, count in groups:
            style = self.book.format(
                bold=True,
                font_color=ACCENT,
                bg_color=PALE,
                align="center",
                valign="vcenter",
                left=1,
                left_color="white",
            )
            if words and count > 1:
                self.worksheet.merge_range(self.row, column, self.row, column + count - 1, words, style)
            elif words:
                self.worksheet.write_string(self.row, column, words, style)
            column += count
        self.worksheet.set_row(self.row, 18)
        self.row += 1

    def paragraph(self, words: str, columns: int, **properties: Any) -> None:
        """Um parágrafo sobre ``columns`` colunas, alto o bastante para ser lido inteiro."""
        style = self.book.format(**({"text_wrap": True, "valign": "vcenter"} | properties))
        size = properties.get("font_size", 10)
        width = sum(self.widths.get(column, 9) for column in range(columns)) * 10 / size
        self.worksheet.set_row(self.row, max(16.0, (size + 4.5) * _lines(words, width) + 3))
        if columns > 1:
            self.worksheet.merge_range(self.row, 0, self.row, columns - 1, "", style)
        self.worksheet.write_string(self.row, 0, clean(words), style)
        self.row += 1

    def wide(self, widths: Iterable[float]) -> None:
        """Larguras das colunas, da primeira em diante, para abas com várias tabelas."""
        for column, width in enumerate(widths):
            self.widths[column] = width
            self.worksheet.set_column(column, column, width, self.book.format())

    def table(
        self, columns: Sequence[Column], rows: Sequence[Any], *, tall: bool = False, total: bool = False
    ) -> Place:
        """Escreve cabeçalho e linhas e devolve onde ficaram; ``tall`` deixa crescer linhas de textos longos.

        As larguras valem onde ``wide`` ainda não as fixou; com ``total``, a última linha é destacada.
        """
        for number, column in enumerate(columns):
            if number not in self.widths:
                self.widths[number] = column.width
                self.worksheet.set_column(number, number, column.width, self.book.format())
        self._head(columns)
        place = Place(
            self.worksheet.name, self.row, self.row + len(rows) - 1, {c.title: n for n, c in enumerate(columns)}
        )
        for row in rows:
            values = [column.value(row) for column in columns]
            self.worksheet.set_row(self.row, self._height(values, HIGHEST if tall else 4.2 * LINE_HEIGHT))
            for number, (column, value) in enumerate(zip(columns, values, strict=True)):
                self._cell(number, column, value, place)
            self.row += 1
        self.row += 1
        return place

    def _head(self, columns: Sequence[Column]) -> None:
        style: dict[str, Any] = {"bold": True, "font_color": "white", "bg_color": ACCENT, "text_wrap": True}
        lines = max(_lines(column.title, (self.widths[number] - 1) * 0.85) for number, column in enumerate(columns))
        self.worksheet.set_row(self.row, max(20, 14 * lines + 5))
        for number, column in enumerate(columns):
            aligned = {"align": "right" if column.form else "left", "indent": 1}
            side = self.book.format(**style, valign="vcenter", **aligned)
            self.worksheet.write_string(self.row, number, clean(column.title), side)
        self.row += 1

    def _height(self, values: Sequence[Any], limit: float) -> float:
        texts = [value.value if isinstance(value, Styled) else value for value in values]
        lines = max(
            (_lines(text, self.widths[number] - 1) for number, text in enumerate(texts) if isinstance(text, str)),
            default=1,
        )
        return min(limit, 12.6 * max(lines, 1) + 5)

    def _cell(self, number: int, column: Column, value: Any, place: Place) -> None:
        style, form = column.style, column.form
        if isinstance(value, Styled):
            value, style, form = value.value, value.style, value.form or form
        value = ABSENT if value is None else value
        if value in MISSING:
            style = style or "ausente"
        right = bool(column.form)
        look = _STYLES[style] | {"bottom": 1, "bottom_color": RULE}
        if style == "vazio":
            self.worksheet.write_blank(
                self.row, number, None, self.book.format(**look, text_wrap=True, align="left", indent=1)
            )
        elif isinstance(value, str):
            quoted = {"quote_prefix": True} if value.startswith(REREAD) else {}
            look = look | {"text_wrap": True, "align": "right" if right else "left", "indent": 1} | quoted
            self.worksheet.write_string(self.row, number, clean(value), self.book.format(**look))
        elif isinstance(value, Formula):
            source = _resolved(value.source, place, self.row)
            given = self.book.format(**look, num_format=form, align="right", indent=1)
            self.worksheet.write_formula(self.row, number, f"={source}", given, value.value)
        else:
            given = self.book.format(**look, num_format=form or "General", align="right", indent=1)
            self.worksheet.write_number(self.row, number, value, given)

    def scale(self, place: Place, titles: Iterable[str], *, low_is_good: bool = False) -> None:
        """Fundo mais forte no melhor valor de cada coluna."""
        ends = ("#BBD9EC", "#FFFFFF") if low_is_good else ("#FFFFFF", "#BBD9EC")
        for title in titles:
            column = place.columns[title]
            rule = {"type": "2_color_scale", "min_color": ends[0], "max_color": ends[1]}
            self.worksheet.conditional_format(place.first, column, place.last, column, rule)

    def choices(self, place: Place, titles: Iterable[str], options: Sequence[str | int]) -> None:
        """Lista suspensa numa coluna; as opções, juntas, cabem nos 255 caracteres que o Excel aceita."""
        source = ",".join(map(str, options))
        if len(source) > 255:
            raise ValueError(f"a lista tem {len(source)} caracteres e o Excel aceita 255: {source}")
        rule = {"validate": "list", "source": list(options), "error_title": "Valor fora da lista"}
        for title in titles:
            column = place.columns[title]
            area = (place.first, column, place.last, column)
            self.worksheet.data_validation(*area, rule | {"error_message": "Escolha um valor da lista."})

    def missing(self, place: Place, titles: Iterable[str], after: str) -> None:
        """Cor no que falta preencher: clara antes de ``after`` estar preenchida na linha, forte depois."""
        from xlsxwriter.utility import xl_rowcol_to_cell

        done = xl_rowcol_to_cell(place.first, place.columns[after], False, True)
        for title in titles:
            column = place.columns[title]
            own = xl_rowcol_to_cell(place.first, column)
            for test, colour in ((f'=AND({own}="",{done}<>"")', ALERT), (f'={own}=""', TYPED)):
                rule = {
                    "type": "formula",
                    "criteria": test,
                    "format": self.book.workbook.add_format({"bg_color": colour}),
                }
                self.worksheet.conditional_format(place.first, column, place.last, column, rule)

    def labelled(self, label: str, value: "str | Formula", style: str = "forte") -> None:
        """Uma linha do alto: o nome de um dado na primeira coluna e o dado na segunda."""
        self.worksheet.write_string(self.row, 0, clean(label), self.book.format(valign="vcenter"))
        look = self.book.format(**_STYLES[style], valign="vcenter", align="left")
        if isinstance(value, Formula):
            self.worksheet.write_formula(self.row, 1, f"={value.source}", look, value.value)
        elif value:
            self.worksheet.write_string(self.row, 1, clean(value), look)
        else:
            self.worksheet.write_blank(self.row, 1, None, look)
        self.worksheet.set_row(self.row, 18)
        self.row += 1

    def fixed(self, place: Place, *, columns: int = 1, filtered: bool = False) -> None:
        """Congela o cabeçalho e as primeiras colunas, repete-o em cada página e, se pedido, põe o filtro."""
        head = place.first - 1
        self.worksheet.freeze_panes(place.first, columns)
        self.worksheet.repeat_rows(head)
        self.worksheet.repeat_columns(0, columns - 1)
        if filtered and place.last >= place.first:
            self.worksheet.autofilter(head, 0, place.last, len(place.columns) - 1)

    def chart(self, kind: str, series: Sequence[dict], **layout: Any) -> None:
        """Um gráfico nativo na linha atual: ``title``, ``x`` e ``y`` (eixos), ``column``, ``offset`` e ``size``."""
        lined = {"type": "scatter", "subtype": "straight_with_markers"}
        chart = self.book.workbook.add_chart(lined if kind == "curves" else {"type": kind})
        for one in series:
            chart.add_series(one)
        font = {"name": FACE, "size": 9, "color": INK}
        axis = {"num_font": font, "name_font": font | {"bold": False}, "line": {"color": RULE}, "label_position": "low"}
        grid = {"major_gridlines": {"visible": True, "line": {"color": "#E6EAEE", "width": 0.75}}}
        none = {"major_gridlines": {"visible": False}}
        across, along = (none, grid) if kind == "bar" else (grid, none if kind != "scatter" else grid)
        chart.set_title({"name": layout["title"], "name_font": font | {"size": 11, "bold": True}, "overlay": False})
        chart.set_x_axis(axis | along | layout.get("x", {}))
        # Nas barras, a primeira categoria fica em cima e o eixo dos valores embaixo.
        chart.set_y_axis(
            axis | across | ({"reverse": True, "crossing": "max"} if kind == "bar" else {}) | layout.get("y", {})
        )
        chart.set_legend({"position": "bottom", "font": font} if len(series) > 1 else {"none": True})
        chart.set_chartarea({"border": {"color": RULE}})
        width, height = layout["size"]
        chart.set_size({"width": width, "height": height})
        place = {"x_offset": layout.get("offset", 4), "y_offset": 4, "object_position": 1}
        self.worksheet.insert_chart(layout.get("row", self.row), layout.get("column", 0), chart, place)


def _resolved(source: str, place: Place, row: int) -> str:
    """A fórmula com ``{Título}`` trocado pela célula daquela coluna na linha que está sendo escrita."""
    from xlsxwriter.utility import xl_rowcol_to_cell

    return re.sub(r"\{([^}]+)\}", lambda cited: xl_rowcol_to_cell(row, place.columns[cited[1]], False, True), source)


def _lines(text: str, width: float) -> int:
    """Linhas de um texto de corpo 10 numa coluna: 1,2 letra por unidade de largura, menos a quebra de palavras."""
    room = 1.2 * width
    return sum(1 if len(line) <= room else ceil(len(line) / max(room - 3, 1)) for line in text.split("\n"))
