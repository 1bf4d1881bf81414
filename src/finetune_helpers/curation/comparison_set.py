"""O conjunto de teste da comparação: um só para todos os modelos, dos dois regimes, longe de todo treino."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from ..errors import InputError
from ..portuguese import plain
from ..records import Example, sha256_file, write_json, write_jsonl
from .duplicates import clusters, near_pairs
from .result import Curation

REPORT = "comparacao.json"


def write_comparison(
    curations: Sequence[Curation], folder: str | Path, *, n_items: int | None = None, long_share: float | None = None
) -> Path:
    """Grava ``teste.jsonl`` e, por último, ``comparacao.json`` em ``folder`` (``dados/<rodada>/comparacao``).

    Os itens vêm dos testes das curadorias, na ordem: todos, ou ``long_share`` deles do regime longo; ``n_items`` limita
    o total (None: quantos a proporção permitir). A proporção fica registrada. Sai quem se parece com um treino de
    qualquer modelo. InputError se os itens não bastam.
    """
    if long_share is not None and not 0 < long_share < 1:
        raise InputError(f"long_share={long_share}: use um número entre 0 e 1, sem as pontas (0.5 é meio a meio).")
    pool, near_train = _eligible(curations)
    sizes = _sizes(pool, n_items, long_share)
    items = [*pool["longo"][: sizes["longo"]], *pool["curto"][: sizes["curto"]]]
    groups = clusters(items)
    folder = Path(folder)
    (folder / REPORT).unlink(missing_ok=True)
    rows = [_row(item, group) for item, group in zip(items, groups, strict=True)]
    path = write_jsonl(folder / "teste.jsonl", rows)
    write_json(folder / REPORT, _report(sizes, groups, near_train, curations, path))
    return folder


def _eligible(curations: Sequence[Curation]) -> tuple[dict[str, list[Example]], list[str]]:
    """Itens de teste por regime, sem repetição e longe de todos os treinos; e os títulos dos que ficaram de fora."""
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
    long_share = len(pool["longo"]) / max(1, everything) if long_share is None else long_share
    limits = [
        len(pool[regime]) / share for regime, share in (("longo", long_share), ("curto", 1 - long_share)) if share
    ]
    most = int(min(limits))
    total = most if n_items is None else n_items
    n_long = round(total * long_share)
    if total < 2 or n_long > len(pool["longo"]) or total - n_long > len(pool["curto"]):
        raise InputError(
            f"Para a comparação há {len(pool['longo'])} itens longos e {len(pool['curto'])} curtos longe dos treinos; "
            f"com long_share={plain(round(long_share, 2))} cabem no máximo {most} itens e foram pedidos {total}. "
            "Aumente n_test nas curadorias ou peça menos."
        )
    return {"longo": n_long, "curto": total - n_long}


def _row(item: Example, group: str) -> dict:
    return {
        "item_id": item.item_id,
        "title": item.title,
        "content": item.content,
        "regime": item.regime,
        "cluster": group,
    }


def _report(sizes, groups, near_train, curations, path: Path) -> dict:
    return {
        "itens": sum(sizes.values()),
        "por_regime": sizes,
        "proporcao_longo": sizes["longo"] / sum(sizes.values()),
        "grupos": len(set(groups)),
        "perto_de_um_treino": {"total": len(near_train), "titulos": near_train[:20]},
        "curadorias": [{"modelo": one.model, "modo": one.mode} for one in curations],
        "arquivos": {path.name: {"linhas": sum(sizes.values()), "sha256": sha256_file(path)}},
    }
