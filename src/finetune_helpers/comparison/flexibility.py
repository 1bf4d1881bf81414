"""Suíte de flexibilidade: o que um modelo ainda faz depois do ajuste, em perguntas que o código sabe julgar.

Cada linha de ``flexibilidade.jsonl`` (CC0) traz uma pergunta fechada e a verificação que a decide (``checks``): uma
letra, um número, uma hora, uma data, um objeto JSON, um trecho do texto, uma lista, uma frase com fatos pedidos e
vedados, ou a abstenção combinada. ``cluster`` reúne as perguntas que dividem um texto ou um título: não são
independentes, e o intervalo da taxa de acertos as conta juntas.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..prompts import Question
from . import checks

SUITE = "flexibilidade"
_FILE = Path(__file__).with_name("flexibilidade.jsonl")
FAMILIES: dict[str, str] = {
    "other_products": "Seção de outros produtos",
    "paraphrase": "A mesma pergunta de outra forma",
    "portuguese": "Perguntas em português",
    "spanish": "Perguntas em espanhol",
    "reading": "Pergunta sobre um texto",
    "unanswerable": "O texto responde ou não?",
    "summary": "Resumo em uma frase",
    "excerpt": "Recorte exato do texto",
    "json": "Objeto JSON",
    "listing": "Lista com marcador pedido",
    "invented": "Autor de título inventado",
    "famous": "Autor de título famoso",
    "genre": "Escolha do gênero",
    "extraction": "Autor ou ano",
    "arithmetic": "Contas, horas e datas",
    "translation": "Tradução",
}
# O que o modelo já fazia antes do ajuste e a tarefa de treino não exercita.
FORGETTING_FAMILIES = frozenset(FAMILIES) - {"other_products", "paraphrase", "invented", "famous"}


@dataclass(frozen=True)
class Prompt:
    """Uma pergunta da suíte: o que se pede, as verificações (``name`` e ``args``), uma resposta certa e uma errada."""

    id: str
    family: str
    lang: str
    cluster: str
    instruction: str
    input: str
    checks: list[dict[str, Any]]
    good: str
    bad: str
    note: str


@dataclass(frozen=True)
class Verdict:
    """O julgamento de uma resposta: se passou, a família da pergunta e os nomes das verificações que a reprovaram."""

    passed: bool
    family: str
    failed: tuple[str, ...]


def version() -> str:
    """Doze dígitos que mudam quando o arquivo da suíte muda."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()[:12]


@cache
def load() -> tuple[Prompt, ...]:
    """Todas as perguntas do pacote, na ordem do arquivo."""
    return tuple(Prompt(**json.loads(line)) for line in _FILE.read_text("utf-8").splitlines())


def find(item_id: str) -> Prompt:
    """A pergunta de um id; InputError se a suíte não a tem."""
    prompt = next((prompt for prompt in load() if prompt.id == item_id), None)
    if prompt is None:
        raise InputError(
            f"A suíte de flexibilidade (versão {version()}) não tem o item {item_id!r}. "
            "As respostas vieram de outra versão da suíte: refaça as respostas ou instale a versão que as gerou."
        )
    return prompt


def questions(per_family: int | None = None) -> list[Question]:
    """As perguntas da suíte, ou ``per_family`` de cada família, espalhadas por ela; InputError se não é positivo."""
    if per_family is not None and per_family < 1:
        raise InputError(
            f"`per_family` é {per_family}, e devia ser um inteiro a partir de 1. "
            "Corrija o valor ou não o dê, para usar a suíte inteira."
        )
    chosen = []
    for family in FAMILIES:
        prompts = [prompt for prompt in load() if prompt.family == family]
        count = min(per_family or len(prompts), len(prompts))
        # A passos iguais: as vizinhas no arquivo dividem um texto.
        chosen += [prompts[len(prompts) * n // count] for n in range(count)]
    return [Question(prompt.id, prompt.instruction, prompt.input, SUITE) for prompt in chosen]


def passes(item_id: str, answer: str) -> Verdict:
    """Julga uma resposta pelas verificações da sua pergunta; InputError se o id não existe."""
    prompt = find(item_id)
    decided = {check["name"]: getattr(checks, check["name"])(answer, **check["args"]) for check in prompt.checks}
    failed = tuple(name for name, passed in decided.items() if not passed)
    return Verdict(not failed, prompt.family, failed)
