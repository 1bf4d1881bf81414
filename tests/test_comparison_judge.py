"""O juiz: duas ordens, retomada, teto de gasto, recusas registradas, e a auditoria que decide se ele vale."""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_comparison_study import make_run

from finetune_helpers import comparison
from finetune_helpers.comparison import audit, blind, judge, results, study, tally, workbook

VERDICT = {"reason": "r", "facts_a": "ok", "facts_b": "ok", "relevance_a": 4, "relevance_b": 3}
PRICES = {"input_usd": 0.1, "output_usd": 0.5}


@pytest.fixture
def endpoint():
    """Um endpoint de verdade em loopback; ``server.reply`` recebe o pedido e devolve o texto da resposta."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append(asked)
            message = {"role": "assistant", "content": server.reply(asked)}
            usage = {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1020}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            body = {"id": "x", "object": "chat.completion", "created": 0, "model": "juiz-1", "choices": choices}
            payload = json.dumps(body | {"usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.reply = [], lambda asked: json.dumps(VERDICT | {"winner": "A"})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def client(server):
    openai = pytest.importorskip("openai", reason="o pacote openai não está instalado")
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="x", max_retries=0)


def judged(run, server, **options):
    path = comparison.judge_pairs(run, client(server), "juiz-1", **({"cap_usd": 1.0} | PRICES | options))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_pair_is_asked_in_both_orders_with_a_schema(tmp_path, endpoint):
    rows = judged(make_run(tmp_path, n=5, suite=False), endpoint)
    orders = {(row["item_id"], row["first"], row["second"]): [] for row in rows}
    for row in rows:
        orders[row["item_id"], row["first"], row["second"]].append(row["left"] == row["first"])
    assert len(rows) == 30 and all(sorted(sides) == [False, True] for sides in orders.values())
    assert endpoint.asked[0]["response_format"]["json_schema"]["strict"] is True


def test_a_finished_judgement_asks_nothing_again(tmp_path, endpoint):
    run = make_run(tmp_path, n=4, suite=False)
    first = judged(run, endpoint)
    asked = len(endpoint.asked)
    assert judged(run, endpoint) == first and len(endpoint.asked) == asked


def test_the_cap_stops_before_the_call_that_would_pass_it(tmp_path, endpoint):
    rows = judged(make_run(tmp_path, n=20, suite=False), endpoint, cap_usd=0.002)
    spent = sum(row["tokens_in"] * 0.1 + row["tokens_out"] * 0.5 for row in rows) / 1e6
    assert 0 < len(rows) < 120 and spent <= 0.002


def test_refusals_and_broken_json_are_kept_without_a_winner(tmp_path, endpoint):
    replies = iter(["I can't", json.dumps(VERDICT), json.dumps(VERDICT | {"winner": "C"}), "null", ""])
    endpoint.reply = lambda asked: next(replies, json.dumps(VERDICT | {"winner": "tie"}))
    rows = judged(make_run(tmp_path, n=3, suite=False), endpoint)
    assert [row["winner"] for row in rows[:5]] == [""] * 5 and rows[5]["winner"] == "tie"


def made(tmp_path, decide):
    """Uma rodada com revisão humana completa e um juiz simulado por ``decide(vitória humana, ordem)``."""
    found = results.compute(study.read_study(make_run(tmp_path, n=90, suite=False)))
    plan, rng = blind.plan(found.study, rows=64), random.Random(6)
    wins = {row.pair: rng.random() < 0.6 for row in plan.rows if row.kind == blind.MAIN}
    ratings = {
        row.code: tally.Rating("A" if wins[row.pair] == (row.left == row.first) else "B")
        for row in plan.rows
        if row.kind == blind.MAIN
    }
    first, second = plan.contrasts[0]
    known = {row.item_id: wins[row.pair] for row in plan.rows if (row.first, row.second) == (first, second)}
    rows = []
    for key in found.study.items:
        won = known.get(key, rng.random() < 0.6)
        for left in (first, second):
            winner = decide(won, left == first, rng)
            lengths = {"words_a": rng.randint(20, 60), "words_b": rng.randint(20, 60)}
            rows.append({"item_id": key, "first": first, "second": second, "left": left, "winner": winner} | lengths)
    return found, plan, ratings, rows


def test_a_faithful_judge_passes_and_narrows_the_human_interval(tmp_path):
    right = lambda win, straight, rng: "A" if win == straight else "B"  # noqa: E731
    _, plan, ratings, rows = made(tmp_path, right)
    (found,) = audit.audits(rows, plan, ratings)
    assert found.passed and found.kappa == pytest.approx(1.0) and found.flips == 0
    human = tally.preferences(plan, ratings)[0]
    assert found.combined.high - found.combined.low < human.high - human.low


def test_a_judge_that_likes_the_first_answer_fails(tmp_path):
    _, plan, ratings, rows = made(tmp_path, lambda win, straight, rng: "A")
    (found,) = audit.audits(rows, plan, ratings)
    assert not found.passed and found.flips == 1 and found.mean == 0.5


def test_length_bias_is_removed_by_the_length_controlled_rate(tmp_path):
    _, plan, ratings, rows = made(tmp_path, lambda win, straight, rng: "A")
    rng = random.Random(1)
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        gap = rng.gauss(15, 20)
        one["words_a"], one["words_b"], two["words_a"], two["words_b"] = 60 + gap, 60, 60, 60 + gap
        longer = rng.random() < 1 / (1 + 2.7 ** (-gap / 8))
        one["winner"], two["winner"] = ("A", "B") if longer else ("B", "A")
    (found,) = audit.audits(rows, plan, ratings)
    assert found.mean > 0.65 and abs(found.length_controlled - 0.5) < (found.mean - 0.5) / 2


def test_a_failed_judge_is_greyed_beside_its_audit(tmp_path):
    found, plan, ratings, rows = made(tmp_path, lambda win, straight, rng: "A")
    (found.study.run / judge.FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sheet = workbook.build(found, plan, ratings, opened=True).workbook["Estatística"]
    (cell,) = [cell for row in sheet for cell in row if cell.value == "reprovado: não use"]
    assert cell.font.color.rgb.endswith("A6A6A6")


def test_without_an_endpoint_the_sheet_says_so(tmp_path):
    found = results.compute(study.read_study(make_run(tmp_path, n=6, suite=False)))
    sheet = workbook.build(found, blind.plan(found.study), {}).workbook["Estatística"]
    heading = next(cell for row in sheet for cell in row if str(cell.value).startswith("Juiz"))
    assert sheet.cell(heading.row + 1, 1).value == "não executado"
