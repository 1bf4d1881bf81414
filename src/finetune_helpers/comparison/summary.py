"""A aba Resumo: conclusões, uma linha por sistema, dois gráficos e, abaixo, revisão, votos, juiz e avisos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, number, p_value, percent, usd
from . import costs
from .judge import Audit
from .judgements import TIES, Contest, Review
from .results import Results, Share
from .statistics import Interval
from .study import REFERENCE, System
from .tables import ACCENT, ORANGE, P_VALUE, Column, Place, Sheet, Styled

NO_REVIEW = "ainda sem revisão"
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


# Uma cor por trilha: a forte é o ajustado, a média a base, a clara a base com exemplos.
TONES = {"llama3": (ACCENT, "#79B4D6", "#C3DCEB"), "gpt": (ORANGE, "#EFA66B", "#F7D9BF")}
ROLES = ("ajustado", "base", "base com 3 exemplos")


def colour(system: System) -> str:
    """A cor de um sistema nos gráficos e nas figuras."""
    tones = TONES.get(system.arm, ("#4B5563", "#9CA3AF", "#D1D5DB"))
    return tones[ROLES.index(system.role)] if system.role in ROLES else "#6B7280"


def answered(results: Results) -> list[System]:
    """Os sistemas da rodada que responderam, sem as referências."""
    return [system for system in results.study.systems if system.role != REFERENCE and system.name in results.rows]


def between(mean: float | None, low: float | None, high: float | None, digits: int, percentage: bool = False) -> str:
    """``62,5 % [45; 77]``: a média e o intervalo de 95 % quando ele existe."""
    if mean is None:
        return ABSENT
    scale, unit = (100, " %") if percentage else (1, "")
    # Somar zero tira o sinal do que se arredonda a zero.
    ends = [number(round(scale * end, digits) + 0.0, digits) for end in (mean, low, high) if end is not None]
    return f"{ends[0]}{unit} [{ends[1]}; {ends[2]}]" if len(ends) == 3 else f"{ends[0]}{unit}"


def share_text(share: Share | None) -> str:
    """Uma taxa com o intervalo; ``não executado`` sem nenhuma resposta."""
    return NOT_RUN if share is None or not share.n else between(share.rate, share.low, share.high, 0, True)


def mean_text(interval: Interval, digits: int) -> str:
    """Uma média com o intervalo; ``não medido`` se ninguém a mediu."""
    return between(interval.mean, interval.low, interval.high, digits) if interval.n else NOT_MEASURED


def precision(system: System, review: Review | None) -> str:
    """Pontos do sistema na preferência humana contra a própria base (ou contra o ajustado), com intervalo."""
    if review is None or not any(contest.n for contest in review.preference):
        return NO_REVIEW
    for contest in review.preference:
        rival = {contest.first: contest.second, contest.second: contest.first}.get(system.name, "")
        if contest.n and rival and rival.partition("-")[0] == system.name.partition("-")[0]:
            known, mine = contest.statistic.estimate, contest.first == system.name
            ends = (
                (known.mean, known.low, known.high)
                if mine
                else [None if end is None else 1 - end for end in (known.mean, known.high, known.low)]
            )
            return f"{between(*ends, 0, True)}\ncontra {'a base' if system.role == 'ajustado' else 'o ajustado'}"
    return ABSENT


def text_measures(results: Results, system: System) -> dict[str, str]:
    """O que as regras e a perda dizem do texto de um sistema; nada disto é precisão."""
    return {
        "Com defeito de forma": share_text(results.share(system.name, "defective")),
        "Cortada no limite": share_text(results.share(system.name, "cut")),
        "chrF++ além do acaso": mean_text(results.mean(system.name, "chrf_gain"), 1),
        "Perda (nats por token)": _loss(results, system),
    }


def _loss(results: Results, system: System) -> str:
    if system.role not in ("base", "ajustado"):
        return ABSENT
    return mean_text(results.mean(system.name, "loss"), 2).partition(" [")[0]


def efficiency(results: Results, system: System) -> dict[str, str]:
    """Minutos, tokens por segundo e memória do treino; só os ajustados treinam."""
    measured = results.efficiency(system.arm) if system.role == "ajustado" else None
    titles = ("Treino (min)", "Tokens por segundo", "Memória (GB)")
    if measured is None:
        return dict.fromkeys(titles, NOT_RUN if system.role == "ajustado" else ABSENT)
    values = (measured.minutes, measured.tokens_per_second, measured.memory_gb)
    return {
        title: NOT_MEASURED if value is None else number(value, digits)
        for title, value, digits in zip(titles, values, (1, 0, 1), strict=True)
    }


def expenses(results: Results, system: System) -> dict[str, str]:
    """O que custaram o treino e 1.000 respostas; trabalho local é tempo de máquina."""
    training = results.training(system.arm) if system.role == "ajustado" else None
    serving = results.serving(system.name)
    each = NOT_RUN
    if serving:
        billed = serving.input_price and serving.output_price
        hours = costs.machine_time(serving.hours_per_thousand, serving.sku, serving.usd_per_thousand)
        each = usd(serving.usd_per_thousand, 4) if billed else hours
    return {"Treino": _lines(str(training)) if training else ABSENT, "Por 1.000 respostas": _lines(each)}


def _lines(words: str) -> str:
    return words.replace("; ", "\n").replace(" (", "\n(")


def criteria(results: Results, system: System, review: Review | None) -> dict[str, str]:
    """Todas as colunas de um sistema, na ordem do Resumo."""
    return (
        {"Preferência humana": precision(system, review)}
        | text_measures(results, system)
        | efficiency(results, system)
        | expenses(results, system)
        | {"Aprovados": share_text(results.flexibility_total(system.name))}
    )


def in_words(results: Results) -> str:
    """A linha do primeiro ajustado, lida por extenso com os números desta rodada."""
    system = next((system for system in answered(results) if system.role == "ajustado"), None)
    if system is None:
        return f"{NOT_RUN.capitalize()}: nenhum modelo ajustado respondeu nesta rodada."
    defects, closeness = results.share(system.name, "defective"), results.mean(system.name, "chrf_gain")
    told = [f"{system.label} ({system.model}), em {defects.n} respostas:"]
    told.append(
        f"- defeito de forma em {share_text(defects)}: em outros itens como estes, a taxa verdadeira deve estar entre os "
        "dois números dos colchetes;"
    )
    depends = closeness.low is not None and closeness.low > 0
    verdict = "o texto depende do título" if depends else "não se demonstra que o texto dependa do título"
    told.append(f"- chrF++ além do acaso de {mean_text(closeness, 1)}: {verdict};")
    rows = results.heldout(system.arm)
    if rows:
        before, after = (sum(row[key] for row in rows) / len(rows) for key in ("base_loss", "tuned_loss"))
        moved = "caiu" if after < before else "subiu"
        less = "menos" if after < before else "mais"
        told.append(
            f"- a perda {moved} de {number(before, 2)} para {number(after, 2)}: o texto verdadeiro surpreende {less} o modelo;"
        )
    told.append(f"- flexibilidade: {share_text(results.flexibility_total(system.name))} das perguntas aprovadas.")
    return "\n".join(told)


WIDTHS = {"Preferência humana": 16, "Com defeito de forma": 14, "Cortada no limite": 13, "chrF++ além do acaso": 14}
WIDTHS |= {"Perda (nats por token)": 9.5, "Treino (min)": 9.5, "Tokens por segundo": 9, "Memória (GB)": 9}
WIDTHS |= {"Treino": 16, "Por 1.000 respostas": 17, "Aprovados": 13}


def summary_sheet(sheet: Sheet, results: Results, evidence: Evidence) -> None:
    """Escreve conclusões e a linha de cada sistema; os gráficos vêm depois, quando os dados deles têm lugar."""
    columns = [Column("Sistema e modelo", 30, "", lambda row: f"{row[0].label}\n{row[0].model}", "forte")]
    columns += [
        Column(title, width, "0", lambda row, title=title: _strong(row[1][title])) for title, width in WIDTHS.items()
    ]
    sheet.wide([column.width for column in columns])
    sheet.title(f"Comparação dos modelos: rodada {results.study.run.name}")
    for sentence in [*results.conclusions(), *_reviewed(results, evidence.review)]:
        sheet.paragraph(sentence, len(columns), font_size=11)
    sheet.row += 1
    sheet.groups(GROUPS)
    rows = [(system, criteria(results, system, evidence.review)) for system in answered(results)]
    sheet.table(columns, rows)
    sheet.row -= 1
    absent = [
        system.label for system in results.study.systems if system.role != REFERENCE and system.name not in results.rows
    ]
    told = "Entre colchetes, o intervalo de 95 %. Proximidade e forma não são precisão, que só pessoas julgam."
    if absent:
        told += f" Não executado: {'; '.join(absent)}."
    sheet.paragraph(told, len(columns), font_color="#6B7280", font_size=9)


def _strong(value: str) -> Styled | str:
    return value if value in (ABSENT, NOT_RUN, NOT_MEASURED, NO_REVIEW) else Styled(value, "número")


def _reviewed(results: Results, review: Review | None) -> list[str]:
    """Uma frase sobre o contraste principal, quando pessoas o julgaram."""
    contest = next((contest for contest in review.preference if contest.n), None) if review else None
    if contest is None:
        return []
    first, second = (results.study.system(name).label for name in (contest.first, contest.second))
    estimate = contest.statistic.estimate
    decided = estimate.p is not None and estimate.p <= 0.05
    told = "A diferença é demonstrável" if decided else "A diferença não é demonstrável com estes itens"
    points = between(estimate.mean, estimate.low, estimate.high, 0, True)
    return [
        f"Às cegas, {first} fez {points} dos pontos contra {second}, em {contest.n} itens ({p_value(estimate.p)}). {told}."
    ]


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
            "line": {"color": "#1F2937"},
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
            sheet.paragraph(notice, 12, bg_color="#FBE3D6")


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
        kappa, alpha = number(agreed["kappa"], 2), number(agreed["alfa"], 2)
        told = (
            f"{agreed['pares']} pares julgados por duas pessoas: {percent(agreed['igual'] or 0, 0)} iguais, kappa {kappa}, "
            f"alfa {alpha} (0,67 ou mais permite concluir com cautela)."
        )
    if agreed["posição"] is not None:
        told += f" A resposta A foi escolhida em {percent(agreed['posição'], 0)} das decididas: perto de 50 %, a posição não pesou."
    sheet.paragraph(told, 12)
    for problem in review.problems:
        sheet.paragraph(problem, 12, bg_color="#FBE3D6")
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
