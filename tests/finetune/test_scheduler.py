"""Runs as processes of their own, started as the app starts them."""

from datetime import timedelta

import pytest

from feedback.errors import Busy
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.schedule import NotEnough
from finetune.scheduler import Scheduler
from finetune.settings import ScheduleSettings, TrainSettings

TRAIN = TrainSettings(epochs=2, learning_rate=2e-2, max_general_rise=50)


def teach(store: Store, count: int) -> None:
    turns = [IncomingMessage("assistant", "I do not know.", correction="the quick brown fox")]
    store.take_in([Incoming(f"c{n}", (IncomingMessage("user", f"question {n}"), *turns)) for n in range(count)])


def scheduler(store: Store, data: DataSettings, every: str = "off") -> Scheduler:
    return Scheduler(store, data, TRAIN, ScheduleSettings(retrain_every=every))


def test_a_run_that_was_asked_for_is_made_by_another_process(store: Store, data: DataSettings) -> None:
    from finetune.base import ensure_base

    ensure_base(data)
    teach(store, 12)
    asked = scheduler(store, data)
    assert asked.retrain() == "A run starts."
    with pytest.raises(Busy):
        asked.retrain()
    assert asked.outlook() in ("A run starts.", "A run is under way.")
    assert asked._process.wait(120) in (0, 3), (data.data_dir / "retrain.log").read_text()
    run = store.runs()[0]
    assert (run.version, run.status in ("promoted", "refused")) == (1, True)
    assert '"version": 1' in (data.data_dir / "retrain.log").read_text().splitlines()[-1]


def test_a_run_that_is_due_starts_by_itself(store: Store, data: DataSettings) -> None:
    from finetune.base import ensure_base

    ensure_base(data)
    teach(store, 12)
    by_itself = scheduler(store, data, every="1s")
    by_itself.schedule = ScheduleSettings(retrain_every=timedelta(microseconds=1))
    by_itself.look()
    assert by_itself._process is not None
    assert by_itself._process.wait(120) in (0, 3)
    by_itself.look()
    assert len(store.runs()) == 1  # nothing new came since
    assert by_itself.outlook() == "0 of 10 new thumbs and corrections to learn from."


def test_nothing_to_learn_from_starts_nothing(store: Store, data: DataSettings) -> None:
    idle = scheduler(store, data)
    with pytest.raises(NotEnough):
        idle.retrain()
    assert idle._process is None


def test_a_run_whose_process_died_is_declared_failed(store: Store, data: DataSettings) -> None:
    store.update_run(store.open_run({}), status="training", step=1, total=9)
    scheduler(store, data).look()
    assert store.runs()[0].status == "failed"
