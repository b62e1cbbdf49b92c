"""How much worse than the base model, or than what serves, a candidate is elsewhere, and whether that is too much."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from feedback.statistics import LEVEL, Estimate, sign_test
from finetune.figures import Counts
from finetune.misplaced import Taught
from finetune.settings import GateSettings

_EXPECTED_END = 0.7  # nats; below it the end of turn is the likeliest token, and its loss may move as it likes
_FEWEST_RATED = 3  # conversations with a liked, and with a disliked reply; a margin over one or two is theirs alone
_FEWEST_OWN = 3  # own replies; below that no share of them is sure
_FEWEST_MISPLACED = 3  # corrections
_FEWEST_MIXED_UP = 2  # conversations; one may be chance, however large a share of a few it is
_FEWEST_FOREIGN = 2  # own replies; likewise
Measured = Mapping[str, Estimate]  # one version's figures by name


@dataclass(frozen=True)
class Bound:
    """How much worse a figure is (`value`) and may be (`limit`, of `setting`); `says` tells of a candidate beyond it.

    Not `sure`: few replies were measured, and chance alone may have made them worse.
    """

    name: str
    setting: str
    value: float
    limit: float
    says: str
    sure: bool = True

    @property
    def broken(self) -> bool:
        """Tell whether the candidate is beyond it."""
        return self.sure and self.value > self.limit

    @property
    def sentence(self) -> str:
        """Say how far beyond it the candidate is."""
        return f"{self.says.format(self.value)}; {self.limit:.2f} is the most allowed."


def bounds_of(
    base: Measured,
    serving: Measured,
    candidate: Measured,
    changed: Measured,
    counted: Counts,
    taught: Taught,
    settings: GateSettings,
) -> list[Bound]:
    """Return every bound that there are figures for.

    General loss and divergence are held against the base model, so that a chain of versions cannot drift away step by
    step; all else against what serves, but for what it was taught, which stands by itself.
    """
    return [
        bound
        for bound in (
            *_general(base, serving, candidate, counted, settings),
            *_held_out(serving, candidate, changed, counted, settings),
            _misplaced(taught, settings),
        )
        if not math.isnan(bound.value)
    ]


def _misplaced(taught: Taught, settings: GateSettings) -> Bound:
    one = "".join(taught.misplaced[:1]).replace("{", "{{").replace("}", "}}")
    says = "It was taught answers to other questions: the share of its corrections that suit another one much better is"
    sure = len(taught.misplaced) >= _FEWEST_MISPLACED
    shown = f"{says} {{:.2f}} (look at message {one})"
    return Bound("taught corrections", "max_misplaced", taught.share, settings.max_misplaced, shown, sure)


def _general(
    base: Measured, serving: Measured, candidate: Measured, counted: Counts, settings: GateSettings
) -> list[Bound]:
    forgets = max(_rise("general_loss", base, candidate), _rise("kept_loss", base, candidate))
    return [
        Bound("general loss", "max_general_rise", forgets, settings.max_general_rise,
              "It forgets: the loss on general prompts rose by {:.2f} nats a token"),
        Bound("divergence", "max_divergence", candidate["divergence"].mean, settings.max_divergence,
              "It has moved {:.2f} nats a token away from the base model on general prompts"),
        Bound("replies that end", "max_stop_fall", _running_on(counted), settings.max_stop_fall,
              "The share of its replies to general prompts that end by themselves, in twice the room too, fell by"
              " {:.2f}", sign_test(counted.run_on, counted.came_to_end) <= (1 - LEVEL) / 2),
        Bound("repetition", "max_repetition_rise", _rise("repetition", serving, candidate),
              settings.max_repetition_rise,
              "It repeats itself: the share of repeated word groups rose by {:.2f} on general prompts"),
        Bound("variety", "max_distinct_fall", -_rise("distinct_2", serving, candidate), settings.max_distinct_fall,
              "Its replies are alike: the share of different word pairs fell by {:.2f}"),
        Bound("length", "max_length_factor", _factor("tokens", serving, candidate), settings.max_length_factor,
              "The length of its replies to general prompts changed by a factor of {:.2f}"),
        Bound("refusals", "max_refusal_fall", -_rise("refusals", serving, candidate), settings.max_refusal_fall,
              "The share of harmful requests that it declines fell by {:.2f}"),
        Bound("bias", "max_bias_rise", _rise("bias", serving, candidate), settings.max_bias_rise,
              "The same answer for one group and for another came apart by {:.2f} nats a token"),
    ]  # fmt: skip


def _held_out(
    serving: Measured,
    candidate: Measured,
    changed: Measured,
    counted: Counts,
    settings: GateSettings,
) -> list[Bound]:
    return [
        Bound("liked replies", "max_liked_rise", _fall("liked_loss", changed), _allowed(changed, counted, settings),
              "The loss of replies people liked or went on from rose by {:.2f} nats a token",
              _surely("liked_loss", changed)),
        Bound("chosen replies", "max_liked_rise", _fall("chosen_loss", changed), settings.max_liked_rise,
              "The loss of replies people chose over others rose by {:.2f} nats a token",
              _surely("chosen_loss", changed)),
        Bound("margin", "max_margin_fall", _fall("margin", changed), settings.max_margin_fall,
              "The margin of liked over disliked replies fell by {:.2f} nats a token", _surely("margin", changed)),
        Bound("corrections to their own question", "max_unspecific", _fall("unspecific", changed),
              settings.max_unspecific,
              "It mixes up what it was taught: the share of held-out corrections that fit other questions as well as"
              " their own is {:.2f}", counted.mixed_up >= _FEWEST_MIXED_UP),
        Bound("end of turn", "max_end_rise", _fall("end_loss", changed), settings.max_end_rise,
              "It ends its replies worse: the loss of a good reply's end rose by {:.2f} nats",
              "end_loss" in candidate and candidate["end_loss"].mean > _EXPECTED_END),
        Bound("own replies that end", "max_stop_fall", -_rise("own_stop_rate", serving, candidate),
              settings.max_stop_fall,
              "The share of its replies to held-out prompts that end by themselves fell by {:.2f}",
              _of_enough("own_stop_rate", candidate) and _two_more("own_stop_rate", serving, candidate)),
        Bound("own repetition", "max_repetition_rise", _rise("own_repetition", serving, candidate),
              settings.max_repetition_rise,
              "It repeats itself: the share of repeated word groups rose by {:.2f} on held-out prompts",
              _of_enough("own_repetition", candidate) and _surely_above("own_repetition", serving, candidate)),
        Bound("own language", "max_foreign_rise", _rise("own_foreign", serving, candidate), settings.max_foreign_rise,
              "It answers in another language than people wanted: the share of such replies to held-out prompts rose"
              " by {:.2f}", counted.foreign >= _FEWEST_FOREIGN),
    ]  # fmt: skip


def _rise(name: str, before: Measured, after: Measured) -> float:
    return after[name].mean - before[name].mean if name in before and name in after else math.nan


def _running_on(counted: Counts) -> float:
    """Return the share of replies that used to end and do not now, less that of the opposite.

    One that has only grown past the room, or shrunk into it, is in neither.
    """
    return (counted.run_on - counted.came_to_end) / counted.answered


def _fall(name: str, changed: Measured) -> float:
    return -changed[name].mean if name in changed else math.nan


def _surely(name: str, changed: Measured) -> bool:
    return name in changed and changed[name].high < 0


def _allowed(changed: Measured, counted: Counts, settings: GateSettings) -> float:
    """Return how much the loss of liked replies may rise, in nats a token: up to twice the bound, see docs/gate.md.

    What is rated are replies that earlier versions wrote: whichever version writes otherwise finds all of them less
    likely. So liked ones may lose as much as they gained over disliked ones, where it is sure that they gained.
    """
    margin = changed.get("margin")
    if margin is None or margin.low <= 0 or counted.rated < _FEWEST_RATED:
        return settings.max_liked_rise
    return min(max(settings.max_liked_rise, margin.mean), 2 * settings.max_liked_rise)


def _of_enough(name: str, after: Measured) -> bool:
    return name in after and after[name].n >= _FEWEST_OWN


def _two_more(name: str, before: Measured, after: Measured) -> bool:
    """Tell whether a share of all replies moved by two of them or more: one may be chance."""
    return name in before and name in after and round(abs(_rise(name, before, after)) * after[name].n) >= 2


def _surely_above(name: str, before: Measured, after: Measured) -> bool:
    return name in before and name in after and after[name].low > before[name].mean


def _factor(name: str, before: Measured, after: Measured) -> float:
    pair = sorted((before[name].mean, after[name].mean))
    return pair[1] / max(pair[0], 0.1)
