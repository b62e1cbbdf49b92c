"""A test that may be looked at after every observation, for "these are better than those". Knows no torch.

The mixture sequential probability ratio test for two samples (Robbins, "Statistical methods related to the law of the
iterated logarithm", 1970; for A/B tests Johari, Koomen, Pekelis and Walsh, "Always Valid Inference", Operations
Research 70, 2022, section 5), one-sided, with the variance that both have in common if neither is better. Its evidence
is a likelihood ratio, so that whoever stops as soon as it exceeds 1 / alpha, looking as often as they like, is wrong in
at most a share alpha of all trials without a difference (Ville's inequality). With few observations this holds nearly,
not exactly: docs/trials.md has the shares by simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr

_MOST = 1e9  # evidence beyond it says no more, and must fit JSON


@dataclass(frozen=True)
class Sample:
    """What the test needs to know of observations between 0 and 1: how many, their sum, the sum of their squares.

    Numbers, or arrays of them where many trials are reckoned side by side (bench/trials.py).
    """

    n: Any
    total: Any
    squares: Any


def sample(values: Sequence[float]) -> Sample:
    """Sum up observations; their order is of no account."""
    return Sample(len(values), sum(values), sum(value * value for value in values))


def evidence(ours: Sample, theirs: Sample, spread: float) -> float:
    """Return how much likelier the means are if ours is the higher one than if neither is: a ratio, at most 1e9.

    1, which says nothing, if either has no observation.
    """
    if not ours.n or not theirs.n:
        return 1.0
    return float(np.exp(min(log_evidence(ours, theirs, spread), np.log(_MOST))))


def log_evidence(ours: Sample, theirs: Sample, spread: float) -> Any:
    """Return the logarithm of that ratio, element by element; each sample must hold an observation.

    With d the difference of the means and v its variance, the ratio of d's density under N(delta, v) to that under
    N(0, v), averaged over delta > 0 from a half-normal with scale s = `spread`:
    2 sqrt(v / (v + s^2)) exp(d^2 s^2 / (2 v (v + s^2))) Phi(d s / sqrt(v (v + s^2))).
    v is that of the pooled observations with a 0 and a 1 added, so that it is never nought.
    """
    n, mean = ours.n + theirs.n + 2, (ours.total + theirs.total + 1) / (ours.n + theirs.n + 2)
    v = ((ours.squares + theirs.squares + 1) / n - mean**2) * (1 / ours.n + 1 / theirs.n)
    d, wide = ours.total / ours.n - theirs.total / theirs.n, v + spread * spread
    z = d * spread / np.sqrt(v * wide)
    return np.log(2) + (np.log(v / wide) + z * z) / 2 + log_ndtr(z)
