"""Any file of rated conversations as pairs to measure a version on; nothing of it reaches the record.

The file is taken in as an import takes it, into a record of its own that is held in memory, and judged as a run judges
what it trains on. What only training needs (near duplicates, filters, a rater's share, the split) is left alone: every
reply that the file says is good or bad is measured.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from feedback.errors import BadInput
from feedback.formats import BadLine
from feedback.judging import opinions
from feedback.store import Store
from feedback.transfer import import_file
from finetune.model import ChatTemplate, TemplateRefuses
from finetune.pairs import TrainingPair, contradicted, pair_of, said_at, same_words
from finetune.witnesses import grouped

_IN_MEMORY = "sqlite://"


@dataclass
class RatedFile:
    """The pairs of a file, its bad lines, and how many replies the model cannot take: too long, or refused.

    `undecided` counts the texts that are neither good nor bad, by the rule of `pairs.REJECTS` that says why.
    """

    pairs: list[TrainingPair] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    left_out: int = 0
    undecided: dict[str, int] = field(default_factory=dict)


def read_rated(path: Path) -> RatedFile:
    """Read a file in any format that `python -m feedback import` takes. Raises BadInput.

    The same words after the same prompt count once for each way in which they are meant.
    """
    store = Store.open(_IN_MEMORY)
    try:
        bad = import_file(store, path).bad
        undecided: Counter[str] = Counter()
        judged = _judged(store, undecided)
    finally:
        store.close()
    against = contradicted(judged)
    undecided["contradiction"] += sum(against)
    stand = [pair for pair, wrong in zip(judged, against, strict=True) if not wrong]
    once = {(same_words(pair), pair.kind): pair for pair in reversed(stand)}  # of equals the first
    pairs = grouped(list(once.values())[::-1])
    found = RatedFile(pairs, bad, undecided={rule: n for rule, n in undecided.items() if n})
    if not found.pairs:
        raise BadInput(
            f"The file {str(path)!r} holds no reply with a thumb, a correction, a choice or an approval that says "
            f"whether it is good{_unusable(found)}."
        )
    return found


def fitting(rated: RatedFile, template: ChatTemplate) -> RatedFile:
    """Leave out what the model cannot take. Raises BadInput if nothing is left."""
    pairs = [pair for pair in rated.pairs if _fits(pair, template)]
    if not pairs:
        raise BadInput(
            f"No rated reply of the file fits the model, which takes {template.context:,} tokens with what was said "
            "before; give a file with shorter ones."
        )
    return replace(rated, pairs=pairs, left_out=len(rated.pairs) - len(pairs))


def _unusable(found: RatedFile) -> str:
    said = [f"; {rule}: {count:,}" for rule, count in sorted(found.undecided.items())]
    if found.bad:
        counted = "1 line was" if len(found.bad) == 1 else f"{len(found.bad):,} lines were"
        said.append(f"; {counted} unusable, the first of them line {found.bad[0].number}: {found.bad[0].reason}")
    return "".join(said)


def _judged(store: Store, undecided: Counter[str]) -> list[TrainingPair]:
    """Return what the record says is good or bad, and count what it says is neither."""
    found: list[TrainingPair] = []
    for feedback in store.feedback():
        for opinion in opinions(feedback):
            if opinion.usable:
                # Figures do not weigh, so nothing has grown old: the half-life does not matter.
                found.append(pair_of(feedback, opinion, half_life_days=1, at=said_at(feedback, opinion)))
            else:
                undecided[opinion.rule] += 1
    return found


def _fits(pair: TrainingPair, template: ChatTemplate) -> bool:
    try:
        return len(template.pair(pair.prompt, pair.completion, pair.ends).ids) <= template.context
    except TemplateRefuses:
        return False
