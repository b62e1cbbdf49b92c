"""A run's dataset: what the record teaches, divided into what is trained on, what steers and what is held out."""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from feedback.errors import RapportError
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.asides import key_of
from finetune.checks import checks_in
from finetune.model import ChatTemplate
from finetune.pairs import ALIKE, RATERS, RULES, TrainingPair, choose
from finetune.settings import PairSettings
from finetune.splits import (
    HELD_OUT_SHARE,
    SAME_QUESTION,
    VALIDATION_SHARE,
    Question,
    assign,
    questions_by_conversation,
    validation_part,
)
from finetune.witnesses import in_groups

_NAMES = tuple(TrainingPair.__dataclass_fields__)


@dataclass(frozen=True)
class Sides:
    """A dataset's pairs by what they are for."""

    train: list[TrainingPair]
    validation: list[TrainingPair]
    held_out: list[TrainingPair]

    @property
    def conversations(self) -> int:
        """Count the usable conversations."""
        return len({p.conversation_id for p in self.train + self.validation + self.held_out})

    def good(self) -> "Sides":
        """Leave out the pairs that are to become less likely."""
        return Sides(**{side: [p for p in part if p.good] for side, part in vars(self).items()})


@dataclass(frozen=True)
class Built:
    """A dataset before it is written down, with what is to be remembered of its split.

    `counts` tell how many texts each rule took or rejected, `rejected` names reply and rule. `cut` is the instant the
    record was read.
    """

    sides: Sides
    counts: dict[str, int]
    rejected: list[tuple[str, str]]
    new_splits: dict[str, str]
    held_out_questions: list[Question]
    cut: datetime


def build(store: Store, data: DataSettings, template: ChatTemplate, settings: PairSettings, writes: bool) -> Built:
    """Choose pairs and fix their sides, from the record as it is now; nothing is written but the cache, if at all."""
    cut = now()
    with _rarely_collected(), checks_in(data.checks_file, template, writes) as checks:
        chosen = choose(store.feedback(kept=settings.kept_replies), checks, settings, template.context, cut)
    ids = list(dict.fromkeys(p.conversation_id for p in chosen.pairs))
    remembered = [
        Question(c, d, np.frombuffer(s, dtype=np.uint16))
        for c, d, s in store.held_out_prompts()
        if key_of(d) not in chosen.asides.keys
    ]
    numbers = questions_by_conversation([*remembered, *chosen.questions])
    asked = {c: numbers.get(c, frozenset()) for c in ids}
    known = store.splits(ids)
    assigned = assign(asked, known, {n for q in remembered for n in numbers[q.conversation_id]})
    left_out = [p for p in chosen.pairs if assigned[p.conversation_id] == "left_out"]
    counts = Counter(chosen.counts)
    counts.subtract(p.kind for p in left_out)
    counts["both_sides"] += len(left_out)
    return Built(
        sides=_sides(chosen.pairs, asked, assigned),
        counts={rule: counts[rule] for rule in RULES},
        rejected=chosen.rejected + [(p.message_id, "both_sides") for p in left_out],
        new_splits={c: assigned[c] for c in ids if c not in known and assigned[c] != "left_out"},
        held_out_questions=[q for q in chosen.questions if assigned[q.conversation_id] == "held_out"],
        cut=cut,
    )


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Look for garbage in circles a hundred times less often: millions of texts are kept, and each look goes by all."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def remember(store: Store, built: Built) -> None:
    """Fix the split in the record: who is new stays where this run put them."""
    store.remember_splits(built.new_splits)
    store.hold_out_prompts([(q.conversation_id, q.digest, q.signature.tobytes()) for q in built.held_out_questions])


def rule_of(settings: PairSettings) -> dict[str, object]:
    """Describe what chose the pairs: the rules and their bounds."""
    return {
        "rules": RULES,
        "settings": {name: getattr(settings, name) for name in PairSettings.model_fields},
        "alike": ALIKE,
        "raters_for_share": RATERS,
        "same_question": SAME_QUESTION,
        "held_out_share": HELD_OUT_SHARE,
        "validation_share": VALIDATION_SHARE,
    }


def write(sides: Sides, folder: Path) -> None:
    """Write a dataset for `datasets.load_from_disk`, a row a pair."""
    from datasets import Dataset, Features, List, Value

    columns = {
        "prompt": List({"role": Value("string"), "content": Value("string")}),
        "ends": Value("bool"),
        "good": Value("bool"),
        "correction_id": Value("int64"),
        "weight": Value("float64"),
    }
    features = Features({name: columns.get(name, Value("string")) for name in ("split", *_NAMES)})
    rows = [_row(pair, side) for side, part in vars(sides).items() for pair in part]
    Dataset.from_list(rows, features=features).save_to_disk(str(folder))


def read(folder: Path) -> Sides:
    """Read a dataset that `write` wrote, in its order; one of an earlier version knows no groups."""
    from datasets import load_from_disk

    sides: dict[str, list[TrainingPair]] = {side: [] for side in Sides.__dataclass_fields__}
    for row in load_from_disk(str(folder)):
        prompt = tuple((turn["role"], turn["content"]) for turn in row["prompt"])
        sides[row.pop("split")].append(TrainingPair(**{**row, "prompt": prompt}))
    return Sides(**sides)


def check_trainable(built: Built) -> None:
    """Raise RapportError, with the reason, if there is nothing to train on."""
    good = built.sides.good()
    if not (good.train or good.validation or good.held_out):
        told = {rule: count for rule, count in built.counts.items() if count}
        raise RapportError(f"No pair is left to train on; by rule: {told}.")
    if not good.train:
        raise RapportError("Every conversation with a good reply is held out; correct or thumb up replies in others.")


def _sides(pairs: list[TrainingPair], asked: Mapping[str, frozenset[int]], assigned: Mapping[str, str]) -> Sides:
    train = [p for p in pairs if assigned[p.conversation_id] == "train"]
    good = {p.conversation_id for p in train if p.good}
    steering = validation_part({c: asked[c] for c, side in assigned.items() if side == "train"}, good)
    held = {c: asked[c] for c, side in assigned.items() if side == "held_out"}
    return Sides(
        train=[p for p in train if p.conversation_id not in steering],
        validation=[p for p in train if p.conversation_id in steering],
        held_out=in_groups([p for p in pairs if p.conversation_id in held], held),
    )


def _row(pair: TrainingPair, side: str) -> dict[str, object]:
    prompt = [{"role": role, "content": content} for role, content in pair.prompt]
    return {"split": side, **{name: getattr(pair, name) for name in _NAMES}, "prompt": prompt}
