"""Arquivos da curadoria: treino e teste de cada modelo, o teste comum da comparação e a conferência do gravado."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from .. import progress, prompts
from ..errors import InputError
from ..portuguese import number, percent, plain
from ..records import Example, read_json, read_jsonl, sha256_file, write_json, write_jsonl
from .duplicates import Near, clusters, near_pairs
from .pipeline import Curation

FORMATS: dict[str, Callable[[Example], dict]] = {"llama": prompts.to_alpaca, "gpt": prompts.to_chat}
REPORT = "curadoria.json"
SHARED_REPORT = "comparacao.json"


def write(curation: Curation, folder: str | Path) -> Path:
    """Grava ``treino.jsonl``, ``teste.jsonl`` e, por último, ``curadoria.json`` em ``folder``; devolve a pasta."""
    folder = Path(folder)
    # A marca antiga sai antes: com arquivos novos pela metade ela mentiria.
    (folder / REPORT).unlink(missing_ok=True)
    row = FORMATS[curation.model]
    train = write_jsonl(folder / "treino.jsonl", map(row, curation.train))
    test = write_jsonl(folder / "teste.jsonl", map(row, curation.test))
    files = {
        path.name: {"linhas": len(rows), "sha256": sha256_file(path)}
        for path, rows in ((train, curation.train), (test, curation.test))
    }
    write_json(folder / REPORT, curation.report() | {"prompt": prompts.fingerprint(), "arquivos": files})
    return folder


@dataclass(frozen=True)
class SharedTest:
    """Os itens do teste comum, quantos de cada faixa de tamanho e os títulos que ficaram fora, perto de um treino."""

    items: list[Example]
    sizes: dict[str, int]
    near_train: list[str]


def shared_test(
    curations: Sequence[Curation], *, n_items: int | None = None, long_share: float | None = None
) -> SharedTest:
    """O conjunto de teste da comparação: um só para todos os modelos, das duas faixas, longe de todo treino.

    Os itens vêm dos testes das curadorias, na ordem: todos, ou ``long_share`` deles da faixa longa; ``n_items`` limita
    o total (None: quantos a proporção permitir). Sai quem se parece com um treino de qualquer modelo. InputError se os
    itens não bastam.
    """
    if long_share is not None and not 0 < long_share < 1:
        raise InputError(f"A parte longa pedida foi {plain(long_share)}: use um número entre 0 e 1, sem as pontas.")
    pool, near_train = _eligible(curations)
    sizes = _sizes(pool, n_items, long_share)
    return SharedTest([*pool["longo"][: sizes["longo"]], *pool["curto"][: sizes["curto"]]], sizes, near_train)


def write_comparison(
    curations: Sequence[Curation], folder: str | Path, *, n_items: int | None = None, long_share: float | None = None
) -> Path:
    """Grava ``teste.jsonl`` e, por último, ``comparacao.json`` em ``folder`` (``dados/<rodada>/comparacao``).

    Os itens são os de ``shared_test``; a proporção entre as faixas fica registrada.
    """
    shared = shared_test(curations, n_items=n_items, long_share=long_share)
    groups = clusters(shared.items)
    folder = Path(folder)
    (folder / SHARED_REPORT).unlink(missing_ok=True)
    rows = [
        {"item_id": item.item_id, "title": item.title, "content": item.content, "regime": item.regime, "cluster": group}
        for item, group in zip(shared.items, groups, strict=True)
    ]
    path = write_jsonl(folder / "teste.jsonl", rows)
    report = {
        "itens": len(rows),
        "por_regime": shared.sizes,
        "proporcao_longo": shared.sizes["longo"] / len(rows),
        "grupos": len(set(groups)),
        "perto_de_um_treino": {"total": len(shared.near_train), "titulos": shared.near_train[:20]},
        "curadorias": [{"modelo": one.model, "modo": one.mode} for one in curations],
        "arquivos": {path.name: {"linhas": len(rows), "sha256": sha256_file(path)}},
    }
    write_json(folder / SHARED_REPORT, report)
    return folder


def _eligible(curations: Sequence[Curation]) -> tuple[dict[str, list[Example]], list[str]]:
    """Itens de teste por faixa, sem repetição e longe de todos os treinos; e os títulos dos que ficaram de fora."""
    tests = list(chain.from_iterable(one.test for one in curations))
    trains = list(chain.from_iterable(one.train for one in curations))
    near = {pair.left for pair in near_pairs(tests, trains)}
    # Um mesmo produto pode ser curto para um tokenizador e longo para o outro: fica a primeira vez que aparece.
    repeated = {
        max(pair.left, pair.right)
        for pair in near_pairs(tests, tests)
        if pair.kind == "conteúdo" and pair.left != pair.right
    }
    pool: dict[str, list[Example]] = {"longo": [], "curto": []}
    for at, item in enumerate(tests):
        if at not in near | repeated:
            pool[item.regime].append(item)
    return pool, [tests[at].title for at in sorted(near)]


def _sizes(pool: dict[str, list[Example]], n_items: int | None, long_share: float | None) -> dict[str, int]:
    everything = sum(map(len, pool.values()))
    if long_share is None and n_items is None and everything >= 2:
        return {regime: len(items) for regime, items in pool.items()}
    share = len(pool["longo"]) / max(1, everything) if long_share is None else long_share
    limits = [len(pool[regime]) / part for regime, part in (("longo", share), ("curto", 1 - share)) if part]
    most = int(min(limits))
    total = most if n_items is None else n_items
    n_long = round(total * share)
    if total < 2 or n_long > len(pool["longo"]) or total - n_long > len(pool["curto"]):
        raise InputError(
            f"Para a comparação há {len(pool['longo'])} itens longos e {len(pool['curto'])} curtos longe dos treinos; "
            f"com {percent(share, 0)} de longos cabem no máximo {most} e foram pedidos {total}. Aumente `n_test`, ou "
            "diminua `n_train`."
        )
    return {"longo": n_long, "curto": total - n_long}


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
    loaded = {path: read_examples(path) for pair in pairs for path in pair}
    watched = progress.bar("procurando vazamentos", "pares de arquivos", items=pairs, delay=1.0)
    return [_compare(test, train, loaded[test], loaded[train]) for test, train in watched]


def read_examples(path: str | Path) -> list[Example]:
    """Exemplos de um arquivo da curadoria, em qualquer dos três formatos; InputError se não é nenhum deles."""
    return [_example(Path(path), number, row) for number, row in enumerate(read_jsonl(Path(path)), start=1)]


def _example(path: Path, line: int, row: dict) -> Example:
    try:
        if "messages" in row:
            return prompts.from_chat(row)
        if "output" in row:
            return prompts.from_alpaca(row)
        return Example(row["title"], row["content"], row["regime"], row["cluster"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}, linha {line}: as chaves são {', '.join(row)}; esperava-se instruction/input/output, messages "
            "ou item_id/title/content/regime/cluster. Refaça o caderno 01."
        ) from None


def _compare(test: Path, train: Path, tests: list[Example], trains: list[Example]) -> LeakCheck:
    names = [f"{path.parent.name}/{path.name}" for path in (test, train)]
    pairs = near_pairs(tests, trains)
    leaked = {pair.left for pair in pairs}
    if {tests[at].title for at in leaked} - _declared(test):
        listed = "\n".join(_pair(one, tests, trains) for one in pairs[:5])
        raise InputError(
            f"Vazamento: linhas de {names[0]} que se parecem com linhas de {names[1]}: {number(len(leaked))}.\n"
            f"{listed}\nOs arquivos mudaram depois da curadoria: apague {test.parent} e refaça o caderno 01."
        )
    return LeakCheck(names[0], names[1], len(tests), len(trains), len(leaked))


def _declared(test: Path) -> set[str]:
    """Os títulos de teste que a curadoria disse parecerem com um de treino."""
    report = test.with_name(REPORT)
    return {leak["test"] for leak in read_json(report).get("leaks", [])} if report.exists() else set()


def _pair(near: Near, tests: list[Example], trains: list[Example]) -> str:
    return (
        f'- linha {near.left + 1} ("{tests[near.left].title[:60]}") e linha {near.right + 1} '
        f'("{trains[near.right].title[:60]}"): {near.kind}, semelhança {percent(near.share)}'
    )
