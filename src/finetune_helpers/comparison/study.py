"""Lê uma pasta de rodada: itens de teste, respostas por sistema, relatórios de treino e o que falta."""

import random
from dataclasses import dataclass
from pathlib import Path

from .. import answers
from ..errors import InputError
from ..prompts import read_train
from ..records import Example, read_json, read_jsonl

SYSTEMS = ("llama3-base", "llama3-tuned", "gpt-base", "gpt-tuned")
FEW_SHOT = ("llama3-fewshot", "gpt-fewshot")
REFERENCES = ("ref-copia", "ref-aleatoria", "ref-titulo")
LABELS = {
    "llama3-base": "LLaMA 3, base",
    "llama3-tuned": "LLaMA 3, ajustado",
    "gpt-base": "GPT, base",
    "gpt-tuned": "GPT, ajustado",
    "llama3-fewshot": "LLaMA 3, base com 3 exemplos",
    "gpt-fewshot": "GPT, base com 3 exemplos",
    "ref-copia": "Descrição de treino mais próxima",
    "ref-aleatoria": "Descrição de outro item",
    "ref-titulo": "Título repetido",
}
ARMS = {"llama3": "LLaMA 3", "gpt": "GPT"}
SEED = 20261121
NOT_RUN = "não executado"


@dataclass(frozen=True)
class Study:
    """Tudo o que a comparação sabe de uma rodada; respostas por sistema e por ``item_id``, nunca por posição."""

    run: Path
    data: Path
    items: dict[str, dict]
    train: tuple[Example, ...]
    answers: dict[str, dict[str, dict]]
    flexibility: dict[str, dict[str, dict]]
    reports: dict[str, dict]
    arms: dict[str, str]

    @property
    def systems(self) -> list[str]:
        """Sistemas do projeto, os que entraram pela pasta e, por fim, as referências."""
        found = [name for name in self.answers if name not in SYSTEMS and name not in REFERENCES]
        return [*SYSTEMS, *FEW_SHOT, *sorted(set(found) - set(FEW_SHOT)), *REFERENCES]

    def missing(self, system: str) -> list[str]:
        """Itens de teste que este sistema não respondeu."""
        given = self.answers.get(system, {})
        return [item for item in self.items if item not in given]

    def alarms(self) -> list[str]:
        """Frases sobre o que põe a comparação em dúvida."""
        return [*_identical(self), *_prompts(self), *_strangers(self)]

    def notices(self) -> list[str]:
        """Alarmes e, por sistema, os itens sem resposta."""
        gaps = {system: self.missing(system) for system in self.answers}
        listed = [
            f"{label(system)}: faltam {len(ids)} respostas ({', '.join(ids[:8])}{'…' if len(ids) > 8 else ''})."
            for system, ids in gaps.items()
            if ids
        ]
        return self.alarms() + listed


def label(system: str) -> str:
    """Nome de um sistema para quem lê; sistemas desconhecidos ficam com o nome do arquivo."""
    return LABELS.get(system, system)


def read_study(run_folder: Path | str, data_folder: Path | str | None = None) -> Study:
    """Lê a rodada; sem ``data_folder``, ``resultados/X`` usa ``dados/X``. InputError se não há teste.jsonl."""
    run = Path(run_folder).resolve()
    if not run.is_dir():
        raise InputError(f"A pasta {run_folder} não existe. Execute antes os cadernos 02 e 03 com esta RODADA.")
    data = Path(data_folder).resolve() if data_folder else run.parents[1] / "dados" / run.name
    items = {row["item_id"]: row for row in read_jsonl(data / "comparacao" / "teste.jsonl")}
    train = tuple(read_train(data))
    given, arms = _answers(run)
    tests = {name: rows["teste"] for name, rows in given.items() if rows["teste"]}
    flexible = {name: rows["flexibilidade"] for name, rows in given.items() if rows["flexibilidade"]}
    reports = {path.parent.name: read_json(path) for path in sorted(run.glob("*/treino.json"))}
    return Study(run, data, items, train, tests | references(items, train), flexible, reports, arms)


def _answers(run: Path) -> tuple[dict[str, dict[str, dict[str, dict]]], dict[str, str]]:
    """Respostas por sistema e suíte; um nome repetido em outra pasta vira ``pasta/sistema``."""
    systems: dict[str, dict[str, dict[str, dict]]] = {}
    arms: dict[str, str] = {}
    paths = sorted(run.glob("*/respostas.jsonl"), key=lambda path: (path.parent.name not in ARMS, path.parent.name))
    for path in paths:
        folder = path.parent.name
        for row in answers.read(path):
            name = row["system"] if arms.get(row["system"], folder) == folder else f"{folder}/{row['system']}"
            arms[name] = folder
            suites = systems.setdefault(name, {"teste": {}, "flexibilidade": {}})
            suites.setdefault(row["suite"], {})[row["item_id"]] = row
    return systems, arms


def references(items: dict[str, dict], train: tuple[Example, ...]) -> dict[str, dict[str, dict]]:
    """Linhas que situam os números: cópia do treino mais próximo, descrição de outro item e o próprio título."""
    texts = {"ref-aleatoria": _others(items), "ref-titulo": {key: row["title"] for key, row in items.items()}}
    if train and items:
        texts["ref-copia"] = _nearest(items, train)
    return {name: {key: _reference_row(key, name, text) for key, text in rows.items()} for name, rows in texts.items()}


def _reference_row(item_id: str, system: str, text: str) -> dict:
    measures = {"tokens_in": 0, "tokens_out": 0, "seconds": 0.0, "finish_reason": "stop", "model_id": system}
    return {"item_id": item_id, "system": system, "suite": "teste", "answer": text, **measures}


def _others(items: dict[str, dict]) -> dict[str, str]:
    """Um ciclo sorteado: cada item recebe a descrição de outro, nunca a própria."""
    keys = sorted(items)
    random.Random(SEED).shuffle(keys)
    return {key: items[other]["content"] for key, other in zip(keys, keys[1:] + keys[:1], strict=True) if key != other}


def _nearest(items: dict[str, dict], train: tuple[Example, ...]) -> dict[str, str]:
    from rapidfuzz import fuzz, process, utils

    titles = [row["title"] for row in items.values()]
    known = [example.title for example in train]
    scores = process.cdist(titles, known, scorer=fuzz.token_set_ratio, processor=utils.default_process)
    return {key: train[int(row.argmax())].content for key, row in zip(items, scores, strict=True)}


def _identical(study: Study) -> list[str]:
    found = []
    for tuned in [name for name in study.answers if name.endswith("-tuned")]:
        base = study.answers.get(tuned.removesuffix("-tuned") + "-base", {})
        both = [key for key in study.answers[tuned] if key in base]
        same = sum(study.answers[tuned][key]["answer"] == base[key]["answer"] for key in both)
        if both and same / len(both) > 0.95:
            found.append(
                f"{label(tuned)}: {same} de {len(both)} respostas são iguais às do modelo base. "
                "Confira se o adaptador foi carregado."
            )
    return found


def _prompts(study: Study) -> list[str]:
    rows = [row for name in study.answers for row in study.answers[name].values()]
    seen = {row["prompt_fingerprint"] for row in rows if "prompt_fingerprint" in row}
    return [f"As respostas usaram {len(seen)} prompts diferentes: {', '.join(sorted(seen))}."] if len(seen) > 1 else []


def _strangers(study: Study) -> list[str]:
    found = {name: set(rows) - set(study.items) for name, rows in study.answers.items()}
    return [
        f"{label(name)}: {len(ids)} respostas a itens que não estão no teste ({', '.join(sorted(ids)[:3])}…)."
        for name, ids in found.items()
        if ids
    ]
