"""Three tastes that nobody puts into words: they can only be learnt from thumbs on the model's own replies.

Each is checked by a rule, so that thumbs cost nothing and a test can ask whether it is kept. Its prompts and its rule
are such that the base model keeps it in 0.15 to 0.4 of its replies by itself: there is something to thumb up, and
something to learn. `bench/learn.py` reports that rate beside what was learned.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import everyday
from bench.samples import Sample

THUMBS, LEAST_UP = 150, 40
SHORT = 50  # words
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)


@dataclass(frozen=True)
class Taste:
    """A rule on a reply's text, the prompts whose replies are thumbed, and those of the test."""

    keeps: Callable[[str], bool]
    thumbed: tuple[str, ...]
    unseen: tuple[str, ...]


def is_short(reply: str) -> bool:
    """Tell whether a reply says something in at most 50 words."""
    return 0 < len(reply.split()) <= SHORT


def has_no_list(reply: str) -> bool:
    """Tell whether a reply is prose in one paragraph: no list, no line break."""
    text = reply.strip()
    return bool(text) and "\n" not in text and not _ITEM.search(text)


def ends_with_a_question(reply: str) -> bool:
    """Tell whether a reply ends with a question mark, whatever closes behind it."""
    return reply.rstrip().rstrip("\"'*)”’ ").endswith("?")


TASTES = {
    "short": Taste(is_short, everyday.THUMBED, everyday.UNSEEN),
    "no-lists": Taste(has_no_list, everyday.THUMBED, everyday.UNSEEN),
    "question": Taste(
        ends_with_a_question,
        everyday.OPENERS + everyday.THUMBED[-34:],
        everyday.UNSEEN_OPENERS + everyday.UNSEEN[-20:],
    ),
}


def thumbs(taste: Taste, samples: Sequence[Sample], seed: int, number: int = THUMBS) -> list[tuple[Sample, bool]]:
    """Draw replies and thumb them by the taste: as many up as come by chance, but LEAST_UP at least if there are.

    Raises ValueError if there are fewer replies to draw from.
    """
    if len(samples) < number:
        raise ValueError(f"{number} thumbs are wanted of {len(samples)} replies; sample more of them.")
    drawn = list(samples)
    random.Random(f"thumbs {seed}").shuffle(drawn)
    judged = [(sample, taste.keeps(sample.reply)) for sample in drawn]
    taken, left = judged[:number], judged[number:]
    for more in (one for one in left if one[1]):
        if sum(up for _, up in taken) >= min(LEAST_UP, number):
            break
        taken[next(place for place, (_, up) in enumerate(taken) if not up)] = more
    return taken
