"""O resultado da curadoria e o relatório que ele escreve."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ..records import Example
from . import splits
from .decoding import Damage
from .duplicates import JACCARD, SHINGLE, TITLE_RATIO, clusters, near_pairs
from .funnel import Candidate, Step, Tally, as_text
from .reading import Reader
from .rules import Plan


@dataclass(frozen=True)
class Curation:
    """O resultado: exemplos de treino e de teste, funil, linhas cortadas por motivo e o que vai ao relatório."""

    model: str
    mode: str
    train: list[Example]
    test: list[Example]
    funnel: tuple[Step, ...]
    dropped_examples: dict[str, list[dict]]
    moved: list[splits.Moved]
    damages: list[Damage]
    token_histogram: dict[int, int]
    facts: dict
    seconds: float

    def funnel_text(self) -> str:
        """O funil em linhas de texto."""
        return as_text(self.funnel)

    def report(self) -> dict:
        """O conteúdo de ``curadoria.json``; fora a chave ``tempo``, a mesma entrada dá sempre o mesmo."""
        return {
            **self.facts,
            "funil": [asdict(step) | {"dropped": step.dropped} for step in self.funnel],
            "linhas_danificadas": {"total": len(self.damages), "primeiras": [asdict(one) for one in self.damages[:20]]},
            "movidas": [asdict(one) for one in self.moved],
            "tempo": {
                "segundos": round(self.seconds, 3),
                "linhas_por_segundo": round(self.facts["fonte"]["linhas_lidas"] / self.seconds),
            },
        }


def result(
    model: str,
    chosen: Plan,
    counter: Callable[[list[str]], list[int]],
    reader: Reader,
    tally: Tally,
    selection: splits.Selection,
    histogram: Counter[int],
    started: float,
) -> Curation:
    """Junta o que a leitura, as regras e a escolha deixaram; agrupa as quase duplicatas e mede o que vazou."""
    rows = [*selection.train, *selection.test]
    plain, cut = [Example(row.title, row.content) for row in rows], len(selection.train)
    pairs = near_pairs(plain, plain)
    groups, leaks = clusters(plain, pairs), [pair for pair in pairs if pair.left >= cut > pair.right]
    train = splits.examples(selection.train, groups[:cut])
    test = splits.examples(selection.test, groups[cut:])
    return Curation(
        model,
        chosen.mode,
        train,
        test,
        tally.steps(),
        tally.examples,
        selection.moved,
        reader.damages,
        dict(sorted(histogram.items())),
        _facts(model, chosen, counter, reader, selection, leaks),
        time.perf_counter() - started,
    )


def _facts(model, chosen, counter, reader, selection, leaks) -> dict:
    return {
        "modelo": model,
        "modo": chosen.mode,
        "fonte": {
            "nome": reader.source.name,
            "bytes_no_disco": reader.source.size,
            "bytes_lidos": reader.bytes,
            "linhas_lidas": reader.rows,
            "lida_inteira": reader.complete,
            "sha256_do_que_foi_lido": reader.sha256,
        },
        "regras": {rule.name: rule.says for rule in chosen.rules},
        "regra_de_tokens": "ligada" if chosen.tokens else "desligada",
        "limpeza": chosen.cleans,
        "quase_duplicatas": {"jaccard": JACCARD, "trecho": SHINGLE, "titulo": TITLE_RATIO, "retiradas": chosen.unique},
        "tokenizador": getattr(counter, "name", "contador de quem chamou"),
        "treino": _totals(selection.train),
        "teste": _totals(selection.test),
        "pares_parecidos_entre_teste_e_treino": len(leaks),
    }


def _totals(rows: list[Candidate]) -> dict:
    return {
        "linhas": len(rows),
        "tokens": sum(row.tokens for row in rows),
        "primeira_linha": rows[0].line,
        "ultima_linha": rows[-1].line,
    }
