"""As abas que mostram cada resposta e de onde ela veio: Lado a lado, Métricas e Proveniência."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .. import votes
from ..portuguese import ABSENT, NOT_RUN, number
from ..records import normalise, read_json, sha256_file
from . import metrics, similarity
from .judgements import Review
from .metrics import METRICS, Metric
from .results import Results, Row
from .study import ARMS, REFERENCE, System
from .tables import Column, Sheet, Styled
from .wording import answered, labels

DEFECTS = {
    "repeticao": "repetição",
    "eco_titulo": "eco do título",
    "instrucao": "instrução copiada",
    "enumeracao": "enumeração",
    "outra_lingua": "outra língua",
    "ilegivel": "ilegível",
}
REPORTED = ("model", "base_id", "model_id", "engine", "device", "price_sku", "prompt_fingerprint", "profile")


def side_by_side(sheet: Sheet, results: Results, review: Review | None) -> None:
    """Uma linha por item: título, referência e a resposta de cada sistema, com o que as regras acharam e a perda."""
    cast = _votes(results)
    columns = [
        Column("Título", lambda item: item["title"], width=26, style="forte"),
        Column("Referência do catálogo", lambda item: item["content"], width=64),
        *(column for system in answered(results) for column in _answer_columns(results, system)),
    ]
    if review:
        columns.append(Column("Revisão humana", lambda item: _told(results, review, item), width=36))
    if cast:
        columns.append(Column("Votos da página", lambda item: cast.get(normalise(item["title"]), ABSENT), width=30))
    columns.append(Column("Identidade", lambda item: item["item_id"], width=18, style="discreto"))
    sheet.wide(column.width for column in columns)
    note = (
        "Ao lado de cada resposta, o nome do defeito de forma que uma regra achou (em laranja) e a perda da descrição."
    )
    sheet.title("Lado a lado", note, 2)
    sheet.fixed(sheet.table(columns, results.study.items.values(), tall=True))


def _answer_columns(results: Results, system: System) -> Iterator[Column]:
    answers, rows = results.study.answers[system.name], results.rows[system.name]

    def known(tell: Callable[[Row], Any]) -> Callable[[dict], Any]:
        return lambda item: tell(rows[item["item_id"]]) if item["item_id"] in rows else None

    yield Column(system.label, known(lambda row: answers[row.item_id].answer), width=60)
    yield Column(f"{system.label}: regras", known(_marks), width=16, style="discreto")
    if any(row.values["loss"] is not None for row in rows.values()):
        yield Column(f"{system.label}: perda", known(lambda row: row.values["loss"]), "0.00", 12)


def _marks(row: Row) -> Styled | str:
    told = "\n".join([*map(defect_name, row.defects), *(["cortada"] if row.values["cut"] else [])]) or ABSENT
    return Styled(told, "alerta") if row.defects else told


def defect_name(key: str) -> str:
    """O nome de um defeito de forma para quem lê."""
    return DEFECTS.get(key, key.replace("_", " "))


def _told(results: Results, review: Review, item: dict) -> str:
    """O que cada pessoa preferiu num item, com o comentário."""
    label, lines = labels(results), []
    for judgement in review.of(item["item_id"]):
        row, outcome, comment = judgement.row, judgement.outcome, judgement.rating["comment"]
        one, two = label[row.first], label[row.second]
        said = {"primeiro": f"{one} melhor que {two}", "segundo": f"{two} melhor que {one}"}
        told = said.get(outcome, f"{outcome}: {one} e {two}")
        lines.append(f"{judgement.reviewer}: {told}{f' ({comment})' if comment else ''}")
    return "\n".join(lines) or ABSENT


def _votes(results: Results) -> dict[str, str]:
    """Os votos de cada pergunta, que pode ser um título do teste."""
    label, told = labels(results), dict[str, Counter]()
    for vote in votes.read(results.study.run):
        best = {"A": vote.system_a, "B": vote.system_b}.get(vote.choice)
        said = label.get(best, best) if best else vote.choice.replace("_", " ")
        told.setdefault(normalise(vote.question), Counter())[said] += 1
    return {title: "\n".join(f"{said}: {n}" for said, n in counts.items()) for title, counts in told.items()}


def metrics_sheet(sheet: Sheet, results: Results) -> None:
    """Uma linha por resposta e uma coluna por medida, na ordem de METRICS."""
    study, label = results.study, labels(results)

    def value(metric: Metric, row: Row) -> float | None:
        return row.values.get(metric.key)

    columns = [
        Column("Item", lambda row: study.items[row.item_id]["title"], width=44),
        Column("Sistema", lambda row: label[row.system], width=32),
        *(Column(metric.label, partial(value, metric), metric.form, 11) for metric in METRICS),
        Column("Fatos sem apoio", lambda row: ", ".join(row.specifics) or ABSENT, width=30),
        Column("Copiado de", lambda row: row.copied_from or ABSENT, width=30),
        Column("Identidade", lambda row: row.item_id, width=18, style="discreto"),
    ]
    sheet.wide(column.width for column in columns)
    sheet.title(
        "Métricas por resposta",
        f"Além do acaso: própria descrição menos as de outros itens, em {similarity.common_length(study)} palavras e "
        "sem as do título. Zero quer dizer que a resposta não depende dele. Um texto de treino ao acaso não tem "
        "defeito de forma e está errado.",
    )
    rows = [row for system in study.systems for row in results.rows.get(system.name, {}).values()]
    sheet.fixed(sheet.table(columns, rows), columns=2)


def provenance_sheet(sheet: Sheet, results: Results) -> None:
    """O que basta para refazer cada número."""
    sheet.wide([34, 40, 90])
    sheet.title("Proveniência", "O que basta para refazer cada número desta planilha.", 3)
    columns = [
        Column("Assunto", lambda fact: fact[0]),
        Column("Nome", lambda fact: fact[1]),
        Column("Valor", lambda fact: fact[2] if isinstance(fact[2], str) else json.dumps(fact[2], ensure_ascii=False)),
    ]
    facts = [(subject, name, ABSENT if value in (None, "") else value) for subject, name, value in _facts(results)]
    sheet.fixed(sheet.table(columns, facts, tall=True))


def _facts(results: Results) -> Iterator[tuple[str, str, Any]]:
    study, run, data = results.study, results.study.run, results.study.data
    yield "rodada", "nome", run.name
    yield "rodada", "itens de teste", number(len(study.items))
    yield "rodada", "exemplos de treino lidos", number(len(study.train))
    yield "medidas", "chrF++", metrics.chrf_signature()
    for system in study.systems:
        if system.role != REFERENCE:
            yield "sistema: modelo", system.label, system.model_id or NOT_RUN
    for arm, report in study.reports.items():
        for key in REPORTED:
            yield f"treino: {ARMS.get(arm, arm)}", key, report.get(key)
    steps = read_json(run / "rodada.json").get("passos", {}) if (run / "rodada.json").is_file() else {}
    for step, state in steps.items():
        for part, words in (("parametros", "parâmetro"), ("versoes", "versão")):
            for key, value in state.get(part, {}).items():
                yield f"{step}: {words}", key, value
    read = [data / "comparacao" / "teste.jsonl", data / "llama" / "treino.jsonl", data / "gpt" / "treino.jsonl"]
    read += [run / name for name in ("semelhanca.jsonl", "votos.jsonl", "juiz.jsonl")]
    read += [*sorted(run.glob("*/respostas.jsonl")), *sorted(run.glob("*/treino.json"))]
    for path in filter(lambda path: path.is_file(), read):
        name = path.name if path.parent == run else f"{path.parent.name}/{path.name}"
        yield "arquivo, SHA-256", name, sha256_file(path)
