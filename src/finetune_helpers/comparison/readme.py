"""A tabela de critérios de uma rodada, para o caderno 04 e a página, e o que o README mostra dela.

O README traz a tabela e um antes e depois, escritos da rodada (``--gravar``) ou conferidos com ela e com a planilha.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..portuguese import ABSENT, NOT_RUN, number, percent
from ..records import atomic_write
from .judgements import Review
from .metrics import METRICS
from .results import Results, score
from .study import REFERENCE, System
from .wording import between, share_text
from .workbook import FILE

COLUMNS = ("Sistema", "Modelo", "Precisão", "Forma", "Eficiência no treinamento", "Custo operacional", "Flexibilidade")
UNREVIEWED = "ainda sem revisão"
BLOCKS = ("resultados", "exemplo")
SHOWN = 220  # caracteres de cada texto do exemplo


def headline(
    run: Results | Path | str, data_folder: Path | str | None = None, review: Review | None = None
) -> list[dict[str, str]]:
    """Uma linha por sistema e uma chave por critério; ``run`` é a rodada já pontuada ou a pasta dela.

    ``review`` é a revisão lida, se há uma. InputError se a rodada não existe.
    """
    results = run if isinstance(run, Results) else score(run, data_folder)
    return [_row(results, system, review) for system in results.study.systems]


def _row(results: Results, system: System, review: Review | None) -> dict[str, str]:
    reference = system.role == REFERENCE
    if system.name not in results.rows:
        cells = [NOT_RUN] * 5
    else:
        defects, cut = results.share(system.name, "defective"), results.share(system.name, "cut")
        form = f"com defeito de forma {share_text(defects)}; cortadas {percent(cut.rate or 0.0, 0)}"
        cells = [_precision(results, system, review), form, _training(results, system)]
        cells += [ABSENT, ABSENT] if reference else [_expense(results, system), _flexible(results, system)]
    return dict(zip(COLUMNS, (system.label, ABSENT if reference else system.model, *cells), strict=True))


def _precision(results: Results, system: System, review: Review | None) -> str:
    """Preferência das pessoas, proximidade além do acaso e perda: nunca só o que uma regra conta."""
    parts = [_preferred(results, system, review)] if system.role != REFERENCE else []
    for key, name, digits in (("cosine_gain", "cosseno", 2), ("chrf_gain", "chrF++", 1)):
        if (closeness := results.mean(system.name, key)).n:
            parts.append(f"{name} além do acaso {between(closeness, digits)}")
            break
    loss = results.mean(system.name, "loss").mean
    return "; ".join([*parts, f"perda {number(loss, 3)}"] if loss is not None else parts)


def _preferred(results: Results, system: System, review: Review | None) -> str:
    for contest in review.preference if review else []:
        rate, other = contest.statistic.estimate, contest.second
        if system.name == contest.second:
            mean, low, high = (None if end is None else 1 - end for end in (rate.mean, rate.high, rate.low))
            rate, other = replace(rate, mean=mean, low=low, high=high), contest.first
        if rate.n and system.name in (contest.first, contest.second):
            won = between(rate, 0, percentage=True)
            return f"preferida em {won} de {rate.n} pares contra {results.study.system(other).label}"
    return UNREVIEWED


def _training(results: Results, system: System) -> str:
    """Minutos, tokens por segundo e memória do treino; só os modelos ajustados treinam."""
    if system.role != "ajustado":
        return ABSENT
    measured = results.efficiency(system.arm)
    if measured is None or measured.minutes is None:
        return NOT_RUN
    facts = ((measured.minutes, 1, "min"), (measured.tokens_per_second, 0, "tokens/s"), (measured.memory_gb, 2, "GB"))
    return "; ".join(f"{number(value, digits)} {unit}" for value, digits, unit in facts if value is not None)


def _expense(results: Results, system: System) -> str:
    """O que custou treinar e o que custa responder: dólares, ou horas da própria máquina."""
    spent = results.training(system.arm) if system.role == "ajustado" else None
    return "; ".join([*([f"treino: {spent}"] if spent else []), f"responder: {results.serving(system.name)}"])


def _flexible(results: Results, system: System) -> str:
    total = results.flexibility_total(system.name)
    return NOT_RUN if total is None else f"{share_text(total)} de {number(total.n)} prompts"


def table(results: Results) -> str:
    """A tabela em Markdown; sistemas que não foram executados ficam numa frase só."""
    rows = headline(results)
    ran = [row for row in rows if any(row[column] not in (NOT_RUN, ABSENT) for column in COLUMNS[1:])]
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(row[column] for column in COLUMNS) + " |" for row in ran]
    absent = [row["Sistema"] for row in rows if row not in ran]
    return "\n".join(lines + ([f"\nNão executado: {'; '.join(absent)}."] if absent else []))


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


def write(readme: Path, results: Results) -> Path:
    """Troca no README o que está entre as marcas pelo que a rodada diz; InputError se as marcas não estão lá."""
    content = _rewritten(readme, results)
    with atomic_write(readme) as file:
        file.write(content)
    return readme


def disagreements(readme: Path, results: Results) -> list[str]:
    """O que difere entre o README, a rodada e a sua planilha; lista vazia quando tudo confere."""
    if _rewritten(readme, results) == readme.read_text(encoding="utf-8"):
        return _workbook(results)
    return [f"{readme} não diz o que a rodada {results.study.run} diz. Grave-o de novo com --gravar."]


def _rewritten(readme: Path, results: Results) -> str:
    content = readme.read_text(encoding="utf-8")
    for name, said in zip(BLOCKS, (table(results), example(results)), strict=True):
        start, end = f"<!-- {name}: início -->", f"<!-- {name}: fim -->"
        if content.count(start) != 1 or content.count(end) != 1:
            raise InputError(f'{readme}: coloque uma vez as marcas "{start}" e "{end}" onde o bloco deve ficar.')
        before, rest = content.split(start)
        content = f"{before}{start}\n{said}\n{end}{rest.split(end)[1]}"
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
    label = {system.name: system.label for system in results.study.systems}
    told = []
    for row in [row for mine in results.rows.values() for row in mine.values()]:
        for metric in METRICS:
            cell, value = cells.get((row.item_id, label[row.system]), {}).get(metric.label), row.values[metric.key]
            known = cell if isinstance(cell, (int, float)) else None
            if (value is None) != (known is None) or abs((value or 0.0) - (known or 0.0)) > 1e-9:
                told.append(f"{path}: {metric.label} de {label[row.system]} em {row.item_id} é {cell}, e não {value}.")
    return [f"{told[0]} Escreva a planilha de novo ({len(told)} diferenças)."] if told else []


def main(arguments: list[str] | None = None) -> int:
    """Confere (ou, com ``--gravar``, escreve) a tabela; devolve 1 se algo difere."""
    parser = argparse.ArgumentParser(description="Confere a tabela de resultados do README com a rodada e a planilha.")
    parser.add_argument("readme", type=Path)
    parser.add_argument("rodada", type=Path)
    parser.add_argument("--dados", help="pasta dos dados, se não for dados/<rodada>")
    parser.add_argument("--gravar", action="store_true", help="escreve a tabela em vez de conferir")
    options = parser.parse_args(arguments)
    results = score(options.rodada, options.dados)
    if options.gravar:
        write(options.readme, results)
    told = disagreements(options.readme, results)
    print("\n".join(told) or "README, rodada e planilha concordam.")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
