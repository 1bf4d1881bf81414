"""Folhas Arena (resumo por par) e Votos (um por linha): o que a página registrou, fora da tabela principal."""

from collections.abc import Sequence

from openpyxl.worksheet.worksheet import Worksheet

from ..votes import Vote
from . import arena
from .arena import Duel
from .cells import Book, finish, formula, guarded, header, name, put, text, title, widths, wilson
from .sheet_items import Area
from .study import Study
from .tally import FIRST, SECOND, TIES

LABELS = ["Par", "Sistema", "contra", "Votos", "Perguntas diferentes", "Vitórias", "Derrotas", "Empates", "Ambas ruins"]
LABELS += ["Vitórias entre os decididos", "de (Wilson 95 %)", "até", "p (sinal, exato)", "p de Holm"]
VOTE_LABELS = ["Quando", "Par", "Sistema A", "Sistema B", "Voto", "Vencedor", "Pergunta", "Resposta A"]
VOTE_LABELS += ["Resposta B", "Identidade do voto"]
METHOD = (
    "Estes votos não entram no Resumo: quem vota escolhe a pergunta e pode votar mais de uma vez. São um indício.",
    "Decidido: o voto em A ou em B. A parte das vitórias, o intervalo e o p contam só os decididos.",
    "O p de Holm é calculado em Python, sobre os pares com algum voto decidido.",
    "Os resultados aparecem quando os nomes são abertos na folha Leia-me; a folha Votos fica oculta até lá.",
)


def system_key(study: Study, system: str) -> str:
    """Chave do nome cego de um sistema votado; a de um que só existe na página não se confunde com nenhuma outra."""
    return system if system in study.systems else f"arena:{system}"


def arena_sheets(book: Book, study: Study, cast: Sequence[Vote]) -> None:
    """Escreve Arena e Votos; os resultados só aparecem com os nomes abertos."""
    found = arena.duels(cast, study.systems)
    votes = _votes(book, study, cast, [(duel.first, duel.second) for duel in found])
    sheet = book.workbook.create_sheet("Arena")
    row = title(sheet, "Arena: votos cegos da página", METHOD[0]) - 1
    for line in METHOD[1:]:
        text(sheet.cell(row, 1), line, wrap=False)
        row += 1
    head, first = row + 1, header(sheet, row + 1, LABELS, 48)
    for number, duel in enumerate(found, start=1):
        _duel(book, sheet, head + number, number, study, duel, votes)
    widths(sheet, [6, 30, 30, 9, 12, 10, 10, 10, 10, 14, 11, 10, 12, 12])
    finish(sheet, f"D{first}", head)


def _duel(book: Book, sheet: Worksheet, row: int, number: int, study: Study, duel: Duel, votes: Area) -> None:
    put(sheet.cell(row, 1), number, "0")
    name(book, sheet.cell(row, 2), system_key(study, duel.first))
    name(book, sheet.cell(row, 3), system_key(study, duel.second))
    own = f"{votes.column('B')},A{row}"
    formula(book, sheet.cell(row, 4), f"COUNTIF({own})", duel.votes, "0")
    put(sheet.cell(row, 5), duel.questions, "0")
    counts = zip((FIRST, SECOND, *TIES), (duel.wins, duel.losses, duel.ties, duel.both_bad), strict=True)
    for column, (kind, count) in enumerate(counts, start=6):
        guarded(book, sheet.cell(row, column), f'COUNTIFS({own},{votes.column("F")},"{kind}")', count, "0")
    decided = f"(F{row}+G{row})"
    guarded(book, sheet.cell(row, 10), f"F{row}/{decided}", duel.rate, "0.0%")
    ends = wilson(f"J{row}", decided)
    for column, source, value in zip((11, 12), ends, (duel.low, duel.high), strict=True):
        guarded(book, sheet.cell(row, column), source, value, "0.0%")
    sign = f"IF({decided}=0,1/0,MIN(1,2*BINOMDIST(MIN(F{row},G{row}),{decided},0.5,TRUE)))"
    guarded(book, sheet.cell(row, 13), sign, duel.p, "0.0000")
    guarded(book, sheet.cell(row, 14), "1/0" if duel.holm is None else repr(duel.holm), duel.holm, "0.0000")


def _votes(book: Book, study: Study, cast: Sequence[Vote], pairs: list[tuple[str, str]]) -> Area:
    sheet = book.workbook.create_sheet("Votos")
    title(sheet, "Votos da página", "Um por linha, na ordem em que chegaram; primeiro e segundo são os da folha Arena.")
    first = header(sheet, 4, VOTE_LABELS)
    for row, vote in enumerate(cast, start=first):
        sides = arena.pair(vote, study.systems)
        values = [vote.at, pairs.index(sides) + 1, None, None, vote.choice.replace("_", " ")]
        values += [arena.outcome(vote, sides[0]), vote.question, vote.answer_a, vote.answer_b, vote.vote_id]
        for column, value in enumerate(values, start=1):
            if value is not None:
                put(sheet.cell(row, column), value)
        name(book, sheet.cell(row, 3), system_key(study, vote.system_a))
        name(book, sheet.cell(row, 4), system_key(study, vote.system_b))
        longest = max(len(vote.question) / 40, len(vote.answer_a) / 60, len(vote.answer_b) / 60)
        sheet.row_dimensions[row].height = min(409, max(30, 15 * (longest + 1)))
    last = first + len(cast) - 1
    widths(sheet, [27, 6, 24, 24, 12, 12, 40, 60, 60, 34])
    finish(sheet, "C5", 4, filter_area=f"A4:J{last}")
    return Area("Votos", first, last)
