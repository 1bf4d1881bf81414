"""O que uma tabela diz antes de virar células: colunas com nome, valores, fórmulas e texto que nenhum editor relê."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN

LIMIT = 32_000
MAX_BREAKS = 250
EMPTY = "[resposta vazia]"
CUT = " […cortado; o texto inteiro está em respostas.jsonl]"
NO_REVIEW, NO_PRICE = "ainda sem revisão", "preço desconhecido"
MISSING = (ABSENT, NOT_RUN, NOT_MEASURED, NO_REVIEW, NO_PRICE)  # o que aparece em cinza no lugar de um número

P_VALUE = '[<0.00005]"< 0,0001";0.0000'
# O XLSX guarda caracteres de controle como _x000D_ e escapa o texto literal com _x005F_. O Excel desfaz e refaz o
# escape; o LibreOffice 7.4 só o desfaz. Por isso o escape é sempre reduzido, ao escrever e ao ler.
_ESCAPE = re.compile(r"(?:_x005[Ff])+_")
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
REREAD = tuple("=+-@\t\n '")  # começos que um editor de planilhas relê como fórmula ou altera


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
    """Um valor com aparência própria: ``alerta``, ``ausente``, ``digitado``, ``forte`` ou ``discreto``."""

    value: Any
    style: str
    form: str = ""


@dataclass(frozen=True)
class Column:
    """Uma coluna: título, largura em caracteres, formato do número (vazio para texto) e como tirar o valor da linha."""

    title: str
    width: float
    form: str
    value: Callable[[Any], Any]
    style: str = ""


@dataclass(frozen=True)
class Place:
    """Onde uma tabela foi escrita, para fórmulas e gráficos que a citam por nome de coluna."""

    sheet: str
    first: int
    last: int
    columns: dict[str, int]

    def cell(self, title: str, row: int) -> str:
        """Endereço absoluto da célula de uma coluna, na linha ``row`` da tabela (a partir de zero)."""
        from xlsxwriter.utility import xl_rowcol_to_cell

        return f"'{self.sheet}'!{xl_rowcol_to_cell(self.first + row, self.columns[title], True, True)}"

    def area(self, title: str) -> str:
        """As células de uma coluna, sem o nome da aba: ``$F$8:$F$60``."""
        from xlsxwriter.utility import xl_range_abs

        return xl_range_abs(self.first, self.columns[title], self.last, self.columns[title])

    def reference(self, title: str) -> str:
        """Uma coluna inteira na forma que as barras de erro pedem: ``='Aba'!$B$5:$B$9``."""
        return f"='{self.sheet}'!{self.area(title)}"

    def range(self, title: str, first: int = 0, last: int | None = None) -> list:
        """Uma coluna (ou as linhas ``first`` a ``last`` dela) na forma que os gráficos pedem."""
        column = self.columns[title]
        end = self.last if last is None else self.first + last
        return [self.sheet, self.first + first, column, end, column]
