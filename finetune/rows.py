"""Token rows: replies of one conversation that are read in one go, each carrying its own loss.

Replies share a row only where the prompt that one was served continues the other's, reply included. A corrected reply
ends its row: what came after it was said to other words. A pair that must become less likely has its row to itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from finetune.model import IGNORED, ChatTemplate, Encoded
from finetune.pairs import TrainingPair


@dataclass(frozen=True)
class Row:
    """Pairs that share one token row, shortest prompt first; each prompt begins with the prompt and reply before it."""

    pairs: tuple[TrainingPair, ...]

    @property
    def good(self) -> bool:
        """Tell whether its replies are to become more likely; in one row all are or none."""
        return self.pairs[0].good


def rows(pairs: Sequence[TrainingPair], template: ChatTemplate) -> list[Row]:
    """Put every pair into exactly one row, conversation by conversation.

    Where the template writes a reply otherwise once the conversation goes on (some drop its reasoning), the tokens of
    the one prompt do not begin the other's, and the replies get rows of their own.
    """
    made: list[list[TrainingPair]] = []
    ordered = sorted(pairs, key=lambda pair: (pair.conversation_id, len(pair.prompt)))
    for _, conversation in groupby(ordered, key=lambda pair: pair.conversation_id):
        open_rows: list[list[TrainingPair]] = []
        for pair in conversation:
            row = next((row for row in open_rows if _continues(pair, row[-1], template)), None)
            if row is None:
                row = []
                made.append(row)
                if pair.good:
                    open_rows.append(row)
            row.append(pair)
    return [Row(tuple(row)) for row in made]


def encode(row: Row, template: ChatTemplate) -> Encoded:
    """Encode the longest prompt with its completion; the tokens of every reply of the row carry loss.

    `weights` hold a pair's weight on the tokens that carry its loss, negative for one that must become less likely,
    and 0 elsewhere. Raises TemplateRefuses.
    """
    whole = _encoded(row.pairs[-1], template)
    labels, weights = list(whole.labels), list(whole.weights)
    for pair in row.pairs[:-1]:
        part = _encoded(pair, template)
        for place, label in enumerate(part.labels):
            if label != IGNORED:
                labels[place], weights[place] = label, part.weights[place]
    return Encoded(whole.ids, labels, weights)


def reworded(row: Row, change: Callable[[str], str]) -> Row:
    """Return the row with the user message before each of its replies changed, alike in every prompt that holds it."""
    longest = list(row.pairs[-1].prompt)
    for place in {len(pair.prompt) - 1 for pair in row.pairs if pair.prompt}:
        role, text = longest[place]
        if role == "user":
            longest[place] = (role, change(text))
    return Row(tuple(replace(pair, prompt=tuple(longest[: len(pair.prompt)])) for pair in row.pairs))


def _encoded(pair: TrainingPair, template: ChatTemplate) -> Encoded:
    return template.pair(pair.prompt, pair.completion, pair.ends, pair.weight if pair.good else -pair.weight)


def _continues(pair: TrainingPair, before: TrainingPair, template: ChatTemplate) -> bool:
    """Tell whether a pair's prompt goes on where another pair's reply ends, in messages and in tokens."""
    said = len(before.prompt)
    if not pair.good or before.kind == "correction" or len(pair.prompt) <= said:
        return False
    if pair.prompt[said] != ("assistant", before.completion) or pair.prompt[:said] != before.prompt:
        return False
    begun = _encoded(before, template).ids
    return template.prompt(pair.prompt)[: len(begun)] == begun
