"""Uma rodada pontuada uma vez: medidas por resposta, contrastes entre sistemas, flexibilidade e conclusões."""

from dataclasses import dataclass
from pathlib import Path

from ..answers import base_of
from ..portuguese import number
from . import flexibility, metrics, power, similarity, statistics
from .metrics import Metric
from .statistics import Estimate, Interval
from .study import ARMS, Study, read_study


@dataclass(frozen=True)
class Row:
    """As medidas de uma resposta: ``values`` por chave de medida (None onde não se mediu) e o que as explica."""

    item_id: str
    system: str
    values: dict[str, float | None]
    defects: tuple[str, ...]
    specifics: tuple[str, ...]
    copied_from: str


@dataclass(frozen=True)
class Contrast:
    """Diferença de uma medida entre dois sistemas (primeiro − segundo) nos itens que ambos têm.

    ``holm`` é o p ajustado por todas as medidas de todos os contrastes; ``detectable``, a menor diferença verdadeira
    que esta amostra mostraria com 80 % de poder.
    """

    first: str
    second: str
    metric: Metric
    estimate: Estimate
    holm: float | None
    detectable: float | None

    @property
    def better(self) -> str:
        """O sistema com o melhor valor; vazio no empate e sem medida."""
        if not self.estimate.mean:
            return ""
        return self.first if (self.estimate.mean < 0) == self.metric.low_is_good else self.second


@dataclass(frozen=True)
class Forgetting:
    """O que o ajuste fez com habilidades que o treino não exercita: taxas, perdas e ganhos por prompt, McNemar."""

    tuned: str
    base_passed: int
    tuned_passed: int
    lost: int
    gained: int
    estimate: Estimate


@dataclass(frozen=True)
class TitleLearning:
    """A queda da perda da descrição verdadeira sob o próprio título e sob o de outro item (nats por token).

    ``content`` = própria − outra: o que o ajuste aprendeu a tirar do título; a queda sob o outro título é estilo.
    """

    own: Estimate
    style: Estimate
    content: Estimate


@dataclass(frozen=True)
class Results:
    """A rodada pontuada: linhas por sistema e item, veredictos da suíte por sistema e prompt, e contrastes."""

    study: Study
    rows: dict[str, dict[str, Row]]
    verdicts: dict[str, dict[str, flexibility.Verdict]]
    contrasts: tuple[Contrast, ...]

    def values(self, system: str, key: str) -> dict[str, float]:
        """Os valores que há de uma medida num sistema, por item."""
        known = {item: row.values[key] for item, row in self.rows.get(system, {}).items()}
        return {item: value for item, value in known.items() if value is not None}

    def mean(self, system: str, key: str) -> Interval:
        """Média (ou taxa, de 0 a 1) de uma medida num sistema, com intervalo por grupo; ``n`` = 0 se ninguém a fez."""
        values = self.values(system, key)
        summary = statistics.rate if metrics.metric(key).share else statistics.mean
        return summary(list(values.values()), self.study.clusters(values))

    def flexibility(self, system: str) -> dict[str, Interval]:
        """A taxa de aprovação em cada família da suíte; vazio se o sistema não a respondeu."""
        verdicts = self.verdicts.get(system, {})
        families = {name: [key for key in verdicts if verdicts[key].family == name] for name in flexibility.FAMILIES}
        return {name: self._passed(system, keys) for name, keys in families.items() if keys}

    def flexibility_total(self, system: str) -> Interval:
        """A taxa de aprovação na suíte inteira, com intervalo por grupo de prompts; ``n`` = 0 sem respostas."""
        return self._passed(system, list(self.verdicts.get(system, {})))

    def _passed(self, system: str, keys: list[str]) -> Interval:
        passed = [self.verdicts[system][key].passed for key in keys]
        return statistics.rate(passed, [flexibility.find(key).cluster for key in keys])

    def forgetting(self) -> list[Forgetting]:
        """Esquecimento de cada trilha, pareado por prompt, nas famílias que o treino não exercita."""
        changes = []
        for tuned, base in self.study.own_pairs():
            before, after = self.verdicts.get(base, {}), self.verdicts.get(tuned, {})
            keys = [key for key in before if key in after and before[key].family in flexibility.FORGETTING_FAMILIES]
            had, has = [before[key].passed for key in keys], [after[key].passed for key in keys]
            moved = [b - a for a, b in zip(had, has, strict=True)]
            if keys:
                estimate = statistics.paired_share(has, had, [flexibility.find(key).cluster for key in keys])
                changes.append(Forgetting(tuned, sum(had), sum(has), moved.count(-1), moved.count(1), estimate))
        return changes

    def heldout(self, arm: str) -> list[dict]:
        """As perdas por item de uma trilha; vazio se ela não as mede."""
        return self.study.reports.get(arm, {}).get("heldout") or []

    def learning(self, arm: str) -> Estimate:
        """Queda da perda de teste de uma trilha, pareada por item; ``n`` = 0 se ela não a mede."""
        keys = [row["item_id"] for row in self.heldout(arm)]
        return statistics.learning(self.heldout(arm), dict(zip(keys, self.study.clusters(keys), strict=True)))

    def title_learning(self, arm: str) -> TitleLearning | None:
        """O que o título explica da queda; None se a trilha não mediu a perda sob outro título."""
        rows = [row for row in self.heldout(arm) if None not in map(row.get, ("base_other_loss", "tuned_other_loss"))]
        if not rows:
            return None
        groups = self.study.clusters(row["item_id"] for row in rows)
        own = [row["base_loss"] - row["tuned_loss"] for row in rows]
        other = [row["base_other_loss"] - row["tuned_other_loss"] for row in rows]
        content = [a - b for a, b in zip(own, other, strict=True)]
        return TitleLearning(*(statistics.mean_difference(drops, groups) for drops in (own, other, content)))

    def contrast(self, first: str, second: str, key: str) -> Contrast | None:
        """O contraste de uma medida entre dois sistemas; None se não foi feito."""
        asked = (first, second, key)
        return next((one for one in self.contrasts if (one.first, one.second, one.metric.key) == asked), None)

    def conclusions(self) -> list[str]:
        """O que a rodada mostra, em uma ou duas frases calculadas: a perda de cada trilha e o contraste principal."""
        told = [text for arm in ARMS if (text := self._learnt(arm))]
        return [*([" ".join(told)] if told else []), *([self._compared()] if self.contrasts else [])]

    def _learnt(self, arm: str) -> str:
        drop, rows = self.learning(arm), self.heldout(arm)
        if drop.mean is None:
            return ""
        fell = sum(row["tuned_loss"] < row["base_loss"] for row in rows)
        verb = "caiu" if drop.mean > 0 else "subiu em média e só caiu"
        text = f"{ARMS[arm]}: a perda de teste {verb} em {fell} de {len(rows)} itens (em média, {number(drop.mean, 2)}"
        title = self.title_learning(arm)
        if title is None:
            return f"{text})."
        sure = title.content.low is not None and title.content.low > 0
        told = f"{number(title.content.mean, 2)} dela" if sure else "nada que se demonstre dela"
        return f"{text}; {told} vem do título, o resto é estilo)."

    def _compared(self) -> str:
        first, second = self.study.pairs()[0]
        mine = [one for one in self.contrasts if (one.first, one.second) == (first, second)]
        who = "os dois ajustados" if self.study.system(second).role == "ajustado" else "o ajustado e a base"
        n = max(one.estimate.n for one in mine)
        shown = [one for one in mine if one.holm is not None and one.holm <= statistics.ALPHA]
        if not shown:
            return f"Nenhuma diferença entre {who} é demonstrável com {number(n)} itens."
        # Maior ou menor, e não melhor: quem cala também inventa menos.
        told = [
            f"{one.metric.label}, {'menor' if one.metric.low_is_good else 'maior'} em "
            f"{self.study.system(one.better).label}"
            for one in shown
        ]
        return f"Entre {who}, {number(n)} itens demonstram diferença em: {'; '.join(told)}."


def score(run_folder: Path | str, data_folder: Path | str | None = None) -> Results:
    """Pontua uma rodada; InputError e RunMismatchError como em ``read_study``."""
    study = read_study(run_folder, data_folder)
    rows: dict[str, dict[str, Row]] = {name: {} for name in study.answers}
    for case in metrics.cases(study, similarity.read(study)):
        values = {metric.key: metric.value(case) for metric in metrics.METRICS}
        key, details = case.item["item_id"], (case.defects, case.specifics, case.copied_from)
        rows[case.system][key] = Row(key, case.system, values, *details)
    rows = {name: {key: mine[key] for key in study.items if key in mine} for name, mine in rows.items()}
    known = {prompt.id for prompt in flexibility.load()}
    verdicts = {
        system: {key: flexibility.passes(key, row.answer) for key, row in asked.items() if key in known}
        for system, asked in study.flexibility.items()
    }
    return Results(study, rows, verdicts, _contrasts(study, rows))


def _contrasts(study: Study, rows: dict[str, dict[str, Row]]) -> tuple[Contrast, ...]:
    asked = [
        (first, second, metric)
        for first, second in study.pairs()
        for metric in metrics.METRICS
        if metric.compared and (not metric.same_model or _same_base(study, first, second))
    ]
    measured = [_difference(study, rows[first], rows[second], metric) for first, second, metric in asked]
    adjusted = statistics.holm([estimate.p for estimate, _ in measured])
    return tuple(
        Contrast(*about, estimate, holm, detectable)
        for about, (estimate, detectable), holm in zip(asked, measured, adjusted, strict=True)
    )


def _same_base(study: Study, first: str, second: str) -> bool:
    """Perdas de tokenizadores diferentes não se comparam; de bases que não se identificam, também não."""
    one, two = study.system(first), study.system(second)
    return one.arm == two.arm or ("@" in one.model_id and base_of(one.model_id) == base_of(two.model_id))


def _difference(
    study: Study, first: dict[str, Row], second: dict[str, Row], metric: Metric
) -> tuple[Estimate, float | None]:
    """A estimativa pareada de uma medida e a menor diferença que ela mostraria."""
    pairs = {key: (first[key].values[metric.key], second[key].values[metric.key]) for key in first if key in second}
    both = {key: (a, b) for key, (a, b) in pairs.items() if a is not None and b is not None}
    groups = study.clusters(both)
    differences = [a - b for a, b in both.values()]
    if not metric.share:
        return statistics.mean_difference(differences, groups), statistics.detectable_mean(differences, groups)
    estimate = statistics.paired_share([bool(a) for a, _ in both.values()], [bool(b) for _, b in both.values()], groups)
    if estimate.clusters < estimate.n:
        return estimate, statistics.detectable_mean(differences, groups)
    fewer = min(differences.count(1.0), differences.count(-1.0))
    return estimate, power.detectable_share(estimate.n, fewer / estimate.n) if estimate.n else None
