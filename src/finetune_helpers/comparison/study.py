"""Lê uma pasta de rodada: itens de teste, respostas por sistema, relatórios de treino e o que falta."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import answers
from ..answers import Answer
from ..errors import InputError, RunMismatchError
from ..portuguese import NOT_RUN, counted
from ..prompts import read_train
from ..records import Example, read_json, read_jsonl
from . import flexibility

ROLES = {"base": "base", "tuned": "ajustado", "fewshot": "base com 3 exemplos"}
REFERENCE, OTHER = "referência", "outro modelo"
ARMS = {"llama3": "Trilha LLaMA", "gpt": "Trilha GPT"}
PROJECT = tuple(f"{arm}-{role}" for role in ROLES for arm in ARMS)
REFERENCES = {
    "ref-copia": "Descrição de treino mais próxima",
    "ref-aleatoria": "Descrição de treino ao acaso",
    "ref-titulo": "Título repetido",
}
ONE_RUN = "Uma execução por trilha: outra semente de treino daria outros números, e esta variação não foi medida."
SEED = 20261121
SAME_SHARE = 0.95


@dataclass(frozen=True)
class System:
    """Quem respondeu: a trilha e o papel (o que fez) e o modelo (quem é) são duas coisas.

    ``role`` é "base", "ajustado", "base com 3 exemplos", "referência" ou "outro modelo"; ``model`` é o nome de exibição
    do modelo base, "não executado" se o sistema não respondeu e vazio nas referências.
    """

    name: str
    arm: str
    role: str
    model: str
    model_id: str
    label: str


@dataclass(frozen=True)
class Study:
    """Tudo o que a comparação sabe de uma rodada; respostas por sistema e por ``item_id``, nunca por posição.

    ``answers`` traz só os sistemas que responderam (e as referências); ``systems``, também os do projeto que faltam.
    """

    run: Path
    data: Path
    items: dict[str, dict]
    train: tuple[Example, ...]
    answers: dict[str, dict[str, Answer]]
    flexibility: dict[str, dict[str, Answer]]
    reports: dict[str, dict]
    systems: tuple[System, ...]
    leaks: dict[str, int]

    def system(self, name: str) -> System:
        """O sistema de um nome; InputError se a rodada não o conhece."""
        known = {system.name: system for system in self.systems}
        if name not in known:
            raise InputError(f"A rodada {self.run.name} não tem o sistema {name!r}; tem {', '.join(known)}.")
        return known[name]

    def clusters(self, keys: Iterable[str]) -> list[str]:
        """O grupo de quase duplicatas de cada item; o próprio item onde não há grupo."""
        return [self.items[key].get("cluster") or key for key in keys]

    def pairs(self) -> list[tuple[str, str]]:
        """Contrastes na ordem declarada: os dois ajustados (o principal), depois cada ajustado contra a sua base."""
        tuned = [system.name for system in self.systems if system.role == "ajustado" and system.name in self.answers]
        own = [(name, name.removesuffix("-tuned") + "-base") for name in tuned]
        main = [(tuned[0], tuned[1])] if len(tuned) > 1 else []
        return main + [pair for pair in own if pair[1] in self.answers]

    def missing(self, system: str) -> list[str]:
        """Itens de teste que este sistema não respondeu."""
        return [item for item in self.items if item not in self.answers.get(system, {})]

    def notices(self) -> list[str]:
        """Frases sobre o que põe a comparação em dúvida: vazamentos, respostas iguais, prompts e itens que faltam."""
        told = [*self._leaks(), *self._identical(), *self._fingerprints(), *self._unidentified(), *self._other_suite()]
        for name, rows in self.answers.items():
            strangers, gaps = sorted(set(rows) - set(self.items)), self.missing(name)
            if strangers:
                told.append(f"{self.system(name).label}: há respostas a itens fora do teste ({_listed(strangers)}).")
            if gaps:
                told.append(f"{self.system(name).label}: faltam respostas a {_listed(gaps)}.")
        return told

    def _leaks(self) -> list[str]:
        return [
            f"{ARMS.get(arm, arm)}: a curadoria achou {counted(count, 'título')} de teste perto de um de treino. "
            "O que um modelo acerta nesses itens pode ser memória."
            for arm, count in self.leaks.items()
            if count
        ]

    def _identical(self) -> list[str]:
        told = []
        for tuned, base in [pair for pair in self.pairs() if pair[1].endswith("-base")]:
            both = [key for key in self.answers[tuned] if key in self.answers[base]]
            same = sum(self.answers[tuned][key].answer == self.answers[base][key].answer for key in both)
            if both and same / len(both) > SAME_SHARE:
                told.append(
                    f"{self.system(tuned).label}: {same} de {len(both)} respostas são iguais às do modelo base. "
                    "Confira se o adaptador foi carregado."
                )
        return told

    def _fingerprints(self) -> list[str]:
        rows = [row for by_item in (*self.answers.values(), *self.flexibility.values()) for row in by_item.values()]
        seen = sorted({row.prompt_fingerprint for row in rows if row.prompt_fingerprint})
        return [f"As respostas usaram {len(seen)} prompts diferentes: {', '.join(seen)}."] if len(seen) > 1 else []

    def _unidentified(self) -> list[str]:
        named = [system.name for system in self.systems if system.model_id and "@" not in system.model_id]
        told = "as respostas não trazem a revisão, e não se confere se a base e o ajustado têm os mesmos pesos"
        return [f"Rodada antiga ou modelo hospedado: {told} ({', '.join(named)})."] if named else []

    def _other_suite(self) -> list[str]:
        known = {prompt.id for prompt in flexibility.load()}
        other = {key for rows in self.flexibility.values() for key in rows if key not in known}
        return [f"{_listed(sorted(other))} de outra versão da suíte de flexibilidade não contam."] if other else []


def read_study(run_folder: Path | str, data_folder: Path | str | None = None) -> Study:
    """Lê a rodada; sem ``data_folder``, ``resultados/X`` usa ``dados/X``.

    InputError se falta a pasta ou o ``teste.jsonl``; RunMismatchError se um sistema mistura dois modelos ou se a base e
    o ajustado de uma trilha têm bases diferentes.
    """
    run = Path(run_folder).resolve()
    if not run.is_dir():
        raise InputError(f"A pasta {run_folder} não existe. Execute antes os cadernos 02 e 03 com esta rodada (`run`).")
    data = Path(data_folder).resolve() if data_folder else run.parents[1] / "dados" / run.name
    items = {row["item_id"]: row for row in read_jsonl(data / "comparacao" / "teste.jsonl")}
    train = tuple(read_train(data))
    reports = {path.parent.name: read_json(path) for path in sorted(run.glob("*/treino.json"))}
    rows, arms = _rows(run)
    systems = _systems(rows, arms, reports)
    _refuse_mixtures(run, rows, systems)
    suites = {
        suite: {name: {row.item_id: row for row in mine if row.suite == suite} for name, mine in rows.items()}
        for suite in ("teste", "flexibilidade")
    }
    tests, flexible = ({name: mine for name, mine in suites[suite].items() if mine} for suite in suites)
    return Study(run, data, items, train, tests | references(items, train), flexible, reports, systems, _leaks_of(data))


def _rows(run: Path) -> tuple[dict[str, list[Answer]], dict[str, str]]:
    """Respostas e trilha de cada sistema; um nome repetido em outra pasta vira ``pasta/sistema``."""
    rows: dict[str, list[Answer]] = {}
    arms: dict[str, str] = {}
    for path in sorted(run.glob("*/respostas.jsonl"), key=lambda path: (path.parent.name not in ARMS, path)):
        folder = path.parent.name
        for row in answers.read(path):
            name = row.system if arms.get(row.system, folder) == folder else f"{folder}/{row.system}"
            arms[name] = folder
            rows.setdefault(name, []).append(row)
    return rows, arms


def _systems(rows: dict[str, list[Answer]], arms: dict[str, str], reports: dict[str, dict]) -> tuple[System, ...]:
    """Os sistemas do projeto, os que entraram pela pasta e, por fim, as referências."""
    ordered = [*PROJECT, *sorted(set(rows) - set(PROJECT))]
    systems = []
    for name in ordered:
        arm = arms.get(name) or name.partition("-")[0]
        role = ROLES.get(name.rpartition("-")[2], OTHER)
        identity = rows[name][0].model_id if name in rows else ""
        label = f"{ARMS[arm]}, {role}" if name in PROJECT else name
        systems.append(System(name, arm, role, _model(identity, reports.get(arm, {})), identity, label))
    known = [System(name, "", REFERENCE, "", "", label) for name, label in REFERENCES.items()]
    return (*systems, *known)


def _model(identity: str, report: dict[str, Any]) -> str:
    """O nome do modelo base como o relatório de treino o dá, sem pasta nem dono; sem relatório, o das respostas."""
    return Path(report.get("model") or answers.model_name(identity)).name if identity else NOT_RUN


def _refuse_mixtures(run: Path, rows: dict[str, list[Answer]], systems: tuple[System, ...]) -> None:
    for name, mine in rows.items():
        seen = list(dict.fromkeys(row.model_id for row in mine))
        if len(seen) > 1:
            raise RunMismatchError(
                f"{run}: as respostas de {name} vêm de dois modelos, {seen[0]} e {seen[1]}. Uma linha de resultados é "
                "de um modelo só: apague de respostas.jsonl as linhas de um deles e execute de novo, ou use outra "
                "rodada (`run`)."
            )
    bases: dict[str, System] = {}
    for system in [system for system in systems if system.role in ROLES.values() and "@" in system.model_id]:
        first = bases.setdefault(system.arm, system)
        if answers.base_of(first.model_id) != answers.base_of(system.model_id):
            raise RunMismatchError(
                f"{run}: {first.name} respondeu com {answers.base_of(first.model_id)} e {system.name} com "
                f"{answers.base_of(system.model_id)}. Uma trilha compara um só modelo base: responda os dois com o "
                "mesmo, ou use outra rodada (`run`)."
            )


def _leaks_of(data: Path) -> dict[str, int]:
    """Títulos de teste perto de um de treino, por conjunto, como a curadoria os contou."""
    reports = {path.parent.name: read_json(path).get("leaks") or 0 for path in sorted(data.glob("*/curadoria.json"))}
    return {arm: leaks if isinstance(leaks, int) else len(leaks) for arm, leaks in reports.items()}


def references(items: dict[str, dict], train: tuple[Example, ...]) -> dict[str, dict[str, Answer]]:
    """Linhas que situam os números: cópia do treino mais próximo, descrição de treino ao acaso e o próprio título."""
    texts = {"ref-titulo": {key: row["title"] for key, row in items.items()}}
    if train and items:
        drawn = random.Random(SEED).sample([example.content for example in train], len(train))
        texts["ref-aleatoria"] = {key: drawn[place % len(drawn)] for place, key in enumerate(sorted(items))}
        texts["ref-copia"] = _nearest(items, train)
    blank = Answer("", 0, 0, 0.0, "stop", "")
    return {
        name: {key: replace(blank, answer=text, item_id=key, system=name) for key, text in rows.items()}
        for name, rows in texts.items()
    }


def _nearest(items: dict[str, dict], train: tuple[Example, ...]) -> dict[str, str]:
    from rapidfuzz import fuzz, process, utils

    titles = [row["title"] for row in items.values()]
    known = [example.title for example in train]
    scores = process.cdist(titles, known, scorer=fuzz.token_set_ratio, processor=utils.default_process)
    return {key: train[int(row.argmax())].content for key, row in zip(items, scores, strict=True)}


def _listed(ids: list[str]) -> str:
    return f"{len(ids)} {'item' if len(ids) == 1 else 'itens'}: {', '.join(ids[:8])}{'…' if len(ids) > 8 else ''}"
