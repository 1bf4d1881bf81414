"""``revisao.xlsx``, para julgar às cegas: um guia e uma aba por pessoa, sem nada que diga quem escreveu o quê."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, RunMismatchError
from ..records import atomic_write, sha256_file
from . import blind
from .blind import KEY, Plan, Row, Size
from .columns import Column, Formula, Place
from .judgements import PREFERENCES, Rating
from .reading import CODE, CODES, COMMENT, NOTES, PREFERENCE, PROBLEMS, REVIEWER, SHOWN, TOKEN, read_review
from .study import Study, read_study
from .tables import GREY, Book

FILE = "revisao.xlsx"
DEFAULT = Size()
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
    sheet.paragraph("As notas 2 e 4 de fluência ficam entre as descritas.", 3, font_color=GREY)
    sheet.paragraph(f"{TOKEN}: {plan.code}", 3, font_color=GREY)


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
