import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from feedback.errors import BadInput
from finetune.machine import Machine
from finetune.moments import within
from finetune.schedule import RecordNow, due
from finetune.settings import ScheduleSettings

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = ScheduleSettings(retrain_cron="30 3 * * *")


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def record(*began: str | None) -> RecordNow:
    """Ten new thumbs, and runs that began then, newest first."""
    return RecordNow(new=10, first_new_at=at("2030-07-01 10:00"), began=tuple(at(text) for text in began if text))


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        ("2030-07-02 03:29:59", None, False),
        ("2030-07-02 03:30:00", None, True),
        ("2030-07-02 03:39:00", "2030-07-01 03:30:07", True),
        ("2030-07-02 03:31:00", "2030-07-02 03:30:07", False),  # that moment had its run
        ("2030-07-02 10:00:00", "2030-07-01 03:30:07", False),  # slept through it: the next night
        ("2030-03-31 03:30:00", "2030-03-30 03:30:00", True),  # the clock was put forward an hour ago
        ("2030-10-27 03:30:00", "2030-10-26 03:30:00", True),  # and back
        ("2030-07-02 03:30:00", "2030-07-02 01:00:00", True),  # that one somebody asked for
        ("2030-07-02 03:31:00", "2030-07-02 03:30:30", False),
    ],
)
def test_a_cron_expression_goes_by_the_clock_of_the_wall(now: str, last: str | None, expected: bool) -> None:
    answer = due(at(now), record(last), NIGHTLY)
    assert answer.due == expected, answer


DAILY = ScheduleSettings(retrain_cron="30 3 * * *", retrain_every="1d")
TWO_DAYS = ScheduleSettings(retrain_cron="30 3 * * *", retrain_every="40h")


@pytest.mark.parametrize(
    ("now", "began", "settings", "expected"),
    [
        ("2030-03-31 03:30:00", ("2030-03-30 03:30:09",), DAILY, True),  # a night of 23 hours
        ("2030-07-31 03:30:00", ("2030-07-30 03:39:50",), DAILY, True),  # it began late: the moment counts
        ("2030-07-02 03:31:00", ("2030-07-01 03:30:00",), TWO_DAYS, False),
        ("2030-07-03 03:31:00", ("2030-07-01 03:30:00",), TWO_DAYS, True),
        ("2030-07-02 03:31:00", ("2030-07-01 22:00:00", "2030-07-01 03:30:00"), TWO_DAYS, False),
        ("2030-07-03 03:31:00", ("2030-07-02 22:00:00", "2030-07-01 03:30:00"), TWO_DAYS, True),
    ],
)
def test_the_time_between_two_runs_counts_from_moment_to_moment(
    now: str, began: tuple[str, ...], settings: ScheduleSettings, expected: bool
) -> None:
    answer = due(at(now), record(*began), settings)
    assert answer.due == expected, answer


def test_a_night_too_soon_after_the_last_run_is_not_named_as_the_next() -> None:
    told = due(at("2030-07-01 12:00"), record("2030-07-01 03:30:00"), TWO_DAYS).reason
    assert "the next run starts at 2030-07-03 03:30 (30 3 * * *)" in told
    told = due(at("2030-07-01 12:00"), record("2030-07-01 03:30:00"), DAILY).reason
    assert "the next run starts at 2030-07-02 03:30 (30 3 * * *)" in told


def test_the_reason_names_the_next_moment() -> None:
    assert (
        "the next run starts at 2030-07-03 03:30 (30 3 * * *)" in due(at("2030-07-02 12:00"), record(), NIGHTLY).reason
    )


@pytest.mark.parametrize(("clock", "expected"), [("21:59", False), ("22:00", True), ("03:00", True), ("06:00", False)])
def test_runs_keep_to_the_quiet_hours_over_midnight(clock: str, expected: bool) -> None:
    quiet = ScheduleSettings(quiet_hours="22:00-06:00")
    answer = due(at(f"2030-07-02 {clock}"), record("2030-07-01 10:00"), quiet)
    assert answer.due == expected
    assert expected or answer.reason == "A run waits for the quiet hours, 22:00-06:00."


@pytest.mark.parametrize(
    ("hours", "now", "began", "said"),
    [
        ("22:00-06:00", "2030-07-02 15:00", "2030-07-02 13:00", "the next run starts in 7 h"),  # not in four, at 19:00
        ("22:00-06:00", "2030-07-02 20:00", "2030-07-02 18:00", "the next run starts in 4 h"),  # midnight is within
        ("22:00-06:00", "2030-07-02 03:00", "2030-07-02 00:30", "the next run starts in 19 h"),  # 06:30 is not
        ("04:00-06:00", "2030-03-30 20:00", "2030-03-30 19:00", "the next run starts in 7 h"),  # the clock goes forward
        ("22:00-06:00", "2030-07-02 12:00", "2030-07-02 01:00", "A run waits for the quiet hours, 22:00-06:00."),
    ],
)
def test_a_start_is_announced_for_the_quiet_hours(hours: str, now: str, began: str, said: str) -> None:
    answer = due(at(now), record(began), ScheduleSettings(quiet_hours=hours))
    assert not answer.due and said in answer.reason


@pytest.mark.parametrize(
    ("now", "began", "said"),
    [
        ("2030-07-02 11:00", None, "at 2030-07-02 23:30 (30 12,23 * * *)"),  # not at 12:30
        ("2030-07-02 12:31", None, "at 2030-07-02 23:30 (30 12,23 * * *)"),
        ("2030-07-02 23:31", None, ""),
        ("2030-07-02 23:31", "2030-07-02 12:31", ""),  # that one somebody asked for
    ],
)
def test_moments_outside_the_quiet_hours_do_not_count(now: str, began: str | None, said: str) -> None:
    often = ScheduleSettings(retrain_cron="30 12,23 * * *", quiet_hours="22:00-06:00", retrain_every="1d")
    answer = due(at(now), record(began), often)
    assert (answer.due, said in answer.reason) == (not said, True), answer


def test_a_moment_of_every_minute_is_announced_for_the_begin_of_the_quiet_hours() -> None:
    always = ScheduleSettings(retrain_cron="* * * * *", quiet_hours="22:00-06:00")
    assert "at 2030-07-02 22:00 (" in due(at("2030-07-02 12:00"), record(), always).reason
    assert due(at("2030-07-02 22:00"), record(), always).due


def test_hours_of_one_day_end_before_their_end() -> None:
    midday = datetime(2030, 1, 1, 12)
    assert within("09:00-17:00", midday) and not within("09:00-12:00", midday)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Machine(disk=0.25), "0.25 GB of disk are free and a run begins with 1 at least"),
        (Machine(disk=9, gpu=3.5), "3.5 GB of the 6 it needs are free"),
    ],
)
def test_a_run_waits_for_the_machine(machine: Machine, said: str) -> None:
    settings = ScheduleSettings(min_free_gpu=6, retrain_every=timedelta(hours=1))
    waits = due(at("2030-07-02 12:00"), record("2030-07-01 10:00"), settings, machine)
    assert not waits.due and said in waits.reason
    assert due(at("2030-07-02 12:00"), record("2030-07-01 10:00"), settings, Machine(9, 9)).due


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"retrain_cron": "3 * *"}, "--retrain-cron '3 * *' cannot be used: a cron expression has five fields"),
        ({"retrain_cron": "0 25 * * *"}, "no cron expression is read that way (Bad hour)"),
        ({"retrain_cron": "0 0 31 2 *"}, "no cron expression is read that way"),
        ({"retrain_every": "3651d"}, "--retrain-every '3651d' cannot be used: ten years is the most, as 3650d"),
        ({"retrain_every": "9999999999999d"}, "ten years is the most"),
        ({"quiet_hours": "at night"}, "--quiet-hours 'at night' cannot be used: give two times of day"),
        ({"quiet_hours": "22:00-24:30"}, "a time of day goes from 00:00 to 23:59"),
        ({"quiet_hours": "6:00-06:00"}, "begin and end at the same time"),
        (
            {"quiet_hours": "22:00-06:00", "retrain_cron": "30 12 1 * *"},
            "--quiet-hours '22:00-06:00' cannot be used: no moment of --retrain-cron '30 12 1 * *' lies in them",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(values: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        ScheduleSettings.given(**values)
    assert said in str(refused.value) and "\n" not in str(refused.value)
