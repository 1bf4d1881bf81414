"""Folha Proveniência: parâmetros, versões, modelos, prompts e o hash de cada arquivo lido."""

import json
from collections.abc import Iterator
from pathlib import Path

from .. import votes
from ..embeddings import MODEL_SHA256
from ..records import read_json, sha256_file
from . import metrics, similarity
from .blind import Plan
from .cells import Book, finish, header, text, title, widths
from .study import NOT_RUN, SEED, Study


def provenance_sheet(book: Book, study: Study, plan: Plan) -> None:
    """Escreve Proveniência; nada aqui depende do dia nem da máquina em que a planilha é escrita."""
    sheet = book.workbook.create_sheet("Proveniência")
    title(sheet, "Proveniência", "O que basta para refazer cada número desta planilha.")
    row = header(sheet, 4, ["Assunto", "Nome", "Valor"])
    facts = list(_facts(study, plan))
    for place, line in enumerate(facts, start=row):
        for column, value in enumerate(line, start=1):
            text(sheet.cell(place, column), value)
    widths(sheet, [26, 44, 100])
    finish(sheet, "A5", 4, filter_area=f"A4:C{row + len(facts) - 1}")


def _facts(study: Study, plan: Plan) -> Iterator[tuple[str, str, str]]:
    yield "rodada", "nome", study.run.name
    yield "rodada", "itens de teste", str(len(study.items))
    yield "rodada", "exemplos de treino lidos", str(len(study.train))
    yield "revisão", "plano", plan.mark
    yield "revisão", "semente", str(SEED)
    yield "medidas", "chrF++", metrics.chrf_signature()
    yield "medidas", "MiniLM, SHA-256 dos pesos", MODEL_SHA256
    yield from _steps(study.run / "rodada.json")
    for arm, report in study.reports.items():
        for key in ("model", "engine", "device", "price_sku", "adapter_sha256", "prompt_fingerprint", "profile"):
            yield f"treino {arm}", key, _plain(report.get(key))
    for system in study.systems:
        yield "sistema", system, _models(list(study.answers.get(system, {}).values()))
    for path in _files(study):
        yield (
            "arquivo, SHA-256",
            path.name if path.parent == study.run else f"{path.parent.name}/{path.name}",
            sha256_file(path),
        )


def _steps(path: Path) -> Iterator[tuple[str, str, str]]:
    if not path.is_file():
        yield "rodada", "rodada.json", NOT_RUN
        return
    for step, state in read_json(path).get("passos", {}).items():
        for part in ("parametros", "versoes"):
            for key, value in state.get(part, {}).items():
                yield f"{step}: {'parâmetro' if part == 'parametros' else 'versão'}", key, _plain(value)


def _plain(value) -> str:
    return (
        NOT_RUN if value in (None, "") else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _models(rows: list[dict]) -> str:
    if not rows:
        return NOT_RUN
    models = ", ".join(sorted({str(row["model_id"]) for row in rows}))
    prompts = ", ".join(sorted({row["prompt_fingerprint"] for row in rows if "prompt_fingerprint" in row}))
    return f"{models}; prompt {prompts}; {len(rows)} respostas" if prompts else f"{models}; {len(rows)} textos"


def _files(study: Study) -> list[Path]:
    wanted = [study.data / "comparacao" / "teste.jsonl", study.data / "llama" / "treino.jsonl"]
    wanted += [study.data / "gpt" / "treino.jsonl", study.run / similarity.FILE, study.run / votes.FILE]
    wanted += [*sorted(study.run.glob("*/respostas.jsonl")), *sorted(study.run.glob("*/treino.json"))]
    return [path for path in wanted if path.is_file()]
