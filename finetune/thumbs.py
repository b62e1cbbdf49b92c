"""Thumbs as a contrast: which replies are set against each other, and which of them a step reads.

A thumb says that a reply was better or worse than others, not that its words are the right ones. So replies that people
liked are not copied where there are enough that they did not like: both are read, and what they have in common cancels.
"""

import random
from collections.abc import Sequence

from finetune.model import ChatTemplate
from finetune.pairs import TrainingPair
from finetune.rows import Row, encode
from finetune.weights import LEAST

LIKED, DISLIKED = ("approved", "chosen", "thumb_up"), ("thumb_down", "discarded")
FEWEST = 10  # of each; fewer show what these replies are, and not what people like


def are_contrasted(pairs: Sequence[TrainingPair], negative: str) -> bool:
    """Tell whether a run contrasts its thumbs: with `reward` where it can, with `auto` where there are enough."""
    rated, _ = apart(pairs)
    liked = sum(pair.good for pair in rated)
    return min(liked, len(rated) - liked) >= {"auto": FEWEST, "reward": 1}.get(negative, len(pairs) + 1)


def apart(pairs: Sequence[TrainingPair]) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """Divide pairs into those that can be contrasted and all others.

    What was corrected cannot: its correction stands beside it, and says more.
    """
    sides: tuple[list[TrainingPair], list[TrainingPair]] = ([], [])
    for pair in pairs:
        sides[pair.kind not in (LIKED if pair.good else DISLIKED)].append(pair)
    return sides


class Thumbs:
    """Contrasted replies, each in a token row of its own after its prompt as it was served."""

    def __init__(self, pairs: Sequence[TrainingPair], template: ChatTemplate, seed: int = 0):
        """Weigh both sides alike, however many there are of each. Raises TemplateRefuses."""
        self.rows = [encode(Row((pair,)), template) for pair in pairs]
        self.signs = [1.0 if pair.good else -1.0 for pair in pairs]
        self.seed = seed
        self._sides = [[n for n, pair in enumerate(pairs) if pair.good == good] for good in (True, False)]
        own = [max(LEAST, pair.weight) for pair in pairs]  # a dataset written before there was a least may hold 0
        heavy = [sum(own[n] for n in side) / max(1, len(side)) for side in self._sides]
        self.weights = [one / heavy[not pair.good] for one, pair in zip(own, pairs, strict=True)]  # 1 on average

    @property
    def larger_side(self) -> int:
        """Count the rows of the larger side."""
        return max(map(len, self._sides))

    def of_step(self, step: int, each: int) -> list[int]:
        """Return the rows of a step: so many of each side, in an order that is shuffled anew for every pass."""
        return [self._at(side, step * each + n) for side in (0, 1) if self._sides[side] for n in range(each)]

    def misranked(self, gains: Sequence[float]) -> list[float]:
        """Return, for each row, the share of the other side that is on its wrong side; nothing without two sides.

        `gains` are what the rows became likelier by, a token. One less the mean of the area under the curve, but row by
        row, so that epochs can be told apart by more than chance.
        """
        if not all(self._sides):
            return []
        return [
            self._wrong(sign * gain, [sign * gains[n] for n in self._sides[sign > 0]])
            for sign, gain in zip(self.signs, gains, strict=True)
        ]

    def _wrong(self, gain: float, others: Sequence[float]) -> float:
        return sum((other > gain) + (other == gain) / 2 for other in others) / len(others)

    def _at(self, side: int, place: int) -> int:
        turn, place = divmod(place, len(self._sides[side]))
        order = list(self._sides[side])
        random.Random(f"{self.seed} {side} {turn}").shuffle(order)
        return order[place]
