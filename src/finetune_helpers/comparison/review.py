"""``revisao.xlsx``, para julgar às cegas, escrita e lida de volta: colunas pelo título e linhas pelo código."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, RunMismatchError
from ..records import atomic_write, normalise, sha256_file, write_json
from . import blind
from .blind import KEY, Plan, Row, Size
from .judgements import GRADES, INPUTS, PREFERENCE, Judgement, Review
from .study import Study, read_study
from .tables import GREY, Book, Column, Formula, Sheet, shown

if TYPE_CHECKING:
    from openpyxl import Workbook

FILE = "revisao.xlsx"
DEFAULT = Size()
SHOWN = {"Título": 24, "Referência do catálogo": 50, "Resposta A": 50, "Resposta B": 50}  # e a largura
REVIEWER, CODE, TOKEN = "Revisor(a):", "Código", "Código desta revisão"
STEPS = (
    "1. Escreva o seu nome no alto da sua aba. Cada pessoa avalia uma aba, sem ler a das outras.",
    "2. Leia o título e a referência. Ela é uma descrição válida entre muitas: outra pode ser tão boa quanto ela.",
    "3. Escolha a preferência: A, B, empate ou ambas ruins. Só depois dê as notas, de 1 a 5, e o problema mais grave.",
    "4. Amarelo é o que falta; laranja, o que falta numa linha começada. O andamento aparece no alto da aba.",
    "5. Pode ordenar, filtrar, mover colunas e salvar com outro nome, em .xlsx. Só não mude a coluna Código.",
    "6. Informe o arquivo em REVISOES, no caderno 04. Há linhas repetidas e linhas de controle: é de propósito.",
)
SCALES = (
    ("Correção", 1, "assunto errado, ou quase tudo falso ou inventado"),
    ("Correção", 2, "assunto certo, com fatos centrais errados"),
    ("Correção", 3, "certo no geral, com um fato que não se confirma no título nem na referência"),
    ("Correção", 4, "nada errado; algum detalhe que não dá para confirmar"),
    ("Correção", 5, "tudo se confirma, ou decorre do título e da referência"),
    ("Fluência", 1, "não se entende, ou se repete sem fim"),
    ("Fluência", 3, "legível, com tropeços"),
    ("Fluência", 5, "poderia ir ao catálogo como está"),
)


def write_review(run_folder: Path | str, data_folder: Path | str | None = None, *, size: Size = DEFAULT) -> Path:
    """Escreve ``revisao.xlsx`` e a sua chave na pasta da rodada e devolve o caminho do arquivo.

    Executar de novo não troca a revisão: a que já existe, preenchida ou não, fica como está enquanto as respostas e o
    tamanho são os mesmos. InputError se não há respostas de dois sistemas; RunMismatchError se a revisão preenchida é
    de outras respostas ou de outro tamanho.
    """
    study = read_study(run_folder, data_folder)
    path, key = study.run / FILE, study.run / KEY
    known = blind.read_key(key) if key.is_file() else None
    if known and known.size == size and blind.belongs(study, known):
        return path if path.is_file() else _write(study, known)
    _refuse_to_overwrite(path, known)
    plan = blind.draw(study, size)
    if not plan.rows:
        raise InputError(
            f"{study.run} não tem respostas de dois sistemas a comparar. Execute antes os cadernos 02 e 03."
        )
    if known:
        key.rename(key.with_name(f"revisao_chave_{known.code}.json"))
    return _write(study, plan)


def _refuse_to_overwrite(path: Path, known: Plan | None) -> None:
    if not path.is_file() or (known and sha256_file(path) == known.file_sha256):
        return
    if not known:
        raise RunMismatchError(
            f"{path} está sem a sua chave ({KEY}). Devolva a chave à pasta; para começar outra revisão, mude antes o "
            "nome desse arquivo."
        )
    if any(any(judgement.rating.values()) for judgement in read_review(path).judgements):
        raise RunMismatchError(
            f"{path} já foi preenchida, e as respostas da rodada ou o tamanho da revisão mudaram desde então. Para "
            "manter as notas, volte às respostas e ao tamanho de antes; para começar outra revisão, mude antes o nome "
            "desse arquivo."
        )


def _write(study: Study, plan: Plan) -> Path:
    book = Book("Revisão cega")
    sheet = book.sheet("Guia")
    sheet.wide((16, 8, 86))
    sheet.title("Revisão cega: como avaliar", "Leia em dois minutos antes de começar.", 3)
    sheet.row += 1
    for step in STEPS:
        sheet.paragraph(step, 3, font_size=11)
    sheet.row += 1
    sheet.heading("O que quer dizer cada nota")
    columns = [Column("Escala", itemgetter(0)), Column("Nota", itemgetter(1), "0"), Column("Quando dar", itemgetter(2))]
    sheet.table(columns, SCALES)
    sheet.paragraph("As notas 2 e 4 de fluência ficam entre as descritas.", 3, font_color=GREY)
    sheet.paragraph(f"{TOKEN}: {plan.code}", 3, font_color=GREY)
    for number in range(1, plan.size.reviewers + 1):
        if rows := plan.sheet(number):
            _reviewer(book.sheet(f"Revisor {number}", pages=2), study, plan, rows)
    content = book.data()
    # A chave antes: uma chave sem o arquivo o refaz igual; um arquivo sem a chave ninguém abriria.
    write_json(study.run / KEY, asdict(replace(plan, file_sha256=hashlib.sha256(content).hexdigest())))
    with atomic_write(study.run / FILE, "wb") as file:
        file.write(content)
    return study.run / FILE


def _reviewer(sheet: Sheet, study: Study, plan: Plan, rows: list[Row]) -> None:
    columns = [Column(title, itemgetter(place), width=width) for place, (title, width) in enumerate(SHOWN.items())]
    columns += [Column(title, lambda _: "", width=width, style="vazio") for title, (_, _, width) in INPUTS.items()]
    columns.append(Column(CODE, itemgetter(-1), width=10, style="discreto"))
    sheet.wide(column.width for column in columns)
    sheet.title(sheet.worksheet.name, f"{TOKEN}: {plan.code}", 3)
    sheet.labelled(REVIEWER)
    progress = sheet.row
    sheet.row += 2
    place = sheet.table(columns, [(*blind.texts(study, row), row.code) for row in rows], tall=True)
    limited = {title: options for title, (_, options, _) in INPUTS.items() if options}
    for title, options in limited.items():
        sheet.choices(place, title, options)
    sheet.missing(place, limited, PREFERENCE)
    sheet.fixed(place)
    sheet.row, told = progress, f" de {len(rows)} linhas com preferência"
    sheet.labelled("Andamento:", Formula(f'COUNTA({place.area(PREFERENCE)})&"{told}"', f"0{told}"))


def read_review(path_or_paths: Path | str | Sequence[Path | str], run_folder: Path | str | None = None) -> Review:
    """Lê uma ou várias planilhas preenchidas da mesma rodada: as chaves vêm de ``run_folder`` ou da pasta do arquivo.

    O que não serve fica em ``problems``, com o endereço da célula, e conta como vazio; nada some em silêncio.
    InputError se um arquivo não é uma revisão; RunMismatchError se ele é de outra rodada.
    """
    asked = [path_or_paths] if isinstance(path_or_paths, (str, Path)) else path_or_paths
    if not asked:
        raise InputError("Nenhuma planilha revisada foi indicada. Informe em `reviews` pelo menos um arquivo .xlsx.")
    # O nome basta para um arquivo que está na pasta da rodada.
    near = {Path(path): Path(run_folder or "") / path for path in asked}
    books = {path: _load(path) for path in (place if place.is_file() else path for path, place in near.items())}
    plans = [_plan(path, book, Path(run_folder or path.parent)) for path, book in books.items()]
    if len({plan.code for plan in plans}) > 1:
        listed = "; ".join(f"{path.name}: {plan.code}" for path, plan in zip(books, plans, strict=True))
        raise RunMismatchError(f"As planilhas são de revisões diferentes ({listed}). Junte só as da mesma revisão.")
    plan, problems = plans[0], list[str]()
    copies = [copy for path, book in books.items() for copy in _copies(path, book, plan, problems)]
    judgements = _joined(copies, problems)
    absent = set(range(1, plan.size.reviewers + 1)) - {row.row.sheet for row in judgements}
    problems += [f"A aba Revisor {n} não veio em nenhum arquivo; conta como não avaliada." for n in sorted(absent)]
    return Review(plan, tuple(judgements), tuple(problems))


def _load(path: Path) -> "Workbook":
    from openpyxl import load_workbook

    try:
        return load_workbook(path)
    except FileNotFoundError:
        raise InputError(f"A planilha {path} não existe. Confira em `reviews` o caminho do arquivo revisado.") from None
    except Exception as error:  # o openpyxl levanta tipos variados para um arquivo danificado
        raise InputError(f"{path} não abre como .xlsx ({error}). Salve de novo a planilha como .xlsx.") from error


def _plan(path: Path, book: "Workbook", folder: Path) -> Plan:
    plans = [blind.read_key(key) for key in sorted(folder.glob("revisao_chave*.json"))]  # a atual e as substituídas
    if not plans:
        raise InputError(
            f"A chave de {path.name} não está em {folder}: deveria haver ali um {KEY}. Ponha a planilha na pasta da "
            "rodada que a escreveu, ou indique essa rodada em `run`."
        )
    words = {_text(cell) for sheet in book for row in sheet.iter_rows() for cell in row}
    for plan in plans:
        if f"{TOKEN}: {plan.code}" in words or any(row.code in words for row in plan.rows):
            return plan
    listed = ", ".join(plan.code for plan in plans)
    raise RunMismatchError(
        f"{path} não é uma revisão desta rodada (as chaves daqui são {listed}). Use em `reviews` um arquivo escrito "
        "por esta rodada."
    )


@dataclass(frozen=True)
class _Tab:
    """Uma aba de revisão aberta; ``problems`` é a lista comum a todas."""

    sheet: Any
    head: int
    columns: dict[str, int]
    where: str
    problems: list[str]

    def tell(self, cell: Any, words: str) -> None:
        """Um problema com o endereço da célula."""
        self.problems.append(f"{self.where}!{cell.coordinate}: {words}")


def _copies(path: Path, book: "Workbook", plan: Plan, problems: list[str]) -> Iterator[list[Judgement]]:
    known = {row.code: row for row in plan.rows}
    for sheet in book:
        head, columns = _heading(sheet)
        if not head:
            continue
        tab = _Tab(sheet, head, columns, f"{path.name}, aba {sheet.title}", problems)
        if CODE not in columns:
            raise InputError(
                f"{tab.where}: falta a coluna {CODE}, que diz que linha é cada uma. Devolva-a da original."
            )
        absent = [title for title in INPUTS if title not in columns]
        problems += [f"{tab.where}: falta a coluna {title}; ela conta como vazia." for title in absent]
        for cell in sheet[head]:
            if _text(cell).strip() and cell.column not in columns.values():
                tab.tell(cell, f'a coluna "{_text(cell)}" se repete ou não é da revisão; ela não foi lida.')
        lines = _lines(tab, known)
        reviewer = _reviewer_name(tab) or f"{path.name}, {sheet.title}"
        for number in sorted({known[code].sheet for code in lines}):
            rows = plan.sheet(number)
            lost = [row.code for row in rows if row.code not in lines]
            problems += [f"{tab.where}: falta a linha de código {code}; ela conta como não avaliada." for code in lost]
            read = [_judgement(tab, row, lines[row.code]) for row in rows if row.code in lines]
            yield [replace(row, reviewer=reviewer, file=path.name) for row in read]


def _heading(sheet: Any) -> tuple[int, dict[str, int]]:
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
        others = [word for word in words if normalise(word) != normalise(REVIEWER)]
        if len(others) < len(words):
            return next(iter(others), "")
    return ""


def _lines(tab: _Tab, known: dict[str, Row]) -> dict[str, dict]:
    """As linhas preenchidas, por código; o que não se sabe a que linha pertence vira um problema."""
    lines: dict[str, dict] = {}
    for cells in tab.sheet.iter_rows(min_row=tab.head + 1):
        by_column = {cell.column: cell for cell in cells}
        line = {title: by_column[column] for title, column in tab.columns.items()}
        code, typed = _text(line[CODE]).strip(), _typed(line)
        if code in lines:
            if not _typed(lines[code]):
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


def _typed(line: dict) -> list:
    return [line[title] for title in INPUTS if title in line and _text(line[title]).strip()]


def _judgement(tab: _Tab, row: Row, line: dict) -> Judgement:
    rating = {key: _value(tab, line.get(title), options) for title, (key, options, _) in INPUTS.items()}
    texts = tuple(_text(line[title]) for title in SHOWN if title in line)
    edited = len(texts) == len(SHOWN) and blind.mark(texts) != row.mark
    if edited:
        tab.tell(line[CODE], f"os textos da linha {row.code} foram editados.")
    return Judgement(row, rating, edited=edited)


def _text(cell: Any) -> str:
    return "" if cell is None else shown(cell.value)


def _value(tab: _Tab, cell: Any, options: tuple) -> str | int | None:
    """O que a célula diz, se a coluna o aceita; senão, um problema e vazio (None numa nota)."""
    typed, empty = _text(cell).strip(), None if options == GRADES else ""
    if not typed or not options:
        return typed or empty
    named = {normalise(str(option)): option for option in options}
    chosen = named.get(normalise(re.sub(r"[.,]0*$", "", typed)), empty)  # uma nota pode vir como 4,0
    if chosen == empty:
        tab.tell(cell, f'"{_text(cell)}" não está na lista ({", ".join(map(str, options))}).')
    return chosen


def _joined(copies: list[list[Judgement]], problems: list[str]) -> list[Judgement]:
    """Um julgamento por pessoa e linha: as cópias de uma pessoa se completam; uma aba em branco conta uma vez."""
    filled = [copy for copy in copies if any(any(row.rating.values()) for row in copy)]
    used = {copy[0].row.sheet for copy in filled}
    blank = {copy[0].row.sheet: copy for copy in copies if copy[0].row.sheet not in used}
    merged: dict[tuple[str, str], Judgement] = {}
    for judgement in (row for copy in [*filled, *blank.values()] for row in copy):
        key = (normalise(judgement.reviewer), judgement.row.code)
        before, written = merged.get(key), any(judgement.rating.values())
        if before and written and any(before.rating.values()) and judgement.rating != before.rating:
            problems.append(
                f"{judgement.file}: a linha {judgement.row.code} de {judgement.reviewer} é diferente em {before.file}; "
                f"vale a de {judgement.file}."
            )
        if before is None or written:
            merged[key] = judgement
    return list(merged.values())
