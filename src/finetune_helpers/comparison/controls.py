"""O controle da proximidade: os mesmos textos sem o título, do mesmo tamanho, contra as descrições de outros itens.

Proximidade crua engana: cresce com o tamanho, com o estilo e com o eco do título. Por isso cada uma é refeita sem as
palavras do título, com respostas e descrições do mesmo número de palavras, contra a própria descrição e contra as de
outros itens da mesma faixa de tamanho; a diferença é a medida. Uma resposta que não depende do item fica em 0.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median

from . import rules
from .study import REFERENCE, Study

SWAPS = 4  # descrições de outros itens contra as quais cada resposta é medida
SHORTEST = 20  # palavras: um sistema que quase nada responde não encurta a medida dos outros


@dataclass(frozen=True)
class Control:
    """O que a medida além do acaso compara: os textos já sem o título e do mesmo número de palavras."""

    answer: str
    own: str
    others: tuple[str, ...]


def common_length(study: Study) -> int:
    """Palavras de cada texto no controle: a mediana do sistema que menos escreve, pelo menos ``SHORTEST``."""
    spoken = [
        median(len(row.answer.split()) for row in study.answers[system.name].values())
        for system in study.systems
        if system.role != REFERENCE and system.name in study.answers
    ]
    return max(SHORTEST, int(min(spoken, default=SHORTEST)))


def controls(study: Study) -> dict[tuple[str, str], Control]:
    """O controle de cada resposta, por sistema e item."""
    length, others = common_length(study), swaps(study.items)
    references = {key: shorten(item["content"], length) for key, item in study.items.items()}
    return {
        (name, key): Control(
            shorten(without_title(row.answer, study.items[key]["title"]), length),
            references[key],
            tuple(references[other] for other in others[key]),
        )
        for name, rows in study.answers.items()
        for key, row in rows.items()
        if key in study.items
    }


def swaps(items: dict[str, dict]) -> dict[str, list[str]]:
    """Até ``SWAPS`` itens de outro grupo e da mesma faixa para cada item, todos usados o mesmo número de vezes.

    São rotações da faixa ordenada por grupo, permutações sem ponto fixo: por isso uma resposta constante soma o mesmo
    com as próprias descrições e com as trocadas. Vazio num item sozinho na sua faixa. O resultado vem nessa ordem.
    """
    ranges: dict[str, list[str]] = defaultdict(list)
    for key, item in items.items():
        ranges[item.get("regime", "")].append(key)
    chosen: dict[str, list[str]] = {}
    for keys in ranges.values():
        cluster = {key: items[key].get("cluster") or key for key in keys}
        keys.sort(key=lambda key: (cluster[key], key))
        largest, n = max(Counter(cluster.values()).values()), len(keys)
        # Saltos de pelo menos o maior grupo, dos dois lados, nunca caem no mesmo grupo.
        steps = range(largest, n - largest + 1) or range(1, n)
        for place, key in enumerate(keys):
            chosen[key] = [keys[(place + step) % n] for step in steps[:SWAPS]]
    return chosen


def shorten(text: str, length: int) -> str:
    """As ``length`` primeiras palavras de um texto."""
    return " ".join(text.split()[:length])


def without_title(answer: str, title: str) -> str:
    """A resposta sem as palavras do título; vazia se nada mais dizia."""
    known = {word.casefold() for word in rules.words(title)}
    kept = [part for part in answer.split() if {word.casefold() for word in rules.words(part)} - known]
    return " ".join(kept)
