"""What the record's views say of a run's pairs: what is made of each, and how its tokens are read."""

from collections.abc import Iterator
from dataclasses import dataclass

from finetune.batches import PairRows
from finetune.dataset import Sides
from finetune.division import divide
from finetune.model import IGNORED, ChatTemplate, Encoded
from finetune.pairs import TrainingPair
from finetune.rows import encode
from finetune.thumbs import FEWEST, Thumbs

USES = {
    "copied": "made likelier, token by token",
    "pushed": "made less likely, token by token",
    "contrasted": "contrasted as a whole, liked replies with disliked ones",
    "steers": "not trained on: it only steers the run",
    "held_out": "not trained on: it is held out",
    "not_used": "not used",
}


@dataclass(frozen=True)
class Used:
    """Pairs of a side of which the same is made, one of USES."""

    side: str
    use: str
    pairs: list[TrainingPair]


@dataclass(frozen=True)
class Reading:
    """A token row as it is read, and which replies it holds.

    `own` (tokens,) is the weight of each token's own loss, 0 where it has none; `said` tells which tokens are of the
    replies. Contrasted replies have a loss as wholes, and none token by token.
    """

    side: str
    use: str
    pairs: tuple[TrainingPair, ...]
    ids: list[int]
    own: list[float]
    said: list[bool]


def uses(sides: Sides, negative: str) -> list[Used]:
    """Divide a dataset as training does with a setting of `negative`; parts may be empty."""
    parts = divide(sides.train, sides.validation, negative)
    return [
        Used("train", "copied", parts.copied),
        Used("train", "pushed", parts.pushed),
        Used("train", "contrasted", parts.contrasted),
        Used("train", "not_used", _others(sides.train, parts.copied, parts.pushed, parts.contrasted)),
        Used("validation", "steers", parts.steering + parts.ranked),
        Used("validation", "not_used", _others(sides.validation, parts.steering, parts.ranked)),
        Used("held_out", "held_out", sides.held_out),
    ]


def readings(sides: Sides, negative: str, template: ChatTemplate, message_id: str) -> Iterator[Reading]:
    """Yield the rows that a reply is read in, its prompt as it was served. Raises TemplateRefuses."""
    for part in uses(sides, negative):
        if part.use in ("copied", "pushed"):
            talk = {p.conversation_id for p in part.pairs if p.message_id == message_id}
            read = PairRows([p for p in part.pairs if p.conversation_id in talk], template)
            rows = [(row.pairs, read.read(n), encode(row, template)) for n, row in enumerate(read.rows)]
        else:
            alone = [p for p in part.pairs if p.message_id == message_id]
            rows = [((pair,), row, row) for pair, row in zip(alone, Thumbs(alone, template).rows, strict=True)]
        for held, row, whole in rows:
            if any(pair.message_id == message_id for pair in held):
                yield _reading(part, held, row, whole)


def why_not(pair: TrainingPair, side: str, negative: str) -> str:
    """Say why nothing is made of a pair that is not used."""
    if side == "validation":
        return "good replies steer a run, and contrasted ones of which there are both kinds"
    if pair.kind == "corrected":
        return "what was corrected is made less likely only with --negative unlikelihood or cringe"
    if negative == "auto":
        return f"replies are contrasted once {FEWEST} liked and {FEWEST} disliked ones are trained on"
    return "it has nothing liked to be contrasted with" if negative == "reward" else "--negative off leaves it out"


def _reading(part: Used, pairs: tuple[TrainingPair, ...], row: Encoded, whole: Encoded) -> Reading:
    """Tell of a row as training reads it; `whole` is the row with all that is said in it."""
    learns = part.use in ("copied", "pushed")
    own = [w if learns and label != IGNORED else 0.0 for w, label in zip(row.weights, row.labels, strict=True)]
    return Reading(part.side, part.use, pairs, row.ids, own, [label != IGNORED for label in whole.labels])


def _others(pairs: list[TrainingPair], *used: list[TrainingPair]) -> list[TrainingPair]:
    taken = {id(pair) for part in used for pair in part}
    return [pair for pair in pairs if id(pair) not in taken]
