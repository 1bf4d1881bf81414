"""Medidas de cada resposta: proximidade do texto do catálogo além do acaso, perda, defeitos, invenções e cópia."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from statistics import fmean

from .. import progress
from ..answers import Answer
from ..records import Example
from . import rules
from .similarity import Control, Cosines, controls, swaps
from .study import Study

GRAM = 8  # palavras seguidas iguais às do treino a partir das quais é cópia


@dataclass(frozen=True)
class Case:
    """Uma resposta a um item de teste e tudo o que uma medida pode olhar.

    ``loss`` é a linha de ``heldout`` do item com a perda deste sistema (``loss``, ``tokens``, ``characters``).
    """

    system: str
    item: dict
    answer: Answer
    control: Control
    cosines: Cosines | None
    loss: dict | None
    copied: float
    copied_from: str

    @cached_property
    def defects(self) -> tuple[str, ...]:
        """Defeitos de forma; o corte pelo limite de tokens é escolha de quem pergunta e não conta."""
        return rules.problems(self.answer.answer, self.item["title"])

    @cached_property
    def cut(self) -> bool:
        """Verdadeiro se a resposta acabou no limite de tokens."""
        return rules.is_cut(self.answer.answer, self.answer.finish_reason)

    @cached_property
    def specifics(self) -> tuple[str, ...]:
        """Fatos específicos distintos que nem o título nem a descrição sustentam."""
        return tuple(dict.fromkeys(rules.unsupported(self.answer.answer, self.item["title"], self.item["content"])))

    @cached_property
    def chrf(self) -> tuple[float, float | None]:
        """chrF++ do controle: com a própria descrição e, em média, com as de outros."""
        return _own_and_swapped(chrf, self.control)

    @cached_property
    def rouge_l(self) -> tuple[float, float | None]:
        """ROUGE-L do controle: com a própria descrição e, em média, com as de outros."""
        return _own_and_swapped(rouge_l, self.control)

    @cached_property
    def cosine(self) -> tuple[float | None, float | None]:
        """Cosseno do controle: com a própria descrição e, em média, com as de outros."""
        return (self.cosines.own, self.cosines.swapped) if self.cosines else (None, None)


@dataclass(frozen=True)
class Metric:
    """Uma medida por resposta: chave, nome, formato do número, se o menor valor é o melhor e a função que a calcula.

    ``share`` diz que o valor é 0 ou 1; ``compared``, se os sistemas são contrastados nela; ``same_model``, se só vale
    entre sistemas do mesmo modelo base.
    """

    key: str
    label: str
    form: str
    low_is_good: bool
    value: Callable[[Case], float | None]
    share: bool = False
    compared: bool = True
    same_model: bool = False


# Só se executa na importação, antes que `make mutantes` possa trocar a função.
# pragma: no mutate start
def _closeness(key: str, name: str, form: str, whole: Callable[[Case], float | None]) -> tuple[Metric, ...]:
    """As quatro colunas de uma medida de proximidade; só a última, além do acaso, compara sistemas."""

    def own(case: Case) -> float | None:
        return getattr(case, key)[0]

    def swapped(case: Case) -> float | None:
        return getattr(case, key)[1]

    return (
        Metric(key, f"{name}, texto inteiro", form, False, whole, compared=False),
        Metric(f"{key}_own", f"{name}, própria descrição", form, False, own, compared=False),
        Metric(f"{key}_swapped", f"{name}, descrições de outros", form, False, swapped, compared=False),
        Metric(f"{key}_gain", f"{name} além do acaso", form, False, lambda case: _difference(own(case), swapped(case))),
    )


# pragma: no mutate end
def _loss(case: Case) -> float | None:
    return case.loss["loss"] if case.loss else None


def _bits(case: Case) -> float | None:
    """Bits por caractere: a perda sem o tokenizador, comparável entre modelos."""
    if not case.loss:
        return None
    return case.loss["loss"] * case.loss["tokens"] / (case.loss["characters"] * math.log(2))


METRICS = (
    *_closeness("chrf", "chrF++", "0.0", lambda case: chrf(case.answer.answer, case.item["content"])),
    *_closeness("rouge_l", "ROUGE-L", "0.000", lambda case: rouge_l(case.answer.answer, case.item["content"])),
    *_closeness("cosine", "Cosseno MiniLM", "0.000", lambda case: case.cosines.whole if case.cosines else None),
    Metric("loss", "Perda de teste (nats/token)", "0.000", True, _loss, same_model=True),
    Metric("bits", "Perda de teste (bits/caractere)", "0.000", True, _bits),
    Metric("defective", "Com defeito de forma", "0.0%", True, lambda case: float(bool(case.defects)), share=True),
    Metric("cut", "Cortada no limite", "0.0%", True, lambda case: float(case.cut), share=True, compared=False),
    Metric("invented", "Com fato sem apoio (piso)", "0.0%", True, lambda case: float(bool(case.specifics)), share=True),
    Metric("specifics", "Fatos sem apoio por resposta (piso)", "0.00", True, lambda case: float(len(case.specifics))),
    Metric("copied", "Texto copiado do treino", "0.0%", True, lambda case: case.copied, compared=False),
)


def metric(key: str) -> Metric:
    """A medida de uma chave."""
    return next(metric for metric in METRICS if metric.key == key)


def cases(study: Study, cosines: dict[tuple[str, str], Cosines]) -> Iterator[Case]:
    """Um caso por resposta a item do teste, na ordem do controle; ``cosines`` vem de ``similarity.read``."""
    copies, losses, compared = index(study.train), _losses(study), controls(study)
    # Itens vizinhos dividem as descrições do controle, que o chrF++ assim não refaz.
    for key in progress.bar("medindo as respostas", "itens", items=list(swaps(study.items)), delay=1.0):
        for name in [system.name for system in study.systems if key in study.answers.get(system.name, {})]:
            answer, extra = study.answers[name][key], (cosines.get((name, key)), losses.get((name, key)))
            copied = copied_share(answer.answer, copies)
            yield Case(name, study.items[key], answer, compared[name, key], *extra, *copied)


def _losses(study: Study) -> dict[tuple[str, str], dict]:
    """A linha de perda de cada item, antes e depois do ajuste, onde a trilha a mede."""
    moments = {"ajustado": "tuned_loss", "base": "base_loss"}
    known = {}
    for system in [system for system in study.systems if system.role in moments]:
        for row in study.reports.get(system.arm, {}).get("heldout") or []:
            if row["item_id"] in study.items:
                size = row.get("characters") or len(study.items[row["item_id"]]["content"])
                measured = {"loss": row[moments[system.role]], "tokens": row["tokens"], "characters": size}
                known[system.name, row["item_id"]] = measured
    return known


def _own_and_swapped(measure: Callable[[str, str], float], control: Control) -> tuple[float, float | None]:
    others = [measure(control.answer, other) for other in control.others]
    return measure(control.answer, control.own), fmean(others) if others else None


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def chrf(answer: str, reference: str) -> float:
    """chrF++ de uma resposta, de 0 a 100: o ``sentence_score`` do sacrebleu com ``word_order=2``.

    A interseção das sequências é feita aqui, sobre contagens já prontas: dez vezes mais rápida, o mesmo número.
    """
    statistics: list[int] = []
    for (spoken, length), (wanted, size) in zip(_ngrams(answer), _ngrams(reference), strict=True):
        common = spoken.keys() & wanted.keys()
        shared = sum(map(min, map(spoken.__getitem__, common), map(wanted.__getitem__, common)))
        statistics += [length if size else 0, size, shared]
    return _chrf()._compute_f_score(statistics)


@lru_cache(64)
def _ngrams(text: str) -> list[tuple[Counter, int]]:
    """As sequências de 1 a 6 caracteres e de 1 e 2 palavras, com o total de cada tamanho."""
    return [(counts, counts.total()) for counts in _chrf()._extract_reference_info([text])["ref_ngrams"][0]]


def chrf_signature() -> str:
    """Assinatura que o sacrebleu dá ao chrF++ usado aqui."""
    _chrf().sentence_score("a", ["a"])
    return str(_chrf().get_signature())


@cache
def _chrf():
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=2)


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F, de 0 a 1, sem redução a radicais: a definição do pacote rouge-score, com a LCS do rapidfuzz."""
    from rapidfuzz.distance import LCSseq

    spoken, wanted = _rouge_tokens(answer), _rouge_tokens(reference)
    common = LCSseq.similarity(spoken, wanted)
    return 2 * common / (len(spoken) + len(wanted)) if common else 0.0


@lru_cache(2048)
def _rouge_tokens(text: str) -> list[str]:
    return "".join(char if char.isascii() and char.isalnum() else " " for char in text.lower()).split()


def index(train: tuple[Example, ...]) -> dict[tuple[str, ...], Example]:
    """O primeiro exemplo de treino em que cada sequência de ``GRAM`` palavras aparece."""
    # De trás para a frente: numa sequência de vários exemplos, fica o primeiro.
    return {gram: example for example in reversed(train) for gram in grams(example.content)}


def grams(text: str) -> list[tuple[str, ...]]:
    """Sequências de ``GRAM`` palavras seguidas, sem diferença de caixa."""
    tokens = [word.casefold() for word in rules.words(text)]
    return list(zip(*(tokens[start:] for start in range(GRAM)), strict=False))


def copied_share(answer: str, copies: dict[tuple[str, ...], Example]) -> tuple[float, str]:
    """Parte das palavras dentro de uma sequência que existe no treino e o título de treino mais copiado."""
    matches = [(start, copies[gram]) for start, gram in enumerate(grams(answer)) if gram in copies]
    if not matches:
        return 0.0, ""
    covered = {start + step for start, _ in matches for step in range(GRAM)}
    source = Counter(example for _, example in matches).most_common(1)[0][0]
    return len(covered) / len(rules.words(answer)), source.title
