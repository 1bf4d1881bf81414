"""As células: o que cada pedido escreve, lido de volta pelo openpyxl e, nos gráficos, no próprio XML."""

import zipfile
from datetime import datetime
from io import BytesIO
from xml.etree import ElementTree

import pytest
from openpyxl import load_workbook

from finetune_helpers.comparison import tables
from finetune_helpers.comparison.tables import Column, Formula, Styled

ACCENT, PALE, INK, GREY, RULE = "FF0B5C8A", "FFEAF2F8", "FF1F2937", "FF6B7280", "FFD5DBE1"
TYPED, ALERT = "FFFFF8DC", "FFFBE3D6"


def written(draw, pages=1):
    """A aba que ``draw`` escreveu, e o arquivo."""
    book = tables.Book("Uma planilha")
    draw(book.sheet("Aba", pages))
    content = BytesIO(book.data())
    return load_workbook(content)["Aba"], content


def look(cell) -> tuple:
    """Corpo, negrito, itálico, cor da letra, fundo, alinhamentos, quebra e formato do número."""
    fill = cell.fill.fgColor.rgb if cell.fill.fill_type else None
    font, place = cell.font, cell.alignment
    assert font.name == "Calibri"
    shape = (font.sz, bool(font.b), bool(font.i), font.color.rgb if font.color else None, fill)
    return (*shape, place.horizontal, place.vertical, bool(place.wrap_text), place.indent, cell.number_format)


TEXTS = {
    "quebras": ("a\r\nb\rc", "a\nb\nc"),
    "controles": ("a\x00\x0b\x1f\x7f\ufffe\ud800b", "ab"),
    "vazio": ("", "[resposta vazia]"),
    "brancos": (" \n\t", "[resposta vazia]"),
    "formatado": ("<r>x</r>", "<r>x</r> "),
    "não formatado": ("<r>x", "<r>x"),
    "escape": ("_x005F_x000D_", "_x000D_"),
    "250 linhas": ("\n".join("a" * 250), "\n".join("a" * 250)),
    "251 linhas": ("\n".join("a" * 251), "\n".join("a" * 250) + tables.CUT),
    "32.000 letras": ("a" * 32_000, "a" * 32_000),
    "32.001 letras": ("a" * 32_001, "a" * 32_000 + tables.CUT),
    # O Excel conta em UTF-16, e um par não se parte.
    "pares": ("a" + "🙂" * 16_000, "a" + "🙂" * 15_999 + tables.CUT),
}


@pytest.mark.parametrize(("text", "seen"), TEXTS.values(), ids=TEXTS)
def test_a_text_becomes_what_a_cell_can_keep(text, seen):
    assert tables.clean(text) == seen


def test_a_cell_read_back_says_what_was_written():
    assert tables.shown(None) == "" and tables.shown(3) == "3"
    assert tables.shown("_x005F_x005f_x000D_") == "_x000D_"


def test_a_sheet_is_printed_in_landscape_on_its_pages():
    sheet, content = written(lambda sheet: sheet.heading("Bloco"), pages=2)
    setup, margins = sheet.page_setup, sheet.page_margins
    assert (setup.orientation, setup.paperSize, setup.fitToWidth, setup.fitToHeight) == ("landscape", 9, 2, 0)
    assert (margins.left, margins.right, margins.top, margins.bottom) == (0.4, 0.4, 0.5, 0.6)
    assert sheet.oddFooter.center.text == "&A, página &P de &N" and not sheet.sheet_view.showGridLines
    assert sheet.sheet_format.defaultRowHeight == 15
    known = load_workbook(content).properties
    assert (known.title, known.creator, known.created) == ("Uma planilha", None, datetime(2026, 1, 1))


def test_titles_groups_and_paragraphs_are_read_whole():
    def draw(sheet):
        sheet.wide([30, 10])
        sheet.title("Resumo", "O que a aba mostra", columns=2)
        sheet.heading("Bloco")
        sheet.groups([("", 1), ("Trilha", 2), ("Só", 1)])
        sheet.paragraph("palavra " * 20, 2, font_color="#6B7280", font_size=9)
        sheet.heading("Fim")

    sheet, _ = written(draw)
    assert [sheet.cell(row, 1).value for row in (1, 2, 3, 6)] == ["Resumo", "O que a aba mostra", "Bloco", "Fim"]
    assert sheet["A5"].value == "palavra " * 20 and (sheet["B4"].value, sheet["D4"].value) == ("Trilha", "Só")
    assert sorted(map(str, sheet.merged_cells.ranges)) == ["A2:B2", "A5:B5", "B4:C4"]
    heights = [sheet.row_dimensions[row].height for row in range(1, 7)]
    assert heights == [24, 17.25, 20.25, 18, 57, 20.25]  # de 0,75 em 0,75, como o Excel as guarda
    assert look(sheet["A1"]) == (16, True, False, ACCENT, None, None, "center", False, 0, "General")
    assert look(sheet["A2"]) == (10, False, False, GREY, None, None, "center", True, 0, "General")
    assert look(sheet["A3"]) == (12, True, False, ACCENT, None, None, "center", False, 0, "General")
    assert look(sheet["A5"]) == (9, False, False, GREY, None, None, "center", True, 0, "General")
    for place in ("B4", "D4"):
        assert look(sheet[place]) == (10, True, False, ACCENT, PALE, "center", "center", False, 0, "General")
        assert (sheet[place].border.left.style, sheet[place].border.left.color.rgb) == ("thin", "FFFFFFFF")
    assert [sheet.column_dimensions[name].width for name in "AB"] == pytest.approx([30.7, 10.7], abs=0.1)


def test_a_named_value_is_a_formula_or_a_place_to_type():
    def draw(sheet):
        sheet.labelled("Itens", Formula("1+1", 2))
        sheet.labelled("Preço")

    sheet, content = written(draw)
    assert list(sheet.iter_rows(values_only=True)) == [("Itens", "=1+1"), ("Preço", None)]
    assert load_workbook(content, data_only=True)["Aba"]["B1"].value == 2
    assert look(sheet["B1"]) == (10, True, False, INK, None, "left", "center", False, 0, "General")
    assert look(sheet["B2"]) == (10, False, False, INK, TYPED, "left", "center", False, 0, "General")
    assert sheet["B2"].border.top.color.rgb == RULE and sheet.row_dimensions[1].height == 18


COLUMNS = (
    Column("Sistema", lambda row: row[0], width=20),
    Column("Perda", lambda row: row[1], "0.000"),
    Column("Dobro", lambda row: row[2], "0.0", 9, "discreto"),
)
ROWS = [
    ("=A1", 1.5, Formula("{Perda}*2", 3.0)),
    ("não executado", None, Styled(0.25, "alerta", "0%")),
    ("palavra " * 60, "não medido", Styled("", "vazio")),
]


def test_a_table_shows_numbers_formulas_what_is_missing_and_where_to_write():
    places = []
    sheet, content = written(lambda sheet: places.append(sheet.table(COLUMNS, ROWS)))
    place = places[0]
    assert (place.sheet, place.first, place.last) == ("Aba", 1, 3)
    assert place.columns == {"Sistema": 0, "Perda": 1, "Dobro": 2}
    assert place.area("Perda") == "$B$2:$B$4"
    assert place.range("Perda") == ["Aba", 1, 1, 3, 1] and place.range("Dobro", 1, 2) == ["Aba", 2, 2, 3, 2]
    shown = [[cell.value for cell in row] for row in sheet.iter_rows(max_row=4, max_col=3)]
    assert shown == [
        ["Sistema", "Perda", "Dobro"],
        ["=A1", 1.5, "=$B2*2"],
        ["não executado", "—", 0.25],
        ["palavra " * 60, "não medido", None],
    ]
    assert sheet["A2"].data_type == "s" and sheet["A2"].quotePrefix and not sheet["A4"].quotePrefix
    assert load_workbook(content, data_only=True)["Aba"]["C2"].value == 3.0
    head = (10, True, False, "FFFFFFFF", ACCENT)
    assert look(sheet["A1"]) == (*head, "left", "center", True, 1, "General")
    assert look(sheet["B1"]) == (*head, "right", "center", True, 1, "General")
    plain, missing = (10, False, False, INK, None), (10, False, True, GREY, None)
    assert look(sheet["A2"]) == (*plain, "left", "top", True, 1, "General")
    assert look(sheet["B2"]) == (*plain, "right", "top", False, 1, "0.000")
    assert look(sheet["C2"]) == (9, False, False, GREY, None, "right", "top", False, 1, "0.0")
    assert look(sheet["A3"]) == (*missing, "left", "top", True, 1, "General")
    assert look(sheet["B3"]) == look(sheet["B4"]) == (*missing, "right", "top", True, 1, "General")
    assert look(sheet["C3"]) == (10, False, False, INK, ALERT, "right", "top", False, 1, "0%")
    assert look(sheet["C4"]) == (*plain, "left", "top", True, 1, "General")
    assert (sheet["C4"].border.left.style, sheet["B2"].border.left.style) == ("thin", None)
    assert {sheet[place].border.bottom.color.rgb for place in ("A2", "B2", "C2", "A3", "C4")} == {RULE}
    widths = [sheet.column_dimensions[name].width for name in "ABC"]
    assert widths == pytest.approx([20.7, 16.7, 9.7], abs=0.1)


@pytest.mark.parametrize(("tall", "height"), [(False, 63.0), (True, 320.25)])
def test_a_long_text_makes_the_row_grow_only_in_a_table_to_be_read(tall, height):
    sheet, _ = written(lambda sheet: sheet.table(COLUMNS, ROWS, tall=tall))
    assert [sheet.row_dimensions[row].height for row in (1, 2, 3)] == [20.25, 17.25, 17.25]
    assert sheet.row_dimensions[4].height == height


def test_a_head_of_two_lines_is_higher_and_two_tables_have_a_blank_between():
    def draw(sheet):
        sheet.table([Column("Perda de teste em nats por token", lambda row: row, width=12)], [1])
        sheet.table([Column("Outra", lambda row: row)], [2])

    sheet, _ = written(draw)
    assert sheet.row_dimensions[1].height == 60.75
    assert [sheet.cell(row, 1).value for row in range(2, 6)] == [1, None, "Outra", 2]


def test_a_column_of_choices_what_is_missing_and_a_fixed_head():
    def draw(sheet):
        place = sheet.table(COLUMNS, ROWS)
        sheet.choices(place, "Perda", ["sim", 2])
        sheet.missing(place, ["Perda", "Dobro"], "Sistema")
        sheet.fixed(place, columns=2)
        with pytest.raises(ValueError, match="a lista tem 256 caracteres e o Excel aceita 255"):
            sheet.choices(place, "Perda", ["a" * 127, "b" * 128])
        sheet.choices(place, "Dobro", ["a" * 127, "b" * 127])

    sheet, _ = written(draw)
    first = sheet.data_validations.dataValidation[0]
    assert (str(first.sqref), first.type, first.formula1) == ("B2:B4", "list", '"sim,2"')
    assert (first.errorTitle, first.error) == ("Valor fora da lista", "Escolha um valor da lista.")
    rules = [
        (str(area.sqref), rule.type, rule.formula, rule.dxf.fill.bgColor.rgb)
        for area, found in sheet.conditional_formatting._cf_rules.items()
        for rule in sorted(found, key=lambda rule: rule.priority)
    ]
    assert rules == [
        ("B2:B4", "expression", ['AND(B2="",$A2<>"")'], ALERT),
        ("B2:B4", "expression", ['B2=""'], TYPED),
        ("C2:C4", "expression", ['AND(C2="",$A2<>"")'], ALERT),
        ("C2:C4", "expression", ['C2=""'], TYPED),
    ]
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("C2", "A1:C4")
    assert (sheet.print_title_rows, sheet.print_title_cols) == ("$1:$1", "$A:$B")


def test_an_empty_table_has_no_filter():
    sheet, _ = written(lambda sheet: sheet.fixed(sheet.table(COLUMNS, [])))
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("B2", None)


def chart(kind, series=1, **layout) -> tuple[ElementTree.Element, dict[str, str]]:
    """O XML de um gráfico, sem os nomes de espaço, e onde ele foi posto."""

    def draw(sheet):
        place = sheet.table(COLUMNS[:2], [("a", 1.0), ("b", 2.0)])
        drawn = [{"categories": place.range("Sistema"), "values": place.range("Perda")}] * series
        sheet.chart(kind, drawn, title="Perdas", size=(400, 300), **layout)

    _, content = written(draw)
    with zipfile.ZipFile(content) as file:
        parts = [file.read(name).decode() for name in ("xl/charts/chart1.xml", "xl/drawings/drawing1.xml")]
    drawn, placed = (ElementTree.fromstring(part) for part in parts)
    for element in (*drawn.iter(), *placed.iter()):
        element.tag = element.tag.rpartition("}")[2]
    corner = {element.tag: element.text for element in placed.find(".//from")}
    return drawn, corner


def told(drawn: ElementTree.Element, path: str) -> list[str | None]:
    return [element.get("val") for element in drawn.findall(f".//{path}")]


@pytest.mark.parametrize("series", [1, 2])
def test_bars_begin_at_the_top_and_a_single_series_needs_no_legend(series):
    drawn, corner = chart("bar", series, row=7, column=1, offset=9)
    assert told(drawn, "barDir") == ["bar"] and "".join(drawn.find(".//title").itertext()) == "Perdas"
    assert told(drawn, "catAx/scaling/orientation") == ["maxMin"]
    assert told(drawn, "valAx/scaling/orientation") == ["minMax"] and told(drawn, "valAx/crosses") == ["max"]
    assert told(drawn, "tickLblPos") == ["low", "low"] and told(drawn, "legendPos") == ["b"] * (series - 1)
    assert told(drawn, "valAx/majorGridlines//srgbClr") == ["E6EAEE"]
    assert drawn.find(".//catAx/majorGridlines") is None
    assert drawn.find(".//valAx/majorGridlines//ln").get("w") == "9525"
    assert {font.get("typeface") for font in drawn.iter("latin")} == {"Calibri"}
    sizes = [text.get("sz") for text in drawn.findall(".//title//defRPr")]
    assert sizes == ["1100"] and {text.get("sz") for text in drawn.findall(".//txPr//defRPr")} == {"900"}
    assert corner == {"row": "7", "col": "1", "colOff": str(9 * 9525), "rowOff": str(4 * 9525)}


def test_curves_are_lines_with_points_and_scatter_has_both_grids():
    curves, corner = chart("curves", x={"name": "passo"}, y={"name": "perda"})
    assert told(curves, "scatterStyle") == ["lineMarker"] and curves.find(".//ser/spPr/ln/noFill") is None
    assert ["".join(axis.itertext()) for axis in curves.findall(".//valAx/title")] == ["passo", "perda"]
    assert {text.get("b") for text in curves.findall(".//valAx/title//rPr")} == {"0"}
    assert len(curves.findall(".//majorGridlines")) == 1 and (corner["row"], corner["col"]) == ("4", "0")
    assert len(chart("scatter")[0].findall(".//majorGridlines")) == 2
