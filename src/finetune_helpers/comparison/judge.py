"""Juiz automático (opcional): compara pares nas duas ordens por qualquer endpoint compatível com o da OpenAI."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import progress
from ..errors import InputError, MachineError, without_key
from ..records import append_jsonl, drop_truncated_tail, read_jsonl
from .results import pairs
from .study import Study, read_study

if TYPE_CHECKING:
    from openai import OpenAI

FILE = "juiz.jsonl"
WINNERS = ("A", "B", "tie", "both_bad")
FACTS = ("ok", "wrong", "unverifiable")
INSTRUCTION = (
    "You compare two catalogue descriptions of the same product. The reference is one valid description: other true "
    "content is fine, specific facts that neither the title nor the reference supports are not. Give no credit for "
    "length, markdown or style. First give the reason, then judge the facts and the relevance (1 to 5) of each answer, "
    'and last the winner: "A", "B", "tie" (equally good) or "both_bad".'
)
_FIELDS: dict[str, dict[str, Any]] = {
    "reason": {"type": "string"},
    "facts_a": {"type": "string", "enum": list(FACTS)},
    "facts_b": {"type": "string", "enum": list(FACTS)},
    "relevance_a": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    "relevance_b": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    "winner": {"type": "string", "enum": list(WINNERS)},
}
SCHEMA = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS), "additionalProperties": False}
ANSWER_TOKENS = 400


def judge_pairs(
    run_folder: Path | str,
    client: "OpenAI",
    model: str,
    *,
    cap_usd: float,
    input_usd: float,
    output_usd: float,
    data_folder: Path | str | None = None,
    limit: int | None = None,
) -> Path:
    """Julga os pares da rodada em ``juiz.jsonl``, cada um nas duas ordens, e devolve o caminho.

    ``client`` é um ``openai.OpenAI``; ``input_usd`` e ``output_usd`` são dólares por 1 milhão de tokens. Retoma de onde
    parou e para antes da chamada que passaria de ``cap_usd``, somado o que já foi gasto. ``limit`` é o número de itens
    por contraste. InputError se não há dois sistemas a comparar; MachineError se o juiz não responde.
    """
    study = read_study(run_folder, data_folder)
    questions = [question for pair in pairs(study) for question in _questions(study, *pair, model, limit)]
    if not questions:
        raise InputError(f"{study.run} não tem respostas de dois sistemas. Execute antes os cadernos 02 e 03.")
    path = study.run / FILE
    drop_truncated_tail(path)
    rows = read(study)
    done, spent = {row["key"] for row in rows}, sum(_usd(row, input_usd, output_usd) for row in rows)
    for question in progress.bar("julgando", "pares", items=questions, delay=1.0):
        if question["key"] not in done:
            if spent + _forecast(question, input_usd, output_usd) > cap_usd:
                break
            row = _ask(client, model, question)
            append_jsonl(path, [row])
            spent += _usd(row, input_usd, output_usd)
    return path


def read(study: Study) -> list[dict]:
    """Julgamentos guardados na rodada; lista vazia se o juiz não foi executado."""
    path = study.run / FILE
    return read_jsonl(path, growing=True) if path.is_file() else []


def _questions(study: Study, first: str, second: str, model: str, limit: int | None) -> Iterable[dict]:
    keys = [key for key in study.items if key in study.answers[first] and key in study.answers[second]]
    for key in keys[:limit]:
        for left, right in ((first, second), (second, first)):
            item, given = study.items[key], [study.answers[side][key]["answer"] for side in (left, right)]
            parts = (
                ("Title", item["title"]),
                ("Reference", item["content"]),
                ("Answer A", given[0]),
                ("Answer B", given[1]),
            )
            prompt = "\n\n".join(f"## {name}\n{text or '(empty)'}" for name, text in parts)
            mark = hashlib.sha256(json.dumps([model, INSTRUCTION, SCHEMA, prompt]).encode()).hexdigest()[:20]
            words = [len(text.split()) for text in given]
            about = {"item_id": key, "first": first, "second": second, "left": left, "words_a": words[0]}
            yield about | {"words_b": words[1], "key": mark, "prompt": prompt}


def _forecast(question: dict, input_usd: float, output_usd: float) -> float:
    """Teto do custo de uma pergunta: um token a cada dois bytes de entrada e a resposta mais longa permitida."""
    size = len((INSTRUCTION + question["prompt"] + json.dumps(SCHEMA)).encode()) / 2
    return (size * input_usd + ANSWER_TOKENS * output_usd) / 1e6


def _usd(row: dict, input_usd: float, output_usd: float) -> float:
    return (row["tokens_in"] * input_usd + row["tokens_out"] * output_usd) / 1e6


def _ask(client, model: str, question: dict) -> dict:
    """Uma chamada; uma recusa, um corte ou um JSON inválido ficam registrados com ``winner`` vazio."""
    from openai import OpenAIError

    verdict = {"name": "verdict", "strict": True, "schema": SCHEMA}
    try:
        reply = client.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question["prompt"]}],
            response_format={"type": "json_schema", "json_schema": verdict},
            max_completion_tokens=ANSWER_TOKENS,
        )
    except OpenAIError as error:  # a resposta original pode repetir a chave
        raise MachineError(
            f"O juiz {model} não respondeu ({without_key(str(error), client.api_key)[:300]}). Confira o endereço, o "
            "modelo e a chave JUIZ_API_KEY e execute de novo: os pares já julgados estão guardados."
        ) from None
    usage, choice = reply.usage, reply.choices[0]
    cost = {"tokens_in": usage.prompt_tokens if usage else 0, "tokens_out": usage.completion_tokens if usage else 0}
    kept = {key: value for key, value in question.items() if key != "prompt"}
    return (
        kept
        | {"model_id": reply.model, "finish_reason": choice.finish_reason}
        | cost
        | _verdict(choice.message.content)
    )


def _verdict(content: str | None) -> dict:
    try:
        found = json.loads(content or "")
        valid = all(found[key] in spec.get("enum", [found[key]]) for key, spec in _FIELDS.items())
    except (ValueError, KeyError, TypeError):
        valid = False
    return {key: found[key] for key in _FIELDS} if valid else {key: "" for key in _FIELDS}
