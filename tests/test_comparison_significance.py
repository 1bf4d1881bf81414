"""Estatística: igual à das bibliotecas, com cobertura medida, e "n/d" nos casos degenerados."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers.comparison import agreement, significance

numbers = st.floats(-5, 5, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=9).filter(any))
def test_small_sign_flip_is_exact(differences):
    from scipy import stats

    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert significance.sign_flip(differences)[0] == pytest.approx(expected.pvalue, abs=1e-12)


def test_large_sign_flip_agrees_with_scipy():
    from scipy import stats

    differences = np.random.default_rng(1).normal(0.25, 1, 60)
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", rng=2).pvalue
    assert significance.sign_flip(differences)[0] == pytest.approx(expected, abs=0.012)


def test_learning_is_proved_on_falling_losses_and_not_on_noise():
    rng = random.Random(4)
    falls = [{"item_id": str(i), "base_loss": 4 + rng.random(), "tuned_loss": 3.4 + rng.random()} for i in range(40)]
    noise = [row | {"tuned_loss": row["base_loss"] + rng.gauss(0, 0.3)} for row in falls]
    assert significance.learning(falls).p < 0.001 and significance.learning(falls).low > 0
    assert significance.learning(noise).p > 0.05


def test_near_duplicates_count_once():
    values = [0.4, -0.1, 0.3, 0.2, 0.5, -0.2]
    alone = significance.mean_difference(values)
    tripled = significance.mean_difference(values * 3, [str(i) for i in range(6)] * 3)
    assert (tripled.n, tripled.clusters, tripled.p) == (18, 6, alone.p)
    assert (tripled.low, tripled.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0], [2.0, 2.0, 2.0]])
def test_degenerate_differences_give_nd(values):
    found = significance.mean_difference(values)
    assert found.low is None and found.high is None


def test_mcnemar_wilson_and_holm_are_those_of_statsmodels():
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.proportion import proportion_confint

    assert significance.mcnemar(9, 3) == pytest.approx(mcnemar([[5, 9], [3, 7]], exact=True).pvalue)
    assert significance.wilson(7, 40) == pytest.approx(proportion_confint(7, 40, method="wilson"))
    values = [0.01, 0.04, 0.03, 0.5]
    assert significance.holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]))


def test_holm_skips_what_was_not_tested():
    assert significance.holm([None, 0.03, None, 0.02]) == [None, 0.04, None, 0.04]


def test_nothing_to_test_is_none():
    assert significance.mcnemar(0, 0) is None and significance.wilson(0, 0) == (None, None)
    assert significance.preference_interval([]) == (None, None)
    assert significance.preference_interval([0.5] * 20) == (None, None)
    assert significance.detectable_rate(0) is None


def test_preference_without_ties_is_wilson():
    points = [1.0] * 31 + [0.0] * 19
    assert significance.preference_interval(points) == pytest.approx(significance.wilson(31, 50))
    assert significance.preference_interval([1.0] * 12) == significance.wilson(12, 12)


@pytest.mark.parametrize(("n", "rate"), [(50, 0.693), (100, 0.638), (200, 0.598), (300, 0.581), (500, 0.562)])
def test_smallest_detectable_rate_is_the_published_one(n, rate):
    assert significance.detectable_rate(n) == pytest.approx(rate, abs=0.0015)


def test_preference_interval_covers_the_truth_in_95_percent_of_studies():
    rng, covered = np.random.default_rng(11), 0
    for points in rng.choice([1.0, 0.5, 0.0], p=[0.45, 0.25, 0.30], size=(2000, 80)):
        low, high = significance.preference_interval(points.tolist())
        covered += low <= 0.575 <= high
    assert 0.93 <= covered / 2000 <= 0.97


def test_bootstrap_interval_covers_the_truth_in_95_percent_of_studies(monkeypatch):
    monkeypatch.setattr(significance, "RESAMPLES", 599)
    monkeypatch.setattr(significance, "sign_flip", lambda totals: (None, ""))
    rng, covered = np.random.default_rng(12), 0
    for values in rng.gamma(2.0, 1.0, size=(2000, 100)):
        found = significance.mean_difference(values.tolist())
        covered += found.low <= 2.0 <= found.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_prediction_powered_interval_covers_and_is_narrower():
    rng, covered, widths = np.random.default_rng(13), 0, []
    for _ in range(2000):
        human = (rng.random(600) < 0.58).astype(float)
        judge = np.where(rng.random(600) < 0.75, human, 1 - human)
        found = significance.prediction_powered(human[:100], judge[:100], judge[100:])
        covered += found.low <= 0.58 <= found.high
        widths.append(found.high - found.low)
    assert 0.93 <= covered / 2000 <= 0.97
    assert np.mean(widths) < 2 * 1.96 * math.sqrt(0.58 * 0.42 / 100)


@pytest.mark.parametrize("judge", [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
def test_prediction_powered_survives_useless_judges(judge):
    found = significance.prediction_powered([1.0, 0.0, 1.0, 0.0], judge, [1.0, 1.0])
    assert 0 <= found.mean <= 1 and found.low < found.high


def test_agreement_is_that_of_the_libraries():
    import krippendorff
    from statsmodels.stats.inter_rater import cohens_kappa, to_table

    first, second = ["A", "B", "A", "B", "A", "A", "empate"], ["A", "B", "B", "B", "A", "A", "A"]
    codes = [["A", "B", "empate"].index(value) for value in first], [["A", "B", "empate"].index(v) for v in second]
    table = to_table(np.array(codes).T, bins=3)[0]
    assert agreement.cohen(first, second) == pytest.approx(cohens_kappa(table).kappa)
    expected = krippendorff.alpha(np.array(codes, float), level_of_measurement="nominal")
    assert agreement.krippendorff_alpha(codes) == pytest.approx(expected)


@pytest.mark.parametrize("pair", [([], []), (["A"] * 5, ["A"] * 5)])
def test_agreement_without_variety_is_nd(pair):
    assert agreement.cohen(*pair) is None
    assert agreement.krippendorff_alpha([[None, 1], [2, None]]) is None
    assert agreement.krippendorff_alpha([[1, 1], [1, 1]]) is None
