"""A revisão lida de volta: colunas pelo título, linhas pelo código, problemas pelo endereço da célula."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, RunMismatchError
from ..records import normalise
from . import blind
from .blind import KEY, Plan, Row
from .columns import shown
from .judgements import PREFERENCES, Judgement, Rating, Review, review

if TYPE_CHECKING:
    from openpyxl import Workbook

PROBLEMS = (
    "nenhum",
    "fato errado",
    "fora do assunto",
    "repetição",
    "vazia",
    "resenha em vez de descrição",
    "idioma errado",
    "incompleta",
)
NOTES = {"Correção A": "correct_a", "Correção B": "correct_b", "Fluência A": "fluent_a", "Fluência B": "fluent_b"}
CODES = {"Problema A": "problem_a", "Problema B": "problem_b"}
PREFERENCE, COMMENT, CODE = "Preferência", "Comentário", "Código"
SHOWN = ("Título", "Referência do catálogo", "Resposta A", "Resposta B")
INPUTS = (PREFERENCE, *NOTES, *CODES, COMMENT)
REVIEWER, TOKEN = "Revisor(a):", "Código desta revisão"


def read_review(path_or_paths: Path | str | Sequence[Path | str], run_folder: Path | str | None = None) -> Review:
    """Lê uma ou várias planilhas preenchidas da mesma rodada: as chaves vêm de ``run_folder`` ou da pasta do arquivo.

    O que não serve fica em ``problems``, com o endereço da célula, e conta como vazio; nada some em silêncio.
    InputError se um arquivo não é uma revisão; RunMismatchError se ele é de outra rodada.
    """
    asked = [path_or_paths] if isinstance(path_or_paths, (str, Path)) else path_or_paths
    # O nome basta para um arquivo que está na pasta da rodada.
    near = [Path(run_folder or "") / path for path in asked]
    paths = [place if place.is_file() else Path(path) for place, path in zip(near, asked, strict=True)]
    if not paths:
        raise InputError("Nenhuma planilha revisada foi indicada. Informe em `reviews` pelo menos um arquivo .xlsx.")
    books = [(path, _load(path)) for path in paths]
    plans = [_plan(path, book, Path(run_folder) if run_folder else path.parent) for path, book in books]
    if len({plan.code for plan in plans}) > 1:
        listed = "; ".join(f"{path.name}: {plan.code}" for path, plan in zip(paths, plans, strict=True))
        raise RunMismatchError(f"As planilhas são de revisões diferentes ({listed}). Junte só as da mesma revisão.")
    problems: list[str] = []
    copies = [copy for path, book in books for copy in _copies(path, book, plans[0], problems)]
    judgements = _joined(copies, problems)
    missing = set(range(1, plans[0].size.reviewers + 1)) - {row.row.sheet for row in judgements}
    problems += [
        f"A aba Revisor {number} não veio em nenhum arquivo; conta como não avaliada." for number in sorted(missing)
    ]
    return review(plans[0], judgements, problems)


def _load(path: Path) -> "Workbook":
    from openpyxl import load_workbook

    try:
        return load_workbook(path)
    except FileNotFoundError:
        raise InputError(f"A planilha {path} não existe. Confira em `reviews` o caminho do arquivo revisado.") from None
    except Exception as error:  # o openpyxl levanta tipos variados para um arquivo danificado
        raise InputError(f"{path} não abre como .xlsx ({error}). Salve de novo a planilha como .xlsx.") from error


def _plan(path: Path, book: "Workbook", folder: Path) -> Plan:
    """A chave que abre o arquivo: pelo código da revisão ou, se alguém o apagou, pelos códigos das linhas."""
    plans = blind.keys(folder)
    words = [_text(cell) for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    token = next((found[1] for word in words if (found := re.search(rf"{TOKEN}:\s*([0-9a-f]{{16}})", word))), "")
    codes = set(words)
    for plan in plans:
        if plan.code == token or (not token and any(row.code in codes for row in plan.rows)):
            return plan
    if not plans:
        raise InputError(
            f"A chave de {path.name} não está em {folder}: deveria haver ali um {KEY}. Ponha a planilha na pasta da "
            "rodada que a escreveu, ou indique essa rodada em `run`."
        )
    raise RunMismatchError(
        f"{path} não é uma revisão desta rodada (código {token or 'ausente'}; as chaves daqui são "
        f"{', '.join(plan.code for plan in plans)}). Use em `reviews` um arquivo escrito por esta rodada."
    )


@dataclass(frozen=True)
class _Copy:
    """Uma aba lida de um arquivo: quem assinou e o que escreveu em cada linha."""

    file: str
    sheet: int
    reviewer: str
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True)
class _Tab:
    """Uma aba de revisão aberta: a linha do cabeçalho, a coluna de cada título e a lista comum dos problemas."""

    sheet: Any
    head: int
    columns: dict[str, int]
    where: str
    problems: list[str]

    def tell(self, cell, words: str) -> None:
        """Acrescenta um problema com o endereço da célula."""
        self.problems.append(f"{self.where}!{cell.coordinate}: {words}")


def _copies(path: Path, book: "Workbook", plan: Plan, problems: list[str]) -> Iterator[_Copy]:
    known = {row.code: row for row in plan.rows}
    for sheet in book:
        head, columns = _heading(sheet)
        if not head:
            continue
        tab = _Tab(sheet, head, columns, f"{path.name}, aba {sheet.title}", problems)
        if CODE not in columns:
            told = "Devolva-a da planilha original: ela diz que linha é cada uma."
            raise InputError(f"{tab.where}: falta a coluna {CODE}. {told}")
        absent = [title for title in INPUTS if title not in columns]
        problems += [f"{tab.where}: falta a coluna {title}; ela conta como vazia." for title in absent]
        for cell in sheet[head]:
            if _text(cell).strip() and cell.column not in columns.values():
                tab.tell(cell, f'a coluna "{_text(cell)}" se repete ou não é da revisão; ela não foi lida.')
        yield from _signed(tab, path.name, plan, _lines(tab, known))


def _signed(tab: _Tab, file: str, plan: Plan, lines: dict[str, dict]) -> Iterator[_Copy]:
    """Os julgamentos de uma aba, com o nome de quem a assinou; uma linha apagada é um problema."""
    name = _reviewer_name(tab) or f"{file}, {tab.sheet.title}"
    known = {row.code: row for row in plan.rows}
    for number in sorted({known[code].sheet for code in lines}):
        expected = [row.code for row in plan.sheet(number)]
        absent = [code for code in expected if code not in lines]
        tab.problems.extend(
            f"{tab.where}: falta a linha de código {code}; ela conta como não avaliada." for code in absent
        )
        rows = [_judgement(tab, known[code], lines[code]) for code in expected if code in lines]
        yield _Copy(file, number, name, tuple(replace(row, reviewer=name, file=file) for row in rows))


def _heading(sheet) -> tuple[int, dict[str, int]]:
    """A linha do cabeçalho e a coluna de cada título, onde quer que estejam; (0, {}) se a aba não é de revisão."""
    titles = {normalise(title): title for title in (*SHOWN, *INPUTS, CODE)}
    for cells in sheet.iter_rows(max_row=60):
        names: dict[str, int] = {}
        for cell in cells:
            if title := titles.get(normalise(_text(cell))):
                names.setdefault(title, cell.column)
        if len(names) >= 4 and (PREFERENCE in names or CODE in names):
            return cells[0].row, names
    return 0, {}


def _reviewer_name(tab: _Tab) -> str:
    for cells in tab.sheet.iter_rows(max_row=tab.head):
        words = [_text(cell).strip() for cell in cells if cell.value is not None]
        if any(normalise(word) == normalise(REVIEWER) for word in words):
            return next((word for word in words if normalise(word) != normalise(REVIEWER)), "")
    return ""


def _lines(tab: _Tab, known: dict[str, Row]) -> dict[str, dict]:
    """As linhas preenchidas, por código; o que não se sabe a que linha pertence vira um problema."""
    lines: dict[str, dict] = {}
    for cells in tab.sheet.iter_rows(min_row=tab.head + 1):
        by_column = {cell.column: cell for cell in cells}
        line = {title: by_column[column] for title, column in tab.columns.items()}
        code = _text(line[CODE]).strip()
        typed = [line[title] for title in INPUTS if title in line and _text(line[title]).strip()]
        if code in lines:
            if not any(_text(lines[code].get(title)) for title in INPUTS):
                lines[code] = line
            elif typed:
                tab.tell(line[CODE], f"o código {code} se repete; vale a primeira linha preenchida.")
        elif code in known:
            lines[code] = line
        elif typed:
            said = f"o código {code} não é desta revisão" if code else "falta o código"
            cited = ", ".join(cell.coordinate for cell in typed)
            tab.tell(line[CODE], f"{said}; o que está em {cited} não foi lido.")
    return lines


def _judgement(tab: _Tab, row: Row, line: dict) -> Judgement:
    values: dict[str, Any] = {"preference": _choice(tab, line.get(PREFERENCE), PREFERENCES)}
    values |= {field: _note(tab, line.get(title)) for title, field in NOTES.items()}
    values |= {field: _choice(tab, line.get(title), PROBLEMS) for title, field in CODES.items()}
    values["comment"] = _text(line.get(COMMENT)).strip()
    shown_texts = tuple(_text(line[title]) for title in SHOWN if title in line)
    edited = len(shown_texts) == len(SHOWN) and blind.mark(shown_texts) != row.mark
    if edited:
        tab.tell(line[CODE], f"os textos da linha {row.code} foram editados.")
    return Judgement(row, Rating(**values), edited=edited)


def _text(cell) -> str:
    return "" if cell is None else shown(cell.value)


def _choice(tab: _Tab, cell, options: Sequence[str]) -> str:
    typed = normalise(_text(cell))
    chosen = next((option for option in options if normalise(option) == typed), "")
    if typed and not chosen:
        tab.tell(cell, f'"{_text(cell)}" não está na lista ({", ".join(options)}).')
    return chosen


def _note(tab: _Tab, cell) -> int | None:
    typed = _text(cell).strip().replace(",", ".")
    if not typed:
        return None
    try:
        value = float(typed)
    except ValueError:
        value = 0.0
    if value in (1, 2, 3, 4, 5):
        return int(value)
    tab.tell(cell, f'"{_text(cell)}" não é uma nota inteira de 1 a 5.')
    return None


def _joined(copies: list[_Copy], problems: list[str]) -> list[Judgement]:
    """Um julgamento por pessoa e linha: as cópias de uma pessoa se completam; uma aba em branco conta uma vez."""
    empty = Rating()
    filled = [copy for copy in copies if any(row.rating != empty for row in copy.judgements)]
    used = {copy.sheet for copy in filled}
    blank = {copy.sheet: copy for copy in copies if copy.sheet not in used}
    merged: dict[tuple[str, str], Judgement] = {}
    for copy in [*filled, *blank.values()]:
        for judgement in copy.judgements:
            key = (normalise(copy.reviewer), judgement.row.code)
            before = merged.get(key)
            if before and before.rating != empty and judgement.rating not in (empty, before.rating):
                problems.append(
                    f"{copy.file}: a linha {judgement.row.code} de {judgement.reviewer} é diferente em {before.file}; "
                    f"vale a de {copy.file}."
                )
            if before is None or judgement.rating != empty:
                merged[key] = judgement
    return list(merged.values())
