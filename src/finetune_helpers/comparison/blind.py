"""Plano da revisão cega: que pares cada revisor vê, em que ordem, com repetições e linhas de atenção."""

import hashlib
import random
from dataclasses import dataclass, replace
from typing import Any

from .cells import clean
from .results import pairs
from .study import SEED, Study

MAIN, REPEAT, ATTENTION = "principal", "repetida", "atenção"
PREFERENCES = ("A", "B", "empate", "ambas ruins")
PROBLEM_CODES = (
    "nenhum",
    "fato errado",
    "fora do assunto",
    "repetição",
    "vazia",
    "resenha, não descrição",
    "idioma errado",
    "incompleta",
)
REPEATS = 4


@dataclass(frozen=True)
class Row:
    """Uma linha de uma folha de revisão; ``first`` e ``second`` são o contraste, ``left`` aparece como resposta A."""

    code: str
    sheet: int
    pair: str
    item_id: str
    kind: str
    first: str
    second: str
    left: str
    right: str
    title: str
    reference: str
    a: str
    b: str
    expected: str = ""

    @property
    def mark(self) -> str:
        """Doze dígitos do SHA-256 dos textos mostrados: muda se alguém edita uma resposta."""
        shown = "\x1f".join((self.title, self.reference, self.a, self.b))
        return hashlib.sha256(shown.encode("utf-8")).hexdigest()[:12]


@dataclass(frozen=True)
class Plan:
    """Linhas de todas as folhas; ``contrasts`` na ordem declarada, o primeiro é o principal."""

    rows: tuple[Row, ...]
    contrasts: tuple[tuple[str, str], ...]
    reviewers: int

    def sheet(self, number: int) -> list[Row]:
        """Linhas de uma folha, na ordem em que aparecem."""
        return [row for row in self.rows if row.sheet == number]

    @property
    def mark(self) -> str:
        """Identidade do plano: duas planilhas com a mesma marca podem ser juntadas."""
        return hashlib.sha256("".join(row.code + row.mark for row in self.rows).encode()).hexdigest()[:12]


def plan(study: Study, *, reviewers: int = 2, rows: int = 100, shared: int = 20) -> Plan:
    """Sorteia a revisão com semente fixa: ``rows`` pares ao todo, ``shared`` vistos por todos os revisores.

    Metade dos pares vai para o contraste principal; um item por grupo de quase duplicatas, enquanto os há.
    """
    rng = random.Random(f"{SEED}:{study.run.name}")
    found = tuple(pairs(study))
    chosen = [
        row for number, pair in enumerate(found) for row in _sample(study, pair, _quota(rows, found, number), rng)
    ]
    rng.shuffle(chosen)
    sheets = [_sheet(number, _dealt(chosen, number, reviewers, shared), rng) for number in range(1, reviewers + 1)]
    return Plan(tuple(row for sheet in sheets for row in sheet), found, reviewers)


def _quota(rows: int, contrasts: tuple, number: int) -> int:
    if len(contrasts) == 1:
        return rows
    return rows - rows // 2 if number == 0 else rows // 2 // (len(contrasts) - 1)


def _sample(study: Study, contrast: tuple[str, str], quota: int, rng: random.Random) -> list[Row]:
    first, second = contrast
    keys = sorted(key for key in study.items if key in study.answers[first] and key in study.answers[second])
    rng.shuffle(keys)
    seen, fresh, again = set[str](), list[str](), list[str]()
    for key in keys:
        cluster = study.items[key].get("cluster") or key
        (again if cluster in seen else fresh).append(key)
        seen.add(cluster)
    return [_row(study, key, first, second, first, second) for key in (fresh + again)[:quota]]


def _row(study: Study, key: str, first: str, second: str, left: str, right: str) -> Row:
    item = study.items[key]
    texts = [item["title"], item["content"], study.answers[left][key]["answer"], study.answers[right][key]["answer"]]
    pair = hashlib.sha256(f"{key}|{first}|{second}".encode()).hexdigest()[:10]
    return Row("", 0, pair, key, MAIN, first, second, left, right, *(clean(text or "") for text in texts))


def _dealt(chosen: list[Row], number: int, reviewers: int, shared: int) -> list[Row]:
    return chosen[:shared] + chosen[shared + number - 1 :: reviewers]


def _sheet(number: int, dealt: list[Row], rng: random.Random) -> list[Row]:
    """Embaralha, sorteia a ordem A/B de cada linha e junta repetições (com a ordem trocada) e atenção."""
    dealt = [_flip(row) if rng.random() < 0.5 else row for row in dealt]
    repeated = [replace(_flip(row), kind=REPEAT) for row in rng.sample(dealt, min(REPEATS, len(dealt) // 4))]
    rows = dealt + repeated + _attention(dealt, rng)
    rng.shuffle(rows)
    return [replace(row, code=f"R{number}-{place:03d}", sheet=number) for place, row in enumerate(rows, start=1)]


def _flip(row: Row) -> Row:
    return replace(row, left=row.right, right=row.left, a=row.b, b=row.a)


def _attention(dealt: list[Row], rng: random.Random) -> list[Row]:
    """Duas linhas de resposta certa conhecida: duas respostas iguais, e uma resposta vazia contra o catálogo."""
    if len(dealt) < 8:
        return []
    same, empty = rng.sample(dealt, 2)
    blank, side = clean(""), rng.choice("AB")
    texts: dict[str, Any] = {"a": empty.reference, "b": blank} if side == "A" else {"a": blank, "b": empty.reference}
    known: dict[str, Any] = {"kind": ATTENTION, "first": "", "second": "", "left": "", "right": ""}
    return [
        replace(same, pair=f"{same.pair}=", b=same.a, expected="empate", **known),
        replace(empty, pair=f"{empty.pair}0", expected=side, **texts, **known),
    ]
