"""A revisão lida de volta: junta os revisores, confere se é da rodada e faz as contas."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import InputError, RunMismatchError
from ..records import normalise
from . import reading, tally
from .blind import ATTENTION, Plan, Row
from .cells import clean, shown
from .reading import Sheet
from .study import Study
from .tally import Preference, Rating, Ratings


@dataclass(frozen=True)
class Review:
    """Uma revisão lida.

    ``rows``: uma por linha mostrada, avaliada ou não; ``problems``: frases com o endereço da célula; ``agreement``:
    pares, igual, kappa e alfa; ``preference``: uma por contraste, com intervalo.
    """

    rows: tuple[dict, ...]
    problems: tuple[str, ...]
    agreement: dict[str, float | int | None]
    preference: tuple[Preference, ...]
    plan: Plan
    ratings: Ratings
    reviewers: dict[int, str]
    opened: bool


def read_review(path_or_paths: Path | str | Sequence[Path | str]) -> Review:
    """Lê uma ou várias planilhas da mesma rodada, uma ou mais por revisor.

    Células que não servem ficam em ``problems`` e contam como vazias; nada some em silêncio. InputError se um arquivo
    não é uma planilha de revisão; RunMismatchError se os arquivos são de planos diferentes.
    """
    paths = [path_or_paths] if isinstance(path_or_paths, (str, Path)) else list(path_or_paths)
    if not paths:
        raise InputError("Nenhuma planilha revisada foi indicada. Passe o caminho de pelo menos um arquivo .xlsx.")
    books = [reading.load(Path(path)) for path in paths]
    plans = {Path(path).name: shown(book["Chave"]["A2"].value) for path, book in zip(paths, books, strict=True)}
    if len(set(plans.values())) > 1:
        listed = "; ".join(f"{name}: {mark}" for name, mark in plans.items())
        raise RunMismatchError(f"As planilhas são de revisões diferentes ({listed}). Junte só as da mesma rodada.")
    sheets = [sheet for path, book in zip(paths, books, strict=True) for sheet in reading.sheets(Path(path), book)]
    kept, problems = _join(sheets)
    opened = normalise(shown(books[0]["Leia-me"]["B4"].value)) == "sim"
    return _review(kept, [*problems, *(line for sheet in sheets for line in sheet.problems)], opened)


def _join(sheets: list[Sheet]) -> tuple[list[Sheet], list[str]]:
    """Uma folha por (folha, revisor): cópias se completam; dois revisores da mesma folha viram duas folhas."""
    kept: dict[tuple[int, str], Sheet] = {}
    problems: list[str] = []
    for sheet in sheets:
        key = (sheet.number, normalise(sheet.reviewer or sheet.file))
        if key in kept:
            problems += _conflicts(kept[key], sheet)
            ratings = kept[key].ratings | {code: rating for code, rating in sheet.ratings.items() if rating != Rating()}
            kept[key] = replace(kept[key], ratings=ratings)
        else:
            kept[key] = sheet
    return _numbered(list(kept.values())), problems


def _conflicts(one: Sheet, two: Sheet) -> list[str]:
    empty = Rating()
    return [
        f"{two.file}: a linha {code} de {two.reviewer or two.file} é diferente em {one.file}; vale a de {two.file}."
        for code, rating in two.ratings.items()
        if rating != empty and one.ratings.get(code, empty) not in (empty, rating)
    ]


def _numbered(found: list[Sheet]) -> list[Sheet]:
    """A primeira folha avaliada de cada número o mantém; outro revisor da mesma folha ganha um número novo."""
    found = sorted(found, key=lambda sheet: not any(rating != Rating() for rating in sheet.ratings.values()))
    taken: dict[int, Sheet] = {}
    free = max((sheet.number for sheet in found), default=0)
    for sheet in found:
        if sheet.number not in taken:
            taken[sheet.number] = sheet
        elif any(rating != Rating() for rating in sheet.ratings.values()):
            free += 1
            taken[free] = _renamed(sheet, free)
    return [taken[number] for number in sorted(taken)]


def _renamed(sheet: Sheet, number: int) -> Sheet:
    """A mesma folha com outro número: os códigos ganham um sufixo para continuarem únicos."""
    codes = {row.code: f"{row.code}.{number}" for row in sheet.rows}
    rows = tuple(replace(row, code=codes[row.code], sheet=number) for row in sheet.rows)
    ratings = {codes[code]: rating for code, rating in sheet.ratings.items()}
    return replace(
        sheet, number=number, rows=rows, ratings=ratings, marks={codes[c]: m for c, m in sheet.marks.items()}
    )


def _review(sheets: list[Sheet], problems: list[str], opened: bool) -> Review:
    rows = tuple(row for sheet in sheets for row in sheet.rows)
    declared = {contrast: number for sheet in sheets for contrast, number in sheet.contrasts.items()}
    plan = Plan(rows, tuple(sorted(declared, key=declared.__getitem__)), len(sheets))
    ratings = {code: rating for sheet in sheets for code, rating in sheet.ratings.items() if rating != Rating()}
    n, equal, kappa = tally.between_reviewers(plan, ratings)
    agreed = {"pares": n, "igual": equal, "kappa": kappa, "alfa": tally.alpha(plan, ratings)}
    found = tuple(_listed(sheet, row, ratings) for sheet in sheets for row in sheet.rows)
    names = {sheet.number: sheet.reviewer for sheet in sheets}
    return Review(found, tuple(problems), agreed, tuple(tally.preferences(plan, ratings)), plan, ratings, names, opened)


def _listed(sheet: Sheet, row: Row, ratings: Ratings) -> dict:
    rating = ratings.get(row.code, Rating())
    shown_as = {"answer_a": row.left, "answer_b": row.right}
    about = {
        "code": row.code,
        "sheet": row.sheet,
        "reviewer": sheet.reviewer or sheet.file,
        "file": sheet.file,
        "item_id": row.item_id,
    }
    about |= {"kind": row.kind, "first": row.first, "second": row.second} | shown_as
    result = tally.outcome(row, rating.preference) if row.kind != ATTENTION else rating.preference
    return about | asdict(rating) | {"result": result, "edited": row.mark != sheet.marks[row.code]}


def merge(study: Study, reviews: Path | str | Sequence[Path | str]) -> tuple[Plan, Ratings, dict[int, str]]:
    """Plano, notas e nomes dos revisores de planilhas desta rodada.

    RunMismatchError se as respostas da rodada não são as que foram revisadas.
    """
    review = read_review(reviews)
    rows = tuple(_original(study, row) for row in review.plan.rows)
    marks = {row["code"]: row["edited"] for row in review.rows}
    changed = [
        row.code
        for row, before in zip(rows, review.plan.rows, strict=True)
        if row.kind != ATTENTION
        and (row.item_id not in study.items or (row.mark != before.mark and not marks[row.code]))
    ]
    if changed:
        raise RunMismatchError(
            f"A revisão não é das respostas de {study.run}: {len(changed)} linhas diferem ({', '.join(changed[:5])}…). "
            "Use a pasta da rodada que foi revisada; para escrever uma planilha nova, mude antes o nome da revisada."
        )
    return replace(review.plan, rows=rows), review.ratings, review.reviewers


def _original(study: Study, row: Row) -> Row:
    """A linha com os textos da rodada no lugar dos que a planilha mostra."""
    if row.kind == ATTENTION or row.item_id not in study.items:
        return row
    item = study.items[row.item_id]
    given = [study.answers.get(system, {}).get(row.item_id, {}).get("answer") or "" for system in (row.left, row.right)]
    texts = [clean(text) for text in (item["title"], item["content"], *given)]
    return replace(row, title=texts[0], reference=texts[1], a=texts[2], b=texts[3])
