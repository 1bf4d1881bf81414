"""Medidas automáticas de cada resposta: proximidade do texto do catálogo, defeitos, invenções e cópia do treino."""

from collections import Counter
from dataclasses import dataclass
from functools import cache

from .. import progress
from ..records import Example
from . import rules
from .study import Study

GRAM = 8


@dataclass(frozen=True)
class Scores:
    """Medidas de uma resposta: ``chrf`` de 0 a 100; ``rouge_l``, ``cosine`` e ``copied`` de 0 a 1; ``loss`` em nats
    por token; ``unsupported`` por 100 palavras. None onde a medida não foi feita."""

    item_id: str
    system: str
    words: int
    chrf: float
    rouge_l: float
    cosine: float | None
    loss: float | None
    problems: tuple[str, ...]
    unsupported: float
    specifics: tuple[str, ...]
    copied: float
    copied_from: str

    @property
    def defective(self) -> int:
        """1 se alguma regra apontou defeito; o corte pelo limite de tokens é escolha de quem pergunta e não conta."""
        return int(any(problem != "cortada" for problem in self.problems))


@dataclass(frozen=True)
class Copies:
    """Onde cada sequência de ``GRAM`` palavras aparece no treino."""

    grams: dict[tuple[str, ...], int]
    titles: tuple[str, ...]


def measure(study: Study, cosines: dict[tuple[str, str], float] | None = None) -> dict[str, dict[str, Scores]]:
    """Medidas por sistema e item; ``cosines`` vem de ``similarity.read`` e pode faltar."""
    copies, losses = index(study.train), held_out(study)
    systems = [system for system in study.systems if system in study.answers]
    return {
        system: {
            key: score(
                study.items[key], row, system, copies, losses.get((system, key)), (cosines or {}).get((system, key))
            )
            for key, row in study.answers[system].items()
            if key in study.items
        }
        for system in progress.bar("medindo as respostas", "sistemas", items=systems, delay=1.0)
    }


def score(item: dict, row: dict, system: str, copies: Copies, loss: float | None, cosine: float | None) -> Scores:
    """Medidas de uma resposta a um item de teste."""
    answer, title, reference = row["answer"] or "", item["title"], item["content"]
    length = len(rules.words(answer))
    found = rules.unsupported(answer, title, reference)
    copied, source = copied_share(answer, copies)
    return Scores(
        item["item_id"],
        system,
        length,
        chrf(answer, reference),
        rouge_l(answer, reference),
        cosine,
        loss,
        rules.problems(answer, title, row["finish_reason"]),
        100 * len(found) / length if length else 0.0,
        tuple(found),
        copied,
        source,
    )


def held_out(study: Study) -> dict[tuple[str, str], float]:
    """Perda média por token de cada item de teste, antes e depois do ajuste, onde o braço a mede."""
    found = {}
    for system, arm in study.arms.items():
        moment = "tuned_loss" if system.endswith("-tuned") else "base_loss" if system.endswith("-base") else ""
        for row in study.reports.get(arm, {}).get("heldout") or [] if moment else ():
            found[system, row["item_id"]] = row[moment]
    return found


def chrf(answer: str, reference: str) -> float:
    """chrF++ de uma resposta, de 0 a 100 (sacrebleu, ``word_order=2``)."""
    return _chrf().sentence_score(answer, [reference]).score


def chrf_signature() -> str:
    """Assinatura que o sacrebleu dá ao chrF++ usado aqui."""
    _chrf().sentence_score("a", ["a"])
    return str(_chrf().get_signature())


@cache
def _chrf():
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=2)


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F, de 0 a 1, sem redução a radicais; a mesma definição do pacote rouge-score, em código compilado."""
    from rapidfuzz.distance import LCSseq

    given, wanted = _rouge_tokens(answer), _rouge_tokens(reference)
    common = LCSseq.similarity(given, wanted)
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def _rouge_tokens(text: str) -> list[str]:
    return "".join(char if char.isascii() and char.isalnum() else " " for char in text.lower()).split()


def index(train: tuple[Example, ...]) -> Copies:
    """Índice das sequências de ``GRAM`` palavras das descrições de treino."""
    found: dict[tuple[str, ...], int] = {}
    for position, example in enumerate(train):
        for gram in grams(example.content):
            found.setdefault(gram, position)
    return Copies(found, tuple(example.title for example in train))


def grams(text: str) -> list[tuple[str, ...]]:
    """Sequências de ``GRAM`` palavras seguidas, sem diferença de caixa."""
    tokens = [word.casefold() for word in rules.words(text)]
    return list(zip(*(tokens[start:] for start in range(GRAM)), strict=False))


def copied_share(answer: str, copies: Copies) -> tuple[float, str]:
    """Parte das palavras dentro de uma sequência que existe no treino e o título de treino mais copiado."""
    found = [(start, copies.grams[gram]) for start, gram in enumerate(grams(answer)) if gram in copies.grams]
    if not found:
        return 0.0, ""
    covered = {start + step for start, _ in found for step in range(GRAM)}
    source = Counter(position for _, position in found).most_common(1)[0][0]
    return len(covered) / len(rules.words(answer)), copies.titles[source]
