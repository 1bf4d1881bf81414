"""As abas que mostram cada resposta e de onde ela veio: Lado a lado, Métricas e Proveniência."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..portuguese import ABSENT, NOT_RUN, number
from ..records import normalise, read_json, sha256_file
from . import metrics
from .columns import Column, Styled
from .judgements import Review, votes
from .metrics import METRICS, Metric
from .results import Results
from .study import ARMS, REFERENCE, System
from .summary_sheet import Evidence
from .tables import Sheet
from .wording import answered

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
    if review := evidence.review:
        columns.append(Column("Revisão humana", 36, "", lambda item: _told(results, review, item)))
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
        f"Além do acaso: própria descrição menos as de outros itens, em {results.words} palavras e sem as do título."
        " Zero quer dizer que a resposta não depende dele. Um texto de treino ao acaso não tem defeito de forma e está"
        " errado.",
        8,
    )
    place = sheet.table(columns, rows)
    sheet.fixed(place, columns=2, filtered=True)


def _value(metric: Metric):
    return lambda row: row.values.get(metric.key)


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
