"""Escreve ou confere o que as páginas mostram de uma rodada: ``python resultados/paginas.py PÁGINA RODADA [--gravar]``.

Cada página traz alguns dos blocos de ``BLOCKS``, escritos da rodada ou conferidos com ela e com a planilha.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from finetune_helpers.comparison import flexibility
from finetune_helpers.comparison.answers_sheets import defect_name
from finetune_helpers.comparison.criteria import COLUMNS, headline
from finetune_helpers.comparison.metrics import METRICS
from finetune_helpers.comparison.results import Contrast, Results, score
from finetune_helpers.comparison.statistics import ALPHA, Interval
from finetune_helpers.comparison.wording import answered, between, labels, share_text
from finetune_helpers.comparison.workbook import FILE
from finetune_helpers.errors import InputError
from finetune_helpers.portuguese import ABSENT, NOT_RUN, number, p_value
from finetune_helpers.records import atomic_write

SHOWN = 220  # caracteres de cada texto do exemplo


def table(results: Results) -> str:
    """A tabela em Markdown; sistemas que não foram executados ficam numa frase só."""
    rows = headline(results)
    ran = [row for row in rows if any(row[column] not in (NOT_RUN, ABSENT) for column in COLUMNS[1:])]
    absent = [row["Sistema"] for row in rows if row not in ran]
    told = f"\n\nNão executado: {'; '.join(absent)}." if absent else ""
    return _markdown([COLUMNS, *([row[column] for column in COLUMNS] for row in ran)]) + told


def _markdown(rows: Iterable[Iterable[str]]) -> str:
    heading, *others = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + " --- |" * (heading.count("|") - 1), *others])


def judgement(results: Results) -> str:
    """As diferenças entre os dois ajustados e entre cada um e a sua base; em negrito, as demonstráveis."""
    pairs, label = results.study.pairs(), labels(results)
    titles = [f"{label[one]} − {'base' if two.endswith('-base') else label[two]}" for one, two in pairs]
    measured = [metric for metric in METRICS if metric.compared]
    cells = [[_contrast(results.contrast(*pair, metric.key)) for pair in pairs] for metric in measured]
    rows = [[metric.label, *told] for metric, told in zip(measured, cells, strict=True) if set(told) != {ABSENT}]
    return _markdown([["Medida", *titles], *rows])


def _contrast(contrast: Contrast | None) -> str:
    """A diferença, o p de Holm e a menor diferença que esta amostra mostraria."""
    if contrast is None or contrast.holm is None:
        return ABSENT
    form = contrast.metric.form
    digits, share = len(form.partition(".")[2].rstrip("%")), form.endswith("%")
    seen = None if contrast.detectable is None else contrast.detectable * (100 if share else 1)
    told = f"{between(contrast.estimate, digits, percentage=share)}; {p_value(contrast.holm)}"
    strong = f"**{told}**" if contrast.holm <= ALPHA else told
    return f"{strong}; visível a partir de {number(seen, digits)}"


def defects(results: Results) -> str:
    """Quantas respostas de cada sistema têm cada defeito de forma, foram cortadas ou trazem fatos sem apoio."""
    systems = answered(results)
    rows = {system.name: list(results.rows[system.name].values()) for system in systems}
    kinds = dict.fromkeys(key for mine in rows.values() for row in mine for key in row.defects)
    counted = [
        [defect_name(key), *(number(sum(key in row.defects for row in rows[system.name])) for system in systems)]
        for key in kinds
    ]
    for name, key in (("cortada no limite", "cut"), ("com fato sem apoio (piso)", "invented"), ("copiada", "copied")):
        counted.append([name, *(number(sum(bool(row.values[key]) for row in rows[one.name])) for one in systems)])
    asked = ["respostas", *(number(len(rows[system.name])) for system in systems)]
    return _markdown([["Defeito", *(system.label for system in systems)], *counted, asked])


def families(results: Results) -> str:
    """Aprovações de cada sistema em cada família da suíte, e o que o ajuste fez às que o treino não exercita."""
    shares = {one: share for one in answered(results) if (share := results.flexibility(one.name))}
    if not shares:
        return NOT_RUN

    def passed(share: Interval | None) -> str:
        return f"{round((share.mean or 0) * share.n)} de {share.n}" if share else ABSENT

    names = flexibility.FAMILIES.items()
    rows = [[name, *(passed(share.get(key)) for share in shares.values())] for key, name in names]
    totals = ["**todas**", *(share_text(results.flexibility_total(one.name)) for one in shares)]
    label = labels(results)
    changes = [
        f"{label[row.tuned]}: de {row.base_passed} para {row.tuned_passed} em {row.estimate.n} perguntas que o treino "
        f"não exercita ({row.lost} perdidas, {row.gained} ganhas; diferença de "
        f"{between(row.estimate, 0, percentage=True)}; {p_value(row.estimate.p, row.estimate.floor)})."
        for row in results.forgetting()
    ]
    return "\n".join([_markdown([["Família", *(one.label for one in shares)], *rows, totals]), "", *changes])


def example(results: Results) -> str:
    """Um item antes e depois do ajuste da trilha LLaMA: o primeiro em que o defeito de forma sumiu."""
    base, tuned = (results.study.answers.get(f"llama3-{name}", {}) for name in ("base", "tuned"))
    both = sorted(base.keys() & tuned.keys())
    if not both:
        return NOT_RUN
    before, after = results.rows["llama3-base"], results.rows["llama3-tuned"]
    chosen = next((key for key in both if before[key].defects and not after[key].defects), both[0])
    texts = {
        "título": results.study.items[chosen]["title"],
        "antes": base[chosen].answer,
        "depois": tuned[chosen].answer,
    }
    short = {name: " ".join(text.split())[:SHOWN].replace("|", "/") for name, text in texts.items()}
    lines = [f"| {name} | {text}{'…' if len(text) == SHOWN else ''} |" for name, text in short.items()]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])


BLOCKS = {
    "resultados": table,
    "exemplo": example,
    "julgamento": judgement,
    "defeitos": defects,
    "famílias": families,
}


def write(page: Path, results: Results) -> Path:
    """Troca na página o que está entre as marcas pelo que a rodada diz; InputError se não há marcas ou uma sobra."""
    content = _rewritten(page, results)
    with atomic_write(page) as file:
        file.write(content)
    return page


def disagreements(page: Path, results: Results) -> list[str]:
    """O que difere entre a página, a rodada e a sua planilha; lista vazia quando tudo confere."""
    if _rewritten(page, results) == page.read_text(encoding="utf-8"):
        return _workbook(results)
    return [f"{page} não diz o que a rodada {results.study.run} diz. Grave-a de novo com --gravar."]


def _rewritten(page: Path, results: Results) -> str:
    content = page.read_text(encoding="utf-8")
    marks = {name: (f"<!-- {name}: início -->", f"<!-- {name}: fim -->") for name in BLOCKS}
    there = {name: pair for name, pair in marks.items() if any(mark in content for mark in pair)}
    for name, (start, end) in (there or marks).items():
        if content.count(start) != 1 or content.count(end) != 1:
            raise InputError(f'{page}: coloque uma vez as marcas "{start}" e "{end}" onde o bloco deve ficar.')
        before, rest = content.split(start)
        content = f"{before}{start}\n{BLOCKS[name](results)}\n{end}{rest.split(end)[1]}"
    return content


def _workbook(results: Results) -> list[str]:
    """Os números da aba Métricas que não são os que saem dos arquivos da rodada."""
    from openpyxl import load_workbook

    path = results.study.run / FILE
    if not path.is_file():
        return [f"{path} não existe. Execute o caderno 04."]
    lines = load_workbook(path, read_only=True)["Métricas"].iter_rows(values_only=True)
    titles = next(line for line in lines if line[:1] == ("Item",))
    written = [dict(zip(titles, line, strict=False)) for line in lines]
    cells = {(row["Identidade"], row["Sistema"]): row for row in written}
    label, told = labels(results), []
    for row in [row for mine in results.rows.values() for row in mine.values()]:
        for metric in METRICS:
            cell, value = cells.get((row.item_id, label[row.system]), {}).get(metric.label), row.values[metric.key]
            known = cell if isinstance(cell, (int, float)) else None
            if (value is None) != (known is None) or abs((value or 0.0) - (known or 0.0)) > 1e-9:
                told.append(f"{path}: {metric.label} de {label[row.system]} em {row.item_id} é {cell}, e não {value}.")
    return [f"{told[0]} Escreva a planilha de novo ({len(told)} diferenças)."] if told else []


def main(arguments: list[str] | None = None) -> int:
    """Confere (ou, com ``--gravar``, escreve) os blocos de uma página; devolve 1 se algo difere."""
    parser = argparse.ArgumentParser(description="Confere os blocos de uma página com a rodada e a planilha.")
    parser.add_argument("pagina", type=Path)
    parser.add_argument("rodada", type=Path)
    parser.add_argument("--dados", help="pasta dos dados, se não for dados/<rodada>")
    parser.add_argument("--gravar", action="store_true", help="escreve os blocos em vez de conferir")
    options = parser.parse_args(arguments)
    results = score(options.rodada, options.dados)
    if options.gravar:
        write(options.pagina, results)
    told = disagreements(options.pagina, results)
    print("\n".join(told) or "A página, a rodada e a planilha concordam.")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
