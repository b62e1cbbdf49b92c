"""Whose prompt is read next: nobody waits for a long one's end, and a long one does not wait for ever."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from chatui.engine.decoder import Decoder
from chatui.engine.fitting import fit
from chatui.engine.lane import BatchLane
from chatui.engine.memory import Slab
from chatui.engine.protocol import Sampling
from chatui.engine.rows import Row
from tests.chatui.engine.models import loaded_from
from tests.tiny import make_tiny

PIECE = 256  # tokens that a step reads on a CPU


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder: Path = make_tiny(tmp_path_factory.mktemp("reading"), context=4096)
    return fit(loaded_from(folder), "float32")


@pytest.fixture
def lane(network: Decoder) -> BatchLane:
    return BatchLane(network, frozenset(), lambda size: True)


def row_of(tokens: int, most: int = 8, seed: int = 0, urgent: bool = False) -> Row:
    dice = random.Random(f"{tokens} {seed}")
    return Row([dice.randrange(3, 290) for _ in range(tokens)], most, Sampling(0.0), urgent)


def begun(row: Row) -> bool:
    return len(row.ids) > row.prompt


def steps_until_begun(lane: BatchLane, row: Row) -> int:
    for steps in range(1, 200):
        lane.step()
        if begun(row):
            return steps
    raise AssertionError("it is never read")


@pytest.mark.parametrize("tokens", [(3000, 20), (2000, 250, 1200), (3000, 2500, 700, 20)])
def test_a_prompt_waits_only_for_what_is_left_of_shorter_ones(lane: BatchLane, tokens: Sequence[int]) -> None:
    """Others are read ahead of it in at most every fourth step, be they in its slab or in another."""
    for number, some in enumerate(tokens):
        row = row_of(some)
        lane.add(row)
        if number + 1 < len(tokens):
            lane.step()
    assert steps_until_begun(lane, row) <= -(-row.prompt // PIECE) * 4 / 3 + 1


def test_a_long_prompt_is_read_while_short_ones_come_without_an_end(lane: BatchLane) -> None:
    lane.add(row_of(20, most=1))  # so that their slab is the first
    long = row_of(2000)
    lane.add(long)
    for step in range(4 * -(-long.prompt // PIECE) + 1):
        lane.add(row_of(20, most=1, seed=step))
        lane.add(row_of(250, most=1, seed=step))
        lane.step()
    assert begun(long)


def test_a_check_is_read_before_all(lane: BatchLane) -> None:
    for seed in range(6):
        lane.add(row_of(200, seed=seed))
    check = row_of(30, most=1, urgent=True)
    lane.add(check)
    lane.step()
    assert check.over


def test_short_prompts_that_come_together_are_read_together(lane: BatchLane, monkeypatch) -> None:
    shapes, whole = [], lane.network.logits

    def logits(ids, pieces, at):
        shapes.append(tuple(ids.shape))
        return whole(ids, pieces, at)

    monkeypatch.setattr(lane.network, "logits", logits)
    for seed, tokens in enumerate((100, 50, 80, 30, 60, 20, 40, 90)):
        lane.add(row_of(tokens, seed=seed))
    for _ in range(4):
        lane.step()
    assert [shape for shape in shapes if shape[1] > 1] == [(2, 100), (3, 80), (2, 40), (1, 90)]


@pytest.mark.parametrize("seed", range(4))
def test_who_changes_seats_writes_what_it_writes_alone(network: Decoder, seed: int, monkeypatch) -> None:
    dice, swaps = random.Random(seed), []
    lane = BatchLane(network, frozenset(), lambda size: True)
    rows = [row_of(dice.choice((300, 1030, 1500, 2000)), dice.randint(1, 30), n) for n in range(10)]
    alone = []
    for row in rows:
        one = Row(row.ids, row.most, Sampling(0.0))
        other = BatchLane(network, frozenset(), lambda size: True)
        assert other.add(one)
        while not one.over:
            other.step()
        alone.append(one.ids)
    swap = Slab.swap
    monkeypatch.setattr(Slab, "swap", lambda *some: swaps.append(some) or swap(*some))
    waiting = list(rows)
    while waiting or lane.rows:
        if waiting and dice.random() < 0.4:
            lane.add(waiting.pop(0))
        lane.step()
    assert [row.ids for row in rows] == alone
    assert swaps and all(bool(torch.isfinite(shelf.slab.kv).all()) for shelf in lane._shelves)
