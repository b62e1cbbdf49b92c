"""What a run makes of each pair of its dataset: the one place where that is decided."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune.descent import PUSHES
from finetune.pairs import TrainingPair
from finetune.thumbs import apart, are_contrasted

Pairs = list[TrainingPair]


@dataclass(frozen=True)
class Division:
    """A dataset's pairs by what is made of them; any part may be empty, and those that are in none are not used.

    `copied` are made likelier, token by token, `pushed` less likely; `contrasted` are told apart as wholes. Of the
    validation pairs, `steering` are judged by their loss, and `ranked` as the contrasted ones are.
    """

    copied: Pairs
    pushed: Pairs
    contrasted: Pairs
    steering: Pairs
    ranked: Pairs


def divide(train: Sequence[TrainingPair], validation: Sequence[TrainingPair], negative: str) -> Division:
    """Divide the pairs of a run whose setting is `negative`."""
    contrasts = are_contrasted(train, negative)
    (contrasted, others), (judged, steering) = (apart(p) if contrasts else ([], list(p)) for p in (train, validation))
    return Division(
        copied=[pair for pair in others if pair.good],
        pushed=[pair for pair in others if not pair.good and negative in PUSHES],
        contrasted=contrasted,
        steering=[pair for pair in steering if pair.good],
        ranked=judged if len({pair.good for pair in judged}) == 2 else [],  # those of one sign rank against nothing
    )
