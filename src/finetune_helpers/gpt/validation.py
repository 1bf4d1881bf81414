"""Arquivos de treino do GPT: valida as regras publicadas e conta os tokens que a OpenAI cobra, antes de enviar."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..portuguese import number

MIN_EXAMPLES = 10
MAX_BYTES = 512 * 1024 * 1024
MAX_EXAMPLE_TOKENS = 65_536
ROLES = ("system", "user", "assistant")
BOM = b"\xef\xbb\xbf"
# Cada mensagem vira <|im_start|>papel<|im_sep|>conteúdo<|im_end|>; cada exemplo tem mais um token de fim. Com duas
# mensagens são 9, o que a cobrança de um treino real mostrou (1.500 exemplos, 990.507 tokens em 3 épocas).
MESSAGE_OVERHEAD, EXAMPLE_OVERHEAD = 4, 1
# Palavras de títulos de produto que já derrubaram treinos na verificação de segurança da OpenAI.
MODERATION = re.compile(
    r"\b(knife|knives|dagger|sword|weapons?|guns?|rifles?|pistols?|firearms?|ammo|ammunition|tactical|combat|grenades?"
    r"|bombs?|explosives?|suicide|murder|killers?|erotic\w*|porn\w*|cocaine|heroin|marijuana|cannabis)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Problem:
    """Um problema do arquivo: linha (0 = o arquivo todo), código, o que fazer e se impede o envio."""

    line: int
    code: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        where = f"linha {self.line}" if self.line else "arquivo"
        return f"{'ERRO' if self.fatal else 'aviso'} · {where} · {self.code}: {self.message}"


def validate(path: Path | str, *, minimum: bool = True) -> list[Problem]:
    """Todos os problemas de um JSONL de treino, na ordem das linhas; lista vazia quando não há nenhum.

    Confere as regras publicadas pela OpenAI: formato, papéis, ``weight``, 10 exemplos, 512 MB, 65.536 tokens e títulos
    que costumam cair na moderação (só aviso). ``minimum=False`` aceita um só exemplo (arquivo de validação). InputError
    se o arquivo não existe.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"O arquivo de treino {path} não existe. Execute antes o caderno 01.")
    if path.stat().st_size > MAX_BYTES:
        size = number(path.stat().st_size / 2**20)
        return [Problem(0, "arquivo_grande", f"{size} MB; o limite é 512 MB. Divida o arquivo.")]
    problems = []
    if path.suffix != ".jsonl":
        problems.append(Problem(0, "extensao", f'o nome de {path.name} deve acabar em ".jsonl".'))
    good, count = [], 0
    for line, raw in _lines(path):
        count += 1
        broken, row = _line_problems(line, raw)
        problems += broken
        if row is not None:
            good.append((line, row))
    least = MIN_EXAMPLES if minimum else 1
    if count < least:
        problems.append(Problem(0, "poucos_exemplos", f"há {count} exemplos; o mínimo é {least}."))
    return sorted([*problems, *_content_problems(good)], key=lambda problem: problem.line)


def check(path: Path | str, *, minimum: bool = True) -> None:
    """InputError com os primeiros erros de um arquivo que não serve; ``minimum=False`` para os de validação."""
    fatal = [problem for problem in validate(path, minimum=minimum) if problem.fatal]
    if fatal:
        listed = "\n".join(f"  {problem}" for problem in fatal[:10])
        more = f"\n  … e mais {len(fatal) - 10}." if len(fatal) > 10 else ""
        raise InputError(f"{Path(path).name} não serve para treino. Corrija e valide de novo:\n{listed}{more}")


def read_rows(path: Path | str) -> list[dict]:
    """As linhas de um arquivo já validado, sem conferir de novo."""
    return [json.loads(raw) for _, raw in _lines(Path(path))]


def example_tokens(examples: list[dict]) -> list[int]:
    """Tokens que a OpenAI cobra por exemplo e por época: o conteúdo em o200k_base mais o custo fixo de cada mensagem.

    O que passa de 65.536 tokens é cortado por ela sem aviso: a conta de quem cobra para nesse limite, esta não.
    """
    from .. import tokens

    counts = iter(tokens.counter("gpt")([message["content"] for row in examples for message in row["messages"]]))
    return [EXAMPLE_OVERHEAD + sum(MESSAGE_OVERHEAD + next(counts) for _ in row["messages"]) for row in examples]


def default_epochs(examples: int) -> int:
    """Épocas que ``"auto"`` vira: 3, mais se há menos de 34 exemplos e menos se há mais de 8.333.

    É a regra que o livro de receitas da OpenAI publica para estimar; a API pode escolher outra.
    """
    if examples * 3 < 100:
        return min(25, max(1, 100 // max(1, examples)))
    return max(1, 25_000 // examples) if examples * 3 > 25_000 else 3


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as file:
        for line, raw in enumerate(file, start=1):
            yield line, raw.removeprefix(BOM) if line == 1 else raw


def _line_problems(line: int, raw: bytes) -> tuple[list[Problem], dict | None]:
    if not raw.strip():
        return [Problem(line, "linha_vazia", "linha em branco. Apague-a.")], None
    try:
        row = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return [Problem(line, "codificacao", f"não é UTF-8 (byte {error.start}). Grave o arquivo em UTF-8.")], None
    except (ValueError, RecursionError) as error:
        return [Problem(line, "json", f"não é JSON ({error}). Escreva um objeto por linha.")], None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        return [Problem(line, "sem_mensagens", 'falta a lista "messages" com pelo menos uma mensagem.')], None
    broken = [problem for index, message in enumerate(messages) for problem in _message_problems(index, message)]
    problems = [Problem(line, code, text) for code, text in broken or _turn_problems(row, messages)]
    return problems, None if problems else row


def _message_problems(index: int, message: object) -> Iterator[tuple[str, str]]:
    if not isinstance(message, dict):
        yield "mensagem", f"a mensagem {index} não é um objeto."
        return
    role, content, weight = message.get("role"), message.get("content"), message.get("weight")
    if role not in ROLES:
        yield "papel", f"a mensagem {index} tem role {role!r}; use um destes: {', '.join(ROLES)}."
    if not isinstance(content, str) or not content.strip():
        yield "conteudo", f'a mensagem {index} precisa de "content" com texto.'
    elif not content.isascii() and any("\ud800" <= char <= "\udfff" for char in content):
        yield "conteudo", f"a mensagem {index} tem meio caractere (surrogate solto). Corrija o texto."
    if "weight" in message and (role != "assistant" or weight not in (0, 1) or isinstance(weight, (bool, float))):
        yield "weight", f"a mensagem {index} tem weight {weight!r}; só mensagens assistant aceitam, e só 0 ou 1."
    unknown = message.keys() - {"role", "content", "weight", "name"}
    if unknown:
        yield "chave", f"a mensagem {index} tem a chave {sorted(unknown)[0]!r}, que este projeto não envia. Apague-a."


def _turn_problems(row: dict, messages: list[dict]) -> Iterator[tuple[str, str]]:
    unknown = row.keys() - {"messages"}
    if unknown:
        yield "chave", f'a linha tem a chave {sorted(unknown)[0]!r}; só "messages" é aceita. Apague-a.'
    if messages[-1]["role"] != "assistant":
        yield "sem_resposta", "a última mensagem precisa ser do assistant: é ela que o modelo aprende."
    elif not any(m["role"] == "assistant" and m.get("weight", 1) == 1 for m in messages):
        yield "sem_resposta", "todas as respostas têm weight 0: o modelo não aprenderia nada com esta linha."


def _content_problems(good: list[tuple[int, dict]]) -> Iterator[Problem]:
    for (line, row), count in zip(good, example_tokens([row for _, row in good]), strict=True):
        if count > MAX_EXAMPLE_TOKENS:
            text = f"{number(count)} tokens; acima de {number(MAX_EXAMPLE_TOKENS)} a API corta o fim sem avisar."
            yield Problem(line, "exemplo_longo", f"{text} Encurte o exemplo.")
        words = {word.lower() for message in row["messages"] for word in MODERATION.findall(message["content"])}
        if words:
            text = f"{', '.join(sorted(words))}: costuma cair na moderação. Retire a linha se o envio for recusado."
            yield Problem(line, "moderacao", text, fatal=False)
