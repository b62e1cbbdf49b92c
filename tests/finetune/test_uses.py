"""What the view says of a pair is what training makes of it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from finetune import train
from finetune.dataset import Sides
from finetune.model import load_base
from finetune.pairs import TrainingPair
from finetune.settings import TrainSettings
from finetune.uses import readings, uses

BAD = {"thumb_down", "corrected", "discarded"}


def pairs(side: str, **kinds: int) -> list[TrainingPair]:
    """Return so many pairs of each kind, each in a conversation of its own."""
    return [
        TrainingPair(f"{side} {kind} {n}", f"{side} {kind} {n}", (("user", "who?"),), f"fox {n}", True, kind)
        if kind not in BAD
        else TrainingPair(
            f"{side} {kind} {n}", f"{side} {kind} {n}", (("user", "who?"),), f"dog {n}", True, kind, good=False
        )
        for kind, many in kinds.items()
        for n in range(many)
    ]


FEW = Sides(
    train=pairs("train", correction=3, corrected=3, thumb_up=9, thumb_down=12),
    validation=pairs("validation", correction=1, corrected=1, thumb_up=1, thumb_down=1),
    held_out=pairs("held out", thumb_up=2, thumb_down=1),
)
MANY = Sides(
    train=pairs("train", correction=3, corrected=3, thumb_up=10, chosen=2, thumb_down=12, discarded=1),
    validation=pairs("validation", correction=1, corrected=1, thumb_up=1, thumb_down=1),
    held_out=FEW.held_out,
)


class Enough(Exception):
    """Training has its rows; no more is asked of it."""


@pytest.mark.parametrize("sides", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("negative", ["auto", "off", "reward", "unlikelihood", "cringe"])
def test_training_reads_what_the_view_says(
    sides: Sides, negative: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[set[str]] = []

    def recording(made: type):
        def make(of: Sequence[TrainingPair], *more: object):
            read.append({pair.message_id for pair in of})
            return made(of, *more)

        return make

    def enough(*_: object) -> None:
        raise Enough

    monkeypatch.setattr(train, "PairRows", recording(train.PairRows))
    monkeypatch.setattr(train, "Thumbs", recording(train.Thumbs))
    monkeypatch.setattr(train, "plan", enough)
    loaded = load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(Enough):
        train.train_adapter(
            loaded, sides.train, sides.validation, [], TrainSettings(negative=negative), Path(), lambda *_: None
        )
    copied, pushed, contrasted, judged, steering = read

    def told(side: str, use: str) -> set[str]:
        parts = [part for part in uses(sides, negative) if (part.side, part.use) == (side, use)]
        return {pair.message_id for part in parts for pair in part.pairs}

    assert told("train", "copied") == copied
    assert told("train", "pushed") == pushed
    assert told("train", "contrasted") == contrasted
    assert told("train", "not_used") == {p.message_id for p in sides.train} - copied - pushed - contrasted
    assert told("validation", "steers") == judged | steering
    assert told("held_out", "held_out") == {p.message_id for p in sides.held_out}
    whole = [p.message_id for part in uses(sides, negative) for p in part.pairs]
    assert sorted(whole) == sorted(p.message_id for part in vars(sides).values() for p in part)


def test_validation_thumbs_of_one_sign_are_ranked_against_nothing() -> None:
    sides = Sides(MANY.train, pairs("validation", correction=1, thumb_down=2), [])
    unused = [
        p.kind
        for part in uses(sides, "auto")
        if part.side == "validation" and part.use == "not_used"
        for p in part.pairs
    ]
    assert unused == ["thumb_down"] * 2


def test_contrasted_replies_have_a_row_each_and_no_loss_token_by_token(tiny: Path) -> None:
    template = load_base(tiny, dtype=torch.float32, device=torch.device("cpu")).template
    prompt = (("user", "who?"), ("assistant", "fox 0"), ("user", "and?"))
    after = TrainingPair("after", "train thumb_up 0", prompt, "a dog", True, "thumb_up")
    for negative, rows in (
        ("auto", [("contrasted", ["train thumb_up 0"])]),
        ("off", [("copied", ["train thumb_up 0", "after"])]),
    ):
        sides = Sides([*MANY.train, after], [], [])
        found = list(readings(sides, negative, template, "train thumb_up 0"))
        assert [(one.use, [p.message_id for p in one.pairs]) for one in found] == rows
        assert all(any(one.said) and any(one.own) == (one.use == "copied") for one in found)
