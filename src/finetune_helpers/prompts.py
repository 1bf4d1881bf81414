"""Onde o prompt é definido: a instrução, a mensagem de sistema e os formatos de cada modelo."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import InputError
from .records import Example, read_items, read_jsonl

INSTRUCTION = "Write the catalogue description of the product with this title."
SYSTEM = "You write product descriptions for a shop catalogue. Answer with the description only."
LONGEST_SHOWN = 1200  # caracteres: descrições maiores ocupariam o contexto de um modelo pequeno
# O modelo de texto que o caderno Alpaca tornou comum para LLaMA sem instruções; o texto do usuário é concatenado,
# nunca passado por str.format, para que chaves no título não quebrem nada.
ALPACA_HEADER = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)


@dataclass(frozen=True)
class Question:
    """Uma pergunta a qualquer sistema: um item do teste ou um prompt da suíte de flexibilidade."""

    item_id: str
    instruction: str
    input: str = ""
    suite: str = "teste"


def question(example: Example) -> Question:
    """A pergunta de teste de um produto: só o título, nunca a descrição."""
    return Question(example.item_id, INSTRUCTION, example.title)


def few_shot(asked: Question, examples: Sequence[Example]) -> Question:
    """A mesma pergunta com exemplos de treino na instrução: a referência que não treina nada."""
    shown = "".join(f"\n\nTitle: {example.title}\nDescription: {example.content}" for example in examples)
    return replace(asked, instruction=f"{asked.instruction} Follow the style of these examples.{shown}")


def few_shot_questions(data: Path | str, shown: int = 3) -> list[Question]:
    """As perguntas de teste de uma rodada com ``shown`` exemplos de treino, sorteados uma vez e os mesmos em todas.

    InputError se o treino tem menos de ``shown`` descrições de até 1.200 caracteres.
    """
    folder = Path(data)
    short = [example for example in read_train(folder) if len(example.content) <= LONGEST_SHOWN]
    if len(short) < shown:
        raise InputError(
            f"O treino em {folder} tem {len(short)} descrições de até {LONGEST_SHOWN} caracteres e são precisas "
            f"{shown}. Aumente `n_train` no caderno 01."
        )
    examples = random.Random(20261121).sample(sorted(short, key=lambda one: one.item_id), shown)
    return [few_shot(question(item), examples) for item in read_items(folder / "comparacao" / "teste.jsonl")]


def alpaca_prompt(asked: Question) -> str:
    """Texto que o LLaMA lê antes de responder."""
    context = f"\n\n### Input:\n{asked.input}" if asked.input else ""
    return f"{ALPACA_HEADER}\n\n### Instruction:\n{asked.instruction}{context}\n\n### Response:\n"


def chat_messages(asked: Question) -> list[dict[str, str]]:
    """Mensagens que o GPT lê antes de responder.

    A mensagem de sistema pede descrições; a suíte de flexibilidade pede outras tarefas e por isso não a leva.
    """
    user = {"role": "user", "content": f"{asked.instruction}\n\n{asked.input}" if asked.input else asked.instruction}
    return [{"role": "system", "content": SYSTEM}, user] if asked.suite == "teste" else [user]


def to_alpaca(example: Example) -> dict[str, str]:
    """Linha de treino do LLaMA: ``instruction``, ``input`` (título) e ``output`` (conteúdo)."""
    return {"instruction": INSTRUCTION, "input": example.title, "output": example.content}


def from_alpaca(row: dict[str, str]) -> Example:
    """O exemplo de que veio uma linha de treino do LLaMA."""
    return Example(row["input"], row["output"])


def to_chat(example: Example) -> dict[str, list[dict[str, str]]]:
    """Linha de treino do GPT: ``messages`` com sistema, usuário e assistente."""
    return {"messages": [*chat_messages(question(example)), {"role": "assistant", "content": example.content}]}


def from_chat(row: dict) -> Example:
    """O exemplo de que veio uma linha de treino do GPT."""
    asked, answered = (message["content"] for message in row["messages"][-2:])
    return Example(asked.removeprefix(f"{INSTRUCTION}\n\n"), answered)


def read_train(data: Path) -> list[Example]:
    """Exemplos de treino das duas trilhas, sem repetição; lista vazia onde o arquivo não existe."""
    files = ((Path(data) / "llama" / "treino.jsonl", from_alpaca), (Path(data) / "gpt" / "treino.jsonl", from_chat))
    examples = [read(row) for path, read in files if path.is_file() for row in read_jsonl(path)]
    return list({example.item_id: example for example in examples}.values())


def to_prompt_completion(example: Example) -> dict[str, str]:
    """Linha do SFTTrainer: a perda conta só em ``completion``; o TRL acrescenta o fim de sequência (EOS)."""
    return {"prompt": alpaca_prompt(question(example)), "completion": example.content}


def fingerprint() -> str:
    """Doze dígitos que mudam quando qualquer formato de prompt muda; ficam ao lado do adaptador e das respostas."""
    probe = Example("{title} %s", "{content} %s")
    other = Question("id", "{task} %s", "{input} %s", suite="flexibilidade")
    rows = [to_alpaca(probe), to_chat(probe), to_prompt_completion(probe)]
    text = repr([*rows, alpaca_prompt(other), chat_messages(other), few_shot(other, [probe])])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
