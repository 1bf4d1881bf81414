"""Estatística: cobertura medida, intervalo e p que concordam, poder exato e "—" nos casos degenerados."""

import math
import random
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from finetune_helpers.comparison import judge, power, statistics

numbers = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=40)
@given(st.lists(numbers, min_size=2, max_size=9).filter(any))
def test_small_sign_flip_counts_every_sign(differences):
    signs = 1 - 2 * ((np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences))) & 1)
    expected = np.mean(np.abs(signs @ np.array(differences)) >= abs(sum(differences)) - 1e-9)
    assert statistics.sign_flip(differences)[0] == pytest.approx(expected)


@pytest.mark.parametrize(("n", "floor"), [(13, None), (14, 1 / 10000)])
def test_a_resampled_p_tells_its_floor(n, floor):
    p, test, told = statistics.sign_flip([1.0] * n)
    assert told == floor and ("sorteios" in test) == bool(floor)
    assert p == (2 / 2**n if floor is None else pytest.approx(statistics.sign_flip([1.0] * n)[0]))


def test_large_sign_flip_agrees_with_scipy_and_reaches_its_floor():
    from scipy import stats

    differences = np.random.default_rng(1).normal(0.25, 1, 60)
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", rng=2).pvalue
    assert statistics.sign_flip(differences)[0] == pytest.approx(expected, abs=0.012)
    p, _, floor = statistics.sign_flip([1.0] * 60)
    assert p == pytest.approx(floor)


def test_learning_is_proved_on_falling_losses_and_not_on_noise():
    rng = random.Random(4)
    falls = [{"item_id": str(i), "base_loss": 4 + rng.random(), "tuned_loss": 3.4 + rng.random()} for i in range(40)]
    noise = [row | {"tuned_loss": row["base_loss"] + rng.gauss(0, 0.3)} for row in falls]
    assert statistics.learning(falls).p < 0.001 and statistics.learning(falls).low > 0
    assert statistics.learning(noise).p > 0.05
    assert statistics.learning(falls, {"0": "g", "1": "g"}).clusters == 39


@pytest.mark.parametrize("summary", [statistics.mean_difference, statistics.mean, statistics.rate])
def test_near_duplicates_count_once(summary):
    values = [0.4, 0.1, 0.3, 0.2, 0.5, 0.2]
    alone, tripled = summary(values), summary(values * 3, [str(i) for i in range(6)] * 3)
    assert (tripled.n, tripled.clusters, tripled.mean) == (18, 6, pytest.approx(alone.mean))
    if summary is not statistics.rate:  # sem grupos, a taxa usa a variância de uma proporção
        assert (tripled.low, tripled.high) == pytest.approx((alone.low, alone.high))
    assert (tripled.low, tripled.high) != pytest.approx((summary(values * 3).low, summary(values * 3).high))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_interval_and_p_of_a_paired_share_agree(pairs):
    first, second = zip(*pairs, strict=True)
    found = statistics.paired_share(first, second)
    assert -1 - 1e-9 <= found.low <= found.mean <= found.high <= 1 + 1e-9
    assert (found.p is not None and found.p <= 0.05) == (not found.low <= 0 <= found.high)


def test_newcombe_interval_is_the_published_one():
    # O exemplo do artigo: 36, 12, 2 e 0 em 50 pares dá 0,20 [0,0569; 0,3404] pelo método 10.
    first = [True] * 36 + [True] * 12 + [False] * 2
    second = [True] * 36 + [False] * 12 + [True] * 2
    found = statistics.paired_share(first, second)
    assert (found.mean, found.low, found.high) == pytest.approx((0.20, 0.0569, 0.3404), abs=2e-4)


@pytest.mark.parametrize(
    ("both", "gained", "lost", "interval"),
    [(20, 12, 2, (0.056156, 0.329207)), (30, 3, 1, (-0.046452, 0.125829)), (50, 0, 0, (-0.071348, 0.071348))],
)
def test_the_correction_shortens_only_a_positive_correlation(both, gained, lost, interval):
    assert statistics._newcombe(both, gained, lost, 50) == pytest.approx(interval, abs=1e-6)


def test_where_newcombe_and_mcnemar_disagree_the_exact_test_decides():
    found = statistics.paired_share([True] * 12 + [False] * 4, [True] * 16)
    assert found.p == 0.125 and found.high >= 0 > statistics._newcombe(12, 0, 4, 16)[1]


def test_holm_kappa_and_alpha_are_those_of_the_libraries():
    assert statistics.holm([None, 0.03, None, 0.02]) == [None, 0.04, None, 0.04]
    assert statistics.mcnemar(9, 3) == pytest.approx(0.14599609375)
    first, second = ["A", "B", "A", "B", "A", "A", "empate"], ["A", "B", "B", "B", "A", "A", "A"]
    assert statistics.kappa(first, second) == pytest.approx((35 - 22) / (49 - 22))
    assert statistics.kappa(list("abc"), list("abb")) == pytest.approx(0.5)
    assert statistics.kappa(list("cab"), list("cac")) == pytest.approx(0.5)
    assert statistics.alpha([[0, 1, 0, 1], [0, 1, 0, 0]]) == pytest.approx(1 - (2 / 8) / (2 * 5 * 3 / (8 * 7)))
    ratings = [[1, 2, None, 3], [1, 2, 2, None], [None, 3, 2, 3]]
    assert statistics.alpha(ratings) == pytest.approx(0.692308, abs=1e-6)


def test_nothing_to_test_is_none():
    assert statistics.mcnemar(0, 0) is None and statistics.holm([None]) == [None]
    assert statistics.kappa([], []) is None and statistics.kappa(["A"] * 5, ["A"] * 5) is None
    assert statistics.alpha([[None, 1], [2, None]]) is None and statistics.alpha([[1, 1], [1, 1]]) is None
    assert statistics.alpha([]) is None and statistics.alpha([[1, 2]]) is None


DROPS = [0.3, -0.1, 0.5, 0.2, 0.9, -0.4, 0.1, 0.6]
EXACT, SIGN = ("permutação exata", None), ("sinal, exato", None)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (lambda: statistics.mean([]), (0, 0, None, None, None)),
        (lambda: statistics.mean([1.0, 2.0]), (2, 2, 1.5, None, None)),
        (lambda: statistics.mean([2.0] * 3), (3, 3, 2.0, None, None)),
        (lambda: statistics.mean([1.0, 2.0, 4.0]), (3, 3, 7 / 3, -1.461250, 6.127916)),  # ± t(2) · 0,881917
        (lambda: statistics.rate([]), (0, 0, None, None, None)),
        (lambda: statistics.rate([1.0]), (1, 1, 1.0, 0.206549, 1.0)),
        (lambda: statistics.rate([1.0] * 4, list("aabb")), (4, 2, 1.0, 0.342380, 1.0)),
        (lambda: statistics.rate([1.0, 0.0, 1.0, 1.0, 0.5]), (5, 5, 0.7, 0.338071, 0.914237)),
        (lambda: statistics.mean_difference([]), (0, 0, None, None, None, None, "sem itens em comum", None)),
        (lambda: statistics.mean_difference([0.0] * 3), (3, 3, 0.0, None, None, None, "sem diferenças", None)),
        (lambda: statistics.mean_difference([2.0]), (1, 1, 2.0, None, None, 1.0, *EXACT)),
        (lambda: statistics.mean_difference([2.0] * 3), (3, 3, 2.0, None, None, 0.25, *EXACT)),
        (lambda: statistics.mean_difference([1.0, 2.0]), (2, 2, 1.5, None, None, 0.5, *EXACT)),
        (lambda: statistics.mean_difference(DROPS), (8, 8, 0.2625, 0.0, 0.5125, 34 / 256, *EXACT)),
        (lambda: statistics.mean_difference(DROPS, list("aabbccdd")), (8, 4, 0.2625, 0.1375, 0.325, 0.125, *EXACT)),
        (
            lambda: statistics.mean_difference(DROPS * 2),
            (16, 16, 0.2625, 0.06875, 0.45, 0.0248, "permutação (9999 sorteios)", 0.0001),
        ),
        (lambda: statistics.paired_share([], []), (0, 0, None, None, None, None, "sem itens em comum", None)),
        (
            lambda: statistics.paired_share([True, True, False], [True, False, False]),
            (3, 3, 1 / 3, -0.315801, 0.717775, 1.0, "McNemar exato", None),
        ),
        (
            lambda: statistics.paired_share([True] * 6 + [False], [False] * 7),
            (7, 7, 6 / 7, 0.344649, 0.974320, 2 / 64, "McNemar exato", None),
        ),
        (
            lambda: statistics.paired_share([True, True, False, False], [True, False, False, False], list("aabb")),
            (4, 2, 0.25, None, None, 1.0, *EXACT),
        ),
        (lambda: statistics.preference([]).estimate, (0, 0, None, None, None, None, *SIGN)),
        (lambda: statistics.preference([1, 1, 1, 0.5, 0]).estimate, (5, 5, 0.7, 0.338071, 0.914237, 0.625, *SIGN)),
        (lambda: statistics.preference([1.0] * 5).estimate, (5, 5, 1.0, 0.478176, 1.0, 0.0625, *SIGN)),
        (lambda: statistics.preference([0.0] * 5).estimate, (5, 5, 0.0, 0.0, 0.521824, 0.0625, *SIGN)),
        (lambda: statistics.preference([0.5, 0.5]).estimate, (2, 2, 0.5, None, None, None, *SIGN)),
    ],
)
def test_a_summary_is_the_same_every_time_and_says_its_groups_and_its_test(summary, expected):
    assert astuple(summary()) == pytest.approx(expected, abs=1e-6)


def test_the_smallest_mean_needs_three_groups_that_differ():
    assert [statistics.detectable_mean(values) for values in ([], [1.0, 2.0], [2.0] * 3)] == [None] * 3
    assert statistics.detectable_mean([1.0, 2.0, 4.0]) == pytest.approx(4.985909, abs=1e-5)
    clustered = statistics.detectable_mean([1.0, 2.0, 4.0, 5.0, 3.0, 9.0], list("aabbcc"))
    assert clustered == pytest.approx(7.478863, abs=1e-5)


@pytest.mark.parametrize(("passed", "n"), [(31, 50), (0, 12), (12, 12), (1, 16)])
def test_a_rate_without_groups_or_ties_is_wilson(passed, n):
    found = statistics.rate([1.0] * passed + [0.0] * (n - passed))
    assert (found.low, found.high) == pytest.approx(proportion_confint(passed, n, method="wilson"))


@settings(max_examples=100)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60))
def test_interval_and_p_of_a_preference_agree(points):
    found = statistics.preference(points)
    if found.estimate.low is not None and found.estimate.p is not None and found.estimate.p > 0.05:
        assert found.estimate.low <= 0.5 <= found.estimate.high


@pytest.mark.parametrize(("n", "rate"), [(32, 0.765), (50, 0.704), (100, 0.645), (500, 0.564)])
def test_smallest_detectable_rate_has_80_percent_power_in_the_exact_test(n, rate):
    from scipy import stats

    found = power.detectable_rate(n)
    assert found == pytest.approx(rate, abs=0.001)
    wins = np.arange(n + 1)
    rejects = np.array([stats.binomtest(int(won), n).pvalue <= 0.05 for won in wins]) & (wins > n / 2)
    assert stats.binom.pmf(wins, n, found)[rejects].sum() == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("n", [5, 6])
def test_too_few_pairs_show_nothing(n):
    assert (power.detectable_rate(n) is None) == (n == 5)
    assert (power.detectable_share(n) is None) == (n == 5)
    assert power.detectable_rate(0) is None and power.detectable_share(0) is None


def test_where_most_items_already_move_no_share_is_shown():
    # Com 45 % dos itens mudando ao contrário sobram 10 % de diferença possível, que 40 itens não mostram.
    assert power.detectable_share(40, 0.45) is None and power.detectable_share(40, 0.5) is None
    assert power.detectable_share(36) == pytest.approx(0.2107, abs=1e-4)
    assert power.detectable_share(36, 0.1) == pytest.approx(0.3495, abs=1e-4)


def test_smallest_detectable_share_has_80_percent_power_in_simulation():
    rng, opposite = np.random.default_rng(5), 0.1
    difference = power.detectable_share(60, opposite)
    assert difference > power.detectable_share(60)
    draws = rng.multinomial(60, [opposite + difference, opposite, 1 - 2 * opposite - difference], 2000)
    shown = sum((statistics.mcnemar(int(won), int(lost)) or 1) <= 0.05 for won, lost, _ in draws)
    assert shown / 2000 == pytest.approx(0.8, abs=0.03)


def test_smallest_detectable_mean_is_the_t_test_one():
    values = np.random.default_rng(6).normal(0, 2, 32)
    assert statistics.detectable_mean(values) == pytest.approx(0.5117 * values.std(ddof=1), abs=1e-3)


def covered(draws, summary, truth) -> float:
    intervals = [summary(row.tolist()) for row in draws]
    return float(np.mean([found.low <= truth <= found.high for found in intervals]))


def test_printed_intervals_cover_the_truth_in_95_percent_of_studies(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 599)
    monkeypatch.setattr(statistics, "sign_flip", lambda totals: (None, "", None))
    rng = np.random.default_rng(12)
    skewed = rng.gamma(2.0, 1.0, size=(1000, 100))
    votes = rng.choice([1.0, 0.5, 0.0], p=[0.45, 0.25, 0.30], size=(1000, 80))
    assert 0.93 <= covered(skewed[:400], statistics.mean_difference, 2.0) <= 0.97
    assert 0.93 <= covered(skewed, statistics.mean, 2.0) <= 0.97
    assert 0.93 <= covered(votes, lambda row: statistics.preference(row).estimate, 0.575) <= 0.97


def test_clustered_rates_and_paired_shares_cover_the_truth():
    rng = np.random.default_rng(13)
    groups = [str(place // 4) for place in range(160)]
    chances = rng.beta(2, 3, size=(1000, 40)).repeat(4, axis=1)
    passed = (rng.random(chances.shape) < chances).astype(float)
    assert 0.93 <= covered(passed, lambda row: statistics.rate(row, groups), 0.4) <= 0.97
    pairs = rng.random((1000, 2, 60)) < np.array([0.6, 0.4])[:, None]
    shares = [statistics.paired_share(first, second) for first, second in pairs.tolist()]
    assert 0.93 <= np.mean([found.low <= 0.2 <= found.high for found in shares]) <= 0.97


def test_prediction_powered_interval_covers_and_is_narrower():
    rng, hits, widths = np.random.default_rng(13), 0, []
    for _ in range(1000):
        human = (rng.random(600) < 0.58).astype(float)
        judged = np.where(rng.random(600) < 0.75, human, 1 - human)
        found = judge.prediction_powered(human[:100], judged[:100], judged[100:])
        hits += found.low <= 0.58 <= found.high
        widths.append(found.high - found.low)
    assert 0.93 <= hits / 1000 <= 0.97
    assert np.mean(widths) < 2 * 1.96 * math.sqrt(0.58 * 0.42 / 100)


@pytest.mark.parametrize("judged", [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
def test_prediction_powered_survives_useless_judges(judged):
    found = judge.prediction_powered([1.0, 0.0, 1.0, 0.0], judged, [1.0, 1.0])
    assert 0 <= found.mean <= 1 and found.low < found.high
