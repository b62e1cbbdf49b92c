"""How often does a trial err? Thousands of made-up trials, each looked at after every rated conversation.

`make proof-trials`, or `bench/trials.py [--simulations 1000] [--json FILE]`. The formula is that of
`feedback.sequential`, the rule that of `finetune.trials`; only thumbs are made up. Exits 1 if a target is missed.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.targets import Figure, report
from feedback.sequential import Sample, log_evidence
from finetune.trials import Rule

MOST_WRONG = 0.065  # of equal versions, called better
LEAST_CAUGHT = 0.95  # of clearly worse ones, withdrawn within WITHIN ratings of each
WITHIN = 200
_AT_ONCE = 100  # simulations computed side by side


@dataclass(frozen=True)
class Case:
    """What one kind of made-up trial is like.

    `ours` and `theirs`: shares of thumbs up. `thumbs`: thumbs a conversation on average, at least 1. `alike`: how much
    of the variance of thumbs is between conversations, 0 to below 1. `raters`: of so many people each has a taste of
    their own; 0: everybody is alike. `swing`: how far the share of thumbs up goes up and down over time, for both.
    `keen`: how many times as often the candidate is rated. `naive`: each thumb is told as one witness, as one must not.
    """

    ours: float = 0.7
    theirs: float = 0.7
    share: float = 0.2
    thumbs: float = 1.0
    alike: float = 0.0
    raters: int = 0
    swing: float = 0.0
    keen: float = 1.0
    naive: bool = False


@dataclass(frozen=True)
class Outcome:
    """How the simulated trials of a case ended, as shares; `caught`: withdrawn within WITHIN ratings of each.

    `conversations` is the median number of the candidate's rated conversations at the end.
    """

    better: float
    worse: float
    caught: float
    conversations: float


def simulate(case: Case, simulations: int, rule: Rule, seed: int = 0) -> Outcome:
    """Make up so many trials and end each as its rule says."""
    rng = np.random.default_rng(seed)
    parts = [_ended(case, min(_AT_ONCE, simulations - done), rule, rng) for done in range(0, simulations, _AT_ONCE)]
    better, worse, caught, conversations = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Outcome(
        float(better.mean()), float(worse.mean()), float((worse & caught).mean()), float(np.median(conversations))
    )


def _ended(case: Case, rows: int, rule: Rule, rng: Any) -> tuple[Any, Any, Any, Any]:
    """Return of each trial: called better, called worse, few enough ratings, the candidate's conversations."""
    ours, up, thumbs = _made_up(case, rows, int(rule.most / case.share * 1.25) + 200, rng)
    # An observation is a conversation's share of thumbs up; the naive way, a conversation is as many as it has thumbs.
    weight, total, squares = (thumbs, up, up) if case.naive else (1, up / thumbs, (up / thumbs) ** 2)
    sides = [Sample(*((part * side).cumsum(1) for part in (weight, total, squares))) for side in (ours, 1 - ours)]
    rated = [(thumbs * side).cumsum(1) for side in (ours, 1 - ours)]
    seen = ours.cumsum(1), (1 - ours).cumsum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        better, worse = log_evidence(*sides, rule.spread), log_evidence(*sides[::-1], rule.spread)
    enough = np.minimum(*seen) >= rule.least
    calls = (enough & (better >= -np.log(rule.better)), enough & (worse >= -np.log(rule.worse)))
    ends = calls[0] | calls[1] | (seen[0] >= rule.most)
    end = np.arange(rows), ends.argmax(1)
    return calls[0][end], calls[1][end], np.maximum(*rated)[end] <= WITHIN, seen[0][end]


def _made_up(case: Case, rows: int, length: int, rng: Any) -> tuple[Any, Any, Any]:
    """Return (rows, length) arrays: 1 where the candidate wrote the conversation, thumbs up, and thumbs in all."""
    shape = rows, length
    drawn = case.share * case.keen / (case.share * case.keen + 1 - case.share)
    ours = (rng.random(shape) < drawn).astype(np.int64)
    rate = np.where(ours == 1, case.ours, case.theirs)
    if case.swing:
        rate = rate + case.swing * np.sin(np.arange(length) / 40)
    if case.raters:
        taste = rng.uniform(-0.25, 0.25, (rows, case.raters))
        rate = rate + np.take_along_axis(taste, rng.integers(0, case.raters, shape), 1)
    rate = np.clip(rate, 0.001, 0.999)
    if case.alike:  # a Beta whose variance is that share of the thumbs' own
        firm = 1 / case.alike - 1
        rate = rng.beta(rate * firm, (1 - rate) * firm)
    thumbs = 1 + rng.poisson(case.thumbs - 1, shape)
    return ours, rng.binomial(thumbs, rate), thumbs


EQUAL = {
    **{
        f"both {rate}, share {share}": Case(rate, rate, share)
        for rate in (0.3, 0.5, 0.7, 0.9)
        for share in (0.1, 0.2, 0.5)
    },
    **{
        f"both {rate}, 3 thumbs a conversation that agree": Case(rate, rate, thumbs=3, alike=0.5)
        for rate in (0.3, 0.5, 0.7, 0.9)
    },
    "both 0.7, of 5 raters with tastes of their own": Case(raters=5),
    "both 0.7 with a swing of 0.2": Case(swing=0.2),
    "both 0.7, the candidate rated half as often again": Case(keen=1.5),
}
WORSE = {
    "0.5 against 0.7, share 0.5": Case(0.5, 0.7, 0.5),
    "0.5 against 0.7, share 0.5, of 5 raters": Case(0.5, 0.7, 0.5, raters=5),
}
OTHERS = {
    "0.5 against 0.7, share 0.2": Case(0.5, 0.7, 0.2),
    "0.5 against 0.7, share 0.5, 3 thumbs that agree": Case(0.5, 0.7, 0.5, thumbs=3, alike=0.5),
    "0.3 against 0.7, share 0.2": Case(0.3, 0.7, 0.2),
    "0.65 against 0.7, share 0.2": Case(0.65, 0.7, 0.2),
    "0.7 against 0.5, share 0.2": Case(0.7, 0.5, 0.2),
    "0.75 against 0.7, share 0.2": Case(0.75, 0.7, 0.2),
    "both 0.7, 3 thumbs that agree, each told as a witness": Case(thumbs=3, alike=0.5, naive=True),
}


def figures(simulations: int, rule: Rule) -> Iterator[Figure]:
    """Simulate every case, print a line of a table for each, and yield what is wanted of it."""
    print("| trial | called better | withdrawn as worse | undecided | candidate's conversations (median) |")
    print("|---|---|---|---|---|")
    for name, case in {**EQUAL, **WORSE, **OTHERS}.items():
        found = simulate(case, simulations, rule)
        undecided = 1 - found.better - found.worse
        within = (
            f" ({found.caught:.1%} within {WITHIN} of each)" if case.share == 0.5 and case.ours < case.theirs else ""
        )
        shares = f"{found.better:.1%} | {found.worse:.1%}{within} | {undecided:.1%}"
        print(f"| {name} | {shares} | {found.conversations:.0f} |", flush=True)
        if name in EQUAL:
            yield Figure(
                f"{name}: called better", found.better, f"at most {MOST_WRONG} wanted", found.better <= MOST_WRONG
            )
        if name in WORSE:
            met = found.caught >= LEAST_CAUGHT
            yield Figure(f"{name}: withdrawn within {WITHIN}", found.caught, f"at least {LEAST_CAUGHT} wanted", met)


def main() -> int:
    """Simulate and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000, help="trials of each kind (default: 1000)")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    args = parser.parse_args()
    return report(list(figures(args.simulations, Rule())), args.json)


if __name__ == "__main__":
    sys.exit(main())
