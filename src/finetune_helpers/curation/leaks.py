"""Conferência dos arquivos gravados: nenhuma linha de teste pode ser quase igual a uma de treino."""

from dataclasses import dataclass
from pathlib import Path

from .. import progress, prompts
from ..errors import InputError
from ..portuguese import plain
from ..records import Example, read_jsonl
from .duplicates import Near, near_pairs


@dataclass(frozen=True)
class LeakCheck:
    """Uma conferência que passou: arquivo de teste, arquivo de treino e quantas linhas de cada um."""

    test: str
    train: str
    n_test: int
    n_train: int


def check_leaks(folder: str | Path) -> list[LeakCheck]:
    """Compara, um a um, cada teste com o treino em ``dados/<rodada>``: o de cada modelo e o de comparação com todos.

    InputError, com os pares encontrados, se uma linha de teste se parece com uma de treino, ou se não há arquivos.
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


def _example(path: Path, number: int, row: dict) -> Example:
    try:
        if "messages" in row:
            return prompts.from_chat(row)
        if "output" in row:
            return prompts.from_alpaca(row)
        return Example(row["title"], row["content"], row["regime"], row["cluster"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}, linha {number}: as chaves são {', '.join(row)}; esperava-se instruction/input/output, messages "
            "ou item_id/title/content/regime/cluster. Refaça o caderno 01."
        ) from None


def _compare(test: Path, train: Path, tests: list[Example], trains: list[Example]) -> LeakCheck:
    names = [f"{path.parent.name}/{path.name}" for path in (test, train)]
    if found := near_pairs(tests, trains):
        listed = "\n".join(_pair(one, tests, trains) for one in found[:5])
        raise InputError(
            f"Vazamento: linhas de {names[0]} que se parecem com linhas de {names[1]}: "
            f"{len({one.left for one in found})}.\n"
            f'{listed}\nRefaça a curadoria com mode="recomendada" antes de treinar ou comparar.'
        )
    return LeakCheck(names[0], names[1], len(tests), len(trains))


def _pair(near: Near, tests: list[Example], trains: list[Example]) -> str:
    return (
        f'- linha {near.left + 1} ("{tests[near.left].title[:60]}") e linha {near.right + 1} '
        f'("{trains[near.right].title[:60]}"): {near.kind}, semelhança {plain(near.score)}'
    )
