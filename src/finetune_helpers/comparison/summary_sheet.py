"""A aba Resumo: conclusões, uma linha por sistema, dois gráficos e, abaixo, revisão, votos, juiz e avisos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..portuguese import number, p_value, percent
from .columns import P_VALUE, Column, Place, Styled
from .judge import Audit
from .judgements import TIES, Contest, Review
from .results import Results
from .study import REFERENCE, System
from .tables import ALERT, GREY, INK, Sheet
from .wording import answered, between, colour, criteria

GROUPS = (
    ("", 1),
    ("Precisão", 1),
    ("Texto (regras e perda)", 4),
    ("Eficiência no treinamento", 3),
    ("Custo operacional", 2),
    ("Flexibilidade", 1),
)


@dataclass(frozen=True)
class Evidence:
    """O que o Resumo conta além das medidas: a revisão lida, os duelos dos votos e as auditorias do juiz."""

    review: Review | None = None
    votes: tuple[Contest, ...] = ()
    judge: tuple[Audit, ...] = ()


WIDTHS: dict[str, float] = {
    "Preferência humana": 16,
    "Com defeito de forma": 14,
    "Cortada no limite": 13,
    "chrF++ além do acaso": 14,
}
WIDTHS |= {"Perda (nats por token)": 9.5, "Treino (min)": 9.5, "Tokens por segundo": 9, "Memória (GB)": 9}
WIDTHS |= {"Treino": 16, "Por 1.000 respostas": 17, "Aprovados": 13}


def summary_sheet(sheet: Sheet, results: Results, evidence: Evidence) -> None:
    """Escreve conclusões e a linha de cada sistema; os gráficos vêm depois, quando os dados deles têm lugar."""
    columns = [Column("Sistema e modelo", 30, "", lambda row: f"{row[0].label}\n{row[0].model}", "forte")]
    columns += [Column(title, width, "0", _criterion(title)) for title, width in WIDTHS.items()]
    sheet.wide([column.width for column in columns])
    sheet.title(f"Comparação dos modelos: rodada {results.study.run.name}")
    for sentence in [*results.conclusions(), *_reviewed(results, evidence.review)]:
        sheet.paragraph(sentence, len(columns), font_size=11)
    sheet.row += 1
    sheet.groups(GROUPS)
    rows = [(system, criteria(results, system, evidence.review)) for system in answered(results)]
    sheet.table(columns, rows)
    sheet.row -= 1
    asked = [system for system in results.study.systems if system.role != REFERENCE]
    absent = [system.label for system in asked if system.name not in results.rows]
    told = "Entre colchetes, o intervalo de 95 %. Proximidade e forma não são precisão, que só pessoas julgam."
    if absent:
        told += f" Não executado: {'; '.join(absent)}."
    sheet.paragraph(told, len(columns), font_color=GREY, font_size=9)


def _criterion(title: str) -> Callable[[tuple[System, dict[str, str]]], str]:
    return lambda row: row[1][title]


def _reviewed(results: Results, review: Review | None) -> list[str]:
    """Uma frase sobre o contraste principal, quando pessoas o julgaram."""
    contest = next((contest for contest in review.preference if contest.n), None) if review else None
    if contest is None:
        return []
    first, second = (results.study.system(name).label for name in (contest.first, contest.second))
    estimate = contest.statistic.estimate
    decided = estimate.p is not None and estimate.p <= 0.05
    told = "A diferença é demonstrável" if decided else "A diferença não é demonstrável com estes itens"
    points = between(estimate.mean, estimate.low, estimate.high, 0, percentage=True)
    shown = f"{points} dos pontos contra {second}, em {contest.n} itens ({p_value(estimate.p)})"
    return [f"Às cegas, {first} fez {shown}. {told}."]


@dataclass(frozen=True)
class Charts:
    """Onde estão os dados dos dois gráficos do Resumo; None onde não há o que desenhar."""

    effects: Place | None
    quality: Place | None
    axis: dict[str, str]


def charts(sheet: Sheet, results: Results, data: Charts) -> None:
    """Os dois gráficos do Resumo: o que o ajuste mudou, e custo contra qualidade."""
    if data.effects:
        tuned = [system for system in answered(results) if f"{system.label}: efeito" in data.effects.columns]
        title = "O que o ajuste mudou (à direita, melhorou; em desvios-padrão do item)"
        series = [_effect(data.effects, system) for system in tuned]
        sheet.chart("bar", series, title=title, x={"num_format": "0"}, size=(690, 300))
    if data.quality:
        points = zip(answered(results), range(data.quality.last - data.quality.first + 1), strict=False)
        series = [_dot(data, system, point) for system, point in points]
        axes = {"x": {"name": data.axis["x"], "num_format": "0.00", "min": 0}, "y": {"name": data.axis["y"]}}
        sheet.chart("scatter", series, title="Custo contra qualidade", **axes, column=6, offset=8, size=(530, 300))
    sheet.row += 16 if data.effects or data.quality else 0


def _dot(data: Charts, system: System, point: int) -> dict:
    assert data.quality
    return {
        "name": system.label,
        "categories": data.quality.range(data.axis["x"], point, point),
        "values": data.quality.range(data.axis["y"], point, point),
        "marker": {"type": "circle", "size": 9, "fill": {"color": colour(system)}, "border": {"none": True}},
    }


def _effect(effects: Place, system: System) -> dict:
    return {
        "name": system.label,
        "categories": effects.range("Medida"),
        "values": effects.range(f"{system.label}: efeito"),
        "fill": {"color": colour(system)},
        "gap": 60,
        "y_error_bars": {
            "type": "custom",
            "plus_values": effects.reference(f"{system.label}: para cima"),
            "minus_values": effects.reference(f"{system.label}: para baixo"),
            "line": {"color": INK},
        },
    }


def evidence_blocks(sheet: Sheet, results: Results, evidence: Evidence) -> None:
    """Os blocos de baixo: revisão humana, votos da página, juiz e avisos."""
    if evidence.review:
        _review(sheet, results, evidence.review)
    if evidence.votes:
        sheet.heading("Votos da página (quem vota escolhe a pergunta: são um indício, fora da linha de cada sistema)")
        sheet.table(_contests(results), evidence.votes)
    if evidence.judge:
        _judge(sheet, results, evidence.judge)
    notices = results.study.notices()
    if notices:
        sheet.heading("Avisos")
        for notice in notices:
            sheet.paragraph(notice, 12, bg_color=ALERT)


def _contests(results: Results) -> list[Column]:
    known = {system.name: system.label for system in results.study.systems}

    def estimate(contest: Contest):
        return contest.statistic.estimate

    return [
        Column("Sistema", 30, "", lambda contest: known.get(contest.first, contest.first), "forte"),
        Column("Contra", 16, "", lambda contest: known.get(contest.second, contest.second)),
        Column("Julgamentos", 14, "0", lambda contest: sum(contest.outcomes.values())),
        Column("Vitórias", 13, "0", lambda contest: contest.outcomes.get("primeiro", 0)),
        Column("Empates", 14, "0", lambda contest: contest.outcomes.get(TIES[0], 0)),
        Column("Ambas ruins", 10, "0", lambda contest: contest.outcomes.get(TIES[1], 0)),
        Column("Derrotas", 9, "0", lambda contest: contest.outcomes.get("segundo", 0)),
        Column("Pontos", 9, "0%", lambda contest: estimate(contest).mean),
        Column("de (95 %)", 9, "0%", lambda contest: estimate(contest).low),
        Column("até", 16, "0%", lambda contest: estimate(contest).high),
        Column("p (sinal, exato)", 17, P_VALUE, lambda contest: estimate(contest).p),
        Column("Menor taxa visível", 13, "0%", lambda contest: contest.statistic.detectable),
    ]


def _review(sheet: Sheet, results: Results, review: Review) -> None:
    sheet.heading("Revisão humana, às cegas (empate vale meio ponto)")
    sheet.table(_contests(results), review.preference)
    sheet.heading("Quem avaliou, e o quanto concordam")
    sheet.table(
        [
            Column("Pessoa", 30, "", lambda person: person.name, "forte"),
            Column("Linhas", 16, "0", lambda person: person.rows),
            Column("Avaliadas", 14, "0", lambda person: person.done),
            Column("Repetições iguais", 13, "0%", lambda person: person.repeats_equal),
            Column("Itens de controle certos", 14, "0%", lambda person: person.attention_right),
        ],
        review.reviewers,
    )
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
    sheet.heading("Juiz automático e sua auditoria (em cinza, reprovado: fora dos resultados)")

    def column(title: str, form: str, value: Callable[[Audit], Any]) -> Column:
        return Column(title, 12, form, lambda audit: value(audit) if audit.passed else Styled(value(audit), "ausente"))

    label = {system.name: system.label for system in results.study.systems}
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


def quality_rows(results: Results, review: Review | None) -> tuple[list[dict], dict[str, str]]:
    """Um ponto por sistema para o gráfico de custo contra qualidade, e o nome dos dois eixos.

    Sem preço em nenhum sistema, o custo são horas de máquina; sem revisão, a qualidade é a proximidade além do acaso.
    """
    served = {system: results.serving(system.name) for system in answered(results)}
    grades = {system: review.grade(system.name) if review else None for system in served}
    paid = any(serving and serving.usd_per_thousand for serving in served.values())
    graded = any(grade is not None for grade in grades.values())
    axis = {"x": "US$ por 1.000 respostas" if paid else "Horas de máquina por 1.000 respostas"}
    axis["y"] = "Correção humana (1 a 5)" if graded else "chrF++ além do acaso"
    rows = []
    for system, serving in served.items():
        y = grades[system] if graded else results.mean(system.name, "chrf_gain").mean
        x = None if serving is None else serving.usd_per_thousand if paid else serving.hours_per_thousand
        rows.append({"Sistema": system.label, axis["x"]: x, axis["y"]: y})
    return rows, axis
