"""Suíte de flexibilidade: 187 prompts escritos à mão (CC0) que dizem o que um modelo ainda faz depois do ajuste.

Cada linha de ``flexibilidade.jsonl`` traz o prompt, as verificações que o decidem por código e uma resposta boa e uma
ruim, que os testes usam para provar que as verificações as separam. ``cluster`` agrupa os prompts que dividem um texto
ou um título: eles não são independentes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from ..errors import InputError
from ..prompts import Question
from ..records import normalise
from . import checks

SUITE = "flexibilidade"
FAMILIES: dict[str, str] = {
    "other_products": "Outros produtos",
    "paraphrase": "Outras formas de pedir",
    "portuguese": "Português",
    "spanish": "Espanhol",
    "reading": "Pergunta sobre um texto",
    "unanswerable": "Pergunta que o texto não responde",
    "summary": "Resumo com limite",
    "length": "Controle de tamanho",
    "format": "Controle de formato",
    "invented": "Títulos inventados",
    "famous": "Títulos famosos",
    "genre": "Escolha do gênero",
    "extraction": "Autor ou ano",
    "arithmetic": "Contas e bom senso",
    "translation": "Tradução",
    "talk": "Conversa",
}
# As habilidades que o modelo tinha antes do ajuste e que a tarefa de treino não exercita.
FORGETTING_FAMILIES = frozenset(
    ("reading", "unanswerable", "summary", "length", "format", "genre", "extraction", "arithmetic", "translation")
)
MARKDOWN = re.compile(r"```\w*|\*+|`+|__|^#+ |^> ", re.MULTILINE)


@dataclass(frozen=True)
class Prompt:
    """Um prompt da suíte: a pergunta, as verificações (nome e argumentos) e as respostas que o especificam."""

    id: str
    family: str
    lang: str
    instruction: str
    input: str
    checks: tuple[tuple[str, MappingProxyType], ...]
    cluster: str
    note: str
    good: str
    bad: str


@dataclass(frozen=True)
class Verdict:
    """Resultado de uma resposta: estrito, tolerante e os nomes das verificações que a leitura estrita reprovou."""

    strict: bool
    loose: bool
    family: str
    failed: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """A leitura estrita."""
        return self.strict


@cache
def load() -> tuple[Prompt, ...]:
    """Todos os prompts do pacote, na ordem do arquivo."""
    text = (resources.files(__package__) / "flexibilidade.jsonl").read_text(encoding="utf-8")
    return tuple(_prompt(json.loads(line)) for line in text.splitlines())


def _prompt(row: dict) -> Prompt:
    asked = tuple((check["name"], MappingProxyType(check["args"])) for check in row["checks"])
    return Prompt(**(row | {"checks": asked}))


@cache
def _by_id() -> dict[str, Prompt]:
    return {prompt.id: prompt for prompt in load()}


def find(item_id: str) -> Prompt:
    """O prompt de um id; InputError se a suíte não o tem."""
    if item_id not in _by_id():
        raise InputError(
            f"A suíte de flexibilidade não tem o item {item_id!r}. "
            "As respostas vieram de outra versão da suíte: refaça as respostas ou instale a versão que as gerou."
        )
    return _by_id()[item_id]


def questions(per_family: int | None = None) -> list[Question]:
    """As perguntas da suíte, ou as ``per_family`` primeiras de cada família; InputError se o número não é positivo."""
    if per_family is not None and per_family < 1:
        raise InputError(f"per_family={per_family}: use um inteiro a partir de 1, ou None para a suíte inteira.")
    chosen = [prompt for family in FAMILIES for prompt in _of(family)[:per_family]]
    return [Question(prompt.id, prompt.instruction, prompt.input, SUITE) for prompt in chosen]


def _of(family: str) -> list[Prompt]:
    return [prompt for prompt in load() if prompt.family == family]


def passes(item_id: str, answer: str) -> Verdict:
    """Julga uma resposta pelas verificações do seu prompt; resposta vazia ou que só repete o prompt nunca passa.

    A leitura tolerante segue o IFEval (arXiv 2311.07911): vale também a resposta sem markdown, sem a primeira ou sem a
    última linha. Aqui uma mesma leitura precisa cumprir todas as verificações. InputError se o id não existe.
    """
    prompt = find(item_id)
    failed = _failed(prompt, answer.strip())
    loose = not failed or any(not _failed(prompt, reading) for reading in _readings(answer))
    return Verdict(not failed, loose, prompt.family, failed)


def _failed(prompt: Prompt, answer: str) -> tuple[str, ...]:
    if not checks.words(answer):
        return ("empty",)
    if _repeats(prompt, answer):
        return ("echo",)
    return tuple(name for name, args in prompt.checks if not getattr(checks, name)(answer, **args))


def _repeats(prompt: Prompt, answer: str) -> bool:
    """A resposta traz a instrução inteira ou é a própria entrada: o modelo só continuou o prompt."""
    text = normalise(answer)
    return normalise(prompt.instruction) in text or text == normalise(prompt.input)


def _readings(answer: str) -> Iterator[str]:
    lines = answer.strip().splitlines()
    for kept in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = "\n".join(kept)
        yield text.strip()
        yield MARKDOWN.sub("", text).strip()
