"""O juiz: duas ordens, retomada, teto de gasto, outra família, recusas registradas, e a auditoria."""

import json
import random
from types import SimpleNamespace

import pytest
from comparison_run import make_run
from openai.types.chat import ChatCompletion
from test_comparison_study import rewrite

from finetune_helpers import comparison, records
from finetune_helpers.comparison import judge, statistics, study
from finetune_helpers.errors import InputError

VERDICT = {"reason": "r", "facts_a": "ok", "facts_b": "ok", "relevance_a": 4, "relevance_b": 3}


class Endpoint:
    """O que o cliente ``openai`` mostra: ``asked`` guarda os pedidos e ``reply`` dá o texto de cada resposta."""

    def __init__(self):
        self.asked, self.reply = [], lambda asked: json.dumps(VERDICT | {"winner": "A"})
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    def create(self, **asked):
        self.asked.append(asked)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": self.reply(asked)}}
        usage = {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1020}
        about = {"id": "x", "object": "chat.completion", "created": 0, "model": "juiz-1"}
        return ChatCompletion.model_validate(about | {"choices": [choice], "usage": usage})


@pytest.fixture
def endpoint():
    return Endpoint()


def judged(run, server, cap_usd=1.0):
    judging = judge.Judge(server, "juiz-1", cap_usd, input_usd=0.1, output_usd=0.5)
    return records.read_jsonl(judge.judge_pairs(run, judging))


def test_every_pair_is_asked_once_in_both_orders_with_a_schema(tmp_path, endpoint):
    run = make_run(tmp_path, n=5, suite=False)
    rows = judged(run, endpoint)
    orders = {(row["item_id"], row["first"], row["second"]): [] for row in rows}
    for row in rows:
        orders[row["item_id"], row["first"], row["second"]].append(row["left"] == row["first"])
    assert len(rows) == 30 and all(sorted(sides) == [False, True] for sides in orders.values())
    assert endpoint.asked[0]["response_format"]["json_schema"]["strict"] is True
    assert judged(run, endpoint) == rows and len(endpoint.asked) == 30


def test_only_the_last_judge_of_the_answers_of_now_counts(tmp_path, endpoint):
    run = make_run(tmp_path, n=3, suite=False)
    rows = judged(run, endpoint)
    assert judge.current(study.read_study(run)) == rows
    rewrite(run, "gpt", lambda row: row | {"answer": f"{row['answer']} E mais."})
    again = judged(run, endpoint)
    # As trilhas comparadas entre si mudaram de um lado, e a GPT dos dois; a LLaMA contra a sua base, de nenhum.
    assert len(again) == len(rows) * 5 // 3 and len(judge.current(study.read_study(run))) == len(rows)
    other = judge.Judge(endpoint, "juiz-2", 1.0, input_usd=0.1, output_usd=0.5)
    judge.judge_pairs(run, other)
    assert {row["judge"] for row in judge.current(study.read_study(run))} == {"juiz-2"}


def test_the_cap_stops_before_the_call_that_would_pass_it(tmp_path, endpoint):
    rows = judged(make_run(tmp_path, n=20, suite=False), endpoint, cap_usd=0.002)
    spent = sum(row["tokens_in"] * 0.1 + row["tokens_out"] * 0.5 for row in rows) / 1e6
    assert 0 < len(rows) < 120 and spent <= 0.002


def test_refusals_and_broken_json_are_kept_without_a_winner(tmp_path, endpoint):
    replies = iter(["I can't", json.dumps(VERDICT), json.dumps(VERDICT | {"winner": "C"}), "null", ""])
    endpoint.reply = lambda asked: next(replies, json.dumps(VERDICT | {"winner": "tie"}))
    rows = judged(make_run(tmp_path, n=2, suite=False), endpoint)
    assert [row["winner"] for row in rows[:5]] == [""] * 5 and rows[5]["winner"] == "tie" and len(rows) == 12


@pytest.mark.parametrize("model", ["Qwen2.5-72B", "dono/qwen-max", "smollm3"])
def test_a_judge_of_a_candidate_family_is_refused_before_the_first_call(tmp_path, endpoint, model):
    judging = judge.Judge(endpoint, model, 1.0, 0.1, 0.5)
    with pytest.raises(InputError, match=r"família.*`judge_model`"):
        comparison.judge_pairs(make_run(tmp_path, n=3, suite=False), judging)
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-oss-20b", "GPT"),
        ("ft:gpt-4o-mini:org::x", "GPT"),
        ("meta-llama/Llama-3.1-8B", "LLaMA"),
        ("nova", "nova"),
    ],
)
def test_a_family_is_read_from_the_name(model, family):
    assert judge.family(model) == family


PAIR = ("llama3-tuned", "gpt-tuned")


def simulated(decide):
    """Pontos das pessoas em 64 de 90 itens e o juiz simulado por ``decide(o primeiro venceu, ordem direta)``."""
    rng = random.Random(6)
    wins = {str(item): rng.random() < 0.6 for item in range(90)}
    rows = []
    for key, won in wins.items():
        for left in PAIR:
            about = {"item_id": key, "first": PAIR[0], "second": PAIR[1], "left": left}
            lengths = {"words_a": rng.randint(20, 60), "words_b": rng.randint(20, 60)}
            rows.append(about | lengths | {"winner": decide(won, left == PAIR[0])})
    return rows, {PAIR: {key: float(won) for key, won in list(wins.items())[:64]}}


def test_a_faithful_judge_passes_and_narrows_the_human_interval():
    rows, human = simulated(lambda won, straight: "A" if won == straight else "B")
    (audit,) = judge.audits(rows, human)
    assert audit.passed and audit.kappa == pytest.approx(1.0) and audit.flips == 0 and audit.humans == 64
    people = statistics.preference(list(human[PAIR].values())).estimate
    assert audit.combined.high - audit.combined.low < people.high - people.low


def test_a_judge_that_likes_the_first_answer_fails():
    (audit,) = judge.audits(*simulated(lambda won, straight: "A"))
    assert not audit.passed and audit.flips == 1 and audit.preference.estimate.mean == 0.5


def test_too_few_people_do_not_pass_a_judge():
    rows, human = simulated(lambda won, straight: "A" if won == straight else "B")
    for count, passed in ((29, False), (30, True)):
        few = {PAIR: dict(list(human[PAIR].items())[:count])}
        assert judge.audits(rows, few)[0].passed is passed


def test_length_bias_is_removed_by_the_rate_at_the_same_length():
    rows, human = simulated(lambda won, straight: "A")
    rng = random.Random(1)
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        gap = rng.gauss(15, 20)
        one["words_a"], one["words_b"], two["words_a"], two["words_b"] = 60 + gap, 60, 60, 60 + gap
        longer = rng.random() < 1 / (1 + 2.7 ** (-gap / 8))
        one["winner"], two["winner"] = ("A", "B") if longer else ("B", "A")
    (audit,) = judge.audits(rows, human)
    rate = audit.preference.estimate.mean
    assert rate > 0.65 and abs(audit.same_length - 0.5) < (rate - 0.5) / 2


def test_a_run_that_was_not_judged_has_no_audit(tmp_path):
    found = study.read_study(make_run(tmp_path, n=3, suite=False))
    assert judge.read(found) == [] and judge.audits([], {}) == []
