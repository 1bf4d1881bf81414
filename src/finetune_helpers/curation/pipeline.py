"""A curadoria de ponta a ponta: regras em SQL em todas as linhas, tokens só nas que sobram, escolha em ordem."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from .. import tokens
from ..errors import InputError
from ..portuguese import number
from ..records import Example
from .cleaning import clean
from .duplicates import JACCARD, SHINGLE, TITLE_RATIO, Near, clusters, near_pairs
from .reading import BLOCK, Damage, Reader, reading
from .rules import BORDER, COMPLETE, KEYWORDS, LONG_CONTENT, LONG_TITLE, Plan, Rule, passed, plan, with_keyword
from .selection import REPEATS, SURPLUS, Candidate, Funnel, Selection, Step, as_text

SMALL = 64 * 1024 * 1024  # bytes; um arquivo até este tamanho é sempre lido inteiro
LARGE = 16 * BLOCK  # linhas
RAW, CLEANED, TOKENS = range(3)  # os estágios do funil
Counting = Callable[[list[str]], list[int]]


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
    seconds: float

    def funnel_text(self) -> str:
        """O funil em linhas de texto."""
        return as_text(self.funnel)

    def funnel_reading(self) -> str:
        """Como ler o funil, numa frase com os números desta curadoria."""
        # O excedente não é um defeito das linhas: o treino e o teste já estavam completos.
        worst = max((step for step in self.funnel if step.rule != "excedente"), key=lambda step: step.dropped)
        shorter = sum(step.dropped for step in self.funnel if step.rule.endswith("_apos_limpeza"))
        cleaning = f" A limpeza encurtou {number(shorter)}, que só passavam no texto bruto." if shorter else ""
        return (
            f"de {number(self.funnel[0].rows_in)} linhas lidas, {number(self.funnel[-1].rows_out)} foram escolhidas. A "
            f"regra que mais cortou foi {worst.rule} ({worst.says}): {number(worst.dropped)}.{cleaning}"
        )

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
    token_counter: Counting | None = None,
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
    without_tokens = replace(order, plan=replace(chosen, tokens=()))
    return reading(source, damage_limit, partial(_fill, without_tokens))


class _TooFewRows(InputError):
    """As regras deixaram menos linhas do que as pedidas."""


@dataclass(frozen=True)
class _Order:
    """O que foi pedido à curadoria."""

    model: str
    plan: Plan
    counter: Counting
    n_train: int
    n_test: int
    full_scan: bool


def _fill(order: _Order, reader: Reader) -> Curation:
    """A escolha e o que se diz dela: o resumo do que foi lido, os grupos de quase duplicatas e o funil."""
    started, wanted = time.perf_counter(), order.plan
    read_all = order.full_scan or reader.path.stat().st_size <= SMALL
    with ThreadPoolExecutor(1) as pool:
        # O resumo de um arquivo grande leva segundos e cabe no que a leitura deixa livre de um núcleo.
        digest = pool.submit(reader.digest) if read_all else None
        funnel, selection, histogram = _choose(order, reader, read_all)
        last = None if reader.complete else reader.line(reader.rows)
        digest = digest or pool.submit(reader.digest, last)
        chosen, cut = [*selection.train, *selection.test], len(selection.train)
        examples = [Example(row.title, row.content, "longo" if row.tokens > BORDER else "curto") for row in chosen]
        pairs = near_pairs(examples, examples)
    size, lines, sha256 = digest.result()
    reader.refuse_blank(lines)
    groups = clusters(examples, pairs)
    examples = [replace(example, cluster=group) for example, group in zip(examples, groups, strict=True)]
    return Curation(
        order.model,
        wanted.mode,
        train=examples[:cut],
        test=examples[cut:],
        funnel=funnel.steps(),
        dropped_examples=_dropped(funnel, reader),
        leaks=_leaks([pair for pair in pairs if pair.left >= cut > pair.right], examples),
        damages=reader.skipped(),
        token_histogram=dict(sorted(histogram.items())),
        facts=_facts(order, reader, selection, (size, sha256)),
        seconds=time.perf_counter() - started,
    )


def _choose(order: _Order, reader: Reader, read_all: bool) -> tuple[Funnel, Selection, Counter[int]]:
    """A história de uma linha: regras no texto bruto, limpeza, regras no texto limpo, tokens, repetições, escolha."""
    wanted = order.plan
    funnel = Funnel((wanted.raw, wanted.cleaned, wanted.tokens), SURPLUS | (REPEATS if wanted.unique else {}))
    selection, histogram = Selection(order.n_train, order.n_test, wanted.unique, funnel), Counter[int]()
    # Quem lê tudo não precisa parar logo: blocos maiores rendem mais na limpeza e na contagem de tokens.
    for block in reader.blocks(wanted.raw, len(wanted.raw), LARGE if read_all else BLOCK):
        numbers = range(reader.rows - len(block) + 1, reader.rows + 1)
        kept = funnel.sift(RAW, [mask for mask, _, _ in block], numbers)
        rows = [Candidate(numbers[at], block[at][1] or "", block[at][2] or "") for at in kept]
        if wanted.cleans:
            rows = [Candidate(row.row, clean(row.title), clean(row.content)) for row in rows]
            rows = _keep(funnel, CLEANED, wanted.cleaned, rows)
        counts = _count(order.counter, rows)
        rows = [Candidate(row.row, row.title, row.content, n) for row, n in zip(rows, counts, strict=True)]
        histogram.update(row.tokens for row in rows)
        selection.offer(_keep(funnel, TOKENS, wanted.tokens, rows))
        if selection.full and not read_all:
            break
    if not selection.full:
        raise _TooFewRows(_too_few(selection, funnel.steps(), reader))
    return funnel, selection, histogram


def _keep(funnel: Funnel, stage: int, rules: Sequence[Rule], rows: list[Candidate]) -> list[Candidate]:
    # Uma regra de tokens não olha os textos: levá-los ao DuckDB custaria mais do que aplicá-la.
    masks = passed(rules, [("", "", row.tokens) if stage == TOKENS else (row.title, row.content, 0) for row in rows])
    return [rows[at] for at in funnel.sift(stage, masks, rows)]


def _count(counter: Counting, rows: Sequence[Candidate]) -> list[int]:
    """Tokens de título e conteúdo, somados, de cada linha."""
    counts = counter([row.title for row in rows] + [row.content for row in rows])
    return [title + content for title, content in zip(counts[: len(rows)], counts[len(rows) :], strict=True)]


def _too_few(selection: Selection, steps: Sequence[Step], reader: Reader) -> str:
    where, funnel = f"{reader.source.name} ({_rows(reader.rows)} lidas)", f"Funil:\n{as_text(steps)}"
    n_train, n_test = selection.largest_fit()
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


def _dropped(funnel: Funnel, reader: Reader) -> dict[str, list[dict]]:
    """As linhas cortadas por motivo, com o número no arquivo; as do texto bruto são lidas de novo."""
    shown = reader.texts({one["row"] for rows in funnel.examples.values() for one in rows if "title" not in one})

    def whole(row: int, like_row: int | None = None, **why) -> dict:
        like = {"like_line": reader.line(like_row)} if like_row else {}
        return {"line": reader.line(row)} | shown.get(row, {}) | why | like

    return {name: [whole(**one) for one in rows] for name, rows in funnel.examples.items()}


def _leaks(pairs: Sequence[Near], rows: Sequence[Example]) -> list[dict]:
    """Cada linha de teste que se parece com uma de treino, com a mais parecida e quanto (0 a 1)."""
    closest = {pair.left: pair for pair in sorted(pairs, key=lambda pair: pair.score)}
    return [
        {"test": rows[at].title, "train": rows[pair.right].title, "score": pair.score}
        for at, pair in sorted(closest.items())
    ]


def _facts(order: _Order, reader: Reader, selection: Selection, read: tuple[int, str]) -> dict:
    return {
        "modelo": order.model,
        "modo": order.plan.mode,
        "fonte": {
            "nome": reader.source.name,
            "bytes_no_disco": reader.source.size,
            "bytes_lidos": read[0],
            "linhas_lidas": reader.rows,
            "lida_inteira": reader.complete,
            "sha256_do_que_foi_lido": read[1],
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
    } | {
        name: {
            "linhas": len(rows),
            "tokens": sum(row.tokens for row in rows),
            "primeira_linha": reader.line(rows[0].row),
            "ultima_linha": reader.line(rows[-1].row),
        }
        for name, rows in (("treino", selection.train), ("teste", selection.test))
    }


@dataclass(frozen=True)
class Alternative:
    """Uma leitura do texto do projeto: a pergunta, a leitura, se é a adotada e quantas linhas ela mantém."""

    question: str
    reading: str
    adopted: bool
    rows: int


def alternatives(
    source: str | Path, *, model: str = "llama", token_counter: Counting | None = None
) -> list[Alternative]:
    """Linhas que cada leitura do enunciado mantém na fonte inteira, no texto bruto, com as regras de tamanho.

    Três perguntas: "ou" ou "e" entre as palavras-chave; pedaço de palavra ou palavra inteira; 257 tokens ou mais, ou
    até 256, com o tokenizador de ``model``.
    """
    counter = token_counter or tokens.counter(model)
    either, both, whole, above = reading(source, 0, partial(_readings, counter))
    words, long_is_ours = " {} ".join(f'"{word}"' for word in KEYWORDS), model == "llama"
    return [
        Alternative("palavras-chave", words.format("ou"), True, either),
        Alternative("palavras-chave", words.format("e"), False, both),
        Alternative("o que é conter a palavra", "como pedaço de palavra", True, either),
        Alternative("o que é conter a palavra", "palavra inteira", False, whole),
        Alternative(f"tokens ({model})", f"{BORDER + 1} ou mais", long_is_ours, above),
        Alternative(f"tokens ({model})", f"até {BORDER}", not long_is_ours, either - above),
    ]


def _readings(counter: Counting, reader: Reader) -> list[int]:
    """Linhas com uma das palavras, com as duas, com uma inteira, e as que, com uma, passam da fronteira de tokens."""
    sizes = (COMPLETE, LONG_TITLE, LONG_CONTENT, with_keyword(KEYWORDS))
    words = (*(with_keyword([word]) for word in KEYWORDS), with_keyword(KEYWORDS, whole_word=True))
    totals = [0, 0, 0, 0]
    # Quem tem as duas palavras, ou uma inteira, tem uma: basta ver os textos de quem passa pelas quatro primeiras.
    for block in reader.blocks((*sizes, *words), len(sizes), LARGE):
        masks = [mask >> len(sizes) for mask, title, _ in block if title]
        counts = _count(counter, [Candidate(0, title, content or "") for _, title, content in block if title])
        above = sum(count > BORDER for count in counts)
        counted = (len(masks), sum(mask & 3 == 3 for mask in masks), sum(mask >> 2 for mask in masks), above)
        totals = [total + more for total, more in zip(totals, counted, strict=True)]
    return totals
