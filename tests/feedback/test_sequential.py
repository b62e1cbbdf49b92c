"""The test that may be looked at after every observation."""

import math

import numpy as np
import pytest

from feedback.sequential import evidence, sample


def by_integration(ours: list[float], theirs: list[float], spread: float) -> float:
    """The same ratio, averaged over many true differences instead of by its closed form."""
    every = np.array([*ours, *theirs, 0, 1])
    v = every.var() * (1 / len(ours) + 1 / len(theirs))
    d = np.mean(ours) - np.mean(theirs)
    delta = np.linspace(0, 10 * spread, 100_001)
    prior = 2 * np.exp(-((delta / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
    ratio = np.exp((d * delta - delta**2 / 2) / v)
    return float(np.trapezoid(prior * ratio, delta))


@pytest.mark.parametrize(("up", "of", "their_up", "their_of"), [(9, 10, 5, 10), (3, 10, 6, 12), (50, 90, 60, 110)])
def test_the_closed_form_is_the_average_over_true_differences(up: int, of: int, their_up: int, their_of: int) -> None:
    ours = [1.0] * up + [0.0] * (of - up)
    theirs = [1.0] * (their_up - 1) + [0.5, 0.5] + [0.0] * (their_of - their_up)
    found = evidence(sample(ours), sample(theirs), 0.15)
    assert found == pytest.approx(by_integration(ours, theirs, 0.15), rel=1e-4)


def test_it_says_nothing_without_observations_and_stays_finite_with_many() -> None:
    nothing, up, down = sample([]), sample([1.0] * 100_000), sample([0.0] * 100_000)
    assert evidence(nothing, up, 0.15) == evidence(up, nothing, 0.15) == 1.0
    assert evidence(up, down, 0.15) == pytest.approx(1e9)
    assert evidence(down, up, 0.15) < 0.05
    assert evidence(up, up, 0.15) < 1
