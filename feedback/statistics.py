"""Intervals and tests that stay honest with few observations. Knows no torch."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student_t


@dataclass(frozen=True)
class PairedTest:
    """What n paired differences say: their mean, its two-sided 90 % interval, and p for "the mean is above 0".

    With fewer than two observations interval and p are unknown (NaN).
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    deviation: float


def design_effect(sizes: Sequence[int], correlation: float) -> float:
    """Return by how much the variance of a mean grows when observations come in clusters of these sizes.

    1 + (m - 1) * correlation, with m = sum of squares / sum of the sizes, for clusters whose members correlate so
    (Kish, "Survey Sampling", 1965, section 5.4).
    """
    return 1.0 + (sum(size * size for size in sizes) / sum(sizes) - 1.0) * correlation if sizes else 1.0


def paired_test(differences: Sequence[float], effect: float = 1.0) -> PairedTest:
    """Test whether paired differences are above 0 on average, by Student's one-sided t-test.

    t = mean / (s * sqrt(effect / n)) with n - 1 degrees of freedom (Student, "The probable error of a mean", 1908);
    `effect` is the design effect of differences that come in clusters.
    """
    n = len(differences)
    mean = sum(differences) / n if n else math.nan
    if n < 2:
        return PairedTest(n, mean, math.nan, math.nan, math.nan, math.nan)
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    error = deviation * math.sqrt(effect / n)
    if error == 0.0:
        return PairedTest(n, mean, mean, mean, 0.0 if mean > 0 else 1.0, 0.0)
    half = float(student_t.ppf(0.95, n - 1)) * error
    return PairedTest(n, mean, mean - half, mean + half, float(student_t.sf(mean / error, n - 1)), deviation)


def observations_needed(
    mean: float, deviation: float, alpha: float = 0.05, effect: float = 1.0, most: int = 10_000
) -> int:
    """Return the smallest n at which this mean and deviation would pass `paired_test` at level alpha.

    Without a positive mean no n would, so `most` is returned; an unknown deviation is taken as the mean.
    """
    if math.isnan(mean) or mean <= 0:
        return most
    spread = mean if math.isnan(deviation) else deviation

    def passes(n: int) -> bool:
        return mean >= float(student_t.ppf(1 - alpha, n - 1)) * spread * math.sqrt(effect / n)

    # More observations never make it harder, so the first n that passes is found by halving.
    return bisect_left(range(most), True, lo=3, key=passes)
