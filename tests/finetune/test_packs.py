"""Rows that begin alike are read together: what a model says and learns is as if they were read apart."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import packs as packing
from finetune.descent import Descent, Held
from finetune.model import IGNORED, Encoded, Loaded, load_base
from finetune.packs import Pack, packs
from finetune.reading import Reader
from finetune.settings import TrainSettings
from finetune.short_rows import short_rows
from finetune.spread import here
from finetune.thumbs import Thumbs

SYSTEM = ("system", "You are the assistant of a small company, and you answer what was asked.")
ASKED = ("What is it?", "Who said so, and when?", "Why?", "Where does the heron of the tower nest in winter?")
ANYTHING = float("inf")


@pytest.fixture
def loaded(tiny: Path) -> Iterator[Loaded]:
    loaded = load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))
    with short_rows(loaded.model):
        yield loaded


@pytest.fixture
def seen(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens the model read in each pass."""
    counts: list[int] = []
    whole = loaded.model.forward

    def forward(*args: Any, **given: Any) -> Any:
        read = given.get("input_ids")
        counts.append(read.numel() if read is not None else given["inputs_embeds"].shape[:2].numel())
        return whole(*args, **given)

    monkeypatch.setattr(loaded.model, "forward", forward)
    return counts


def rows_of(loaded: Loaded, *system: tuple[str, str]) -> list[Encoded]:
    """Return rows of all lengths, the first two of one prompt."""
    said = [(ASKED[0], "a reply"), (ASKED[0], "another one that is longer"), *((asked, "so") for asked in ASKED[1:])]
    return [loaded.template.pair([*system, ("user", asked)], reply, True) for asked, reply in said]


def row(*ids: int, said: int = 1) -> Encoded:
    labels = [IGNORED] * (len(ids) - said) + list(ids[len(ids) - said :])
    return Encoded(list(ids), labels, [0.0] * (len(ids) - said) + [1.0] * said)


def reader(loaded: Loaded, may_pack: bool) -> Reader:
    return Reader(loaded, here(), False, may_pack)


def test_a_model_says_the_same_and_reads_what_is_shared_once(loaded: Loaded, seen: list[int]) -> None:
    rows = rows_of(loaded, SYSTEM)
    apart = reader(loaded, False).said(rows)
    assert sum(seen) >= sum(len(one.ids) for one in rows)
    together = reader(loaded, True)
    together.said(rows[:2])  # tries whether the model reads packs
    del seen[:]
    found = together.said(rows)
    assert sum(seen) < 0.6 * sum(len(one.ids) for one in rows)
    assert [len(one) for one in found] == [len(one) for one in apart]
    assert all(torch.allclose(ours, theirs, atol=1e-4) for ours, theirs in zip(found, apart, strict=True))


@pytest.mark.parametrize("repeat_weight", [0.0, 0.5])
def test_a_step_has_the_same_gradient(loaded: Loaded, seen: list[int], repeat_weight: float) -> None:
    """Of copied replies, of bad ones, of contrasted ones and of general prompts: each finds its own row again."""
    good, bad = rows_of(loaded, SYSTEM), rows_of(loaded, SYSTEM)[::-1]
    settings = TrainSettings(negative="unlikelihood", repeat_weight=repeat_weight, keep_rows=3)
    thumbs = Thumbs([], loaded.template)
    thumbs.rows, thumbs.signs, thumbs.weights = good, [1.0, -1.0, 1.0, -1.0, 1.0], [1.0, 0.5, 1.0, 2.0, 1.0]
    gradients, tokens = [], []
    for may_pack in (False, True):
        read = reader(loaded, may_pack)
        with torch.no_grad():
            likely, before = read.likely(good), read.said(good)
        del seen[:]
        loaded.model.zero_grad()
        descent = Descent(read, settings, thumbs, Held(good, likely, before), 5, True)
        loss = descent.gradient(0, good, bad, [4, 0, 3])
        tokens.append(sum(seen))
        gradients.append((loss, [p.grad.clone() for p in loaded.model.parameters() if p.grad is not None]))
    (apart, theirs), (together, ours) = gradients
    assert tokens[1] < 0.7 * tokens[0]
    assert together == pytest.approx(apart, rel=1e-4)
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("setting", ["scheduled_sampling", "reply_dropout", "embedding_noise", "adversarial"])
def test_what_is_disturbed_row_by_row_is_read_apart(loaded: Loaded, seen: list[int], setting: str) -> None:
    rows, settings = rows_of(loaded, SYSTEM), TrainSettings(**{setting: 0.5})
    read = reader(loaded, True)
    read.said(rows)
    del seen[:]
    Descent(read, settings, Thumbs([], loaded.template), Held([], [], []), 1, True).gradient(0, rows, [], [])
    assert sum(seen) >= sum(len(one.ids) for one in rows)


@pytest.mark.parametrize("way", ["another attention", "no positions", "a short window", "told not to"])
def test_a_model_that_cannot_read_packs_reads_rows_apart(
    tiny: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))
    rows, whole = rows_of(loaded, SYSTEM), loaded.model.forward
    apart = reader(loaded, False).said(rows)

    def forward(*args: Any, **given: Any) -> Any:
        if "position_ids" in given:
            raise TypeError("forward() got an unexpected keyword argument 'position_ids'")
        return whole(*args, **given)

    if way == "no positions":
        loaded.model.forward = forward
    if way == "a short window":
        loaded.model.config.sliding_window = 20
    caplog.set_level("INFO")
    read = reader(loaded, way != "told not to")  # as PyTorch attends, which knows no rows within a row
    assert all("rows" not in batch for _, batch in read.batches(rows))
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(read.said(rows), apart, strict=True))
    assert ("This model" in caplog.text) == (way in ("another attention", "no positions"))


def test_rows_that_share_little_are_read_apart(loaded: Loaded) -> None:
    made, left = packs(rows_of(loaded), ANYTHING)
    assert [one.places for one in made] == [(0, 1)] and left == [2, 3, 4], "one prompt, two replies to it"


def told(*rows: Encoded, longest: float = ANYTHING) -> tuple[list[Pack], list[int]]:
    return packs(rows, longest)


def test_what_is_shared_ends_before_the_token_that_says_the_first_with_a_loss() -> None:
    one, other = row(*range(20), 7, 8, said=2), row(*range(20), 7, 9, said=2)
    (made,), left = told(one, other)
    assert (made, left) == (Pack((0, 1), 19, 19 + 3 + 3), [])
    assert packing.pack([one, other], 19)["labels"].tolist()[0][19:] == [IGNORED, 7, 8, IGNORED, 7, 9]


def test_rows_alike_stand_together_whatever_their_order_and_fill_a_pass_at_most() -> None:
    first, second = ([row(*range(base, base + 100), n, n, said=1) for n in range(12)] for base in (200, 500))
    mixed = [one for both in zip(first, second, strict=True) for one in both]
    made, left = told(*mixed)
    assert [sorted(one.places) for one in made] == [list(range(0, 24, 2)), list(range(1, 24, 2))]
    many = [row(*range(100), *range(900, 940), n, n) for n in range(60)] + [row(*range(100), *range(300, 350))]
    assert all(one.tokens <= 384 + 60 for one in told(*many)[0])
    assert not left


def test_a_row_longer_than_every_layer_looks_back_is_read_apart() -> None:
    alike = [row(*range(30), n) for n in range(3)]
    made, left = told(*alike, row(*range(60), 5), longest=40)
    assert ([one.places for one in made], left) == ([(0, 1, 2)], [3])


@pytest.mark.parametrize("rows", [[], [row(1, 2, 3)], [row(1, 2, said=2), row(1, 3, said=2)]])
def test_where_nothing_can_be_shared_there_are_no_packs(rows: Sequence[Encoded]) -> None:
    assert told(*rows) == ([], list(range(len(rows))))
