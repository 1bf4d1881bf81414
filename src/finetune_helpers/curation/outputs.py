"""Arquivos da curadoria: treino e teste de cada modelo, o teste comum da comparação e a conferência do gravado."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import estimates, progress, prompts
from ..errors import InputError
from ..portuguese import number, percent
from ..records import Example, read_json, read_jsonl, sha256_file, write_json, write_jsonl
from .duplicates import clusters, near_pairs
from .pipeline import SMALL, Curation
from .sources import KNOWN_SIZES, OFFICIAL_DRIVE_ID, find_sample

FORMATS: dict[str, Callable[[Example], dict]] = {"llama": prompts.to_alpaca, "gpt": prompts.to_chat}
REPORT = "curadoria.json"
SHARED_REPORT = "comparacao.json"
STEP, MACHINE = "01_curadoria", "cpu"
# O que não depende da fonte (abrir tokenizadores, gravar, conferir, desenhar) custa o mesmo que ler tantas linhas.
FIXED_ROWS = 500_000
_BYTES_PER_ROW = 845  # a média do arquivo verdadeiro
_ROWS_PER_CHOSEN = 45  # linhas lidas por linha escolhida, no começo do arquivo
_PACKED = 2.1  # o arquivo de treino descompactado sobre o zip oficial inteiro


def write(curation: Curation, folder: str | Path) -> Path:
    """Grava ``treino.jsonl``, ``teste.jsonl`` e, por último, ``curadoria.json`` em ``folder``; devolve a pasta."""
    row = FORMATS[curation.model]
    files = {"treino.jsonl": [*map(row, curation.train)], "teste.jsonl": [*map(row, curation.test)]}
    return _write(Path(folder), files, REPORT, curation.report() | {"prompt": prompts.fingerprint()})


def _write(folder: Path, files: Mapping[str, list[dict]], marker: str, report: dict) -> Path:
    # A marca antiga sai antes: com arquivos novos pela metade ela mentiria.
    (folder / marker).unlink(missing_ok=True)
    written = {
        name: {"linhas": len(rows), "sha256": sha256_file(write_jsonl(folder / name, rows))}
        for name, rows in files.items()
    }
    write_json(folder / marker, report | {"arquivos": written})
    return folder


@dataclass(frozen=True)
class SharedTest:
    """Os itens do teste comum, quantos de cada faixa de tamanho e os títulos que ficaram fora, perto de um treino."""

    items: list[Example]
    sizes: dict[str, int]
    near_train: list[str]


def shared_test(curations: Sequence[Curation]) -> SharedTest:
    """O conjunto de teste da comparação: um só para todos os modelos, das duas faixas, longe de todo treino.

    Os itens são os dos testes das curadorias, os longos primeiro; sai quem repete outro ou se parece com um treino de
    qualquer modelo. InputError se sobram menos de dois.
    """
    tests = [item for one in curations for item in one.test]
    trains = [item for one in curations for item in one.train]
    near = {pair.left for pair in near_pairs(tests, trains)}
    # Um mesmo produto pode ser curto para um tokenizador e longo para o outro: fica a primeira vez que aparece.
    repeated = {pair.left for pair in near_pairs(tests, tests) if pair.kind == "conteúdo" and pair.left > pair.right}
    items = [item for at, item in enumerate(tests) if at not in near | repeated]
    items.sort(key=lambda item: item.regime != "longo")
    if len(items) < 2:
        raise InputError(
            f"Dos {number(len(tests))} itens de teste, {number(len(near))} se parecem com um de treino, e a comparação "
            "precisa de ao menos dois longe dele. Aumente `n_test` ou diminua `n_train`."
        )
    sizes = {regime: sum(item.regime == regime for item in items) for regime in ("longo", "curto")}
    return SharedTest(items, sizes, [tests[at].title for at in sorted(near)])


def write_comparison(curations: Sequence[Curation], folder: str | Path) -> Path:
    """Grava ``teste.jsonl`` e, por último, ``comparacao.json`` em ``folder`` (``dados/<rodada>/comparacao``).

    Os itens são os de ``shared_test``; a proporção entre as faixas fica registrada.
    """
    shared = shared_test(curations)
    groups = clusters(shared.items)
    rows = [
        {"item_id": item.item_id, "title": item.title, "content": item.content, "regime": item.regime, "cluster": group}
        for item, group in zip(shared.items, groups, strict=True)
    ]
    report = {
        "itens": len(rows),
        "por_regime": shared.sizes,
        "proporcao_longo": shared.sizes["longo"] / len(rows),
        "grupos": len(set(groups)),
        "perto_de_um_treino": {"total": len(shared.near_train), "titulos": shared.near_train[:20]},
        "curadorias": [{"modelo": one.model, "modo": one.mode} for one in curations],
    }
    return _write(Path(folder), {"teste.jsonl": rows}, SHARED_REPORT, report)


@dataclass(frozen=True)
class LeakCheck:
    """Uma conferência: os dois arquivos, as linhas de cada um e quantas de teste se parecem com uma de treino."""

    test: str
    train: str
    n_test: int
    n_train: int
    leaks: int

    def __str__(self) -> str:
        result = (
            f"linhas de teste parecidas com o treino: {number(self.leaks)}" if self.leaks else "nenhum par parecido"
        )
        return f"{self.test} ({number(self.n_test)}) × {self.train} ({number(self.n_train)}): {result}"


def check_leaks(folder: str | Path) -> list[LeakCheck]:
    """Compara, um a um, cada teste com o treino em ``dados/<rodada>``: o de cada modelo e o de comparação com todos.

    InputError, com os pares, se uma linha de teste se parece com uma de treino e o ``curadoria.json`` da pasta não a
    declara (o modo original não retira repetições e declara o que vazou), ou se não há arquivos.
    """
    folder = Path(folder)
    trains = sorted(folder.glob("*/treino.jsonl"))
    if not trains:
        raise InputError(f"{folder} não tem treino.jsonl em nenhuma subpasta. Execute antes o caderno 01.")
    pairs = [(train.with_name("teste.jsonl"), train) for train in trains]
    shared = folder / "comparacao" / "teste.jsonl"
    pairs += [(shared, train) for train in trains] if shared.exists() else []
    checks = []
    # Por dentro do bloco, a barra fecha também se o caderno é interrompido: solta, reclamaria no fim do kernel.
    with progress.bar("procurando vazamentos", "pares de arquivos", len(pairs), delay=1.0) as shown:
        for test, train in pairs:
            checks.append(_compare(test, train))
            shown.update()
    return checks


def _compare(test: Path, train: Path) -> LeakCheck:
    names = [f"{path.parent.name}/{path.name}" for path in (test, train)]
    tests, trains = _examples(test), _examples(train)
    pairs = near_pairs(tests, trains)
    leaked = {pair.left for pair in pairs}
    report = test.with_name(REPORT)
    declared = {leak["test"] for leak in read_json(report).get("leaks", [])} if report.exists() else set()
    if {tests[at].title for at in leaked} - declared:
        listed = "\n".join(
            f'- linha {pair.left + 1} ("{tests[pair.left].title[:60]}") e linha {pair.right + 1} '
            f'("{trains[pair.right].title[:60]}"): {pair.kind}, semelhança {percent(pair.score)}'
            for pair in pairs[:5]
        )
        raise InputError(
            f"Vazamento: linhas de {names[0]} que se parecem com linhas de {names[1]}: {number(len(leaked))}.\n"
            f"{listed}\nOs arquivos mudaram depois da curadoria: apague {test.parent} e refaça o caderno 01."
        )
    return LeakCheck(names[0], names[1], len(tests), len(trains), len(leaked))


def _examples(path: Path) -> list[Example]:
    """Exemplos de um arquivo da curadoria, em qualquer dos três formatos; InputError se não é nenhum deles."""
    examples = []
    for line, row in enumerate(read_jsonl(path), start=1):
        try:
            if "messages" in row:
                examples.append(prompts.from_chat(row))
            elif "output" in row:
                examples.append(prompts.from_alpaca(row))
            else:
                examples.append(Example(row["title"], row["content"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}, linha {line}: as chaves são {', '.join(row)}; esperava-se instruction/input/output, messages "
                "ou item_id/title/content/regime/cluster. Refaça o caderno 01."
            ) from None
    return examples


def forecast(run: Path, source: str, *, n_train: int, n_test: int, full_scan: bool = False, **_: object) -> str:
    """O tempo e o custo previstos do caderno 01; a rede não se prevê."""
    path = find_sample() if source == "amostra" else Path(source)
    if source == "oficial":
        size = _PACKED * KNOWN_SIZES[OFFICIAL_DRIVE_ID]
    elif path.exists():
        files = [path] if path.is_file() else [one for one in path.iterdir() if one.is_file()]
        size = sum(one.stat().st_size * (_PACKED if one.suffix in (".gz", ".zip") else 1) for one in files)
    else:
        return "Tempo previsto: não medido (a fonte ainda está na rede)\nCusto previsto: nenhum"
    rows = size / _BYTES_PER_ROW
    if not full_scan and size > SMALL:
        rows = min(rows, (n_train + n_test) * _ROWS_PER_CHOSEN)
    return estimates.before(run, STEP, MACHINE, 2 * rows + FIXED_ROWS)


def summary(run: Path, data: Path, seconds: Mapping[str, float]) -> str:
    """O resumo do caderno 01, lido de ``curadoria.json`` e dos arquivos gravados em ``data``."""
    reports = {model: read_json(data / model / REPORT) for model in FORMATS}
    shared = read_json(data / "comparacao" / SHARED_REPORT)
    facts = {
        f"dados do {model}": f"{number(report['treino']['linhas'])} de treino "
        f"({number(report['treino']['tokens'])} tokens) e {number(report['teste']['linhas'])} de teste de "
        f"{number(report['fonte']['linhas_lidas'])} linhas lidas; "
        + estimates.files(data / model, "treino.jsonl", "teste.jsonl")
        for model, report in reports.items()
    }
    files = estimates.files(data / "comparacao", "teste.jsonl")
    facts["teste da comparação"] = f"{number(shared['itens'])} itens; {files}"
    leaks = sum(len(report["leaks"]) for report in reports.values())
    facts["vazamento"] = f"{number(leaks)} linhas de teste parecidas com o treino do mesmo modelo"
    units = sum(report["fonte"]["linhas_lidas"] for report in reports.values()) + FIXED_ROWS
    return estimates.after(run, STEP, (MACHINE, units), seconds, facts | {"custo": "nenhum"})
