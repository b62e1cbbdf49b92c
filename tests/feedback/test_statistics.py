"""The paired test and how many observations it wants, against figures from elsewhere."""

import math
import random

import pytest
from scipy.stats import ttest_1samp

from feedback.statistics import design_effect, observations_needed, paired_test

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


@pytest.mark.parametrize(
    ("sizes", "expected"), [([], 1.0), ([1, 1, 1], 1.0), ([2, 2, 2], 1.3), ([10], 3.7), ([1, 3], 1.45)]
)
def test_clusters_inflate_the_variance_of_a_mean(sizes: list[int], expected: float) -> None:
    assert design_effect(sizes, 0.3) == pytest.approx(expected)


def test_a_design_effect_widens_the_interval_and_asks_for_more() -> None:
    differences = [1.0, 2.0, 0.5, 1.5, 3.0, 0.8]
    plain, clustered = paired_test(differences), paired_test(differences, 2.0)
    assert clustered.high - clustered.low == pytest.approx((plain.high - plain.low) * 2**0.5)
    assert clustered.p > plain.p
    assert observations_needed(0.2, 1.0, effect=2.0) > observations_needed(0.2, 1.0)
