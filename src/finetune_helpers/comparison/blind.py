"""O plano da revisão cega (que pares cada revisor vê, em que ordem e de que lado) e a chave que o guarda."""

import hashlib
import random
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..records import read_json
from .study import Study
from .tables import clean

MAIN, REPEAT, ATTENTION = "principal", "repetida", "atenção"
REFERENCE, BLANK = "referência", "vazia"  # o que uma linha de atenção mostra no lugar de um sistema
REPEATS = 4
KEY = "revisao_chave.json"
_LETTERS = "bcdfhjkmnqrsvwxz23456789"  # nenhum nome de modelo nem palavra se forma por acaso


@dataclass(frozen=True)
class Size:
    """O tamanho da revisão: pessoas, pares ao todo e quantos deles todas veem."""

    reviewers: int = 2
    rows: int = 100
    shared: int = 20


@dataclass(frozen=True)
class Row:
    """Uma linha de uma aba: ``first`` e ``second`` são o contraste; ``left`` aparece como resposta A.

    ``mark`` são doze dígitos do SHA-256 dos textos mostrados: muda se alguém edita uma resposta.
    """

    code: str
    sheet: int
    kind: str
    item_id: str
    first: str
    second: str
    left: str
    right: str
    mark: str = ""

    @property
    def pair(self) -> tuple[str, str, str]:
        """O item e o contraste, iguais em todas as abas e nas repetições."""
        return self.item_id, self.first, self.second

    @property
    def expected(self) -> str:
        """A preferência certa de uma linha de atenção; vazio nas outras."""
        if self.kind != ATTENTION:
            return ""
        return "empate" if self.left == self.right else "A" if self.left == REFERENCE else "B"


@dataclass(frozen=True)
class Plan:
    """As linhas de todas as abas; ``code`` identifica o arquivo e ``contrasts`` segue a ordem declarada."""

    code: str
    rows: tuple[Row, ...]
    contrasts: tuple[tuple[str, str], ...]
    size: Size
    file_sha256: str = ""

    def sheet(self, number: int) -> list[Row]:
        """As linhas de uma aba, na ordem em que aparecem."""
        return [row for row in self.rows if row.sheet == number]


def draw(study: Study, size: Size, rng: random.Random | None = None) -> Plan:
    """Sorteia a revisão: metade dos pares vai para o contraste principal, um item por grupo enquanto os há.

    A sorte vem do sistema operacional, para que ninguém refaça a chave a partir da rodada; ``rng`` serve aos testes.
    """
    rng, contrasts = rng or random.SystemRandom(), tuple(study.pairs())
    half = size.rows // 2
    quotas = [size.rows] if len(contrasts) < 2 else [size.rows - half] + [half // (len(contrasts) - 1)] * len(contrasts)
    chosen = [row for pair, quota in zip(contrasts, quotas, strict=False) for row in _sample(study, pair, quota, rng)]
    rng.shuffle(chosen)
    rows: list[Row] = []
    for number in range(1, size.reviewers + 1):
        dealt = chosen[: size.shared] + chosen[size.shared + number - 1 :: size.reviewers]
        rows += [replace(row, sheet=number) for row in _sheet(dealt, rng)]
    codes: dict[str, None] = {}  # todos diferentes, na ordem do sorteio
    while len(codes) < len(rows):
        codes["".join(rng.choices(_LETTERS, k=7))] = None
    marked = tuple(replace(row, code=code, mark=mark(texts(study, row))) for row, code in zip(rows, codes, strict=True))
    return Plan(secrets.token_hex(8), marked, contrasts, size)


def _sample(study: Study, pair: tuple[str, str], quota: int, rng: random.Random) -> list[Row]:
    one, two = pair
    keys = sorted(key for key in study.items if key in study.answers[one] and key in study.answers[two])
    rng.shuffle(keys)
    first_of: dict[str, str] = {}
    for key, cluster in zip(keys, study.clusters(keys), strict=True):
        first_of.setdefault(cluster, key)
    fresh = list(first_of.values())
    again = [key for key in keys if key not in fresh]
    return [Row("", 0, MAIN, key, one, two, one, two) for key in (fresh + again)[:quota]]


def _sheet(dealt: list[Row], rng: random.Random) -> list[Row]:
    """Sorteia o lado de cada linha, metade para cada um, e junta repetições (do outro lado) e linhas de atenção."""
    shown: list[Row] = []
    for contrast in dict.fromkeys((row.first, row.second) for row in dealt):
        mine = [row for row in dealt if (row.first, row.second) == contrast]
        turned = [place % 2 == 0 for place in range(len(mine) + len(mine) % 2)]
        rng.shuffle(turned)
        shown += [_flip(row) if turn else row for row, turn in zip(mine, turned, strict=False)]
    repeated = [replace(_flip(row), kind=REPEAT) for row in rng.sample(shown, min(REPEATS, len(shown) // 4))]
    rows = shown + repeated + _attention(shown, rng)
    rng.shuffle(rows)
    return rows


def _flip(row: Row) -> Row:
    return replace(row, left=row.right, right=row.left)


def _attention(dealt: list[Row], rng: random.Random) -> list[Row]:
    """Duas linhas de resposta certa conhecida: duas respostas iguais, e uma vazia contra o texto do catálogo."""
    if len(dealt) < 8:
        return []
    same, empty = rng.sample(dealt, 2)
    sides = [REFERENCE, BLANK]
    rng.shuffle(sides)
    control = replace(same, kind=ATTENTION, first="", second="")
    return [replace(control, right=same.left), replace(control, item_id=empty.item_id, left=sides[0], right=sides[1])]


def texts(study: Study, row: Row) -> tuple[str, ...]:
    """Título, referência, resposta A e resposta B, como a célula os mostra."""
    item = study.items[row.item_id]
    told = {name: rows[row.item_id].answer for name, rows in study.answers.items() if row.item_id in rows}
    told |= {REFERENCE: item["content"], BLANK: ""}
    return tuple(clean(text or "") for text in (item["title"], item["content"], told[row.left], told[row.right]))


def mark(shown: tuple[str, ...]) -> str:
    """Doze dígitos do SHA-256 dos textos mostrados numa linha."""
    return hashlib.sha256("\x1f".join(text.strip() for text in shown).encode("utf-8")).hexdigest()[:12]


def belongs(study: Study, plan: Plan) -> bool:
    """Verdadeiro se as respostas da rodada são as que o plano mostra."""
    try:
        return all(mark(texts(study, row)) == row.mark for row in plan.rows)
    except KeyError:
        return False


def read_key(path: Path) -> Plan:
    """Lê uma chave; InputError se ela não é uma."""
    known = read_json(path)
    try:
        rows, contrasts = tuple(Row(**row) for row in known["rows"]), tuple(map(tuple, known["contrasts"]))
        return Plan(known["code"], rows, contrasts, Size(**known["size"]), known["file_sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} não é uma chave de revisão ({error!r}). Devolva a cópia original ou mude o nome do arquivo e "
            "escreva uma revisão nova."
        ) from None
