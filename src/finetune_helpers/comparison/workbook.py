"""``comparacao.xlsx``, em oito abas que se leem; aqui, a ordem delas e a aba Resumo."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import progress
from ..errors import InputError
from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, number, p_value, percent
from ..records import atomic_write
from . import answers_sheets, costs, judge, judgements, statistics_sheets, training_sheets
from .judge import Audit
from .judgements import TIES, Review
from .results import Results, score
from .review import read_review
from .statistics import ALPHA
from .study import REFERENCE, System
from .tables import ALERT, GREY, INK, NO_REVIEW, P_VALUE, Book, Column, Place, Sheet, Styled
from .wording import answered, between, colour, labels, share_text

FILE = "comparacao.xlsx"
ANSWERS_PER_SECOND = 900  # respostas que entram na planilha por segundo, em dois núcleos
SHEETS = ("Resumo", "Lado a lado", "Métricas", "Estatística", "Flexibilidade", "Treino", "Custo", "Proveniência")
PAGES = {"Lado a lado": 3, "Métricas": 2}  # na largura; as outras abas cabem em uma
GROUPS = (
    ("", 1),
    ("Precisão", 1),
    ("Texto (regras e perda)", 4),
    ("Eficiência no treinamento", 3),
    ("Custo operacional", 2),
    ("Flexibilidade", 1),
)


def write_workbook(
    run_folder: Path | str,
    data_folder: Path | str | None = None,
    reviews: Path | str | Sequence[Path | str] | None = None,
    *,
    results: Results | None = None,
) -> Path:
    """Escreve ``comparacao.xlsx`` na pasta da rodada, de forma atômica, e devolve o caminho.

    ``reviews`` são planilhas de revisão preenchidas, que aparecem em Resumo e em Lado a lado; ``results`` evita pontuar
    a rodada outra vez. InputError se a rodada não tem itens de teste; RunMismatchError se a revisão é de outra rodada.
    """
    results = results or score(run_folder, data_folder)
    study = results.study
    if not study.items:
        raise InputError(f"{study.data}/comparacao/teste.jsonl não tem itens. Refaça o caderno 01.")
    review = read_review(reviews, study.run) if reviews else None
    if review:
        judgements.refuse_strangers(study, review)
    count = sum(map(len, results.rows.values()))
    with progress.waiting("montando a planilha", 1 + count / ANSWERS_PER_SECOND):
        content = _book(results, review).data()
        with atomic_write(study.run / FILE, "wb") as file:
            file.write(content)
    return study.run / FILE


def _book(results: Results, review: Review | None) -> Book:
    book = Book(f"Comparação: {results.study.run.name}")
    sheets = {name: book.sheet(name, PAGES.get(name, 1)) for name in SHEETS}
    answers_sheets.side_by_side(sheets["Lado a lado"], results, review)
    answers_sheets.metrics_sheet(sheets["Métricas"], results)
    effects = statistics_sheets.statistics_sheet(sheets["Estatística"], results)
    statistics_sheets.flexibility_sheet(sheets["Flexibilidade"], results)
    training_sheets.training_sheet(sheets["Treino"], results)
    dots = training_sheets.costs_sheet(sheets["Custo"], results, quality_rows(results, review))
    answers_sheets.provenance_sheet(sheets["Proveniência"], results)
    # O Resumo por último: os dados dos seus gráficos já têm lugar nas outras abas.
    summary = sheets["Resumo"]
    _systems(summary, results, review)
    _charts(summary, results, effects, dots)
    _blocks(summary, results, review)
    return book


def _systems(sheet: Sheet, results: Results, review: Review | None) -> None:
    def share(key: str, system: System) -> str:
        return share_text(results.mean(system.name, key))

    def trained(key: str, digits: int, system: System) -> str:
        report = results.study.reports.get(system.arm)
        if system.role != "ajustado" or report is None:
            return NOT_RUN if system.role == "ajustado" else ABSENT
        known = costs.efficiency(report).get(key)
        return NOT_MEASURED if known is None else number(known, digits)

    def loss(system: System) -> str:
        told = between(results.mean(system.name, "loss"), 2).partition(" [")[0]
        return told if system.role in ("base", "ajustado") else ABSENT

    def spent(system: System) -> str:
        training = costs.training(results.study, system.arm) if system.role == "ajustado" else None
        return _broken(str(training)) if training else ABSENT

    def served(system: System) -> str:
        return _broken(str(costs.serving(results.study, system.name)).replace(" por 1.000 respostas", ""))

    columns = [
        Column("Sistema e modelo", lambda system: f"{system.label}\n{system.model}", width=30, style="forte"),
        Column("Preferência humana", lambda system: _preferred(system, review), "0", 16),
        Column("Com defeito de forma", partial(share, "defective"), "0", 14),
        Column("Cortada no limite", partial(share, "cut"), "0", 13),
        Column("chrF++ além do acaso", lambda system: between(results.mean(system.name, "chrf_gain"), 1), "0", 14),
        Column("Perda (nats por token)", loss, "0", 9.5),
        Column("Treino (min)", partial(trained, "minutes", 1), "0", 9.5),
        Column("Tokens por segundo", partial(trained, "tokens_per_second", 0), "0", 9),
        Column("Memória (GB)", partial(trained, "memory_gb", 1), "0", 9),
        Column("Treino", spent, "0", 16),
        Column("Por 1.000 respostas", served, "0", 17),
        Column("Aprovados", lambda system: share_text(results.flexibility_total(system.name)), "0", 13),
    ]
    sheet.wide(column.width for column in columns)
    sheet.title(f"Comparação dos modelos: rodada {results.study.run.name}")
    for sentence in [*results.conclusions(), *_reviewed(results, review)]:
        sheet.paragraph(sentence, len(columns), font_size=11)
    sheet.row += 1
    sheet.groups(GROUPS)
    sheet.table(columns, answered(results))
    sheet.row -= 1
    asked = [system for system in results.study.systems if system.role != REFERENCE]
    absent = [system.label for system in asked if system.name not in results.rows]
    told = "Entre colchetes, o intervalo de 95 %. Proximidade e forma não são precisão, que só pessoas julgam."
    told += f" Não executado: {'; '.join(absent)}." if absent else ""
    sheet.paragraph(told, len(columns), font_color=GREY, font_size=9)


def _preferred(system: System, review: Review | None) -> str:
    """Pontos na preferência humana contra a própria base (ou contra o ajustado), com intervalo."""
    contests = [contest for contest in review.preference if contest.estimate.n] if review else []
    if not contests:
        return NO_REVIEW
    for contest in contests:
        known = contest.side(system.name)
        if known and contest.first.partition("-")[0] == contest.second.partition("-")[0]:
            against = "a base" if system.name == contest.first else "o ajustado"
            return f"{between(known[0], 0, percentage=True)}\ncontra {against}"
    return ABSENT


def _broken(words: str) -> str:
    return words.replace("; ", "\n").replace(" (", "\n(")


def _reviewed(results: Results, review: Review | None) -> list[str]:
    contest = next((contest for contest in review.preference if contest.estimate.n), None) if review else None
    if contest is None:
        return []
    known, label = contest.estimate, labels(results)
    decided = known.p is not None and known.p <= ALPHA
    told = "A diferença é demonstrável" if decided else "A diferença não é demonstrável com estes itens"
    points = f"{between(known, 0, percentage=True)} dos pontos contra {label[contest.second]}"
    return [f"Às cegas, {label[contest.first]} fez {points}, em {known.n} itens ({p_value(known.p)}). {told}."]


def _charts(sheet: Sheet, results: Results, effects: Place | None, dots: Place | None) -> None:
    systems = answered(results)
    if effects:
        series = [_effect(effects, system) for system in systems if f"{system.label}: efeito" in effects.columns]
        title = "O que o ajuste mudou (à direita, melhorou; em desvios-padrão do item)"
        sheet.chart("bar", series, title=title, x={"num_format": "0"}, size=(690, 300))
    if dots:
        _, x, y = dots.columns
        series = [
            {
                "name": system.label,
                "categories": dots.range(x, point, point),
                "values": dots.range(y, point, point),
                "marker": {"type": "circle", "size": 9, "fill": {"color": colour(system)}, "border": {"none": True}},
            }
            for point, system in enumerate(systems)
        ]
        axes = {"x": {"name": x, "num_format": "0.00", "min": 0}, "y": {"name": y}}
        sheet.chart("scatter", series, title="Custo contra qualidade", **axes, column=6, offset=8, size=(530, 300))
    sheet.row += 16 if effects or dots else 0


def _effect(effects: Place, system: System) -> dict:
    def column(part: str) -> str:
        return f"='{effects.sheet}'!{effects.area(f'{system.label}: {part}')}"

    reach = {"plus_values": column("para cima"), "minus_values": column("para baixo")}
    return {
        "name": system.label,
        "categories": effects.range("Medida"),
        "values": effects.range(f"{system.label}: efeito"),
        "fill": {"color": colour(system)},
        "gap": 60,
        "y_error_bars": {"type": "custom", **reach, "line": {"color": INK}},
    }


def _blocks(sheet: Sheet, results: Results, review: Review | None) -> None:
    study = results.study
    if review:
        _review(sheet, results, review)
    if votes := judgements.vote_contests(study):
        sheet.heading("Votos da página (quem vota escolhe a pergunta: são um indício, fora da linha de cada sistema)")
        sheet.table(_contests(results), votes)
    points = {pair: review.points(pair) for pair in study.pairs()} if review else {}
    if audits := judge.audits(judge.current(study), points):
        _judge(sheet, results, audits)
    if notices := study.notices():
        sheet.heading("Avisos")
        for notice in notices:
            sheet.paragraph(notice, 12, bg_color=ALERT)


def _contests(results: Results) -> list[Column]:
    known = labels(results)
    return [
        Column("Sistema", lambda contest: known.get(contest.first, contest.first), style="forte"),
        Column("Contra", lambda contest: known.get(contest.second, contest.second)),
        Column("Julgamentos", lambda contest: sum(contest.outcomes.values()), "0"),
        Column("Vitórias", lambda contest: contest.outcomes.get("primeiro", 0), "0"),
        Column("Empates", lambda contest: contest.outcomes.get(TIES[0], 0), "0"),
        Column("Ambas ruins", lambda contest: contest.outcomes.get(TIES[1], 0), "0"),
        Column("Derrotas", lambda contest: contest.outcomes.get("segundo", 0), "0"),
        Column("Pontos", lambda contest: contest.estimate.mean, "0%"),
        Column("de (95 %)", lambda contest: contest.estimate.low, "0%"),
        Column("até", lambda contest: contest.estimate.high, "0%"),
        Column("p (sinal, exato)", lambda contest: contest.estimate.p, P_VALUE),
        Column("Menor taxa visível", lambda contest: contest.statistic.detectable, "0%"),
    ]


def _review(sheet: Sheet, results: Results, review: Review) -> None:
    sheet.heading("Revisão humana, às cegas (empate vale meio ponto)")
    sheet.table(_contests(results), review.preference)
    sheet.heading("Quem avaliou, e o quanto concordam")
    people = [
        Column("Pessoa", lambda person: person.name, style="forte"),
        Column("Linhas", lambda person: person.rows, "0"),
        Column("Avaliadas", lambda person: person.done, "0"),
        Column("Repetições iguais", lambda person: person.repeats_equal, "0%"),
        Column("Itens de controle certos", lambda person: person.attention_right, "0%"),
    ]
    sheet.table(people, review.reviewers)
    agreed = review.agreement
    told = "Nenhum par foi julgado por duas pessoas."
    if agreed["pares"]:
        equal, kappa, alpha = percent(agreed["igual"] or 0, 0), number(agreed["kappa"], 2), number(agreed["alfa"], 2)
        told = f"{agreed['pares']} pares julgados por duas pessoas: {equal} iguais, kappa {kappa}, alfa {alpha} "
        told += "(0,67 ou mais permite concluir com cautela)."
    if agreed["posição"] is not None:
        share = percent(agreed["posição"], 0)
        told += f" A resposta A foi escolhida em {share} das decididas: perto de 50 %, a posição não pesou."
    sheet.paragraph(told, 12)
    for problem in review.problems:
        sheet.paragraph(problem, 12, bg_color=ALERT)
    sheet.row += 1


def _judge(sheet: Sheet, results: Results, audits: Sequence[Audit]) -> None:
    label = labels(results)

    def column(title: str, form: str, value: Callable[[Audit], Any]) -> Column:
        return Column(title, lambda audit: value(audit) if audit.passed else Styled(value(audit), "ausente"), form)

    sheet.heading("Juiz automático e sua auditoria (em cinza, reprovado: fora dos resultados)")
    columns = [
        column("Sistema", "", lambda audit: label[audit.first]),
        column("Contra", "", lambda audit: label[audit.second]),
        column("Leitura", "", lambda audit: "aprovado" if audit.passed else "reprovado"),
        column("Itens", "0", lambda audit: audit.preference.estimate.n),
        column("Com nota humana", "0", lambda audit: audit.humans),
        column("Pontos", "0%", lambda audit: audit.preference.estimate.mean),
        column("Com tamanho igual", "0%", lambda audit: audit.same_length),
        column("Kappa com pessoas", "0.00", lambda audit: audit.kappa),
        column("Troca com a ordem", "0%", lambda audit: audit.flips),
        column("Sem veredicto", "0%", lambda audit: audit.unparsed),
        column("Pessoas + juiz (PPI++)", "0%", lambda audit: audit.combined.mean),
    ]
    sheet.table(columns, audits)


def quality_rows(results: Results, review: Review | None) -> list[dict]:
    """Um ponto por sistema para o gráfico de custo contra qualidade: as chaves são Sistema e o nome dos dois eixos.

    Sem preço em nenhum sistema, o custo são horas de máquina; sem revisão, a qualidade é a proximidade além do acaso.
    """
    served = {system: costs.serving(results.study, system.name) for system in answered(results)}
    grades = {system: review.grade(system.name) if review else None for system in served}
    paid = any(serving and serving.usd_per_thousand for serving in served.values())
    graded = any(grade is not None for grade in grades.values())
    x = "US$ por 1.000 respostas" if paid else "Horas de máquina por 1.000 respostas"
    y = "Correção humana (1 a 5)" if graded else "chrF++ além do acaso"
    rows = []
    for system, serving in served.items():
        spent = None if serving is None else serving.usd_per_thousand if paid else serving.hours_per_thousand
        worth = grades[system] if graded else results.mean(system.name, "chrf_gain").mean
        rows.append({"Sistema": system.label, x: spent, y: worth})
    return rows
