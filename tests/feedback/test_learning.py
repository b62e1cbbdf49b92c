"""Runs, datasets, versions, and what serves."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from feedback.errors import BadInput, NotFound, Overtaken
from feedback.frozen import PairRow
from feedback.schema import RUN_ENDED, RUN_OPEN, TrainingPair, now
from feedback.store import Store
from tests.feedback.talk import exchange


def add(store: Store, number: int, verdict: str = "promoted") -> int:
    """Make a version; return the run that made it."""
    run = store.open_run({})
    store.add_version(number, "adapter", f"versions/{number:03}", run, verdict, f"because {number}", {"loss": 1.5})
    return run


def shares(store: Store) -> dict[int, float]:
    serving = store.serving()
    assert serving is not None
    return serving.shares


@pytest.fixture
def three(store: Store) -> Store:
    """A record where version 2 serves, and 1 and 0 served before it."""
    store.add_base("tiny")
    add(store, 1)
    add(store, 2)
    return store


# --- runs


def test_a_run_is_followed_from_its_start_to_its_end(store: Store) -> None:
    run = store.open_run({"epochs": 3})
    (line,) = store.runs()
    assert (line.id, line.status, line.step, line.finished_at, line.version) == (run, "queued", 0, None, None)
    store.update_run(run, status="training", step=5, total=20, metrics={"loss": [2.0, 1.0]})
    (line,) = store.runs()
    assert (line.status, line.step, line.total, line.metrics) == ("training", 5, 20, {"loss": [2.0, 1.0]})
    store.update_run(run, status="refused", reason="not better")
    (ended,) = store.runs()
    assert (ended.status, ended.reason) == ("refused", "not better")
    assert ended.finished_at is not None and ended.finished_at >= ended.created_at


@pytest.mark.parametrize("status", [*RUN_OPEN, *RUN_ENDED])
def test_a_run_has_an_end_exactly_when_its_status_is_one(store: Store, status: str) -> None:
    run = store.open_run({})
    store.update_run(run, status=status)
    assert (store.runs()[0].finished_at is not None) == (status in RUN_ENDED)


def test_every_update_beats_the_runs_heart(store: Store) -> None:
    run = store.open_run({})
    before = store.runs()[0].heartbeat_at
    store.update_run(run, step=1)
    assert store.runs()[0].heartbeat_at > before


def test_runs_are_listed_newest_first_with_the_version_each_made(store: Store) -> None:
    store.add_base("tiny")
    first, second = add(store, 1), store.open_run({})
    assert [(line.id, line.version) for line in store.runs()] == [(second, None), (first, 1)]
    assert [line.id for line in store.runs(limit=1)] == [second]


def test_an_unknown_run_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="There is no run 7"):
        store.update_run(7, step=1)


def test_whoever_holds_the_lock_keeps_the_newest_open_run_and_ends_the_others(store: Store) -> None:
    runs = {status: store.open_run({}) for status in (*RUN_ENDED, *RUN_OPEN)}
    for status, run in runs.items():
        store.update_run(run, status=status, step=3, total=9, reason="as it was")
    before = {line.id: line for line in store.runs()}
    kept = store.settle_open_runs()
    after = {line.id: line for line in store.runs()}
    assert kept is not None and kept.id == runs[RUN_OPEN[-1]]
    assert after[kept.id] == before[kept.id]
    for status in RUN_OPEN[:-1]:
        line = after[runs[status]]
        assert line.status == "failed" and line.finished_at is not None
        assert f"while the run was {status}, at step 3 of 9" in line.reason
    assert all(after[runs[status]] == before[runs[status]] for status in RUN_ENDED)
    assert store.settle_open_runs() == kept


def test_a_dead_run_that_was_to_be_cancelled_is_ended_by_whoever_finds_it(store: Store) -> None:
    older, newer = store.open_run({}), store.open_run({})
    store.ask_cancel(newer)
    kept = store.settle_open_runs()
    assert kept is not None and kept.id == older
    line = store.run_diary(newer).line
    assert (line.status, line.reason) == ("cancelled", "Cancelled by local.")


def test_the_last_run_tells_when_it_began(store: Store) -> None:
    assert store.runs_began() == []
    store.open_run({})
    store.open_run({})
    assert store.runs_began() == [run.created_at for run in store.runs()]


# --- datasets


def test_a_dataset_keeps_its_pairs(store: Store) -> None:
    replies = [exchange(store) for _ in range(2)]
    store.correct(replies[1], "Better.")
    correction = store.message(replies[1]).correction_id
    run = store.open_run({})
    pairs = [
        PairRow(replies[0], None, "thumb_up", 0.5, "train"),
        PairRow(replies[1], correction, "correction", 1.0, "held_out"),
    ]
    dataset = store.freeze_dataset(run, {"min": 1}, {"taken": 2}, pairs, now())
    with store.reading() as session:
        rows = session.query(TrainingPair).filter_by(dataset_id=dataset).order_by(TrainingPair.id)
        kept = [PairRow(r.message_id, r.correction_id, r.kind, r.weight, r.split) for r in rows]
    assert kept == pairs


def test_a_conversations_side_is_remembered(store: Store) -> None:
    ids = [store.conversation_of(exchange(store)) for _ in range(3)]
    store.remember_splits({ids[0]: "train", ids[1]: "held_out"})
    assert store.splits([*ids, "nobody"]) == {ids[0]: "train", ids[1]: "held_out"}
    assert store.splits([]) == {}


def test_feedback_is_learned_once_its_dataset_made_a_version(store: Store) -> None:
    store.add_base("tiny")
    run, cut = store.open_run({}), now()
    store.freeze_dataset(run, {}, {}, [], cut)
    assert store.learned_until() is None  # the run may still fail
    store.add_version(1, "adapter", "versions/001", run, "refused", "not better", {})
    assert store.learned_until() == cut
    store.freeze_dataset(store.open_run({}), {}, {}, [], now())
    assert store.learned_until() == cut


# --- versions


def test_nothing_serves_before_there_is_a_base(store: Store) -> None:
    assert store.serving() is None
    assert store.versions() == []
    assert store.next_version() == 1
    with pytest.raises(BadInput, match="Nothing serves yet"):
        store.rollback()


def test_the_base_is_version_0_and_serves_alone_once(store: Store) -> None:
    store.add_base("tiny")
    first = store.serving()
    store.add_base("another")
    (base,) = store.versions()
    assert (base.number, base.kind, base.base_model, base.verdict, base.share) == (0, "base", "tiny", "base", 1.0)
    assert store.serving() == first


def test_a_promoted_version_serves_in_the_same_step(store: Store) -> None:
    store.add_base("tiny")
    run = add(store, 1)
    made = store.version(1)
    assert (made.run_id, made.base_model, made.path, made.verdict) == (run, "tiny", "versions/001", "promoted")
    assert (made.reason, made.metrics, made.share) == ("because 1", {"loss": 1.5}, 1.0)
    assert [line.share for line in store.versions()] == [0.0, 1.0]
    assert store.next_version() == 2


def test_a_refused_version_serves_only_when_a_person_promotes_it(store: Store) -> None:
    store.add_base("tiny")
    add(store, 1, "refused")
    assert shares(store) == {0: 1.0}
    store.promote(1)
    assert shares(store) == {1: 1.0}
    assert store.version(1).verdict == "refused"
    assert store.next_version() == 2


@pytest.mark.parametrize("verdict", ["promoted", "refused"])
def test_a_version_ends_the_run_that_made_it_in_the_same_step(store: Store, verdict: str) -> None:
    store.add_base("tiny")
    run = add(store, 1, verdict)
    (line,) = store.runs()
    assert (line.id, line.status, line.reason, line.version) == (run, verdict, "because 1", 1)
    assert line.finished_at is not None


def test_a_version_that_was_held_against_what_no_longer_serves_is_not_written(three: Store) -> None:
    compared, run = three.serving().promotion_id, three.open_run({})
    serves = three.rollback().shares
    for verdict in ("promoted", "refused"):
        with pytest.raises(Overtaken):
            three.add_version(3, "adapter", "versions/003", run, verdict, "", {}, compared=compared)
    assert three.serving().shares == serves
    assert (three.next_version(), three.runs()[0].status) == (3, "queued")
    three.add_version(3, "adapter", "versions/003", run, "promoted", "", {}, compared=three.serving().promotion_id)
    assert three.serving().shares == {3: 1.0}


def test_a_version_that_cannot_be_written_leaves_its_run_open_and_nothing_served(three: Store) -> None:
    before, run = three.serving(), three.open_run({})
    with pytest.raises(IntegrityError):
        three.add_version(2, "adapter", "versions/002", run, "promoted", "taken already", {})
    with pytest.raises(NotFound, match="no run 99"):
        three.add_version(3, "adapter", "versions/003", 99, "promoted", "no such run", {})
    assert three.serving() == before
    assert (three.runs()[0].status, three.runs()[0].finished_at) == ("queued", None)
    assert [line.number for line in three.versions()] == [0, 1, 2]


@pytest.mark.parametrize("number", [3, -1, 10**30])
def test_an_unknown_version_is_not_found(three: Store, number: int) -> None:
    with pytest.raises(NotFound, match=f"no version {number};"):
        three.promote(number)
    with pytest.raises(NotFound, match=f"no version {number};"):
        three.version(number)
    assert shares(three) == {2: 1.0}


# --- rolling back; every step is "back" or the number of a version to promote

STEPS: list[tuple[Sequence[Any], list[int]]] = [
    (["back"], [1]),
    (["back", "back"], [1, 0]),
    (["back", 2, "back"], [1, 2, 1]),
    (["back", "back", 2, "back"], [1, 0, 2, 0]),
    (["back", 0, "back", "back"], [1, 0, 1, 0]),
    ([0, 1, "back", "back", "back", "back"], [0, 1, 0, 2, 1, 0]),
    (["back", 0, 2, "back", "back", "back"], [1, 0, 2, 0, 1, 0]),
]


@pytest.mark.parametrize(("steps", "serve"), STEPS, ids=lambda value: ",".join(map(str, value)))
def test_a_rollback_serves_what_served_before(three: Store, steps: Sequence[Any], serve: list[int]) -> None:
    served = []
    for step in steps:
        if step == "back":
            assert three.rollback() == three.serving()
        else:
            three.promote(step)
        (number,) = shares(three)
        served.append(number)
    assert served == serve


def test_there_is_nothing_before_the_first_promotion(three: Store) -> None:
    three.rollback()
    three.rollback()
    for _ in range(2):
        with pytest.raises(BadInput, match="first promotion is in force"):
            three.rollback()
    assert shares(three) == {0: 1.0}


def test_a_rollback_is_another_row_so_that_an_engine_notices_it(three: Store) -> None:
    before = three.serving()
    after = three.rollback()
    assert before is not None and after.promotion_id > before.promotion_id


def test_what_was_learned_as_bad_is_not_told_as_learned_once_it_is_liked(store: Store) -> None:
    bad, good = exchange(store), exchange(store)
    run = store.open_run({})
    pairs = [PairRow(bad, None, "thumb_down", 1.0, "train"), PairRow(good, None, "thumb_up", 1.0, "train")]
    store.freeze_dataset(run, {}, {}, pairs, now())
    store.add_version(1, "adapter", "versions/001", run, "promoted", "better", {})
    store.rate(bad, 1)
    store.rate(good, 1)
    assert [store.history(store.conversation_of(reply))[-1].learned_by for reply in (bad, good)] == [None, 1]
