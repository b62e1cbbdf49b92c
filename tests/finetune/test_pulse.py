from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from feedback.store import Store
from finetune import pulse
from finetune.checkpoints import State
from finetune.pulse import Pulse


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_long_run_keeps_few_points(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "POINTS", 20)
    run, clock = store.open_run({}), iter(range(10**6))
    beats = Pulse(store, run, 1, clock=lambda: float(next(clock)))
    for step in range(1, 101):
        beats.progress(step, 100, 1.0, State(step=step, tokens=step * 50))
    steps = [step for step, _ in store.run_diary(run).curves["loss"]]
    assert 19 <= len(steps) <= 21
    assert steps[-1] == 100 and steps == sorted(steps)
    assert store.runs()[0].metrics["tokens_per_s"] == pytest.approx(50 / 3, rel=0.7)


def test_a_point_that_is_computed_again_after_a_kill_is_replaced(store: Store) -> None:
    run = store.open_run({})
    for loss in (2.0, 3.0):
        Pulse(store, run, 1).progress(4, 8, loss, State(step=4))
    assert store.run_diary(run).curves["loss"] == [(4, 3.0)]


@pytest.mark.parametrize(
    ("cores", "threads", "alone", "beside"), [(2, 2, 2, 1), (8, 8, 8, 4), (8, 3, 3, 3), (1, 1, 1, 1)]
)
def test_half_of_the_cores_are_left_while_a_reply_is_written(
    store: Store, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, alone: int, beside: int
) -> None:
    monkeypatch.setattr(pulse, "cores", lambda: cores)
    beats = Pulse(store, store.open_run({}), threads)
    used = []
    for writing in (0, 2, 0):
        monkeypatch.setattr(store, "replies_running", lambda n=writing: n)
        beats.beat(at_once=True)
        used.append(torch.get_num_threads())
    assert used == [alone, beside, alone]


def test_beats_come_at_most_every_second(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = []
    monkeypatch.setattr(store, "beat_run", lambda run, *_, **__: beaten.append(run))
    at = [0.0]
    model = torch.nn.Linear(1, 1)
    loaded = Pulse(store, 7, 1, clock=lambda: at[0]).watch(SimpleNamespace(model=model))
    for at[0] in (0.0, 0.5, 0.9, 1.0, 1.5, 2.5):
        loaded.model(torch.zeros(1))
    assert beaten == [7, 7, 7]


def test_a_beat_that_cannot_be_written_ends_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise RuntimeError("database is locked")

    monkeypatch.setattr(store, "beat_run", locked)
    Pulse(store, 1, 1).beat(at_once=True)
