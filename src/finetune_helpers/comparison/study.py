"""Lê uma pasta de rodada: itens de teste, respostas por sistema, relatórios de treino e o que falta."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

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

    def system(self, name: str) -> System:
        """O sistema de um nome; InputError se a rodada não o conhece."""
        known = {system.name: system for system in self.systems}
        if name not in known:
            raise InputError(f"A rodada {self.run.name} não tem o sistema {name!r}; tem {', '.join(known)}.")
        return known[name]

    def clusters(self, keys: Iterable[str]) -> list[str]:
        """O grupo de quase duplicatas de cada item; o próprio item onde não há grupo."""
        return [self.items.get(key, {}).get("cluster") or key for key in keys]

    def pairs(self) -> list[tuple[str, str]]:
        """Contrastes na ordem declarada: os dois ajustados (o principal), depois cada ajustado contra a sua base."""
        tuned = [system.name for system in self.systems if system.role == "ajustado" and system.name in self.answers]
        main = [(tuned[0], tuned[1])] if len(tuned) > 1 else []
        return main + self.own_pairs()

    def own_pairs(self) -> list[tuple[str, str]]:
        """Cada ajustado contra a sua base, onde os dois responderam."""
        pairs = [(system.name, f"{system.name.removesuffix('-tuned')}-base") for system in self.systems]
        return [pair for pair in pairs if pair[0].endswith("-tuned") and set(pair) <= self.answers.keys()]

    def notices(self) -> list[str]:
        """Frases sobre o que põe a comparação em dúvida: vazamentos, respostas iguais, prompts e itens que faltam."""
        return [*self._doubts(), *self._gaps()]

    def _doubts(self) -> Iterator[str]:
        for path in sorted(self.data.glob("*/curadoria.json")):
            if leaks := read_json(path).get("leaks"):
                yield (
                    f"{ARMS.get(path.parent.name, path.parent.name)}: a curadoria achou "
                    f"{counted(len(leaks), 'título')} de teste perto de um de treino. O que um modelo acerta nesses "
                    "itens pode ser memória."
                )
        for tuned, base in self.own_pairs():
            both = [key for key in self.answers[tuned] if key in self.answers[base]]
            same = sum(self.answers[tuned][key].answer == self.answers[base][key].answer for key in both)
            if both and same / len(both) > SAME_SHARE:
                yield (
                    f"{self.system(tuned).label}: {same} de {len(both)} respostas são iguais às do modelo base. "
                    "Confira se o adaptador foi carregado."
                )
        rows = [row for mine in (*self.answers.values(), *self.flexibility.values()) for row in mine.values()]
        prints = sorted({row.prompt_fingerprint for row in rows} - {""})
        if len(prints) > 1:
            yield f"As respostas usaram {len(prints)} prompts diferentes: {', '.join(prints)}."
        unnamed = [system.name for system in self.systems if system.model_id and "@" not in system.model_id]
        if unnamed:
            yield (
                "Rodada antiga ou modelo hospedado: as respostas não trazem a revisão, e não se confere se a base e o "
                f"ajustado têm os mesmos pesos ({', '.join(unnamed)})."
            )

    def _gaps(self) -> Iterator[str]:
        known = {prompt.id for prompt in flexibility.load()}
        if other := {key for rows in self.flexibility.values() for key in rows} - known:
            yield f"{_listed(other)} de outra versão da suíte de flexibilidade não contam."
        for name, rows in self.answers.items():
            label = self.system(name).label
            if strangers := rows.keys() - self.items.keys():
                yield f"{label}: há respostas a itens fora do teste ({_listed(strangers)})."
            if missing := [key for key in self.items if key not in rows]:
                yield f"{label}: faltam respostas a {_listed(missing)}."


def _listed(ids: Iterable[str]) -> str:
    names = ids if isinstance(ids, list) else sorted(ids)
    return f"{len(names)} {'item' if len(names) == 1 else 'itens'}: {', '.join(names[:8])}{'…' * (len(names) > 8)}"


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
    suites: dict[str, dict[str, dict[str, Answer]]] = {"teste": {}, "flexibilidade": {}}
    for name, mine in rows.items():
        for row in mine:
            suites.setdefault(row.suite, {}).setdefault(name, {})[row.item_id] = row
    answered = suites["teste"] | references(items, train)
    return Study(run, data, items, train, answered, suites["flexibilidade"], reports, systems)


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
    systems = []
    for name in [*PROJECT, *sorted(set(rows) - set(PROJECT))]:
        arm = arms.get(name) or name.partition("-")[0]
        role = ROLES.get(name.rpartition("-")[2], OTHER)
        identity = rows[name][0].model_id if name in rows else ""
        # O nome que o relatório de treino dá, sem pasta nem dono; sem relatório, o das respostas.
        model = Path(reports.get(arm, {}).get("model") or answers.model_name(identity)).name if identity else NOT_RUN
        label = f"{ARMS[arm]}, {role}" if name in PROJECT else name
        systems.append(System(name, arm, role, model, identity, label))
    return (*systems, *(System(name, "", REFERENCE, "", "", label) for name, label in REFERENCES.items()))


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


def references(items: dict[str, dict], train: tuple[Example, ...]) -> dict[str, dict[str, Answer]]:
    """Linhas que situam os números: cópia do treino mais próximo, descrição de treino ao acaso e o próprio título."""
    texts = {"ref-titulo": {key: row["title"] for key, row in items.items()}}
    if train and items:
        from rapidfuzz import fuzz, process, utils

        drawn = random.Random(SEED).sample([example.content for example in train], len(train))
        texts["ref-aleatoria"] = {key: drawn[place % len(drawn)] for place, key in enumerate(sorted(items))}
        titles, known = [row["title"] for row in items.values()], [example.title for example in train]
        scores = process.cdist(titles, known, scorer=fuzz.token_set_ratio, processor=utils.default_process)
        texts["ref-copia"] = {key: train[int(row.argmax())].content for key, row in zip(items, scores, strict=True)}
    blank = Answer("", 0, 0, 0.0, "stop", "")
    return {
        name: {key: replace(blank, answer=text, item_id=key, system=name) for key, text in rows.items()}
        for name, rows in texts.items()
    }
