"""A curadoria de ponta a ponta: regras em SQL em todas as linhas, tokens só nas que sobram, escolha em ordem."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from .. import tokens
from ..errors import InputError
from ..portuguese import number
from ..records import Example
from . import splits
from .cleaning import clean
from .duplicates import JACCARD, SHINGLE, TITLE_RATIO, Near, clusters, near_pairs
from .funnel import Candidate, Funnel, Step, as_text, explained
from .reading import Damage, Reader, reading
from .rules import Plan, passed, plan

SMALL = 64 * 1024 * 1024  # bytes; um arquivo até este tamanho é sempre lido inteiro
NEAR = {"jaccard": JACCARD, "trecho": SHINGLE, "titulo": TITLE_RATIO}
BATCH = 1024  # linhas que chegam juntas à limpeza e à contagem de tokens
RAW, CLEANED, TOKENS = range(3)  # os estágios do funil


@dataclass(frozen=True)
class Curation:
    """O resultado: exemplos de treino e de teste, funil, linhas cortadas por motivo e o que vai ao relatório.

    ``leaks`` são as linhas de teste que ficaram embora se pareçam com uma de treino.
    """

    model: str
    mode: str
    train: list[Example]
    test: list[Example]
    funnel: tuple[Step, ...]
    dropped_examples: dict[str, list[dict]]
    leaks: list[dict]
    damages: list[Damage]
    token_histogram: dict[int, int]
    facts: dict
    seconds: float = 0.0

    def funnel_text(self) -> str:
        """O funil em linhas de texto."""
        return as_text(self.funnel)

    def funnel_reading(self) -> str:
        """Como ler o funil, numa frase com os números desta curadoria."""
        return explained(self.funnel)

    def report(self) -> dict:
        """O conteúdo de ``curadoria.json``; fora a chave ``tempo``, a mesma entrada dá sempre o mesmo."""
        return {
            **self.facts,
            "leaks": self.leaks,
            "funil": [asdict(step) | {"dropped": step.dropped} for step in self.funnel],
            "linhas_danificadas": {"total": len(self.damages), "primeiras": [asdict(one) for one in self.damages[:20]]},
            "tempo": {
                "segundos": round(self.seconds, 3),
                "linhas_por_segundo": round(self.facts["fonte"]["linhas_lidas"] / self.seconds),
            },
        }


def curate(
    source: str | Path,
    *,
    model: str = "llama",
    mode: str = "recomendada",
    n_train: int = 1500,
    n_test: int = 500,
    token_counter: Callable[[list[str]], list[int]] | None = None,
    full_scan: bool = False,
    rules: Plan | None = None,
    damage_limit: int = 0,
    if_short: str = "parar",
) -> Curation:
    """Escolhe ``n_train`` linhas de treino e ``n_test`` de teste, na ordem do arquivo, para ``"llama"`` ou ``"gpt"``.

    Lê até completar a escolha; com ``full_scan``, ou num arquivo de até 64 MB, lê tudo, e o funil conta todas as
    linhas. ``rules`` troca as regras (veja ``plan(...).without(...)``). Se faltam linhas, ``if_short="parar"`` é um
    erro e ``"desligar_tokens"`` recomeça sem a regra de tokens, o que o relatório registra. InputError se a fonte não
    serve, se há mais de ``damage_limit`` linhas danificadas ou se não sobram linhas bastantes.
    """
    if n_train < 1 or n_test < 1:
        raise InputError(f"`n_train` é {n_train} e `n_test` é {n_test}: os dois precisam ser 1 ou mais.")
    if if_short not in ("parar", "desligar_tokens"):
        raise InputError(f'"{if_short}" não existe em `if_short`. Use "parar" ou "desligar_tokens".')
    chosen = rules or plan(model, mode)
    order = _Order(model, chosen, token_counter or tokens.counter(model), n_train, n_test, full_scan)
    try:
        return reading(source, damage_limit, partial(_fill, order))
    except _TooFewRows:
        if if_short == "parar" or not chosen.tokens:
            raise
    without_tokens = replace(order, plan=chosen.without(*(rule.name for rule in chosen.tokens)))
    return reading(source, damage_limit, partial(_fill, without_tokens))


class _TooFewRows(InputError):
    """As regras deixaram menos linhas do que as pedidas."""


@dataclass(frozen=True)
class _Order:
    """O que foi pedido à curadoria."""

    model: str
    plan: Plan
    counter: Callable[[list[str]], list[int]]
    n_train: int
    n_test: int
    full_scan: bool


@dataclass
class _Work:
    """O que se acumula ao percorrer a fonte."""

    funnel: Funnel
    selection: splits.Selection
    histogram: Counter[int]


def _fill(order: _Order, reader: Reader) -> Curation:
    """A história de uma linha: regras no texto bruto, limpeza, regras no texto limpo, tokens, repetições, escolha."""
    started, chosen = time.perf_counter(), order.plan
    repeats = splits.REPEATS if chosen.unique else ()
    funnel = Funnel((chosen.raw, chosen.cleaned, chosen.tokens), (splits.SURPLUS, *repeats))
    work = _Work(funnel, splits.Selection(order.n_train, order.n_test, chosen.unique, funnel), Counter())
    read_all = order.full_scan or reader.path.stat().st_size <= SMALL
    waiting: list[Candidate] = []
    for block in reader.blocks(chosen.raw):
        first = reader.rows - len(block) + 1
        kept = funnel.sift(RAW, [row[0] for row in block], range(first, reader.rows + 1))
        waiting += [Candidate(first + at, block[at][1] or "", block[at][2] or "") for at in kept]
        if len(waiting) >= BATCH or not read_all:
            _offer(order, work, waiting)
            waiting = []
        if work.selection.full and not read_all:
            break
    _offer(order, work, waiting)
    if not work.selection.full:
        raise _TooFewRows(_too_few(work.selection, funnel.steps(), reader))
    made = _result(order, work, reader)
    return replace(made, seconds=time.perf_counter() - started)


def _offer(order: _Order, work: _Work, rows: list[Candidate]) -> None:
    """Limpa as linhas, aplica as regras do texto limpo e as de tokens e oferece à escolha as que ficam."""
    if order.plan.cleans:
        rows = [Candidate(row.row, clean(row.title), clean(row.content)) for row in rows]
        masks = passed(order.plan.cleaned, [row.title for row in rows], [row.content for row in rows])
        rows = [rows[at] for at in work.funnel.sift(CLEANED, masks, rows)]
    counts = order.counter([row.title for row in rows] + [row.content for row in rows])
    rows = [replace(row, tokens=sum(counts[at :: len(rows)])) for at, row in enumerate(rows)]
    work.histogram.update(row.tokens for row in rows)
    masks = [sum(rule.keeps(row.tokens) << at for at, rule in enumerate(order.plan.tokens)) for row in rows]
    for at in work.funnel.sift(TOKENS, masks, rows):
        work.selection.offer(rows[at])


def _too_few(selection: splits.Selection, steps: tuple[Step, ...], reader: Reader) -> str:
    where, funnel = f"{reader.source.name} ({_rows(reader.rows)} lidas)", f"Funil:\n{as_text(steps)}"
    n_train, n_test = splits.largest_fit(selection)
    if not n_test:
        worst = max(steps, key=lambda step: step.dropped)
        return (
            f"Em {where} as regras deixam {_rows(len(selection.train))}, e são precisas ao menos duas, uma de treino "
            f'e uma de teste. A regra que mais corta é "{worst.rule}" ({worst.says}). Troque a fonte (`source`). '
            f"{funnel}"
        )
    return (
        f"Em {where} há {_rows(len(selection.train))} para o treino e {_rows(len(selection.test))} para o teste; foram "
        f"pedidas {number(selection.n_train)} e {number(selection.n_test)}. Use `n_train` = {n_train} e `n_test` = "
        f"{n_test}, que cabem, ou uma fonte maior (`source`). {funnel}"
    )


def _rows(count: int) -> str:
    return f"{number(count)} linha" + ("" if count == 1 else "s")


def _result(order: _Order, work: _Work, reader: Reader) -> Curation:
    """Junta o que a leitura, as regras e a escolha deixaram; agrupa as quase duplicatas e mede o que vazou."""
    selection = work.selection
    rows, cut = [*selection.train, *selection.test], len(selection.train)
    plain = [Example(row.title, row.content) for row in rows]
    pairs = near_pairs(plain, plain)
    groups = clusters(plain, pairs)
    return Curation(
        order.model,
        order.plan.mode,
        train=splits.examples(selection.train, groups[:cut]),
        test=splits.examples(selection.test, groups[cut:]),
        funnel=work.funnel.steps(),
        dropped_examples=_examples(work.funnel, reader),
        leaks=_leaks([pair for pair in pairs if pair.left >= cut > pair.right], plain),
        damages=reader.skipped(),
        token_histogram=dict(sorted(work.histogram.items())),
        facts=_facts(order, reader, selection),
    )


def _examples(funnel: Funnel, reader: Reader) -> dict[str, list[dict]]:
    """As linhas cortadas por motivo, com o número no arquivo; as do texto bruto são lidas de novo."""
    unread = {one["row"] for examples in funnel.examples.values() for one in examples if "title" not in one}
    texts = reader.texts(unread)

    def whole(example: dict) -> dict:
        row = example.pop("row")
        shown = dict(zip(("title", "content"), texts[row], strict=True)) if row in unread else {}
        like = {"like_line": reader.line(example.pop("like_row"))} if "like_row" in example else {}
        example.pop("tokens", None)
        return {"line": reader.line(row)} | shown | example | like

    return {name: [whole(one) for one in examples] for name, examples in funnel.examples.items()}


def _leaks(pairs: Sequence[Near], rows: Sequence[Example]) -> list[dict]:
    """Cada linha de teste que se parece com uma de treino, com a mais parecida e quanto (0 a 1)."""
    closest: dict[int, Near] = {}
    for pair in sorted(pairs, key=lambda pair: pair.share):
        closest[pair.left] = pair
    return [
        {"test": rows[at].title, "train": rows[pair.right].title, "score": round(pair.share, 3)}
        for at, pair in sorted(closest.items())
    ]


def _facts(order: _Order, reader: Reader, selection: splits.Selection) -> dict:
    size, sha256 = reader.digest()
    return {
        "modelo": order.model,
        "modo": order.plan.mode,
        "fonte": {
            "nome": reader.source.name,
            "bytes_no_disco": reader.source.size,
            "bytes_lidos": size,
            "linhas_lidas": reader.rows,
            "lida_inteira": reader.complete,
            "sha256_do_que_foi_lido": sha256,
        },
        "regras": {rule.name: rule.says for rule in order.plan.rules},
        "regra_de_tokens": "ligada" if order.plan.tokens else "desligada",
        "limpeza": order.plan.cleans,
        "quase_duplicatas": {
            "jaccard": JACCARD,
            "trecho": SHINGLE,
            "titulo": TITLE_RATIO,
            "retiradas": order.plan.unique,
        },
        "tokenizador": getattr(order.counter, "name", "contador de quem chamou"),
        "treino": _totals(selection.train, reader),
        "teste": _totals(selection.test, reader),
    }


def _totals(rows: Sequence[Candidate], reader: Reader) -> dict:
    return {
        "linhas": len(rows),
        "tokens": sum(row.tokens for row in rows),
        "primeira_linha": reader.line(rows[0].row),
        "ultima_linha": reader.line(rows[-1].row),
    }
