"""Folha Resumo, parte humana: preferência, notas, andamento e concordância, ao vivo a partir da Chave."""

from openpyxl.worksheet.worksheet import Worksheet

from . import significance, tally
from .blind import MAIN, Plan
from .cells import NO_DATA, Book, formula, guarded, header, key_of, name, put, section, text, wilson
from .sheet_items import Area
from .sheet_key import review_name
from .study import NOT_RUN
from .tally import FIRST, SECOND, Preference, Ratings

HEADINGS = [
    "Contraste",
    "contra",
    "Pares avaliados",
    "Pontos do primeiro (0–1)",
    "de (95 %)",
    "até",
    "p (sinal, exato)",
]
HEADINGS += ["Vitórias", "Empates", "Ambas ruins", "Derrotas", "n efetivo", "Menor taxa visível com este n"]
KINDS = (FIRST, "empate", "ambas ruins", SECOND)


def notes(book: Book, sheet: Worksheet, row: int, system: str, plan: Plan, ratings: Ratings, judged: Area) -> None:
    """Notas médias de correção e fluência de um sistema, só com os nomes abertos."""
    if not any(system in (line.left, line.right) for line in plan.rows):
        return
    for column, note, letters in ((13, "correct", "RS"), (14, "fluent", "TU")):
        sums, counts = [], []
        for letter, shown in zip(letters, "MN", strict=True):
            own = f'{judged.column(shown)},{key_of(book, system)},{judged.column("I")},"{MAIN}"'
            sums.append(f"SUMIFS({judged.column(letter)},{own})")
            counts.append(f'COUNTIFS({own},{judged.column(letter)},">0")')
        source = f"({'+'.join(sums)})/({'+'.join(counts)})"
        guarded(book, sheet.cell(row, column), source, tally.mean_note(plan, ratings, system, note), "0.00")


def human_block(book: Book, sheet: Worksheet, row: int, plan: Plan, ratings: Ratings, judged: Area, pairs: Area) -> int:
    """Escreve os blocos da revisão humana; devolve a próxima linha livre."""
    row = section(sheet, row, "Revisão humana: preferência (mostrada quando os nomes são abertos na folha Leia-me)")
    if not plan.rows:
        put(sheet.cell(row, 1), NOT_RUN)
        return row + 1
    text(sheet.cell(row, 1), declared(plan), wrap=False)
    row = header(sheet, row + 1, HEADINGS, 48)
    for number, found in enumerate(tally.preferences(plan, ratings), start=1):
        _preference(book, sheet, row, number, found, judged, pairs)
        row += 1
    row = _quality(book, sheet, row + 1, plan, ratings, judged)
    return _between(book, sheet, row + 1, plan, ratings, judged, pairs)


def declared(plan: Plan) -> str:
    """O desfecho principal, ou por que esta rodada não pode avaliá-lo."""
    wording = f"Desfecho principal, declarado antes: {significance.PRIMARY}."
    if plan.contrasts[0][1].endswith("-base"):
        return f"{wording} Só um modelo ajustado respondeu: ele não pode ser avaliado nesta rodada."
    return f"{wording} É a primeira linha."


def _preference(
    book: Book, sheet: Worksheet, row: int, number: int, found: Preference, judged: Area, pairs: Area
) -> None:
    name(book, sheet.cell(row, 1), found.first), name(book, sheet.cell(row, 2), found.second)
    own, scored = f"{pairs.column('AB')},{number}", pairs.column("AC")
    formula(book, sheet.cell(row, 3), f'COUNTIFS({own},{scored},">=0")', found.n, "0")
    mean, square = f"AVERAGEIFS({scored},{own})", f"AVERAGEIFS({pairs.column('AD')},{own})"
    guarded(book, sheet.cell(row, 4), mean, found.mean, "0.0%")
    effective = _effective_n(found)
    variance = f"({square}-{mean}^2)"
    source = f"IF({variance}<=1E-12,IF({mean}*(1-{mean})<=1E-12,C{row},1/0),C{row}*{mean}*(1-{mean})/{variance})"
    guarded(book, sheet.cell(row, 12), source, effective, "0.0")
    ends = wilson(f"D{row}", f"L{row}")
    for column, end, value in ((5, ends[0], found.low), (6, ends[1], found.high)):
        guarded(book, sheet.cell(row, column), end, value, "0.0%")
    won, lost = (f'COUNTIFS({own},{scored},"{sign}0.5")' for sign in "><")
    p = f"IF({won}+{lost}=0,1/0,MIN(1,2*BINOMDIST(MIN({won},{lost}),{won}+{lost},0.5,TRUE)))"
    guarded(book, sheet.cell(row, 7), p, found.p, "0.0000")
    counts = (found.wins, found.ties, found.both_bad, found.losses)
    for column, (kind, count) in enumerate(zip(KINDS, counts, strict=True), start=8):
        criteria = f'{judged.column("J")},{number},{judged.column("I")},"{MAIN}",{judged.column("V")},"{kind}"'
        guarded(book, sheet.cell(row, column), f"COUNTIFS({criteria})", count, "0")
    _visible(book, sheet, row, found.n)


def _effective_n(found: Preference) -> float | None:
    """O n que, no intervalo de Wilson, dá a variância observada dos pontos."""
    if found.mean is None or found.square is None:
        return None
    return significance.effective_n(found.n, found.mean, found.square)


def _visible(book: Book, sheet: Worksheet, row: int, n: int) -> None:
    a, b = repr(significance.Z), repr(significance.Z_POWER)
    root = f"SQRT({a}^2*C{row}-(C{row}+{b}^2)*({a}^2-{b}^2))"
    source = f'IFERROR(MIN(1,0.5+({a}*SQRT(C{row})+{root})/(2*(C{row}+{b}^2))),"{NO_DATA}")'
    value = significance.detectable_rate(n)
    formula(book, sheet.cell(row, 13), source, NO_DATA if value is None else value, "0.0%")


def _quality(book: Book, sheet: Worksheet, row: int, plan: Plan, ratings: Ratings, judged: Area) -> int:
    """Andamento, repetições e atenção de cada revisor."""
    row = section(sheet, row, "Andamento e atenção de cada revisor")
    labels = ["Folha", "Linhas", "Feitas", "Andamento", "Repetições iguais", "Atenção certa"]
    row = header(sheet, row, labels)
    for number in range(1, plan.reviewers + 1):
        own, lines = f"{judged.column('F')},{number}", plan.sheet(number)
        put(sheet.cell(row, 1), review_name(number)), put(sheet.cell(row, 2), len(lines), "0")
        share = tally.progress(plan, ratings, number) or 0.0
        formula(book, sheet.cell(row, 3), f"SUMIFS({judged.column('X')},{own})", round(share * len(lines)), "0")
        formula(book, sheet.cell(row, 4), f"C{row}/B{row}", share, "0%")
        checks = (("repetida", tally.repeats_equal), ("atenção", tally.attention_passed))
        for column, (kind, check) in enumerate(checks, start=5):
            value = check(plan, ratings, number)
            source = f'IFERROR(AVERAGEIFS({judged.column("Y")},{own},{judged.column("I")},"{kind}"),"{NO_DATA}")'
            formula(book, sheet.cell(row, column), source, NO_DATA if value is None else value, "0%")
        row += 1
    return row


def _between(book: Book, sheet: Worksheet, row: int, plan: Plan, ratings: Ratings, judged: Area, pairs: Area) -> int:
    """Concordância entre os dois primeiros revisores e peso da posição."""
    row = section(sheet, row, "Concordância nos pares vistos pelos dois primeiros revisores, e posição")
    n, equal, kappa = tally.between_reviewers(plan, ratings)
    one, two = pairs.column("AE"), pairs.column("AF")
    both = f'SUMPRODUCT(({one}<>"")*({two}<>""))'
    same = f'SUMPRODUCT(({one}<>"")*({one}={two}))'
    chance = "+".join(
        f'SUMPRODUCT(({one}="{kind}")*({two}<>""))*SUMPRODUCT(({two}="{kind}")*({one}<>""))' for kind in KINDS
    )
    cells = [("Pares julgados pelos dois", both, n, "0"), ("Parte igual", f"{same}/B{row}", equal, "0.0%")]
    agreed = f"(B{row + 1}-({chance})/B{row}^2)/(1-({chance})/B{row}^2)"
    cells.append(("Kappa de Cohen (0,61 ou mais: boa)", f"IF({chance}=B{row}^2,1/0,{agreed})", kappa, "0.000"))
    left, right = (f'COUNTIFS({judged.column("I")},"{MAIN}",{judged.column("Q")},"{side}")' for side in "AB")
    cells.append(
        (
            "Escolhas da resposta A entre as decididas",
            f"{left}/({left}+{right})",
            tally.share_of_a(plan, ratings),
            "0.0%",
        )
    )
    for wording, source, value, form in cells:
        put(sheet.cell(row, 1), wording)
        formula(book, sheet.cell(row, 2), f'IFERROR({source},"{NO_DATA}")', NO_DATA if value is None else value, form)
        row += 1
    return row
