"""A/B: does a candidate please more or less than what served before? Decided by thumbs, under a rule fixed beforehand.

One observation is one conversation: the share of thumbs up among the thumbs on the replies of the version that was
drawn for it. Several thumbs of one conversation are so one witness. The test may be looked at after every thumb
(`feedback.sequential`): the watcher does, every few seconds. How often it errs stands in docs/trials.md.
"""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from feedback.errors import BadInput
from feedback.records import Earned, TrialLine
from feedback.sequential import evidence, sample
from feedback.store import Store
from feedback.thumbs import Witness, earned
from finetune.settings import TrialSettings

log = logging.getLogger("rapport.trials")


@dataclass(frozen=True)
class Rule:
    """What decides a trial; stored with it when it begins.

    `better` and `worse`: the share of trials without a difference that may end promoted, and withdrawn. It costs less
    to withdraw an equal one than to keep a worse one, so that is done on less evidence. `spread` is the difference in
    shares of thumbs up that the test is best at. Nothing is decided on fewer than `least` conversations of either;
    with `most` of the candidate, or after `days`, the trial ends undecided.
    """

    better: float = 0.05
    worse: float = 0.10
    spread: float = 0.15
    least: int = 20
    most: int = 500
    days: int = 30
    test: str = "mixture SPRT, one observation a conversation"


@dataclass(frozen=True)
class Standing:
    """How a trial stands. `verdict` is goes_on, better, worse or undecided; the last three end it.

    Evidence is a likelihood ratio; it decides from `needed` on.
    """

    verdict: str
    reason: str
    candidate: Earned
    against: Earned
    evidence_better: float
    evidence_worse: float
    needed_better: float
    needed_worse: float
    until: str

    def figures(self) -> dict[str, Any]:
        """Return the standing as JSON."""
        return asdict(self)


def trial_rule(settings: TrialSettings) -> dict[str, Any]:
    """Return the rule of a trial that begins now."""
    return asdict(Rule(most=settings.trial_most, days=settings.trial_days))


def standing(trial: TrialLine, ours: list[Witness], theirs: list[Witness], now: datetime) -> Standing:
    """Decide on a trial by its own rule, from each side's conversations; pure."""
    rule = Rule(**trial.rule)
    one, other = (sample([witness.share for witness in side]) for side in (ours, theirs))
    better, worse = evidence(one, other, rule.spread), evidence(other, one, rule.spread)
    until = trial.began_at + timedelta(days=rule.days)
    enough = min(one.n, other.n) >= rule.least
    if enough and better >= 1 / rule.better:
        verdict = "better"
    elif enough and worse >= 1 / rule.worse:
        verdict = "worse"
    else:
        verdict = "undecided" if one.n >= rule.most or now >= until else "goes_on"
    us, them = earned(ours), earned(theirs)
    return Standing(
        verdict=verdict,
        reason=_reason(verdict, trial, us, them),
        candidate=us,
        against=them,
        evidence_better=better,
        evidence_worse=worse,
        needed_better=1 / rule.better,
        needed_worse=1 / rule.worse,
        until=until.isoformat(),
    )


def look(store: Store, now: datetime) -> Standing | None:
    """Look at the trial that goes on, and end it if its rule says so; return how it stands, None without one.

    Whoever looks at the same time, or promotes something meanwhile, changes nothing: a trial ends once.
    """
    trial = store.trial()
    if trial is None:
        return None
    thumbs = store.trial_thumbs(trial.id)
    found = standing(trial, thumbs[trial.candidate], thumbs[trial.against], now)
    if found.verdict == "goes_on":
        if found.figures() != trial.figures:
            store.note_trial(trial.id, found.figures())
        return found
    try:
        store.end_trial(found.verdict == "better", found.reason, trial_id=trial.id, figures=found.figures())
        log.info("%s", found.reason)
    except BadInput:
        log.info("The trial of version %d was ended by somebody else meanwhile.", trial.candidate)
    return found


def _reason(verdict: str, trial: TrialLine, ours: Earned, theirs: Earned) -> str:
    shown = f"{_shown(trial.candidate, ours)}, {_shown(trial.against, theirs)}"
    said = {
        "better": f"Version {trial.candidate} pleases more than version {trial.against}",
        "worse": f"Version {trial.candidate} pleases less than version {trial.against} and was withdrawn",
        "undecided": f"Not enough evidence that version {trial.candidate} pleases more than version {trial.against}",
        "goes_on": "Not decided yet",
    }
    return f"{said[verdict]}: {shown}."


def _shown(number: int, told: Earned) -> str:
    if told.share is None:
        return f"version {number} no thumbs yet"
    return (
        f"version {number} {told.share:.0%} thumbs up (90 % interval {told.low:.0%} to {told.high:.0%}, "
        f"{told.conversations} conversations)"
    )
