from datetime import UTC, datetime, timedelta

import pytest

from feedback.formats import Incoming, IncomingMessage
from feedback.store import Store
from finetune.schedule import NotEnough, RecordNow, due, record_now, require_feedback
from finetune.settings import ScheduleSettings

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SIX = ScheduleSettings(retrain_every=timedelta(hours=6), retrain_min_ratings=10)


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("record", "expected", "said"),
    [
        (RecordNow(new=0), False, "0 of 10"),
        (RecordNow(new=9, began=(hours_ago(99),)), False, "9 of 10"),
        (RecordNow(new=10, began=(hours_ago(7),)), True, "the time has come"),
        (RecordNow(new=10, began=(hours_ago(5),)), False, "in 61 min"),
        (RecordNow(new=10, first_new_at=hours_ago(1)), False, "in 5 h"),
        (RecordNow(new=10, first_new_at=hours_ago(6)), True, "the time has come"),
        (RecordNow(new=99, began=(hours_ago(99),), running=True), False, "under way"),
        (RecordNow(new=99, began=(hours_ago(99),), good=False), False, "Nothing to learn from"),
    ],
)
def test_a_run_is_due_when_there_is_enough_and_it_is_time(record: RecordNow, expected: bool, said: str) -> None:
    answer = due(NOW, record, SIX)
    assert (answer.due, said in answer.reason) == (expected, True), answer


def test_off_is_never_due() -> None:
    off = ScheduleSettings(retrain_every="off")
    assert not due(NOW, RecordNow(new=999, began=(hours_ago(999),)), off).due


def test_an_empty_record_has_nothing_to_learn_from(store: Store) -> None:
    with pytest.raises(NotEnough, match="Nothing to learn from"):
        require_feedback(store, None)


def thumb(store: Store, name: str, value: int) -> None:
    reply = IncomingMessage("assistant", f"answer {name}", rating=value)
    store.take_in([Incoming(name, (IncomingMessage("user", f"question {name}"), reply))])


def test_thumbs_down_count_as_soon_as_anything_was_called_good(store: Store) -> None:
    for n in range(10):
        thumb(store, f"bad {n}", -1)
    assert (record_now(store).new, record_now(store).good) == (10, False)
    for settings in (SIX, None):
        with pytest.raises(NotEnough, match="Nothing to learn from"):
            require_feedback(store, settings)
    thumb(store, "good", 1)
    assert (record_now(store).new, record_now(store).good) == (11, True)
    require_feedback(store, SIX)


def test_of_much_that_is_new_no_more_is_counted_than_is_wanted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.schedule.MOST_COUNTED", 3)
    for n in range(3):
        thumb(store, f"good {n}", 1)
    assert (record_now(store).new, record_now(store).more) == (3, False)
    first = record_now(store).first_new_at
    for n in range(3):
        thumb(store, f"bad {n}", -1)
    found = record_now(store)
    assert (found.new, found.more, found.good, found.first_new_at) == (3, True, True, first)
    assert "3 or more new thumbs" in due(NOW, found, SIX.model_copy(update={"retrain_min_ratings": 1})).reason
    assert (record_now(store, wanted=5).new, record_now(store, wanted=6).more) == (5, False)
