"""A revisão cega: escreve ``revisao.xlsx``, que não diz quem escreveu o quê, e a lê de volta, preenchida por pessoas."""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, RunMismatchError
from ..records import atomic_write, normalise, sha256_file
from . import blind
from .blind import KEY, Plan, Row, Size
from .judgements import PREFERENCES, Judgement, Rating, Review, review
from .study import Study, read_study
from .tables import Book, Column, Formula, Place, shown

if TYPE_CHECKING:
    from openpyxl import Workbook

FILE = "revisao.xlsx"
DEFAULT = Size()
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


def write_review(
    run_folder: Path | str,
    data_folder: Path | str | None = None,
    *,
    size: Size = DEFAULT,
    rng: random.Random | None = None,
) -> Path:
    """Escreve ``revisao.xlsx`` e a sua chave na pasta da rodada e devolve o caminho do arquivo.

    Executar de novo não troca a revisão: a que já existe, preenchida ou não, fica como está enquanto as respostas e o
    tamanho são os mesmos. InputError se não há respostas de dois sistemas; RunMismatchError se a revisão preenchida é
    de outras respostas ou de outro tamanho.
    """
    study = read_study(run_folder, data_folder)
    path, key = study.run / FILE, study.run / KEY
    known = blind.read_key(key) if key.is_file() else None
    if known and known.size == size and blind.belongs(study, known):
        return path if path.is_file() else _write(study, known, path, key)
    _refuse_to_overwrite(path, known)
    plan = blind.draw(study, size, rng)
    if not plan.rows:
        raise InputError(
            f"{study.run} não tem respostas de dois sistemas a comparar. Execute antes os cadernos 02 e 03."
        )
    if known:
        key.rename(key.with_name(f"revisao_chave_{known.code}.json"))
    return _write(study, plan, path, key)


def _refuse_to_overwrite(path: Path, known: Plan | None) -> None:
    if not path.is_file() or (known and sha256_file(path) == known.file_sha256):
        return
    if not known:
        raise RunMismatchError(
            f"{path} está sem a sua chave ({KEY}). Devolva a chave à pasta; para começar outra revisão, mude antes o "
            "nome desse arquivo."
        )
    if not any(judgement.rating != Rating() for judgement in read_review(path).judgements):
        return
    raise RunMismatchError(
        f"{path} já foi preenchida, e as respostas da rodada ou o tamanho da revisão mudaram desde então. Para manter "
        "as notas, volte às respostas e ao tamanho de antes; para começar outra revisão, mude antes o nome desse "
        "arquivo."
    )


def _write(study: Study, plan: Plan, path: Path, key: Path) -> Path:
    book = Book("Revisão cega")
    _guide(book, plan)
    for number in range(1, plan.size.reviewers + 1):
        if rows := plan.sheet(number):
            _reviewer(book, number, plan.code, [(row, blind.texts(study, row)) for row in rows])
    content = book.data()
    # A chave antes: uma chave sem o arquivo o refaz igual; um arquivo sem a chave ninguém abriria.
    blind.write_key(key, replace(plan, file_sha256=hashlib.sha256(content).hexdigest()))
    with atomic_write(path, "wb") as file:
        file.write(content)
    return path


def _guide(book: Book, plan: Plan) -> None:
    sheet = book.sheet("Guia")
    sheet.wide((16, 8, 86))
    sheet.title("Revisão cega: como avaliar", "Leia em dois minutos antes de começar.", 3)
    sheet.row += 1
    for step in STEPS:
        sheet.paragraph(step, 3, font_size=11)
    sheet.row += 1
    sheet.heading("O que quer dizer cada nota")
    rating = [
        Column("Escala", 16, "", lambda scale: scale[0]),
        Column("Nota", 8, "0", lambda scale: scale[1]),
        Column("Quando dar", 86, "", lambda scale: scale[2]),
    ]
    sheet.table(rating, SCALES)
    sheet.paragraph("As notas 2 e 4 de fluência ficam entre as descritas.", 3, font_color="#6B7280")
    sheet.paragraph(f"{TOKEN}: {plan.code}", 3, font_color="#6B7280")


def _reviewer(book: Book, number: int, token: str, rows: list[tuple[Row, tuple[str, ...]]]) -> None:
    sheet = book.sheet(f"Revisor {number}", pages=2)
    blank = [
        Column(title, 12 if title == PREFERENCE else 10, "", lambda _: "", "vazio") for title in (PREFERENCE, *NOTES)
    ]
    blank += [Column(title, 17, "", lambda _: "", "vazio") for title in CODES]
    columns = [
        Column(title, width, "", _nth(place))
        for place, (title, width) in enumerate(zip(SHOWN, (24, 50, 50, 50), strict=True))
    ]
    columns += [
        *blank,
        Column(COMMENT, 30, "", lambda _: "", "vazio"),
        Column(CODE, 10, "", lambda row: row[0].code, "discreto"),
    ]
    sheet.wide([column.width for column in columns])
    sheet.title(f"Revisor {number}", f"{TOKEN}: {token}", 3)
    sheet.labelled(REVIEWER, "", "digitado")
    progress = sheet.row
    sheet.row += 2
    place = sheet.table(columns, rows, tall=True)
    sheet.choices(place, [PREFERENCE], PREFERENCES)
    sheet.choices(place, NOTES, range(1, 6))
    sheet.choices(place, CODES, PROBLEMS)
    sheet.missing(place, (PREFERENCE, *NOTES, *CODES), PREFERENCE)
    sheet.fixed(place, filtered=True)
    sheet.row = progress
    sheet.labelled("Andamento:", _progress(place, len(rows)))


def _nth(place: int):
    return lambda row: row[1][place]


def _progress(place: Place, rows: int) -> Formula:
    return Formula(
        f'COUNTA({place.area(PREFERENCE)})&" de {rows} linhas com preferência"', f"0 de {rows} linhas com preferência"
    )


def read_review(path_or_paths: Path | str | Sequence[Path | str], run_folder: Path | str | None = None) -> Review:
    """Lê uma ou várias planilhas preenchidas da mesma rodada: as chaves vêm de ``run_folder`` ou da pasta do arquivo.

    O que não serve fica em ``problems``, com o endereço da célula, e conta como vazio; nada some em silêncio.
    InputError se um arquivo não é uma revisão; RunMismatchError se ele é de outra rodada.
    """
    paths = [Path(path_or_paths)] if isinstance(path_or_paths, (str, Path)) else [Path(path) for path in path_or_paths]
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


def _copies(path: Path, book: "Workbook", plan: Plan, problems: list[str]) -> Iterator[_Copy]:
    known = {row.code: row for row in plan.rows}
    for sheet in book:
        head, names = _heading(sheet)
        if not head:
            continue
        where = f"{path.name}, aba {sheet.title}"
        if CODE not in names:
            raise InputError(
                f"{where}: falta a coluna {CODE}. Devolva-a da planilha original: ela diz que linha é cada uma."
            )
        problems += [
            f"{where}: falta a coluna {title}; ela conta como vazia." for title in INPUTS if title not in names
        ]
        problems += [
            f'{where}!{cell.coordinate}: a coluna "{_text(cell)}" se repete ou não é da revisão; ela não foi lida.'
            for cell in sheet[head]
            if _text(cell).strip() and cell.column not in names.values()
        ]
        lines = _lines(sheet, head, names, known, where, problems)
        numbers = sorted({known[code].sheet for code in lines})
        name = _reviewer_name(sheet, head)
        for number in numbers:
            expected = {row.code for row in plan.sheet(number)}
            absent = sorted(expected - set(lines))
            problems += [f"{where}: falta a linha de código {code}; ela conta como não avaliada." for code in absent]
            rows = [_judgement(known[code], lines[code], where, problems) for code in lines if code in expected]
            signed = name or f"{path.name}, {sheet.title}"
            yield _Copy(path.name, number, signed, tuple(replace(row, reviewer=signed, file=path.name) for row in rows))


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


def _reviewer_name(sheet, head: int) -> str:
    for cells in sheet.iter_rows(max_row=head):
        words = [_text(cell).strip() for cell in cells if cell.value is not None]
        if any(normalise(word) == normalise(REVIEWER) for word in words):
            return next((word for word in words if normalise(word) != normalise(REVIEWER)), "")
    return ""


def _lines(
    sheet, head: int, names: dict[str, int], known: dict[str, Row], where: str, problems: list[str]
) -> dict[str, dict]:
    """As linhas preenchidas, por código; o que não se sabe a que linha pertence vira um problema."""
    lines: dict[str, dict] = {}
    for cells in sheet.iter_rows(min_row=head + 1):
        by_column = {cell.column: cell for cell in cells}
        line = {title: by_column[column] for title, column in names.items() if column in by_column}
        code = _text(line[CODE]).strip()
        typed = [line[title] for title in INPUTS if title in line and _text(line[title]).strip()]
        at = f"{where}!{line[CODE].coordinate}"
        if code in lines:
            before = [_text(lines[code].get(title)) for title in INPUTS]
            if not any(before):
                lines[code] = line
            if typed and any(before):
                problems.append(f"{at}: o código {code} se repete; vale a primeira linha preenchida.")
        elif code in known:
            lines[code] = line
        elif typed:
            said = f"o código {code} não é desta revisão" if code else "falta o código"
            cited = ", ".join(cell.coordinate for cell in typed)
            problems.append(f"{at}: {said}; o que está em {cited} não foi lido.")
    return lines


def _judgement(row: Row, line: dict, where: str, problems: list[str]) -> Judgement:
    values: dict[str, Any] = {"preference": _choice(line.get(PREFERENCE), PREFERENCES, where, problems)}
    values |= {field: _note(line.get(title), where, problems) for title, field in NOTES.items()}
    values |= {field: _choice(line.get(title), PROBLEMS, where, problems) for title, field in CODES.items()}
    values["comment"] = _text(line.get(COMMENT)).strip()
    edited = (
        all(title in line for title in SHOWN) and blind.mark(tuple(_text(line[title]) for title in SHOWN)) != row.mark
    )
    if edited:
        problems.append(f"{where}!{line[CODE].coordinate}: os textos da linha {row.code} foram editados.")
    rating = Rating(**{field.name: values[field.name] for field in fields(Rating)})
    return Judgement(row, rating, edited=edited)


def _text(cell) -> str:
    return "" if cell is None else shown(cell.value)


def _choice(cell, options: Sequence[str], where: str, problems: list[str]) -> str:
    typed = normalise(_text(cell))
    chosen = next((option for option in options if normalise(option) == typed), "")
    if typed and not chosen:
        problems.append(f'{where}!{cell.coordinate}: "{_text(cell)}" não está na lista ({", ".join(options)}).')
    return chosen


def _note(cell, where: str, problems: list[str]) -> int | None:
    typed = _text(cell).strip().replace(",", ".")
    if not typed:
        return None
    try:
        value = float(typed)
    except ValueError:
        value = 0.0
    if value in (1, 2, 3, 4, 5):
        return int(value)
    problems.append(f'{where}!{cell.coordinate}: "{_text(cell)}" não é uma nota inteira de 1 a 5.')
    return None


def _joined(copies: list[_Copy], problems: list[str]) -> list[Judgement]:
    """Um julgamento por pessoa e linha: cópias da mesma pessoa se completam; abas que ninguém preencheu contam uma vez."""
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
