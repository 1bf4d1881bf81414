"""As abas de evidência: Lado a lado, Métricas, Estatística, Flexibilidade, Treino e Proveniência."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import pstdev
from typing import Any

from ..portuguese import ABSENT, NOT_MEASURED, NOT_RUN, duration, number, p_value
from ..records import normalise, read_json, sha256_file
from . import flexibility, metrics
from .judgements import Review, votes
from .metrics import METRICS, Metric
from .results import Contrast, Results
from .statistics import Estimate
from .study import ARMS, REFERENCE, System
from .summary import Evidence, answered, between, share_text
from .tables import SERIES, Column, Place, Sheet, Styled


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
    columns.append(Column("Item", 18, "", lambda item: item["item_id"], "discreto"))
    sheet.wide([column.width for column in columns])
    sheet.title("Lado a lado", "Fundo alaranjado: uma regra achou um defeito de forma, cujo nome está ao lado.", 2)
    place = sheet.table(columns, list(study.items.values()), tall=True)
    sheet.fixed(place, filtered=True)


def _answer_columns(results: Results, system: System) -> list[Column]:
    answers, rows = results.study.answers[system.name], results.rows[system.name]

    def answer(item: dict) -> Styled | str | None:
        key = item["item_id"]
        if key not in answers:
            return None
        return Styled(answers[key].answer, "alerta") if rows[key].defects else answers[key].answer

    def marks(item: dict) -> str:
        row = rows.get(item["item_id"])
        return ", ".join([*row.defects, *(["cortada"] if row.cut else [])]) or ABSENT if row else ABSENT

    def loss(item: dict) -> float | None:
        row = rows.get(item["item_id"])
        return row.values["loss"] if row else None

    columns = [Column(system.label, 60, "", answer), Column(f"{system.label}: regras", 15, "", marks, "discreto")]
    if any(row.values["loss"] is not None for row in rows.values()):
        columns.append(Column(f"{system.label}: perda", 9, "0.00", loss))
    return columns


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
    ]
    sheet.wide([column.width for column in columns])
    sheet.title(
        "Métricas por resposta",
        f"Proximidade além do acaso: própria descrição menos as de outros itens, em {results.words} palavras e sem as do "
        "título; 0 quer dizer que a resposta não depende do título. “Outro item” não tem defeito de forma e está errado.",
        8,
    )
    place = sheet.table(columns, rows)
    sheet.fixed(place, columns=2, filtered=True)


def _value(metric: Metric):
    return lambda row: row.values.get(metric.key)


def compared(results: Results) -> list[str]:
    """Os ajustados que se comparam com a própria base."""
    return [first for first, second in results.study.pairs() if second.endswith("-base")]


def statistics_sheet(sheet: Sheet, results: Results) -> Place | None:
    """Médias por sistema, diferenças pareadas e os efeitos do gráfico do Resumo; devolve onde os efeitos ficaram."""
    sheet.wide([34, 34, *[13] * 10])
    sheet.title(
        "Estatística",
        "Diferenças no mesmo item, intervalo de 95 % por grupo de quase duplicatas. Holm corrige o p pelas medidas todas: "
        "quem faz muitas perguntas acha algo por acaso. McNemar compara sim e não nos itens em que os dois divergem.",
        9,
    )
    sheet.heading("Diferenças (primeiro − segundo)")
    sheet.table(_contrast_columns(results), list(results.contrasts))
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
        Column("p", 13, "0.0000", lambda c: _p(c.estimate)),
        Column("p de Holm", 13, "0.0000", lambda c: c.holm),
        Column("Melhor é", 13, "", lambda c: "menor" if c.metric.low_is_good else "maior"),
        Column("Menor diferença visível", 13, "0.000", lambda c: end(c, c.detectable)),
        Column("Itens", 13, "0", lambda c: c.estimate.n),
        Column("Teste", 22, "", lambda c: c.estimate.test),
    ]


def _p(estimate: Estimate) -> float | str | None:
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
        arm = results.study.system(name).label.partition(",")[0]
        for title, part in (("efeito", 0), ("para baixo", 1), ("para cima", 2)):
            columns.append(Column(f"{arm}: {title}", 13, "0.00", _part(own, name, part)))
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
    names = [Column("Família", 46, "", lambda key: flexibility.FAMILIES.get(key, key))]
    told = names + [
        Column(
            s.label,
            18,
            "0",
            lambda key, s=s: Styled(share_text(shares[s.name].get(key) or results.flexibility_total(s.name)), "número"),
        )
        for s in systems
    ]
    sheet.heading("Aprovação, com o intervalo de 95 %")
    sheet.table(told, [*families, "Todas as perguntas"])
    rates = names + [
        Column(s.label, 18, "0%", lambda key, s=s: shares[s.name][key].rate if key in shares[s.name] else None)
        for s in systems
    ]
    sheet.heading("As taxas do gráfico")
    place = sheet.table(rates, families)
    _forgetting(sheet, results)
    series = [
        {
            "name": s.label,
            "categories": place.range("Família"),
            "values": place.range(s.label),
            "fill": {"color": colour},
            "gap": 50,
        }
        for s, colour in zip(systems, SERIES, strict=False)
    ]
    size = (900, max(300, 34 * len(families)))
    sheet.chart(
        {"type": "bar"},
        series,
        title="Aprovação por família",
        x={"min": 0, "max": 1, "num_format": "0%"},
        y={"reverse": True, "label_position": "low"},
        size=size,
    )
    sheet.row += int(size[1] / 20) + 2


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
        Column("p", 18, "0.0000", lambda row: _p(row.estimate)),
    ]
    sheet.table(columns, rows)


FACTS = (
    ("Modelo", "model", ""),
    ("Motor", "engine", ""),
    ("Máquina", "device", ""),
    ("Carregar o modelo (s)", "load", "0.0"),
    ("Treinar (s)", "train", "0.0"),
    ("Avaliar (s)", "evaluate", "0.0"),
    ("Passos", "steps", "#,##0"),
    ("Exemplos vistos", "examples_seen", "#,##0"),
    ("Tokens vistos", "tokens_seen", "#,##0"),
    ("Tokens por segundo", "tokens_per_second", "0.0"),
    ("Parâmetros treináveis", "trainable_parameters", "#,##0"),
    ("Pico de memória da GPU (GB)", "gpu_gb", "0.00"),
    ("Pico de memória do processo (GB)", "rss_gb", "0.00"),
    ("Tokens cobrados", "billed_tokens", "#,##0"),
    ("Queda da perda por hora de treino", "gain_per_hour", "0.00"),
)


def training_sheet(sheet: Sheet, results: Results) -> None:
    """As trilhas lado a lado, o que foi aprendido, as curvas e os experimentos do caderno 05."""
    arms = [arm for arm in dict.fromkeys([*ARMS, *results.study.reports]) if results.efficiency(arm)]
    sheet.wide([46, *[26] * 4])
    sheet.title(
        "Treino",
        "De treino.json: as mesmas fases nas duas trilhas. Uma execução por trilha: outra semente daria outros números.",
        4,
    )
    if not arms:
        sheet.paragraph(f"{NOT_RUN.capitalize()}: nenhuma trilha treinou.", 4)
        return
    columns = [Column("Fato", 46, "", lambda fact: fact[0])]
    columns += [Column(ARMS.get(arm, arm), 26, "0", _fact(results, arm)) for arm in arms]
    sheet.table(columns, FACTS)
    _learning(sheet, results, arms)
    _curves(sheet, results, arms)
    _experiments(sheet, results.study.run / "hiperparametros")


def _fact(results: Results, arm: str):
    def value(fact: tuple[str, str, str]) -> Styled | str:
        known = getattr(results.efficiency(arm), fact[1])
        if known is None:
            return NOT_MEASURED
        return Styled(known, "número", fact[2])

    return value


def _learning(sheet: Sheet, results: Results, arms: list[str]) -> None:
    """A queda da perda e a parte que é do título: o resto é estilo."""
    rows: list[tuple[str, str, Estimate]] = []
    for arm in arms:
        known = results.title_learning(arm)
        drop = results.learning(arm)
        if known:
            parts = (
                ("sob o próprio título", known.own),
                ("sob o título de outro item (estilo)", known.style),
                ("que é do título (conteúdo)", known.content),
            )
            rows += [(arm, words, estimate) for words, estimate in parts]
        elif drop.n:
            rows.append((arm, "sob o próprio título", drop))
    if not rows:
        return
    sheet.heading("O que foi aprendido: queda da perda de teste (base − ajustado, nats por token)")
    columns = [
        Column("Queda", 46, "", lambda row: f"{ARMS.get(row[0], row[0])}, {row[1]}"),
        Column("Média", 26, "0.000", lambda row: row[2].mean),
        Column(
            "Intervalo de 95 %",
            26,
            "0",
            lambda row: Styled(between(row[2].mean, row[2].low, row[2].high, 3).partition(" ")[2] or ABSENT, "número"),
        ),
        Column("p", 26, "0.0000", lambda row: _p(row[2])),
        Column("Itens", 26, "0", lambda row: row[2].n),
    ]
    sheet.table(columns, rows)


def _curves(sheet: Sheet, results: Results, arms: list[str]) -> None:
    points = [
        (f"{ARMS.get(arm, arm)}, {words}", point)
        for arm in arms
        for key, words in (("loss_curve", "treino"), ("heldout_curve", "validação"))
        for point in results.study.reports[arm].get(key) or []
        if point.get("seconds") is not None
    ]
    if not points:
        return
    sheet.heading("Curvas de perda")
    top = sheet.row
    sheet.row += 17
    columns = [
        Column("Curva", 46, "", lambda row: row[0]),
        Column("Passo", 26, "0", lambda row: row[1]["step"]),
        Column("Minutos", 26, "0.00", lambda row: row[1]["seconds"] / 60),
        Column("Perda", 26, "0.000", lambda row: row[1]["loss"]),
    ]
    place = sheet.table(columns, points)
    names = [name for name, _ in points]
    series = []
    for number_, name in enumerate(dict.fromkeys(names)):
        first, last = names.index(name), len(names) - 1 - names[::-1].index(name)
        colour = SERIES[list(dict.fromkeys(n.partition(",")[0] for n in names)).index(name.partition(",")[0])]
        dashed = name.endswith("validação")
        line = {"color": colour, "width": 1.75, **({"dash_type": "dash"} if dashed else {})}
        marker = (
            {"type": "circle", "size": 5, "fill": {"color": colour}, "border": {"color": colour}}
            if dashed
            else {"type": "none"}
        )
        span = {"categories": place.range("Minutos", first, last), "values": place.range("Perda", first, last)}
        series.append({"name": name, "line": line, "marker": marker, **span})
    bottom, sheet.row = sheet.row, top
    sheet.chart(
        {"type": "scatter", "subtype": "straight_with_markers"},
        series,
        title="Perda contra tempo",
        x={"name": "Minutos de treino", "min": 0, "num_format": "0.0"},
        y={"name": "Perda (nats por token)", "num_format": "0.0"},
        size=(900, 320),
    )
    sheet.row = bottom


def _experiments(sheet: Sheet, folder: Path) -> None:
    """O que o caderno 05 concluiu, se ele foi executado."""
    path = folder / "resumo.json"
    if not path.is_file():
        return
    known = read_json(path)
    winner = known.get("winner") or {}
    facts: list[tuple[str, Any]] = [
        ("Vencedor", winner.get("trial")),
        ("Perda na validação do vencedor", winner.get("heldout_loss")),
        ("Perda na validação do perfil sem mudanças", known.get("profile_loss")),
        ("Distância entre as sementes (ruído)", known.get("spread")),
        ("Tempo usado", duration(known["spent_seconds"]) if known.get("spent_seconds") else None),
    ]
    sheet.heading("Experimentos do caderno 05 (a perda é a da validação; o teste não foi lido)")
    columns = [
        Column("Fato", 46, "", lambda fact: fact[0]),
        Column("Valor", 26, "0.000", lambda fact: Styled(fact[1], "número") if isinstance(fact[1], str) else fact[1]),
    ]
    sheet.table(columns, facts)


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
