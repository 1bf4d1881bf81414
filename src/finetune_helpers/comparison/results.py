"""Contas que a planilha, as figuras e o README compartilham: médias por sistema, contrastes e flexibilidade."""

from dataclasses import dataclass
from statistics import fmean

from . import flexibility, significance, similarity
from .metrics import Scores, measure
from .significance import Estimate
from .study import Study, label


@dataclass(frozen=True)
class Metric:
    """Uma medida por item: nome, formato e se o menor valor é o melhor."""

    key: str
    label: str
    form: str
    low_is_good: bool = False


METRICS = (
    Metric("chrf", "chrF++ (0–100)", "0.0"),
    Metric("rouge_l", "ROUGE-L (0–1)", "0.000"),
    Metric("cosine", "Cosseno MiniLM", "0.000"),
    Metric("loss", "Perda de teste (nats/token)", "0.000", True),
    Metric("defective", "Respostas com defeito", "0.0%", True),
    Metric("unsupported", "Específicos sem apoio por 100 palavras", "0.00", True),
    Metric("copied", "Texto copiado do treino", "0.0%", True),
)


@dataclass(frozen=True)
class Results:
    """O estudo, as medidas por sistema e item e os veredictos da suíte de flexibilidade por sistema e prompt."""

    study: Study
    scores: dict[str, dict[str, Scores]]
    verdicts: dict[str, dict[str, flexibility.Verdict]]


@dataclass(frozen=True)
class Contrast:
    """Diferença de uma medida entre dois sistemas (primeiro − segundo) nos itens que ambos têm."""

    first: str
    second: str
    metric: Metric
    estimate: Estimate
    holm: float | None


def compute(study: Study) -> Results:
    """Mede todas as respostas do estudo."""
    verdicts = {
        system: {key: flexibility.passes(key, row["answer"] or "") for key, row in rows.items()}
        for system, rows in study.flexibility.items()
    }
    return Results(study, measure(study, similarity.read(study)), verdicts)


def mean(results: Results, system: str, metric: str) -> float | None:
    """Média de uma medida num sistema; None se ninguém a fez."""
    values = [getattr(score, metric) for score in results.scores.get(system, {}).values()]
    values = [value for value in values if value is not None]
    return fmean(values) if values else None


def pairs(study: Study) -> list[tuple[str, str]]:
    """Contrastes na ordem declarada: os dois ajustados (o principal), depois cada ajustado contra a própria base."""
    tuned = [name for name in study.systems if name.endswith("-tuned") and name in study.answers]
    found = [(tuned[0], tuned[1])] if len(tuned) >= 2 else []
    bases = [(name, name.removesuffix("-tuned") + "-base") for name in tuned]
    return found + [(name, base) for name, base in bases if base in study.answers]


def contrasts(results: Results) -> list[Contrast]:
    """Todos os contrastes de todas as medidas, com Holm sobre as medidas secundárias de todos eles."""
    found = [
        (first, second, metric, difference(results, first, second, metric))
        for first, second in pairs(results.study)
        for metric in METRICS
    ]
    adjusted = significance.holm([row[3].p for row in found])
    return [Contrast(*row, holm) for row, holm in zip(found, adjusted, strict=True)]


def difference(results: Results, first: str, second: str, metric: Metric) -> Estimate:
    """Estimativa pareada de uma medida; nas de sim ou não, o p é o de McNemar quando não há grupos."""
    one, two, items = results.scores[first], results.scores[second], results.study.items
    values = {key: (getattr(one[key], metric.key), getattr(two[key], metric.key)) for key in one if key in two}
    values = {key: pair for key, pair in values.items() if None not in pair}
    groups = [items[key].get("cluster") or key for key in values]
    found = significance.mean_difference([a - b for a, b in values.values()], groups)
    if metric.key != "defective" or found.clusters < found.n or not found.n:
        return found
    only = [sum(a > b for a, b in values.values()), sum(a < b for a, b in values.values())]
    p = significance.mcnemar(*only)
    return Estimate(found.n, found.clusters, found.mean, found.low, found.high, p, "McNemar exato")


def family_rate(results: Results, system: str, family: str, reading: str) -> tuple[int, int]:
    """Aprovações e prompts de uma família; ``reading`` é ``strict`` ou ``loose``."""
    given = [verdict for verdict in results.verdicts.get(system, {}).values() if verdict.family == family]
    return sum(getattr(verdict, reading) for verdict in given), len(given)


def flexibility_score(results: Results, system: str, reading: str = "strict") -> float | None:
    """Média das taxas das famílias respondidas; None se o sistema não respondeu à suíte."""
    counts = [family_rate(results, system, family, reading) for family in flexibility.FAMILIES]
    rates = [passed / asked for passed, asked in counts if asked]
    return fmean(rates) if rates else None


def proof(study: Study, arm: str) -> Estimate:
    """Prova de aprendizado de um braço, por grupo de quase duplicatas; n = 0 se ele não mede a perda por item."""
    clusters = {key: item.get("cluster") or key for key, item in study.items.items()}
    return significance.learning(study.reports.get(arm, {}).get("heldout") or [], clusters)


@dataclass(frozen=True)
class Forgetting:
    """O que o ajuste fez com habilidades que o treino não exercita: taxas, perdas e ganhos por prompt, McNemar."""

    tuned: str
    base: str
    n: int
    base_passed: int
    tuned_passed: int
    lost: int
    gained: int
    p: float | None


def forgetting(results: Results) -> list[Forgetting]:
    """Esquecimento de cada braço, pareado por prompt (leitura estrita)."""
    found = []
    for tuned in [name for name in results.study.systems if name.endswith("-tuned")]:
        base = tuned.removesuffix("-tuned") + "-base"
        one, two = results.verdicts.get(base, {}), results.verdicts.get(tuned, {})
        both = [key for key in one if key in two and one[key].family in flexibility.FORGETTING_FAMILIES]
        before, after = [one[key].strict for key in both], [two[key].strict for key in both]
        lost = sum(a and not b for a, b in zip(before, after, strict=True))
        gained = sum(b and not a for a, b in zip(before, after, strict=True))
        p = significance.mcnemar(lost, gained)
        found.append(Forgetting(tuned, base, len(both), sum(before), sum(after), lost, gained, p))
    return [row for row in found if row.n]


def sentence(contrast: Contrast) -> str:
    """O contraste numa frase curta."""
    return f"{label(contrast.first)} − {label(contrast.second)}"
