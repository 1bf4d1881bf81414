"""As abas de evidência: Lado a lado, Métricas, Estatística, Flexibilidade, Treino e Proveniência."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import pstdev
from typing import Any

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, number, p_value
from ..records import normalise, read_json, sha256_file
from . import flexibility, metrics
from .judgements import Review, votes
from .metrics import METRICS, Metric
from .results import Contrast, Results, Share
from .statistics import Estimate
from .study import ARMS, REFERENCE, System
from .summary import Evidence, answered, between, colour, share_text
from .tables import P_VALUE, Column, Place, Sheet, Styled

DEFECTS = {
    "repeticao": "repetição",
    "eco_titulo": "eco do título",
    "instrucao": "instrução copiada",
    "enumeracao": "enumeração",
    "outra_lingua": "outra língua",
    "ilegivel": "ilegível",
}


def side_by_side(sheet: Sheet, results: Results, evidence: Evidence) -> None:
    """Uma linha por item: título, referência e a resposta de cada sistema, com o que as regras acharam e a perda."""
    study = results.study
    columns = [
        Column("Título", 26, "", lambda item: item["title"], "forte"),
        Column("Referência do catálogo", 64, "", lambda item: item["content"]),
    ]
    for system in answered(results):
        columns += _answer_columns(results, system)
    if evidence.review:
        columns.append(Column("Revisão humana", 36, "", lambda item: _told(results, evidence.review, item)))
    if evidence.votes:
        cast = _votes(results)
        columns.append(Column("Votos da página", 30, "", lambda item: cast.get(normalise(item["title"]), ABSENT)))
    columns.append(Column("Identidade", 18, "", lambda item: item["item_id"], "discreto"))
    sheet.wide([column.width for column in columns])
    sheet.title(
        "Lado a lado",
        "Ao lado de cada resposta, o nome do defeito de forma que uma regra achou (em laranja) e a perda da descrição.",
        2,
    )
    place = sheet.table(columns, list(study.items.values()), tall=True)
    sheet.fixed(place, filtered=True)


def _answer_columns(results: Results, system: System) -> list[Column]:
    answers, rows = results.study.answers[system.name], results.rows[system.name]

    def answer(item: dict) -> str | None:
        return answers[item["item_id"]].answer if item["item_id"] in answers else None

    def marks(item: dict) -> Styled | str:
        row = rows.get(item["item_id"])
        named = [defect_name(name) for name in row.defects] if row else []
        told = "\n".join([*named, *(["cortada"] if row and row.cut else [])]) or ABSENT
        return Styled(told, "alerta") if named else told

    def loss(item: dict) -> float | None:
        row = rows.get(item["item_id"])
        return row.values["loss"] if row else None

    columns = [Column(system.label, 60, "", answer), Column(f"{system.label}: regras", 16, "", marks, "discreto")]
    if any(row.values["loss"] is not None for row in rows.values()):
        columns.append(Column(f"{system.label}: perda", 12, "0.00", loss))
    return columns


def defect_name(key: str) -> str:
    """O nome de um defeito de forma para quem lê."""
    return DEFECTS.get(key, key.replace("_", " "))


def _told(results: Results, review: Review, item: dict) -> str:
    """O que cada pessoa preferiu num item, com o comentário."""
    label = {system.name: system.label for system in results.study.systems}
    lines = []
    for judgement in review.of(item["item_id"]):
        row, outcome = judgement.row, judgement.outcome
        best = {"primeiro": row.first, "segundo": row.second}.get(outcome)
        other = row.second if best == row.first else row.first
        said = (
            f"{label[best]} melhor que {label[other]}"
            if best
            else f"{outcome}: {label[row.first]} e {label[row.second]}"
        )
        comment = f" ({judgement.rating.comment})" if judgement.rating.comment else ""
        lines.append(f"{judgement.reviewer}: {said}{comment}")
    return "\n".join(lines) or ABSENT


def _votes(results: Results) -> dict[str, str]:
    """Os votos de cada pergunta que é um título do teste."""
    label = {system.name: system.label for system in results.study.systems}
    told: dict[str, list[str]] = {}
    for vote in votes(results.study):
        best = {"A": vote["system_a"], "B": vote["system_b"]}.get(vote["choice"])
        said = label.get(best, best) if best else vote["choice"].replace("_", " ")
        told.setdefault(normalise(vote["question"]), []).append(said)
    return {
        title: "\n".join(f"{said}: {found.count(said)}" for said in dict.fromkeys(found))
        for title, found in told.items()
    }


def metrics_sheet(sheet: Sheet, results: Results) -> None:
    """Uma linha por resposta e uma coluna por medida, na ordem de METRICS."""
    label = {system.name: system.label for system in results.study.systems}
    rows = [row for system in results.study.systems for row in results.rows.get(system.name, {}).values()]
    columns = [
        Column("Item", 44, "", lambda row: results.study.items[row.item_id]["title"]),
        Column("Sistema", 32, "", lambda row: label[row.system]),
        *(Column(metric.label, 11, metric.form, _value(metric)) for metric in METRICS),
        Column("Fatos sem apoio", 30, "", lambda row: ", ".join(row.specifics) or ABSENT),
        Column("Copiado de", 30, "", lambda row: row.copied_from or ABSENT),
        Column("Identidade", 18, "", lambda row: row.item_id, "discreto"),
    ]
    sheet.wide([column.width for column in columns])
    sheet.title(
        "Métricas por resposta",
        f"Proximidade além do acaso: própria descrição menos as de outros itens, em {results.words} palavras e sem as do "
        "título; 0 quer dizer que a resposta não depende do título. Um texto de treino ao acaso não tem defeito de forma e está errado.",
        8,
    )
    place = sheet.table(columns, rows)
    sheet.fixed(place, columns=2, filtered=True)


def _value(metric: Metric):
    return lambda row: row.values.get(metric.key)


NO_SHARE = Share(0, 0, None, None)


def compared(results: Results) -> list[str]:
    """Os ajustados que se comparam com a própria base."""
    return [first for first, second in results.study.pairs() if second.endswith("-base")]


def statistics_sheet(sheet: Sheet, results: Results) -> Place | None:
    """Médias por sistema, diferenças pareadas e os efeitos do gráfico do Resumo; devolve onde os efeitos ficaram."""
    sheet.wide([44, 36, *[17] * 8, 26])
    sheet.title(
        "Estatística",
        "Diferenças no mesmo item, intervalo de 95 % por grupo de quase duplicatas. Holm corrige o p pelas medidas todas: "
        "quem faz muitas perguntas acha algo por acaso. McNemar compara sim e não nos itens em que os dois divergem.",
        9,
    )
    sheet.heading("Diferenças (primeiro − segundo)")
    sheet.table(_contrast_columns(results), [contrast for contrast in results.contrasts if contrast.estimate.n])
    effects = _effects(sheet, results)
    sheet.heading("Média de cada sistema, com o intervalo de 95 %")
    systems = [system for system in results.study.systems if system.name in results.rows]
    means = [Column("Medida", 34, "", lambda metric: metric.label)]
    means += [Column(system.label, 13, "0", _mean(results, system.name)) for system in systems]
    sheet.table(means, METRICS)
    return effects


def _contrast_columns(results: Results) -> list[Column]:
    label = {system.name: system.label for system in results.study.systems}

    def end(contrast: Contrast, value: float | None) -> float | Styled | None:
        return (
            None
            if value is None
            else Styled(value, "forte" if _clear(contrast.estimate) else "número", contrast.metric.form)
        )

    return [
        Column(
            "Contraste",
            34,
            "",
            lambda c: (
                f"{label[c.first]} − {label[c.second].rpartition(', ')[2] if c.second.endswith('-base') else label[c.second]}"
            ),
        ),
        Column("Medida", 34, "", lambda c: c.metric.label),
        Column("Diferença", 13, "0.000", lambda c: end(c, c.estimate.mean)),
        Column("de (95 %)", 13, "0.000", lambda c: end(c, c.estimate.low)),
        Column("até", 13, "0.000", lambda c: end(c, c.estimate.high)),
        Column("p", 13, P_VALUE, lambda c: p_cell(c.estimate)),
        Column("p de Holm", 13, P_VALUE, lambda c: c.holm),
        Column("Melhor é", 13, "", lambda c: "menor" if c.metric.low_is_good else "maior"),
        Column("Menor diferença visível", 13, "0.000", lambda c: end(c, c.detectable)),
        Column("Itens", 13, "0", lambda c: c.estimate.n),
        Column("Teste", 22, "", lambda c: c.estimate.test),
    ]


def p_cell(estimate: Estimate) -> float | str | None:
    """O valor p; no piso de uma reamostragem, ``≤ 0,0001``."""
    if estimate.p is not None and estimate.floor is not None and estimate.p <= estimate.floor:
        return Styled(p_value(estimate.p, estimate.floor).removeprefix("p "), "número")
    return estimate.p


def _clear(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.high is not None and not estimate.low <= 0 <= estimate.high


def _mean(results: Results, system: str):
    def told(metric: Metric) -> str | Styled:
        interval = results.mean(system, metric.key)
        if metric.share:
            return Styled(share_text(results.share(system, metric.key)), "número")
        digits = len(metric.form.partition(".")[2].rstrip("%"))
        if not interval.n:
            return NOT_MEASURED
        return Styled(between(interval.mean, interval.low, interval.high, digits, metric.form.endswith("%")), "número")

    return told


def effect(results: Results, contrast: Contrast) -> tuple[float, float, float] | None:
    """Um contraste em desvios-padrão da diferença por item, com o sinal trocado onde menos é melhor: (efeito, de, até)."""
    one, two, key = results.rows[contrast.first], results.rows[contrast.second], contrast.metric.key
    pairs = [(one[item].values.get(key), two[item].values.get(key)) for item in one if item in two]
    spread = pstdev([a - b for a, b in pairs if a is not None and b is not None] or [0.0])
    estimate = contrast.estimate
    if not spread or estimate.mean is None or estimate.low is None or estimate.high is None:
        return None
    ends = [
        value / spread * (-1 if contrast.metric.low_is_good else 1)
        for value in (estimate.mean, estimate.low, estimate.high)
    ]
    return ends[0], min(ends[1:]), max(ends[1:])


def _effects(sheet: Sheet, results: Results) -> Place | None:
    """Os efeitos do ajuste, uma linha por medida e três colunas por trilha, de onde sai o gráfico do Resumo."""
    own = {(c.first, c.metric.key): effect(results, c) for c in results.contrasts if c.second.endswith("-base")}
    tuned = compared(results)
    rows = [metric for metric in METRICS if any(own.get((name, metric.key)) for name in tuned)]
    if not rows:
        return None
    columns = [Column("Medida", 34, "", lambda metric: metric.label)]
    for name in tuned:
        label = results.study.system(name).label
        for title, part in (("efeito", 0), ("para baixo", 1), ("para cima", 2)):
            columns.append(Column(f"{label}: {title}", 13, "0.00", _part(own, name, part)))
    sheet.heading("O que o ajuste mudou, em desvios-padrão do item (à direita do zero, melhor); é o gráfico do Resumo")
    return sheet.table(columns, rows)


def _part(own: dict, name: str, part: int):
    def value(metric: Metric) -> float | None:
        ends = own.get((name, metric.key))
        return None if ends is None else ends[0] if part == 0 else abs(ends[part] - ends[0])

    return value


def flexibility_sheet(sheet: Sheet, results: Results) -> None:
    """Aprovações por família com intervalo, o total, o esquecimento e o gráfico."""
    systems = [system for system in answered(results) if results.flexibility(system.name)]
    sheet.wide([46, *[18] * 7])
    sheet.title(
        "Flexibilidade",
        "Perguntas que nada têm com o catálogo, cada uma conferida por regra fechada: ou passa, ou não passa.",
        5,
    )
    if not systems:
        sheet.paragraph(f"{NOT_RUN.capitalize()}: nenhum sistema respondeu à suíte.", 5)
        return
    shares = {system.name: results.flexibility(system.name) for system in systems}
    families = [key for key in flexibility.FAMILIES if any(key in share for share in shares.values())]
    asked = max(results.flexibility_total(system.name).n for system in systems)
    if asked < len(flexibility.load()):
        sheet.paragraph(
            f"Só {asked} das {len(flexibility.load())} perguntas foram feitas: os números ilustram, e os intervalos o dizem.",
            5,
            bg_color="#FBE3D6",
        )
    totals = {system.name: results.flexibility_total(system.name) for system in systems}
    family = Column("Família", 46, "", lambda key: flexibility.FAMILIES.get(key, key))
    told = [
        Column(s.label, 18, "0", lambda key, s=s: _rate(shares[s.name].get(key) or totals[s.name])) for s in systems
    ]
    sheet.heading("Aprovação, com o intervalo de 95 %")
    top = sheet.row
    sheet.table([family, *told], [*families, "Todas as perguntas"])
    _forgetting(sheet, results)
    sheet.heading("As taxas do gráfico")
    rates = [Column(s.label, 18, "0%", lambda key, s=s: shares[s.name].get(key, NO_SHARE).rate) for s in systems]
    place = sheet.table([family, *rates], families)
    series = [
        {"name": system.label, "categories": place.range("Família"), "values": place.range(system.label)}
        | {"fill": {"color": colour(system)}, "gap": 40}
        for system in systems
    ]
    percent = {"min": 0, "max": 1, "num_format": "0%"}
    sheet.chart(
        "bar",
        series,
        title="Aprovação por família",
        x=percent,
        row=top,
        column=len(systems) + 1,
        offset=16,
        size=(600, 200 + 16 * len(families)),
    )


def _rate(share: Share | None) -> Styled:
    return Styled(share_text(share), "número")


def _forgetting(sheet: Sheet, results: Results) -> None:
    rows = results.forgetting()
    if not rows:
        return
    label = {system.name: system.label for system in results.study.systems}
    sheet.heading("Esquecimento: o que o ajuste fez com habilidades que o treino não exercita")
    columns = [
        Column("Ajustado", 46, "", lambda row: label[row.tuned]),
        Column("Perguntas", 18, "0", lambda row: row.n),
        Column("Base", 18, "0%", lambda row: row.base_passed / row.n),
        Column("Depois do ajuste", 18, "0%", lambda row: row.tuned_passed / row.n),
        Column(
            "Diferença",
            18,
            "0",
            lambda row: Styled(between(row.estimate.mean, row.estimate.low, row.estimate.high, 0, True), "número"),
        ),
        Column("Perdidas", 18, "0", lambda row: row.lost),
        Column("Ganhas", 18, "0", lambda row: row.gained),
        Column("p", 18, P_VALUE, lambda row: p_cell(row.estimate)),
    ]
    sheet.table(columns, rows)


def provenance_sheet(sheet: Sheet, results: Results) -> None:
    """O que basta para refazer cada número."""
    sheet.wide([34, 40, 90])
    sheet.title("Proveniência", "O que basta para refazer cada número desta planilha.", 3)
    columns = [
        Column("Assunto", 34, "", lambda f: f[0]),
        Column("Nome", 40, "", lambda f: f[1]),
        Column("Valor", 90, "", lambda f: f[2]),
    ]
    place = sheet.table(columns, list(_facts(results)), tall=True)
    sheet.fixed(place, filtered=True)


def _facts(results: Results) -> Iterator[tuple[str, str, str]]:
    study = results.study
    yield "rodada", "nome", study.run.name
    yield "rodada", "itens de teste", number(len(study.items))
    yield "rodada", "exemplos de treino lidos", number(len(study.train))
    yield "medidas", "chrF++", metrics.chrf_signature()
    for system in study.systems:
        if system.role != REFERENCE:
            yield "sistema: modelo", system.label, system.model_id or NOT_RUN
    for arm, report in study.reports.items():
        for key in ("model", "base_id", "model_id", "engine", "device", "price_sku", "prompt_fingerprint", "profile"):
            yield f"treino: {ARMS.get(arm, arm)}", key, _plain(report.get(key))
    yield from _steps(study.run / "rodada.json")
    for path in _files(results):
        name = path.name if path.parent == study.run else f"{path.parent.name}/{path.name}"
        yield "arquivo, SHA-256", name, sha256_file(path)


def _steps(path: Path) -> Iterator[tuple[str, str, str]]:
    for step, state in (read_json(path).get("passos", {}) if path.is_file() else {}).items():
        for part, words in (("parametros", "parâmetro"), ("versoes", "versão")):
            for key, value in state.get(part, {}).items():
                yield f"{step}: {words}", key, _plain(value)


def _plain(value: Any) -> str:
    if value in (None, ""):
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _files(results: Results) -> list[Path]:
    data, run = results.study.data, results.study.run
    wanted = [data / "comparacao" / "teste.jsonl", data / "llama" / "treino.jsonl", data / "gpt" / "treino.jsonl"]
    wanted += [run / "semelhanca.jsonl", run / "votos.jsonl", run / "juiz.jsonl"]
    wanted += [*sorted(run.glob("*/respostas.jsonl")), *sorted(run.glob("*/treino.json"))]
    return [path for path in wanted if path.is_file()]
