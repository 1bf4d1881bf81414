"""Uma rodada pontuada uma vez: medidas por resposta, contrastes entre sistemas, flexibilidade e conclusões."""

from dataclasses import dataclass
from pathlib import Path

from . import costs, flexibility
from .metrics import Metric
from .statistics import Estimate, Interval
from .study import Study


@dataclass(frozen=True)
class Row:
    """As medidas de uma resposta: ``values`` por chave de medida (None onde não se mediu) e o que as explica."""

    item_id: str
    system: str
    values: dict[str, float | None]
    defects: tuple[str, ...]
    cut: bool
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


@dataclass(frozen=True)
class Share:
    """Aprovações em ``n`` e o intervalo de 95 % da taxa, que respeita os grupos."""

    passed: int
    n: int
    low: float | None
    high: float | None

    @property
    def rate(self) -> float | None:
        """A taxa, de 0 a 1."""
        return self.passed / self.n if self.n else None


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
    estimate: Estimate


@dataclass(frozen=True)
class TitleLearning:
    """A queda da perda da descrição verdadeira sob o próprio título e sob o de outro item (nats por token).

    ``content`` = própria − outra: o que o ajuste aprendeu a tirar do título; a queda sob o outro título é estilo.
    """

    arm: str
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
    words: int

    def mean(self, system: str, key: str) -> Interval:
        """Média de uma medida num sistema, com intervalo; ``n`` = 0 se ninguém a fez."""
        raise NotImplementedError

    def share(self, system: str, key: str) -> Share:
        """Respostas de um sistema com valor 1 numa medida de sim ou não, com intervalo por grupo."""
        raise NotImplementedError

    def flexibility(self, system: str) -> dict[str, Share]:
        """Aprovações por família da suíte; vazio se o sistema não a respondeu."""
        raise NotImplementedError

    def flexibility_total(self, system: str) -> Share | None:
        """Aprovações na suíte inteira, com intervalo por grupo de prompts; None se não foi respondida."""
        raise NotImplementedError

    def forgetting(self) -> list[Forgetting]:
        """Esquecimento de cada trilha, pareado por prompt."""
        raise NotImplementedError

    def learning(self, arm: str) -> Estimate:
        """Queda da perda de teste de uma trilha, pareada por item; ``n`` = 0 se ela não a mede."""
        raise NotImplementedError

    def title_learning(self, arm: str) -> TitleLearning | None:
        """O que o título explica da queda; None se a trilha não mediu a perda sob outro título."""
        raise NotImplementedError

    def efficiency(self, arm: str) -> costs.Efficiency | None:
        """Eficiência do treino de uma trilha; None sem ``treino.json``."""
        raise NotImplementedError

    def serving(self, system: str) -> costs.Serving | None:
        """Custo de responder com um sistema; None se ele não respondeu."""
        raise NotImplementedError

    def training(self, arm: str) -> costs.Training | None:
        """Custo do treino de uma trilha; None se não houve."""
        raise NotImplementedError

    def conclusions(self) -> list[str]:
        """Uma ou duas frases sobre a rodada, calculadas."""
        raise NotImplementedError


def score(run_folder: Path | str, data_folder: Path | str | None = None) -> Results:
    """Pontua uma rodada; InputError e RunMismatchError como em ``read_study``."""
    raise NotImplementedError
