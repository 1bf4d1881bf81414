"""Mede a curadoria num arquivo com a forma publicada do AmazonTitles-1.3MM (2.248.619 linhas, cerca de 1,9 GB).

Como rodar, na raiz do repositório (precisa de 3 GB de disco, pandas, duckdb e psutil; leva uns dez minutos):

    python benchmarks/curation.py [linhas] [pasta temporária]

O arquivo é inventado, com semente fixa, a partir da amostra de ``dados/amostra/``; é apagado no fim. Cada caso corre em
seu próprio processo, que informa o tempo do trabalho e o pico de memória; os casos se alternam e fica a mediana.
As tabelas vão para ``benchmarks/resultados/curadoria.md``; o que vale são as razões, não os segundos desta máquina.
"""

import hashlib
import importlib
import json
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

from finetune_helpers.records import atomic_write, read_jsonl

ROWS = 2_248_619
PANDAS_ROWS = 300_000
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


def fingerprint(titles: list[str], contents: list[str]) -> str:
    """Doze dígitos das primeiras 2.000 linhas mantidas, para provar que são as mesmas."""
    return hashlib.sha256(json.dumps([titles[:2000], contents[:2000]]).encode()).hexdigest()[:12]


def plain_pandas(path: str) -> dict:
    """O modo comum: tudo na memória, filtros de texto e tiktoken em todas as linhas."""
    import pandas as pd

    from finetune_helpers.tokens import counter

    counter("gpt")  # só para que o tiktoken ache sua tabela sem rede
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")
    frame = pd.read_json(path, lines=True, encoding="utf-8")
    texts = frame["title"] + "\n" + frame["content"]
    frame["tokens"] = [
        len(encoding.encode_ordinary(title)) + len(encoding.encode_ordinary(content))
        for title, content in zip(frame["title"], frame["content"], strict=True)
    ]
    words = texts.str.contains("copyright", case=False) | texts.str.contains("author", case=False)
    lengths = (frame["title"].str.len() > 40) & (frame["content"].str.len() > 400)
    kept = frame[lengths & words & (frame["tokens"] <= 256)]
    return {"kept": len(kept), "rows": fingerprint(kept["title"].tolist(), kept["content"].tolist())}


def ours(path: str, mode: str, full_scan: bool) -> dict:
    """A curadoria deste projeto."""
    from finetune_helpers import curation

    made = curation.curate(path, model="gpt", mode=mode, full_scan=full_scan)
    kept = next(step.rows_out for step in made.funnel if step.rule == "muitos_tokens")
    chosen = [*made.train, *made.test]
    source = made.facts["fonte"]
    return {
        "kept": kept,
        "rows": fingerprint([one.title for one in chosen], [one.content for one in chosen]),
        "survivors": sum(made.token_histogram.values()),
        "bytes_read": source["bytes_lidos"],
        "rows_read": source["linhas_lidas"],
    }


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
    return {"survivors": len(duckdb.sql(query).fetchall())}


CASES = {
    "pandas": plain_pandas,
    "ours_same_rows": lambda path: ours(path, "original", True),
    "ours_whole": lambda path: ours(path, "original", True),
    "ours_whole_recommended": lambda path: ours(path, "recomendada", True),
    "ours_early": lambda path: ours(path, "recomendada", False),
    "floor": floor,
}


def measure(name: str, path: Path) -> dict:
    """Executa um caso em outro processo e devolve o que ele imprimiu, com o pico de memória dele e de seus filhos."""
    command, peak = [sys.executable, __file__, "--caso", name, str(path)], 0.0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(0.2)
        out.seek(0), err.seek(0)
        if process.returncode:
            raise SystemExit(f"O caso {name} falhou:\n{err.read()}")
        return json.loads(out.read().splitlines()[-1]) | {"peak_mb": peak}


def memory(pid: int) -> float:
    """Memória (PSS, MB) de um processo e de seus filhos: páginas que eles dividem contam uma vez só."""
    try:
        process = psutil.Process(pid)
        return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 1e6
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return 0.0  # um deles acabou no meio da conta


def run_case(name: str, path: str) -> None:
    """O processo de um caso: importa o que precisa, trabalha, mede o trabalho e imprime uma linha de JSON."""
    for package in PACKAGES[name]:
        importlib.import_module(package)
    started, cpu = time.perf_counter(), cpu_seconds()
    found = CASES[name](path)
    print(json.dumps(found | {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - cpu}))


def cpu_seconds() -> float:
    """Segundos de processador gastos por este processo e por seus filhos já encerrados."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


OURS = ("finetune_helpers.curation.pipeline",)
PACKAGES = dict.fromkeys(CASES, OURS) | {"pandas": ("pandas", "tiktoken"), "floor": ("duckdb",)}


def run_all(rows: int, folder: Path) -> None:
    """Grava os dois arquivos, alterna os casos e escreve a tabela."""
    whole, part = folder / "inteiro.jsonl", folder / "parte.jsonl"
    write_file(whole, rows)
    with open(whole, "rb") as source, open(part, "wb") as target:
        target.writelines(line for line, _ in zip(source, range(min(rows, PANDAS_ROWS)), strict=False))
    files = {"pandas": part, "ours_same_rows": part}
    measured: dict[str, list[dict]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name in CASES:
            measured[name].append(measure(name, files.get(name, whole)))
            print(name, measured[name][-1], flush=True)
    with atomic_write(RESULT) as file:
        file.write(table(measured, rows, whole.stat().st_size))


def table(measured: dict[str, list[dict]], rows: int, size: int) -> str:
    """A tabela de resultados, em Markdown: cada razão pela mediana e pelo menor tempo de cada caso."""
    peak = {name: max(one["peak_mb"] for one in runs) for name, runs in measured.items()}
    first = {name: runs[0] for name, runs in measured.items()}
    same = all(first["pandas"][key] == first["ours_same_rows"][key] for key in ("kept", "rows"))
    whole = max(peak["ours_whole"], peak["ours_whole_recommended"])
    read = number(100 * first["ours_early"]["bytes_read"] / size, 2)
    lines = [
        "# Curadoria: medidas",
        "",
        f"Arquivo inventado de {number(rows)} linhas e {number(size / 1e6)} MB; {number(PANDAS_ROWS)} linhas onde "
        f"entra o pandas. {ROUNDS} execuções alternadas, cada caso em seu processo, em 2 núcleos divididos com outros "
        "trabalhos. Cada razão aparece pela mediana dos tempos e pelo menor deles, que é o menos perturbado. Feito por "
        "`python benchmarks/curation.py`.",
        "",
        "| razão de tempos | alvo | mediana | menor |",
        "|---|---|---|---|",
        ratios(measured, "mesmas linhas: pandas ÷ nosso", "≥ 6", "pandas", "ours_same_rows"),
        ratios(measured, "arquivo inteiro, modo original: nosso ÷ chão", "≤ 2,5", "ours_whole", "floor"),
        ratios(measured, "arquivo inteiro, modo recomendada: nosso ÷ chão", "≤ 2,5", "ours_whole_recommended", "floor"),
        ratios(measured, "parada cedo ÷ arquivo inteiro", "—", "ours_early", "ours_whole_recommended"),
        ratios(measured, "processador, modo original: nosso ÷ chão", "—", "ours_whole", "floor", "cpu"),
        "",
        "| outra medida | alvo | medido |",
        "|---|---|---|",
        f"| as linhas mantidas são as mesmas do pandas | sim | {'sim' if same else 'NÃO'} |",
        f"| pico de memória no arquivo inteiro, todos os processos (MB) | ≤ 700 | {number(whole)} |",
        f"| pico no arquivo inteiro ÷ pico em {number(PANDAS_ROWS)} linhas | perto de 1 | "
        f"{number(peak['ours_whole'] / peak['ours_same_rows'], 2)} |",
        f"| pico do pandas em {number(PANDAS_ROWS)} linhas (MB) | — | {number(peak['pandas'])} |",
        f"| parte do arquivo lida na parada cedo | só o preciso | {read} % |",
        "",
        f"Linhas que chegam à regra de tokens no arquivo inteiro: {number(first['ours_whole']['survivors'])} "
        f"(o chão entrega {number(first['floor']['survivors'])}). O chão é o DuckDB com as regras de tamanho e de "
        "palavra em SQL, sem contar tokens.",
        "",
    ]
    return "\n".join(lines)


def ratios(measured: dict[str, list[dict]], name: str, goal: str, above: str, below: str, key: str = "seconds") -> str:
    """Uma linha da tabela: a razão entre dois casos, pelas medianas e pelos menores valores."""
    values = {case: [one[key] for one in measured[case]] for case in (above, below)}
    found = (number(take(values[above]) / take(values[below]), 1) for take in (statistics.median, min))
    return f"| {name} | {goal} | {' | '.join(found)} |"


def number(value: float, digits: int = 0) -> str:
    """Número escrito em português."""
    from finetune_helpers import portuguese

    return portuguese.number(value, digits)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--caso"]:
        run_case(*sys.argv[2:4])
    else:
        with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as temporary:
            run_all(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS, Path(temporary))
