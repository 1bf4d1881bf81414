"""Juiz automático (desligado por padrão): compara pares nas duas ordens por um endpoint compatível com o da OpenAI."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .. import progress
from ..errors import InputError, MachineError, without_key
from ..records import append_jsonl, drop_truncated_tail, read_jsonl
from . import statistics
from .statistics import Estimate, Preference
from .study import Study, read_study

if TYPE_CHECKING:
    from openai import OpenAI

FILE = "juiz.jsonl"
MIN_KAPPA, MAX_FLIPS, MIN_HUMAN = 0.4, 0.25, 30
FAMILIES = {  # a família de um modelo e o começo dos nomes dela, depois do dono
    "GPT": ("gpt", "chatgpt", "o1", "o3", "o4"),
    "LLaMA": ("llama", "meta-llama"),
    "SmolLM": ("smollm",),
    "Qwen": ("qwen",),
    "Mistral": ("mistral", "mixtral"),
    "Gemini": ("gemini", "gemma"),
    "Claude": ("claude",),
    "DeepSeek": ("deepseek",),
    "Phi": ("phi",),
}
INSTRUCTION = (
    "You compare two catalogue descriptions of the same product. The reference is one valid description: other true "
    "content is fine, specific facts that neither the title nor the reference supports are not. Give no credit for "
    "length, markdown or style. First give the reason, then judge the facts and the relevance (1 to 5) of each answer, "
    'and last the winner: "A", "B", "tie" (equally good) or "both_bad".'
)
_FACTS = {"type": "string", "enum": ["ok", "wrong", "unverifiable"]}
_GRADE = {"type": "integer", "enum": [1, 2, 3, 4, 5]}
_FIELDS: dict[str, dict[str, Any]] = {
    "reason": {"type": "string"},
    "facts_a": _FACTS,
    "facts_b": _FACTS,
    "relevance_a": _GRADE,
    "relevance_b": _GRADE,
    "winner": {"type": "string", "enum": ["A", "B", "tie", "both_bad"]},
}
SCHEMA = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS), "additionalProperties": False}
ANSWER_TOKENS = 400


@dataclass(frozen=True)
class Judge:
    """Quem julga (``client`` é um ``openai.OpenAI``) e quanto pode gastar.

    ``input_usd`` e ``output_usd`` são dólares por 1 milhão de tokens; ``cap_usd``, o teto em dólares.
    """

    client: "OpenAI"
    model: str
    cap_usd: float
    input_usd: float
    output_usd: float

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Dólares de uma chamada."""
        return (tokens_in * self.input_usd + tokens_out * self.output_usd) / 1e6

    def ceiling(self, prompt: str) -> float:
        """Teto do custo de uma pergunta: um token a cada dois bytes de entrada e a resposta mais longa permitida."""
        return self.cost(len((INSTRUCTION + prompt + json.dumps(SCHEMA)).encode()) / 2, ANSWER_TOKENS)


def judge_pairs(run_folder: Path | str, judge: Judge, *, data_folder: Path | str | None = None) -> Path:
    """Julga os pares da rodada em ``juiz.jsonl``, cada um nas duas ordens, e devolve o caminho.

    Retoma de onde parou e para antes da chamada que passaria do teto, somado o que já foi gasto. InputError se não há
    dois sistemas a comparar ou se o juiz é da família de um deles; MachineError se o juiz não responde.
    """
    study = read_study(run_folder, data_folder)
    for system in dict.fromkeys(study.system(name) for pair in study.pairs() for name in pair):
        if family(judge.model) in (family(system.model), family(system.model_id)):
            raise InputError(
                f"O juiz {judge.model} é da família {family(judge.model)}, a de {system.label} ({system.model}): um "
                "modelo prefere o que se parece com ele. Use em `judge_model` um modelo de outra família."
            )
    questions = [question for pair in study.pairs() for question in _questions(study, pair, judge.model)]
    if not questions:
        raise InputError(f"{study.run} não tem respostas de dois sistemas. Execute antes os cadernos 02 e 03.")
    path = study.run / FILE
    drop_truncated_tail(path)
    rows = read(study)
    done, spent = {row["key"] for row in rows}, sum(judge.cost(row["tokens_in"], row["tokens_out"]) for row in rows)
    for question in progress.bar("julgando", "pares", items=questions, delay=1.0):
        if question["key"] not in done:
            if spent + judge.ceiling(question["prompt"]) > judge.cap_usd:
                break
            row = _ask(judge, question)
            append_jsonl(path, [row])
            spent += judge.cost(row["tokens_in"], row["tokens_out"])
    return path


def family(model: str) -> str:
    """A família de um modelo, pelo nome; o próprio nome, se nenhuma é conhecida."""
    name = model.casefold().removeprefix("ft:").rpartition("/")[2]
    return next((known for known, starts in FAMILIES.items() if name.startswith(starts)), name)


def read(study: Study) -> list[dict]:
    """Julgamentos salvos na rodada; lista vazia se o juiz não foi executado."""
    return read_jsonl(study.run / FILE, growing=True)


def current(study: Study) -> list[dict]:
    """O que o último juiz disse das respostas de agora; o de outro juiz ou de outras respostas não conta."""
    rows = read(study)
    model = (rows[-1].get("judge") or rows[-1]["model_id"]) if rows else ""
    keys = {question["key"] for pair in study.pairs() for question in _questions(study, pair, model)}
    return [row for row in rows if row["key"] in keys]


def _questions(study: Study, pair: tuple[str, str], model: str) -> Iterator[dict]:
    """Cada par nas duas ordens; ``key`` muda com o juiz, a instrução e os textos."""
    first, second = pair
    for key in [key for key in study.items if key in study.answers[first] and key in study.answers[second]]:
        for left, right in ((first, second), (second, first)):
            item, shown = study.items[key], [study.answers[side][key].answer for side in (left, right)]
            texts = {"Title": item["title"], "Reference": item["content"], "Answer A": shown[0], "Answer B": shown[1]}
            prompt = "\n\n".join(f"## {name}\n{text or '(empty)'}" for name, text in texts.items())
            mark = hashlib.sha256(json.dumps([model, INSTRUCTION, SCHEMA, prompt]).encode()).hexdigest()[:20]
            lengths = {"words_a": len(shown[0].split()), "words_b": len(shown[1].split())}
            about = {"item_id": key, "first": first, "second": second, "left": left, "key": mark, "prompt": prompt}
            yield about | lengths


def _ask(judge: Judge, question: dict) -> dict:
    """Uma chamada; uma recusa, um corte ou um JSON inválido ficam registrados com ``winner`` vazio."""
    from openai import OpenAIError

    form = {"name": "verdict", "strict": True, "schema": SCHEMA}
    client: Any = judge.client
    try:
        reply = client.chat.completions.create(
            model=judge.model,
            messages=[{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question["prompt"]}],
            response_format={"type": "json_schema", "json_schema": form},
            max_completion_tokens=ANSWER_TOKENS,
        )
    except OpenAIError as error:  # a resposta original pode repetir a chave
        raise MachineError(
            f"O juiz {judge.model} não respondeu ({without_key(str(error), judge.client.api_key)[:300]}). Confira o "
            "endereço, o modelo e a chave JUIZ_API_KEY e execute de novo: os pares já julgados estão salvos."
        ) from None
    usage, choice = reply.usage, reply.choices[0]
    cost = {"tokens_in": usage.prompt_tokens if usage else 0, "tokens_out": usage.completion_tokens if usage else 0}
    try:
        said = json.loads(choice.message.content or "")
        valid = all(said[key] in spec.get("enum", [said[key]]) for key, spec in _FIELDS.items())
    except (ValueError, KeyError, TypeError):
        valid = False
    verdict = {key: said[key] if valid else "" for key in _FIELDS}
    kept = {key: value for key, value in question.items() if key != "prompt"}
    kept |= {"judge": judge.model, "model_id": reply.model, "finish_reason": choice.finish_reason}
    return kept | cost | verdict


@dataclass(frozen=True)
class Audit:
    """O juiz num contraste: a preferência que ele dá e o que decide se ele pode ser mostrado ao lado das pessoas.

    ``flips``: parte dos pares em que trocar a ordem trocou o vencedor; ``unparsed``: parte das respostas sem veredicto;
    ``same_length``: taxa de vitória com respostas do mesmo tamanho; ``combined``: PPI++ com os pares das pessoas.
    """

    first: str
    second: str
    preference: Preference
    same_length: float | None
    humans: int
    kappa: float | None
    flips: float | None
    unparsed: float
    combined: Estimate

    @property
    def passed(self) -> bool:
        """Verdadeiro se o juiz pode aparecer ao lado das pessoas."""
        if self.kappa is None or self.flips is None:
            return False
        return self.kappa >= MIN_KAPPA and self.flips <= MAX_FLIPS and self.humans >= MIN_HUMAN


def audits(rows: list[dict], human: Mapping[tuple[str, str], Mapping[str, float]]) -> list[Audit]:
    """Uma auditoria por contraste julgado; ``human`` traz os pontos do primeiro sistema por contraste e item."""
    contrasts: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        contrasts.setdefault((row["first"], row["second"]), []).append(row)
    return [_audit(mine, pair, human.get(pair, {})) for pair, mine in contrasts.items()]


def _audit(rows: list[dict], contrast: tuple[str, str], human: Mapping[str, float]) -> Audit:
    orders: dict[str, dict[bool, float]] = {}
    for row in rows:
        if row["winner"]:
            straight = row["left"] == row["first"]
            points = float((row["winner"] == "A") == straight) if row["winner"] in ("A", "B") else 0.5
            orders.setdefault(row["item_id"], {})[straight] = points
    both = {key: by_order for key, by_order in orders.items() if len(by_order) == 2}
    # Vence só quem ganha nas duas ordens; o resto é empate.
    judged = {key: by_order[True] if by_order[True] == by_order[False] else 0.5 for key, by_order in both.items()}
    shared = [key for key in human if key in judged]
    people, machine = [human[key] for key in shared], [judged[key] for key in shared]
    return Audit(
        *contrast,
        statistics.preference(list(judged.values())),
        _same_length(rows, judged),
        len(shared),
        statistics.kappa(*([_side(points) for points in side] for side in (people, machine))),
        fmean(abs(by_order[True] - by_order[False]) == 1 for by_order in both.values()) if both else None,
        fmean(not row["winner"] for row in rows),
        prediction_powered(people, machine, [points for key, points in judged.items() if key not in human]),
    )


def _side(points: float) -> str:
    return "empate" if points == 0.5 else "primeiro" if points > 0.5 else "segundo"


def _same_length(rows: list[dict], judged: dict[str, float]) -> float | None:
    """Taxa de vitória do primeiro se as duas respostas tivessem o mesmo tamanho.

    Regressão logística dos pontos sobre tanh da diferença de tamanho padronizada (AlpacaEval 2, arXiv 2404.04475).
    """
    import numpy as np
    import statsmodels.api as sm

    gaps = {row["item_id"]: row["words_a"] - row["words_b"] for row in rows if row["left"] == row["first"]}
    sizes, wins = np.array([gaps[key] for key in judged], float), np.array(list(judged.values()), float)
    if len(judged) < 10 or sizes.std() == 0 or not 0 < wins.mean() < 1:
        return None
    model = sm.GLM(wins, sm.add_constant(np.tanh(sizes / sizes.std())), family=sm.families.Binomial())
    # A regularização mantém finito o caso em que o tamanho separa tudo.
    intercept = model.fit_regularized(alpha=1e-4, L1_wt=0.0).params[0]
    return float(1 / (1 + np.exp(-intercept)))


def prediction_powered(human: Sequence[float], judged: Sequence[float], unlabelled: Sequence[float]) -> Estimate:
    """Média humana corrigida pelo juiz em mais itens (PPI++, arXiv 2311.01453).

    ``human`` e ``judged`` são dos mesmos pares; ``unlabelled``, do juiz nos outros.
    """
    import numpy as np
    from scipy import stats

    people, judge, rest = (np.asarray(values, dtype=float) for values in (human, judged, unlabelled))
    n, more = len(people), len(rest)
    if n < 2 or len(judge) != n:
        return Estimate(n, n, None, None, None, None, "poucos pares humanos")
    spread = judge.var(ddof=1)
    weight = float(np.cov(people, judge)[0, 1] / (spread * (1 + n / more))) if more and spread > 0 else 0.0
    residual = people - weight * judge
    centre = float((weight * rest.mean() if more else 0.0) + residual.mean())
    error = math.sqrt((weight**2 * rest.var(ddof=1) / more if more > 1 else 0.0) + residual.var(ddof=1) / n)
    low, high = stats.norm.interval(1 - statistics.ALPHA, centre, error or 1e-12)
    return Estimate(n, n, centre, float(low), float(high), None, f"PPI++ ({n} humanos, {more} só do juiz)")
