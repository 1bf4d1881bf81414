"""Mede a curadoria num arquivo com a forma publicada do AmazonTitles-1.3MM (2.248.619 linhas, cerca de 1,9 GB).

Como rodar, na raiz do repositório (precisa de 3 GB de disco e psutil; leva uns dez minutos):

    python benchmarks/curation.py [--linhas N] [--antes PASTA] [--pasta TEMPORÁRIA]

O arquivo é inventado, com semente fixa, a partir da amostra de ``dados/amostra/``; é apagado no fim. ``--antes`` é uma
cópia do repositório com o código com que se quer comparar. Cada caso corre em seu próprio processo, que informa o tempo
do trabalho e o pico de memória; os casos se alternam. A tabela vai para ``benchmarks/resultados/curadoria.md``; o que
vale são as razões, não os segundos desta máquina.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from finetune_helpers.portuguese import number
from finetune_helpers.records import atomic_write, read_jsonl

ROWS = 2_248_619
ROUNDS = 3
# Partes vazias e medianas (em caracteres) publicadas. A parte com palavra-chave não é publicada: no começo do arquivo,
# só de livros, é de 31 a 45 % das linhas que passam nos tamanhos; supomos 20 % no todo, que tem muito mais que livros.
EMPTY_TITLE, EMPTY_CONTENT, KEYWORD = 0.0564, 0.3335, 0.20
TITLE_MEDIAN, CONTENT_MEDIAN, CONTENT_SPREAD = 54, 398, 0.93
RESULT = Path(__file__).parent / "resultados" / "curadoria.md"


def write_file(path: Path, rows: int) -> None:
    """Grava o arquivo inventado, com as mesmas linhas para a mesma quantidade pedida."""
    draw, stream = np.random.default_rng(7), text_stream()
    targets = [target_fields(draw) for _ in range(500)]
    with open(path, "w", encoding="utf-8") as file:
        for first in range(0, rows, 50_000):
            size = min(50_000, rows - first)
            lines = zip(*columns(draw, stream, size), draw.integers(0, 500, size), strict=True)
            file.writelines(
                f'{{"uid": "{first + at:010d}", "title": {json.dumps(title, ensure_ascii=False)}, '
                f'"content": {json.dumps(content, ensure_ascii=False)}, {targets[target]}}}\n'
                for at, (title, content, target) in enumerate(lines)
            )


def text_stream() -> str:
    """Uns 16 MB de frases da amostra em ordem sorteada, sem as palavras-chave, com a sujeira do conjunto."""
    rows = read_jsonl(Path(__file__).parents[1] / "dados" / "amostra" / "catalogo.jsonl")
    text = " ".join(row["content"] or "" for row in rows)
    for word, other in (("uthor", "riter"), ("AUTHOR", "WRITER"), ("opyright", "ublished"), ("COPYRIGHT", "PUBLISHED")):
        text = text.replace(word, other)
    sentences, draw = text.split(". "), random.Random(7)
    dirty = [sentence.replace("'", "&#8217;").replace(",", "&#44;", 1) for sentence in sentences]
    parts = []
    for _ in range(48):
        draw.shuffle(sentences)
        parts += [draw.choice(dirty) if draw.random() < 0.025 else sentence for sentence in sentences]
    words = ". ".join(parts).split(" ")
    # Palavras que só aparecem uma vez, como os nomes próprios de um catálogo de verdade: sem elas o vocabulário seria
    # só o da amostra.
    for at in range(0, len(words), 25):
        words[at] = "".join(draw.choices("aeioubcdlmnrst", k=draw.randint(5, 10))).capitalize()
    return " ".join(words)


def columns(draw: np.random.Generator, stream: str, size: int) -> tuple[list[str], list[str]]:
    """Títulos e conteúdos, cortados do fluxo em pontos sorteados."""
    titles = slices(draw, stream, draw.lognormal(np.log(TITLE_MEDIAN), 0.55, size), draw.random(size) < EMPTY_TITLE)
    lengths = np.minimum(draw.lognormal(np.log(CONTENT_MEDIAN), CONTENT_SPREAD, size), 197_000)
    contents = slices(draw, stream, lengths, draw.random(size) < EMPTY_CONTENT)
    tails = (" By the author.", "Copyright 1989 Reed Business Information, Inc.", " &copy; COPYRIGHT of the authors")
    marked = zip(contents, draw.random(size) < KEYWORD, draw.integers(0, 3, size), strict=True)
    return titles, [text + tails[tail] if text and mark else text for text, mark, tail in marked]


def slices(draw: np.random.Generator, stream: str, lengths: np.ndarray, empty: np.ndarray) -> list[str]:
    """Pedaços do fluxo com os comprimentos pedidos; vazio onde ``empty``."""
    starts = draw.integers(0, len(stream) - 200_000, len(lengths))
    cuts = zip(starts.tolist(), lengths.astype(int).tolist(), empty.tolist(), strict=True)
    begun = ((stream.index(" ", start) + 1, length, blank) for start, length, blank in cuts)
    return ["" if blank else stream[start : start + length] for start, length, blank in begun]


def target_fields(draw: np.random.Generator) -> str:
    """As duas listas de vizinhos de uma linha, que a curadoria não usa mas tem de atravessar."""
    count = int(min(draw.geometric(1 / 22), 100))
    return f'"target_ind": {draw.integers(0, 1_305_265, count).tolist()}, "target_rel": {[1.0] * count}'


def ours(path: str, mode: str) -> dict:
    """A curadoria do arquivo inteiro, com o código que estiver no caminho do Python."""
    from finetune_helpers import curation, tokens
    from finetune_helpers.curation import pipeline  # noqa: F401  # o que se importa não entra no tempo

    tokens.counter("gpt")(["x"])
    started, cpu = time.perf_counter(), cpu_seconds()
    made = curation.curate(path, model="gpt", mode=mode, full_scan=True)
    seconds, spent = time.perf_counter() - started, cpu_seconds() - cpu
    rows = [[one.title, one.content] for one in (*made.train, *made.test)]
    funnel = [[step.rule, step.rows_in, step.rows_out, step.alone] for step in made.funnel]
    kept = hashlib.sha256(json.dumps([rows, funnel]).encode()).hexdigest()[:12]
    return {"seconds": seconds, "cpu": spent, "rows": kept}


def floor(path: str) -> dict:
    """O chão: o DuckDB aplica em SQL as regras de tamanho e de palavra e entrega as linhas, sem contar tokens."""
    import duckdb

    query = f"""
        SELECT title, content FROM read_json('{path}', format='newline_delimited',
            columns={{'title': 'VARCHAR', 'content': 'VARCHAR'}})
        WHERE length(title) > 40 AND length(content) > 400
          AND (contains(lower(title), 'copyright') OR contains(lower(title), 'author')
            OR contains(lower(content), 'copyright') OR contains(lower(content), 'author'))
    """
    started, cpu = time.perf_counter(), cpu_seconds()
    duckdb.sql(query).fetchall()
    return {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - cpu, "rows": ""}


def cpu_seconds() -> float:
    """Segundos de processador gastos por este processo e por seus filhos já encerrados."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(code: Path | None, mode: str, path: Path) -> dict:
    """Executa um caso em outro processo (sem ``code``, o chão); acrescenta o pico de memória dele e de seus filhos."""
    command, peak = [sys.executable, __file__, "--caso", mode if code else "chao", "--pasta", str(path)], 0.0
    environment = os.environ | ({"PYTHONPATH": str(code / "src")} if code else {})
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.1)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"O caso falhou:\n{err.read()}")
        return json.loads(out.read().splitlines()[-1]) | {"peak_mb": peak}


def memory(pid: int) -> float:
    """Memória (PSS, MB) de um processo e de seus filhos: páginas que eles dividem contam uma vez só."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 1e6
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return 0.0  # um deles acabou no meio da conta


def run_all(rows: int, before: Path | None, folder: Path) -> str:
    """Grava o arquivo, alterna os casos e devolve a tabela, em Markdown."""
    path, here = folder / "catalogo.jsonl", Path(__file__).resolve().parents[1]
    write_file(path, rows)
    cases = {"chão": (None, ""), "original": (here, "original"), "recomendada": (here, "recomendada")}
    if before:
        cases |= {f"{mode}, antes": (before, mode) for mode in ("original", "recomendada")}
    measured: dict[str, list[dict]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (code, mode) in cases.items():
            measured[name].append(measure(code, mode, path))
            print(name, measured[name][-1], flush=True)
    size, load = path.stat().st_size / 1e6, os.getloadavg()[0]
    lines = [
        "# Curadoria: medidas",
        "",
        f"Arquivo inventado de {number(rows)} linhas e {number(size)} MB, lido inteiro. {ROUNDS} execuções alternadas, "
        f"cada caso em seu processo, em {os.cpu_count()} núcleos com carga média {number(load, 1)} no fim. O chão é o "
        "DuckDB com as regras de tamanho e de palavra em SQL, sem contar tokens. Alvos, na máquina ociosa e no arquivo "
        f"de {number(ROWS)} linhas: 2,3 no modo original e 3,0 no recomendada. Feito por `python "
        f"benchmarks/curation.py --linhas {rows}{' --antes PASTA' if before else ''}`.",
        "",
        "| caso | segundos (mediana) | ÷ chão (mediana) | ÷ chão (menor) | processador ÷ chão | pico de memória (MB) |",
        "|---|---|---|---|---|---|",
        *(line(name, measured) for name in cases),
        "",
    ]
    for mode in ("original", "recomendada") if before else ():
        same = measured[mode][0]["rows"] == measured[f"{mode}, antes"][0]["rows"]
        lines += [f"Modo {mode}: linhas escolhidas e funil {'iguais aos' if same else 'DIFERENTES dos'} de antes.", ""]
    return "\n".join(lines)


def line(name: str, measured: dict[str, list[dict]]) -> str:
    """A linha de um caso na tabela."""

    def ratio(key: str, take=statistics.median) -> str:
        return number(take(one[key] for one in measured[name]) / take(one[key] for one in measured["chão"]), 1)

    seconds = number(statistics.median(one["seconds"] for one in measured[name]), 1)
    peak = number(max(one["peak_mb"] for one in measured[name]))
    return f"| {name} | {seconds} | {ratio('seconds')} | {ratio('seconds', min)} | {ratio('cpu')} | {peak} |"


def main() -> None:
    """Lê os argumentos; com ``--caso``, faz só um caso e imprime uma linha de JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--linhas", type=int, default=ROWS)
    parser.add_argument("--antes", type=Path)
    parser.add_argument("--pasta")
    parser.add_argument("--caso", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.caso:
        print(json.dumps(floor(asked.pasta) if asked.caso == "chao" else ours(asked.pasta, asked.caso)))
        return
    with tempfile.TemporaryDirectory(dir=asked.pasta) as temporary:
        text = run_all(asked.linhas, asked.antes and asked.antes.resolve(), Path(temporary))
    with atomic_write(RESULT) as file:
        file.write(text)


if __name__ == "__main__":
    main()
