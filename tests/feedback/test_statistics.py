"""Tests and intervals against figures from elsewhere, and by simulation: do they keep what they promise with few?"""

import math
import random

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from feedback.statistics import (
    area_under_curve,
    clustered,
    clustered_mean,
    observations_needed,
    paired_test,
    sign_test,
    wilson,
)

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]  # hours gained, Student 1908


def spread_out(n: int, mean: float, deviation: float) -> list[float]:
    """Make n numbers of exactly this mean and deviation."""
    middle = (n - 1) / 2
    scale = math.sqrt(sum((i - middle) ** 2 for i in range(n)) / (n - 1))
    return [mean + deviation * (i - middle) / scale for i in range(n)]


def test_students_own_example_comes_out_as_he_published_it() -> None:
    test = paired_test(SLEEP)
    assert test.n == 10
    assert test.mean == pytest.approx(1.58)
    assert test.deviation == pytest.approx(1.230, abs=5e-4)
    assert test.p == pytest.approx(0.00283 / 2, abs=1e-5)


@pytest.mark.parametrize("n", [2, 3, 10, 200])
@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.3])
def test_it_agrees_with_scipy(n: int, mean: float) -> None:
    draw = random.Random(n)
    differences = [draw.gauss(mean, 1.0) for _ in range(n)]
    ours, theirs = paired_test(differences), ttest_1samp(differences, 0.0, alternative="greater")
    interval = ttest_1samp(differences, 0.0).confidence_interval(0.90)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_the_interval_is_above_zero_exactly_when_p_is_below_five_percent() -> None:
    draw = random.Random(0)
    tests = [paired_test([draw.gauss(0.5, 1.0) for _ in range(8)]) for _ in range(100)]
    assert [t.low > 0 for t in tests] == [t.p < 0.05 for t in tests]
    assert 0 < sum(t.low > 0 for t in tests) < 100


@pytest.mark.parametrize("differences", [[], [0.7]])
def test_too_few_differences_tell_nothing(differences: list[float]) -> None:
    test = paired_test(differences)
    assert test.n == len(differences)
    assert math.isnan(test.p) and math.isnan(test.low) and math.isnan(test.high)


@pytest.mark.parametrize(("value", "p"), [(0.5, 0.0), (0.0, 1.0), (-0.5, 1.0)])
def test_equal_differences_leave_no_doubt(value: float, p: float) -> None:
    test = paired_test([value] * 4)
    assert (test.p, test.low, test.high) == (p, value, value)


@pytest.mark.parametrize(("mean", "deviation"), [(1.0, 1.0), (0.5, 1.0), (0.1, 1.0), (2.0, 0.9)])
def test_as_many_as_are_needed_pass_and_one_fewer_does_not(mean: float, deviation: float) -> None:
    n = observations_needed(mean, deviation)
    assert paired_test(spread_out(n, mean, deviation)).p <= 0.05
    assert n == 3 or paired_test(spread_out(n - 1, mean, deviation)).p > 0.05


@pytest.mark.parametrize("mean", [0.0, -1.0, math.nan])
def test_without_a_gain_no_number_is_enough(mean: float) -> None:
    assert observations_needed(mean, 1.0, most=500) == 500


def test_an_unknown_spread_is_taken_as_large_as_the_gain() -> None:
    assert observations_needed(0.3, math.nan) == observations_needed(0.3, 0.3)
    assert observations_needed(0.001, 1.0, most=50) == 50


def passes(draw, clusters: int, of: int = 300) -> float:
    """Return how often the interval of a mean of so many drawn figures lies above 0."""
    return sum(clustered_mean(draw(clusters), range(clusters)).low > 0 for _ in range(of)) / of


@pytest.mark.parametrize("clusters", [3, 4, 6, 8, 20])
def test_few_conversations_without_a_gain_seldom_look_better(clusters: int) -> None:
    dice = np.random.default_rng(clusters)
    assert passes(lambda n: dice.normal(size=n).tolist(), clusters) <= 0.085  # 5 % is promised, and chance


def test_a_few_much_worse_among_many_slightly_better_do_not_fool_it() -> None:
    dice = np.random.default_rng(0)
    draws = [(1 - dice.exponential(size=12)).tolist() for _ in range(400)]  # mean 0, long tail on the worse side
    ours = sum(clustered_mean(draw, range(12)).low > 0 for draw in draws) / 400
    student = sum(paired_test(draw).low > 0 for draw in draws) / 400
    assert ours < 0.085 < student


def test_six_held_out_corrections_tell_a_clear_gain() -> None:
    dice = np.random.default_rng(1)
    assert passes(lambda n: dice.normal(1.5, 0.8, size=n).tolist(), 6) >= 0.97


def test_replies_of_one_conversation_are_one_witness() -> None:
    dice = np.random.default_rng(2)
    means = dice.normal(0.4, 1.0, size=6)
    alone = clustered_mean(means.tolist(), range(6))
    many = clustered_mean(np.repeat(means, 20).tolist(), np.repeat(range(6), 20).tolist())
    assert (many.n, many.clusters) == (120, 6)
    assert (many.mean, many.low, many.high) == pytest.approx((alone.mean, alone.low, alone.high))


def test_a_conversation_counts_once_however_much_was_said_in_it() -> None:
    assert clustered_mean([1.0, 1.0, 1.0, 4.0], ["a", "a", "a", "b"]).mean == 2.5


@pytest.mark.parametrize("values", [[], [0.7]])
def test_an_interval_of_too_few_is_unknown(values: list[float]) -> None:
    found = clustered_mean(values, range(len(values)))
    assert found.clusters == len(values)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(clustered([[value] for value in values], lambda parts: 0.0).low)


def test_the_same_figures_give_the_same_interval() -> None:
    values = [0.3, 0.1, 0.9, -0.2, 0.4, 0.6, 0.2, 0.5, 0.7]
    assert clustered_mean(values, range(9)) == clustered_mean(values, range(9))


def test_an_interval_of_any_statistic_covers_it() -> None:
    dice = np.random.default_rng(3)
    covered = 0
    for _ in range(40):
        drawn = [[value] for value in dice.normal(2.0, 1.0, size=8).tolist()]
        found = clustered(drawn, lambda part: sum(part) / len(part))
        covered += found.low <= 2.0 <= found.high
    assert covered >= 32  # 36 are promised, give or take chance


@pytest.mark.parametrize("clusters", [2, 3])
def test_a_statistic_counts_its_observations_and_draws_whole_clusters(clusters: int) -> None:
    found = clustered([[1.0, 5.0], [2.0], [0.0, 3.0, 4.0]][:clusters], max)
    assert (found.mean, found.n, found.clusters) == (5.0, 6 if clusters == 3 else 3, clusters)


def test_draws_without_the_statistic_are_left_out() -> None:
    found = clustered([[1.0], [2.0], [math.nan], [4.0]], lambda part: math.nan if math.isnan(sum(part)) else sum(part))
    assert math.isnan(found.mean)
    found = clustered([[1.0], [2.0], [3.0], [4.0]], lambda part: max(part) if max(part) > 2 else math.nan)
    assert 2 < found.low <= found.high <= 4


@pytest.mark.parametrize(
    ("worse", "better", "p"),
    [(0, 0, 1.0), (4, 0, 1 / 16), (5, 0, 1 / 32), (7, 1, 9 / 256), (0, 5, 1.0), (3, 3, 42 / 64)],
)
def test_more_became_worse_than_better(worse: int, better: int, p: float) -> None:
    assert sign_test(worse, better) == pytest.approx(p)


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(0, 10, 0.0, 0.2130), (5, 10, 0.2693, 0.7307), (20, 20, 0.8809, 1.0), (0, 0, 0, 1)],
)
def test_the_interval_of_a_share(part: int, whole: int, low: float, high: float) -> None:
    assert wilson(part, whole) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))


@pytest.mark.parametrize(
    ("good", "bad", "share"), [([2, 3], [0, 1], 1.0), ([0], [1], 0.0), ([1, 1], [1], 0.5), ([0, 2], [1], 0.5)]
)
def test_the_share_of_good_above_bad(good: list[float], bad: list[float], share: float) -> None:
    assert area_under_curve(good, bad) == share
    assert math.isnan(area_under_curve(good, []))
