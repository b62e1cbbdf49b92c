"""Runs as processes of their own, started as the app starts them."""

import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from filelock import FileLock

from chatui.settings import ChatSettings
from feedback.errors import BadInput, Busy
from feedback.formats import Incoming, IncomingMessage
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main
from finetune.moments import on_the_wall
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
    assert asked._process.wait(600) in (0, 3), (data.data_dir / "retrain.log").read_text()
    run = store.runs()[0]
    assert (run.version, run.status in ("promoted", "refused")) == (1, True)
    assert '"version": 1' in (data.data_dir / "retrain.log").read_text().splitlines()[-1]


def test_a_run_takes_the_base_model_that_was_asked_for_and_no_other(store: Store, data: DataSettings) -> None:
    unknown = data.model_copy(update={"base_model": "nobody/typo"})
    teach(store, 12)
    asked = scheduler(store, unknown)
    asked.retrain()
    assert asked._process.wait(600) == 1
    assert "nobody/typo" in (data.data_dir / "retrain.log").read_text()
    assert not data.base_dir.exists()


def test_a_run_that_is_due_starts_by_itself(store: Store, data: DataSettings) -> None:
    from finetune.base import ensure_base

    ensure_base(data)
    teach(store, 12)
    by_itself = scheduler(store, data, every="1s")
    by_itself.schedule = ScheduleSettings(retrain_every=timedelta(microseconds=1))
    by_itself.look()
    assert by_itself._process is not None
    assert by_itself._process.wait(600) in (0, 3)
    by_itself.look()
    assert len(store.runs()) == 1  # nothing new came since
    assert by_itself.outlook() == "0 of 10 new thumbs and corrections to learn from."


def ends_at_once(monkeypatch: pytest.MonkeyPatch, data: DataSettings, said: str, code: int = 1) -> list[str]:
    """Let every process that is started end before it has a run, with `said` as its last line; count them."""
    started: list[str] = []

    def start(*_: object) -> "subprocess.Popen[bytes]":
        started.append(said)
        (data.data_dir / "retrain.log").write_text(f"what came before\n{said}\n")
        process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
        process.wait()
        return process

    monkeypatch.setattr("finetune.scheduler.start_retrain", start)
    return started


LAST_LINES = [
    ('{"run": null, "version": null, "verdict": "failed", "reason": "No tracker."}', "No tracker."),
    ("ImportError: no torch", "ImportError: no torch."),
]


@pytest.mark.parametrize(("last_line", "reason"), LAST_LINES)
def test_a_run_that_ends_before_it_begins_is_not_started_again_at_once_and_says_why(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, last_line: str, reason: str
) -> None:
    teach(store, 12)
    started = ends_at_once(monkeypatch, data, last_line)
    looks = scheduler(store, data, every="1s")
    looks.schedule = ScheduleSettings(retrain_every=timedelta(microseconds=1))
    looks.look()
    told = f"A run ended before it began: {reason}"
    assert looks.look().startswith(told)
    assert looks.outlook().startswith(told)
    assert len(started) == 1
    looks._again_at = float("-inf")  # a minute later
    looks.look()
    assert len(started) == 2
    store.update_run(store.open_run({}), status="failed", reason="made by hand")
    looks._looked_at = float("-inf")
    assert "before it began" not in looks.outlook()


def test_a_run_that_cannot_be_taken_up_says_why(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.open_run({})
    started = ends_at_once(monkeypatch, data, "0.02 GB of disk are free")
    looks = scheduler(store, data, every="6h")
    looks.look()
    ended = "A run ended before it began: 0.02 GB of disk are free."
    assert looks.look() == f"{ended} Run 1 was cut off; it is taken up again."
    assert len(started) == 1


def test_a_tracker_that_is_not_installed_is_refused_at_the_start(
    data: DataSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import app

    monkeypatch.setattr("finetune.tracking.find_spec", lambda _: None)
    with pytest.raises(BadInput, match="--report-to 'wandb' needs the package wandb"):
        app.build(data, ChatSettings(), TrainSettings(report_to=["wandb"]), ScheduleSettings())
    where = (f"--data-dir={data.data_dir}", f"--base-model={data.base_model}", "--report-to=wandb")
    assert main(["schedule", "--once", *where]) == 1
    assert "--report-to 'wandb' needs the package wandb" in capsys.readouterr().err


def test_nothing_to_learn_from_starts_nothing(store: Store, data: DataSettings) -> None:
    idle = scheduler(store, data)
    with pytest.raises(NotEnough):
        idle.retrain()
    assert idle._process is None


def test_a_run_whose_process_died_is_taken_up_by_itself(store: Store, data: DataSettings) -> None:
    from finetune.base import ensure_base

    ensure_base(data)
    teach(store, 12)
    store.update_run(store.open_run(TRAIN.model_dump()), status="training", step=1, total=9)
    looks = scheduler(store, data)
    assert looks.outlook() == "Run 1 was cut off; it is taken up again."
    assert looks.look() == "Run 1 was cut off; it is taken up again."
    assert looks.wait() in (0, 3), (data.data_dir / "retrain.log").read_text()
    (run,) = store.runs()
    assert (run.attempts, run.version) == (2, 1)


def test_a_run_that_was_cut_off_waits_for_the_quiet_hours(store: Store, data: DataSettings) -> None:
    store.open_run({})
    clock = on_the_wall(now())
    later = f"{(clock.hour + 2) % 24:02}:00-{(clock.hour + 3) % 24:02}:00"
    looks = Scheduler(store, data, TRAIN, ScheduleSettings(quiet_hours=later))
    assert looks.look() == f"Run 1 was cut off. A run waits for the quiet hours, {later}."
    assert looks._process is None


def test_a_trial_that_cannot_be_looked_at_keeps_no_run_from_starting(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.open_run({})
    started = ends_at_once(monkeypatch, data, "")

    def overflow(*_: object) -> None:
        raise OverflowError("date value out of range")

    monkeypatch.setattr("finetune.scheduler.trials.look", overflow)
    assert scheduler(store, data).look() == "Run 1 was cut off; it is taken up again."
    assert len(started) == 1
    assert "date value out of range" in caplog.text


def test_a_run_that_nobody_works_on_is_cancelled_at_once(store: Store, data: DataSettings) -> None:
    run = store.open_run({})
    assert scheduler(store, data).cancel(run) == "Run 1 is cancelled."
    assert store.runs()[0].reason == "Cancelled by local."


def test_a_run_under_way_is_asked_to_end(store: Store, data: DataSettings) -> None:
    run = store.open_run({})
    with FileLock(data.lock_file):
        assert scheduler(store, data).cancel(run) == "Run 1 ends within seconds, as soon as it looks."
    assert store.beat_run(run) == "local"


def test_the_end_of_a_runs_log_is_told(store: Store, data: DataSettings) -> None:
    run = store.open_run({})
    assert scheduler(store, data).log_tail(run, 2) == []
    folder = data.runs_dir / str(run)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("".join(f"line {n}\n" for n in range(5000)))
    assert scheduler(store, data).log_tail(run, 2) == ["line 4998", "line 4999"]


def test_the_schedule_without_the_page_says_why_nothing_starts(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (f"--data-dir={data.data_dir}", f"--base-model={data.base_model}")
    assert main(["schedule", "--once", *where]) == 0
    assert capsys.readouterr().out == "0 of 10 new thumbs and corrections to learn from.\n"
    assert main(["schedule", "--once", "--retrain-cron=nightly", *where]) == 1
    assert "a cron expression has five fields" in capsys.readouterr().err


def test_the_schedule_without_the_page_ends_on_sigterm(data: DataSettings) -> None:
    command = [sys.executable, "-m", "finetune", "schedule", f"--data-dir={data.data_dir}"]
    process = subprocess.Popen([*command, f"--base-model={data.base_model}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "SIGTERM or Ctrl-C ends the schedule" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_run_is_cancelled_from_the_command_line(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"--data-dir={data.data_dir}"
    assert main(["cancel", where]) == 1
    assert capsys.readouterr().err == "No run is under way, so there is nothing to cancel.\n"
    store.open_run({})
    with FileLock(data.lock_file):
        assert main(["cancel", where]) == 0
    assert capsys.readouterr().out == "Run 1 ends within seconds, as soon as it looks.\n"
    assert main(["cancel", "1", where]) == 0
    assert capsys.readouterr().out == "Cancelled by local.\n"
