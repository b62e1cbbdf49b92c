"""What a step descends is the same however rows are grouped, and tells the replies of a row apart."""

from pathlib import Path

import pytest
import torch

from finetune import reading
from finetune.batches import PairRows, pad
from finetune.descent import Descent, Held
from finetune.model import IGNORED, Encoded, Loaded, load_base
from finetune.pairs import TrainingPair
from finetune.reading import Reader
from finetune.settings import TrainSettings
from finetune.spread import here
from finetune.thumbs import Thumbs


@pytest.fixture
def loaded(tiny: Path) -> Loaded:
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))


def loss_of(rows: list[Encoded], loaded: Loaded, **more: float) -> float:
    settings, nothing = TrainSettings(wear_prompts=False, **more), Thumbs([], loaded.template)
    loaded.model.train()
    descent = Descent(Reader(loaded, here(), False), settings, nothing, Held([], [], []), 1, True)
    return descent.gradient(0, rows, [], [])


def conversation(first: str, second: str) -> list[TrainingPair]:
    asked = (("user", "hello"),)
    said = (*asked, ("assistant", first), ("user", "and then"))
    return [
        TrainingPair(f"m{n}", "c", prompt, text, True, "thumb_up")
        for n, (prompt, text) in enumerate([(asked, first), (said, second)])
    ]


def test_a_reply_may_repeat_what_another_of_its_row_said(loaded: Loaded) -> None:
    pairs = conversation("the quick fox", "the quick fox")
    read = PairRows(pairs, loaded.template)
    assert len(read) == 1
    together = read.read(0)
    apart = [PairRows([pair], loaded.template).read(0) for pair in pairs]
    plain = loss_of(apart, loaded)
    assert loss_of([together], loaded) == pytest.approx(plain, rel=1e-4)
    assert loss_of([together], loaded, repeat_weight=50) == pytest.approx(
        loss_of(apart, loaded, repeat_weight=50), rel=1e-4
    )
    assert loss_of(apart, loaded, repeat_weight=50) > plain * 1.01


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_what_a_reply_said_before_a_cut_counts(chunk: int, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["hello world, hello fox", "the quick brown fox says", "fox"]
    rows = [loaded.template.pair([("user", "hi")], text, True) for text in texts]
    whole = loss_of(rows, loaded, repeat_weight=50)
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    assert loss_of(rows, loaded, repeat_weight=50) == pytest.approx(whole, rel=1e-5)


def test_replies_are_numbered_by_row_and_by_what_stands_between_them() -> None:
    rows = [[IGNORED, 5, 6, IGNORED, 7], [IGNORED, IGNORED, 8, 9, 9], [IGNORED, 4]]
    batch = pad([Encoded([1] * len(labels), labels, [1.0] * len(labels)) for labels in rows], 0)
    assert reading.replies(batch).tolist() == [1, 1, 2, 3, 3, 3, 4]
    nobodys = pad([Encoded([1], [IGNORED], [0.0])], 0)
    assert reading.replies(nobodys).tolist() == []
