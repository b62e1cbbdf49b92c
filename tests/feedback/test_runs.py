from datetime import timedelta

import pytest
from sqlalchemy import update

from feedback.computing import REPLY_FRESH, RUN_FRESH
from feedback.errors import BadInput, NotFound
from feedback.schema import Pin, Reply, Run, Trial, now
from feedback.store import Store
from tests.feedback.talk import ask, begin


def test_every_state_of_a_run_has_its_time(store: Store) -> None:
    run = store.open_run({})
    for status in ("building", "building", "training"):
        store.update_run(run, status=status)
    store.update_run(run, status="failed", reason="no disk")
    diary = store.run_diary(run)
    assert [event[:2] for event in diary.events] == [
        ("queued", ""),
        ("building", ""),
        ("training", ""),
        ("failed", "no disk"),
    ]
    assert diary.line.reason == "no disk" and diary.line.finished_at is not None


def test_taking_a_run_up_again_is_in_its_diary(store: Store) -> None:
    run = store.open_run({})
    store.update_run(run, status="training", step=3, total=9)
    assert store.take_up_run(run).attempts == 2
    status, reason, _ = store.run_diary(run).events[-1]
    assert status == "training"
    assert reason == "Its process ended while the run was training, at step 3 of 9; taken up again, attempt 2."


def test_only_a_run_that_goes_on_can_be_cancelled(store: Store) -> None:
    run = store.open_run({})
    assert store.beat_run(run) is None
    store.ask_cancel(run)
    assert store.beat_run(run) == "local"
    store.update_run(run, status="cancelled", reason="Cancelled by local.")
    with pytest.raises(BadInput, match="Run 1 has ended already: cancelled"):
        store.ask_cancel(run)
    with pytest.raises(NotFound, match="no run 7"):
        store.ask_cancel(7)


def test_what_computes_now_is_told_by_its_heartbeat(store: Store) -> None:
    store.add_base("tiny")
    assert (store.replies_running(), store.run_computes()) == (0, False)
    reply, run = begin(store, ask(store)), store.open_run({})
    assert (store.replies_running(), store.run_computes()) == (1, True)
    with store.writing() as session:
        session.execute(update(Reply).values(heartbeat_at=now() - REPLY_FRESH - timedelta(seconds=1)))
        session.execute(update(Run).values(heartbeat_at=now() - RUN_FRESH - timedelta(seconds=1)))
    assert (store.replies_running(), store.run_computes()) == (0, False)
    store.beat({reply: "still here"})
    store.beat_run(run)
    assert (store.replies_running(), store.run_computes()) == (1, True)
    store.end_reply(reply, "done", "complete")
    store.update_run(run, status="failed", reason="")
    assert (store.replies_running(), store.run_computes()) == (0, False)


# --- pruning


@pytest.fixture
def six(store: Store) -> Store:
    """Six versions; 4 serves, 2 did before."""
    store.add_base("tiny")
    for number in range(1, 7):
        store.add_version(number, "adapter", f"versions/{number:03}", store.open_run({}), "refused", "", {})
    for number in (1, 2, 4):
        store.promote(number)
    return store


def kept(store: Store) -> dict[int, str]:
    return {v.number: v.kept_for for v in store.versions_on_disk() if v.kept_for}


def test_what_serves_and_what_a_rollback_would_bring_back_is_kept(six: Store) -> None:
    assert kept(six) == {2: "a rollback would bring it back", 4: "it serves"}
    six.rollback()
    assert kept(six) == {1: "a rollback would bring it back", 2: "it serves", 4: "it served last"}


def test_what_a_person_pinned_is_kept_until_it_is_unpinned(six: Store) -> None:
    for pinned, expected in ((True, "it is pinned"), (False, None)):
        with six.writing() as session:
            session.add(Pin(version=5, person_id="local", pinned=pinned))
        assert kept(six).get(5) == expected


def test_what_a_trial_uses_is_kept_while_it_goes_on(six: Store) -> None:
    with six.writing() as session:
        trial = Trial(promotion_id=1, candidate=6, against=3, share=0.5, rule={}, person_id="local")
        session.add(trial)
    assert {n for n, why in kept(six).items() if why == "a trial uses it"} == {3, 6}
    with six.writing() as session:
        session.execute(update(Trial).values(outcome="withdrawn"))
    assert not {3, 6} & set(kept(six))


def test_a_version_that_was_pruned_cannot_serve_and_one_that_serves_cannot_be_pruned(six: Store) -> None:
    with pytest.raises(BadInput, match="Version 4 cannot be pruned: it serves"):
        six.mark_pruned(4)
    six.mark_pruned(3)
    with pytest.raises(BadInput, match="Version 3 cannot serve: its folder was pruned on"):
        six.promote(3)
    assert six.serving().shares == {4: 1.0}
    assert [v.number for v in six.versions_on_disk()] == [1, 2, 4, 5, 6]
    assert six.pruned_paths() == ["versions/003"]
