"""Which open run is dead where data dirs share a record, so that one's lock tells nothing of another's run."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from feedback.errors import Busy
from feedback.runs import SILENT
from feedback.schema import Run, now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.lock import dead_run, the_only_run
from finetune.pipeline import RunFailed, retrain
from finetune.settings import ScheduleSettings, TrainSettings
from tests.finetune.test_scheduler import scheduler, teach


@pytest.fixture
def data(data: DataSettings) -> DataSettings:
    """Settings of a data dir whose record others may share."""
    return data.model_copy(update={"database_url": data.database})


def of(pid: int) -> str:
    return f"{socket.gethostname()}|{pid}|{psutil.Process(pid).create_time():.2f}"


def of_the_dead() -> str:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return f"{socket.gethostname()}|{process.pid}|1.00"


def opened(store: Store, writer: str, silent: timedelta = timedelta()) -> int:
    """Open a run whose process last beat so long ago."""
    run = store.open_run({})
    with store.writing() as session:
        row = session.get_one(Run, run)
        row.writer, row.heartbeat_at = writer, now() - silent
    return run


@pytest.mark.parametrize(
    ("writer", "silent"),
    [
        pytest.param(of_the_dead, timedelta(), id="killed here"),
        pytest.param(lambda: "elsewhere|7|1.00", SILENT + timedelta(minutes=1), id="silent elsewhere"),
        pytest.param(lambda: of(os.getppid()), SILENT + timedelta(minutes=1), id="silent here"),
    ],
)
def test_a_dead_run_is_taken_up(store: Store, data: DataSettings, writer, silent: timedelta) -> None:
    run = opened(store, writer(), silent)
    dead = dead_run(store, data)
    assert dead is not None and dead.id == run
    with the_only_run(store, data) as taken:
        assert taken == dead


@pytest.mark.parametrize(
    "writer", [pytest.param(lambda: "elsewhere|7|1.00", id="host"), pytest.param(lambda: of(os.getppid()), id="dir")]
)
def test_a_run_of_another_host_or_data_dir_is_left_alone(store: Store, data: DataSettings, writer) -> None:
    teach(store, 12)
    run = opened(store, writer(), SILENT / 2)
    work = data.runs_dir / str(run) / "work"  # which is one folder where hosts share the data dir
    work.mkdir(parents=True)
    assert dead_run(store, data) is None
    with pytest.raises(Busy, match="Run 1 is under way"), the_only_run(store, data):
        pass
    looks = scheduler(store, data, every="1s")
    assert looks.look() == "A run is under way."
    assert looks.cancel(run) == "Run 1 ends within seconds, as soon as it looks."
    line = store.runs()[0]
    assert (line.attempts, line.status) == (1, "queued")
    assert work.exists()


def test_a_record_in_the_data_dir_has_one_lock_whatever_its_host_is_called_now(
    store: Store, data: DataSettings
) -> None:
    run = opened(store, "the-container-before|7|1.00")
    dead = dead_run(store, data.model_copy(update={"database_url": ""}))
    assert dead is not None and dead.id == run


@pytest.mark.parametrize("ended", [False, True], ids=["taken up", "ended"])
def test_a_run_that_another_process_took_while_this_one_was_suspended_stops_here(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    def suspended(*_: object, **__: object) -> None:
        with store.writing() as session:
            run = session.get_one(Run, 1)
            run.writer, run.status = ("elsewhere|7|1.00", "building") if not ended else (run.writer, "cancelled")

    monkeypatch.setattr("finetune.pipeline.general_answers", suspended)
    teach(store, 12)
    with pytest.raises(RunFailed, match="Run 1 was taken up or ended by another process"):
        retrain(store, data, TrainSettings(epochs=1), ScheduleSettings())
    line = store.runs()[0]
    assert (line.status, line.reason) == ("cancelled" if ended else "building", "")
    assert Path(data.runs_dir / "1" / "log.txt").exists()
