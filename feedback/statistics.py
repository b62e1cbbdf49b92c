"""Intervals and tests that stay honest with few observations. Knows no torch.

Replies of one conversation are no independent witnesses, so the conversation is what is drawn again (the cluster
bootstrap, Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). With three to eight
conversations the plain percentile interval is far too narrow; what was chosen instead, by simulation, stands in
docs/gate.md.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t

LEVEL = 0.90  # of every two-sided interval: its lower end is the one-sided 5 % test
_DRAWS = 4000
_SLOW_DRAWS = 1000  # of a statistic that is no plain mean
_STUDENTISED_FROM = 8  # clusters; with fewer the studentised interval is honest too, but often endless
Part = TypeVar("Part")


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


@dataclass(frozen=True)
class Estimate:
    """A figure with its two-sided 90 % interval, from n observations in so many clusters.

    `deviation` is that of the cluster means, where the figure is a mean. What is unknown is NaN.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    deviation: float = math.nan


def paired_test(differences: Sequence[float]) -> PairedTest:
    """Test whether paired differences are above 0 on average, by Student's one-sided t-test.

    t = mean / (s / sqrt(n)) with n - 1 degrees of freedom (Student, "The probable error of a mean", 1908).
    """
    n = len(differences)
    mean = sum(differences) / n if n else math.nan
    if n < 2:
        return PairedTest(n, mean, math.nan, math.nan, math.nan, math.nan)
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    error = deviation / math.sqrt(n)
    if error == 0.0:
        return PairedTest(n, mean, mean, mean, 0.0 if mean > 0 else 1.0, 0.0)
    half = float(student_t.ppf((1 + LEVEL) / 2, n - 1)) * error
    return PairedTest(n, mean, mean - half, mean + half, float(student_t.sf(mean / error, n - 1)), deviation)


def sign_test(worse: int, better: int) -> float:
    """Return p for "more became worse than better", one-sided, of those that changed at all; of none it is 1.

    Both are as likely if nothing changed (Dixon and Mood, "The statistical sign test", 1946; of yes and no before and
    after: McNemar, 1947).
    """
    return float(binomtest(worse, worse + better, alternative="greater").pvalue) if worse + better else 1.0


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable], seed: int = 0) -> Estimate:
    """Return the mean over clusters of each cluster's mean, with its interval.

    From eight clusters on the interval is the studentised bootstrap's (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, section 12.5). With fewer it is the wider, end by end, of Student's and the expanded percentile
    interval, see `clustered`.
    """
    means = cluster_means(values, clusters)
    test = paired_test(means)
    if test.n < 2 or test.deviation == 0.0 or not math.isfinite(test.mean):
        return Estimate(test.mean, test.low, test.high, len(values), test.n, test.deviation)
    drawn = _drawn(test.n, seed)
    samples = np.asarray(means)[drawn]
    if test.n >= _STUDENTISED_FROM:
        low, high = _studentised(samples, test.mean, test.deviation)
    else:
        low, high = _expanded(samples.mean(1), test.n)
        low, high = min(low, test.low), max(high, test.high)
    return Estimate(test.mean, low, high, len(values), test.n, test.deviation)


def clustered(
    clusters: Sequence[Sequence[Part]], statistic: Callable[[Sequence[Part]], float], seed: int = 0
) -> Estimate:
    """Return a statistic of observations with its expanded percentile interval, by drawing clusters anew.

    `clusters` holds each one's observations; the statistic is given those of all that are drawn. Draws for which it is
    not finite (a draw without any bad reply has no margin) are left out. The percentiles are pushed outwards by
    Student's quantile and sqrt(n / (n - 1)), which makes up for the bootstrap's too small spread (Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section 5.3). With fewer than three
    clusters the interval is unknown.
    """
    value, n, observations = statistic(_flat(clusters)), len(clusters), sum(map(len, clusters))
    if n < 3 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan, observations, n)
    drawn = _drawn(n, seed)[:_SLOW_DRAWS]
    found = np.array([statistic(_flat([clusters[place] for place in draw])) for draw in drawn])
    found = found[np.isfinite(found)]
    low, high = _expanded(found, n) if len(found) else (math.nan, math.nan)
    return Estimate(value, low, high, observations, n)


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """Return the mean of each cluster's values, clusters in the order in which they first come."""
    together: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        together.setdefault(cluster, []).append(value)
    return [sum(part) / len(part) for part in together.values()]


def wilson(part: float, whole: int) -> tuple[float, float]:
    """Return the 90 % interval of a share (Wilson, "Probable inference", 1927); of nothing it is 0 to 1.

    `part` may be a sum of shares, which scatter less than ones and noughts: the interval is then too wide, if anything.
    """
    if whole == 0:
        return 0.0, 1.0
    z = float(norm.ppf((1 + LEVEL) / 2))
    share, extra = part / whole, z * z / whole
    middle = (share + extra / 2) / (1 + extra)
    half = z / (1 + extra) * math.sqrt(share * (1 - share) / whole + extra / (4 * whole))
    return max(0.0, middle - half), min(1.0, middle + half)


def area_under_curve(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return how often a good one scores above a bad one, ties counting half; NaN if either is missing.

    The Mann-Whitney statistic over all pairs (Hanley and McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", 1982).
    """
    if not good or not bad:
        return math.nan
    below = np.sort(bad)
    beaten = np.searchsorted(below, good, "left").sum() + np.searchsorted(below, good, "right").sum()
    return float(beaten / (2 * len(good) * len(bad)))


def observations_needed(mean: float, deviation: float, alpha: float = 0.05, most: int = 10_000) -> int:
    """Return the smallest n at which this mean and deviation would pass `paired_test` at level alpha.

    Without a positive mean no n would, so `most` is returned; an unknown deviation is taken as the mean.
    """
    if math.isnan(mean) or mean <= 0:
        return most
    spread = mean if math.isnan(deviation) else deviation

    def passes(n: int) -> bool:
        return mean >= float(student_t.ppf(1 - alpha, n - 1)) * spread / math.sqrt(n)

    # More observations never make it harder, so the first n that passes is found by halving.
    return bisect_left(range(most), True, lo=3, key=passes)


def _flat(clusters: Sequence[Sequence[Part]]) -> list[Part]:
    return [one for cluster in clusters for one in cluster]


def _drawn(n: int, seed: int) -> Any:
    """Return (draws, n) places, with putting back."""
    return np.random.default_rng(seed).integers(0, n, (_DRAWS, n))


def _studentised(samples: Any, mean: float, deviation: float) -> tuple[float, float]:
    """Return mean - q * error for the upper and lower quantile q of the samples' own t; a flat sample's is endless."""
    error = deviation / math.sqrt(samples.shape[1])
    moved, errors = samples.mean(1) - mean, samples.std(1, ddof=1) / math.sqrt(samples.shape[1])
    flat = samples.max(1) == samples.min(1)
    ratios = np.where(flat, np.where(moved < 0, -np.inf, np.inf), moved / np.where(flat, 1.0, errors))
    above = float(np.quantile(ratios, (1 + LEVEL) / 2, method="higher"))
    below = float(np.quantile(ratios, (1 - LEVEL) / 2, method="lower"))
    return mean - above * error, mean - below * error


def _expanded(found: Any, n: int) -> tuple[float, float]:
    wide = float(norm.cdf(math.sqrt(n / (n - 1)) * student_t.ppf((1 - LEVEL) / 2, n - 1)))
    low, high = np.quantile(found, [wide, 1 - wide])
    return float(low), float(high)
