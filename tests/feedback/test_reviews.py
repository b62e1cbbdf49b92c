"""The reviewer's queue and verdicts, and what they mean for training."""

from datetime import timedelta

import pytest

from feedback import reviews
from feedback.errors import BadInput, NotFound
from feedback.formats import Incoming, IncomingMessage
from feedback.judging import judge
from feedback.reviews import KINDS, ReviewFilter
from feedback.schema import now
from feedback.store import Store
from tests.feedback.talk import answer, ask, exchange


def taken_in(store: Store, name: str, finish: str = "end") -> str:
    """Import one question and its reply; return the reply's id."""
    turns = (IncomingMessage("user", f"What is {name}?"), IncomingMessage("assistant", f"{name} it is.", finish=finish))
    store.take_in([Incoming(name, turns)])
    return store.history(name)[1].id


def queue(store: Store, kind: str, wanted: ReviewFilter | None = None) -> set[str]:
    return {item.conversation_id for item in store.review_queue(kind, wanted)}


def test_each_kind_finds_its_replies(store: Store) -> None:
    for name in ("plain", "up", "down", "both", "fixed", "praised"):
        taken_in(store, name)
    cut = taken_in(store, "cut", finish="length")
    again, asked = taken_in(store, "again"), taken_in(store, "asked")
    reply = {name: store.history(name)[1].id for name in ("up", "down", "both", "fixed", "praised")}
    store.rate(reply["up"], 1)
    store.rate(reply["down"], -1)
    store.rate(reply["both"], 1)
    store.rate(reply["both"], -1, rater="ann")
    store.correct(reply["fixed"], "better")
    store.rate(reply["praised"], 1)
    store.correct(reply["praised"], "better")
    store.rate(cut, 1)
    store.signal(again, "regenerated")
    store.signal(store.history("asked")[0].id, "edited")
    store.signal(reply["down"], "stopped")
    assert queue(store, "unrated") == {"plain", "again", "asked"}
    assert queue(store, "doubtful") == {"again", "asked", "praised", "cut"}
    assert queue(store, "disputed") == {"both"}
    assert queue(store, "corrected") == {"fixed", "praised"}
    assert store.review_counts() == {"unrated": 3, "doubtful": 4, "disputed": 1, "corrected": 2}
    item = next(i for i in store.review_queue("doubtful") if i.message_id == asked)
    assert (item.question, item.content, item.signals) == ("What is asked?", "asked it is.", ("edited",))


def test_filters_narrow_the_queue(store: Store) -> None:
    for name in ("one", "two"):
        reply = taken_in(store, name)
        store.rate(reply, 1, rater="ann")
        store.rate(reply, -1, ["太长"] if name == "one" else ["50% wrong"], rater="bob")
    store.rate(store.history("two")[1].id, 1, rater="cleo")
    assert queue(store, "disputed", ReviewFilter(rater="cleo")) == {"two"}
    assert queue(store, "disputed", ReviewFilter(reason="太长")) == {"one"}
    assert queue(store, "disputed", ReviewFilter(reason="50% wrong")) == {"two"}
    assert queue(store, "disputed", ReviewFilter(reason="50_ wrong")) == set()
    assert queue(store, "disputed", ReviewFilter(version=3)) == set()
    tomorrow = now() + timedelta(days=1)
    assert queue(store, "disputed", ReviewFilter(since=tomorrow)) == set()
    assert queue(store, "disputed", ReviewFilter(until=tomorrow)) == {"one", "two"}
    assert store.review_choices() == {
        "versions": [],
        "raters": ["ann", "bob", "cleo"],
        "reasons": ["50% wrong", "太长"],
    }
    left = store.review_queue("disputed", leave_out=[store.history("one")[1].id])
    assert [item.conversation_id for item in left] == ["two"]


def test_a_verdict_takes_a_reply_out_until_it_is_undone_or_something_new_is_said(store: Store) -> None:
    reply = taken_in(store, "it")
    store.review(reply, "approved")
    store.review(reply, "approved")  # the same again adds nothing
    assert queue(store, "unrated") == set()
    store.review(reply, "")
    assert queue(store, "unrated") == {"it"}
    store.review(reply, "rejected")
    store.rate(reply, 1)
    store.rate(reply, -1, rater="ann")
    assert queue(store, "disputed") == {"it"}
    store.review(reply, "rejected")
    store.review(reply, "approved")
    store.rate(taken_in(store, "another"), 1)  # what is said of another reply brings this one back no more
    assert queue(store, "disputed") == set()


def test_what_a_reviewer_rejects_never_teaches_and_what_one_approves_does(store: Store) -> None:
    reply = taken_in(store, "it")
    assert list(store.feedback()) == []
    store.review(reply, "approved")
    assert [judge(f) for f in store.feedback()] == ["approved"]
    store.rate(reply, -1)
    assert [judge(f) for f in store.feedback()] == ["approved"]
    store.review(reply, "rejected")
    store.rate(reply, 1)
    store.correct(reply, "better")
    assert [judge(f) for f in store.feedback()] == ["reviewer_rejected"]
    store.review(reply, "")
    assert [judge(f) for f in store.feedback()] == ["correction"]


def test_an_approval_is_new_feedback_since_it_was_given(store: Store) -> None:
    reply = taken_in(store, "it")
    store.rate(reply, -1)
    before = now()
    store.review(reply, "approved")
    (found,) = store.feedback(before)
    assert found.changed_at >= before


def test_what_cannot_be_reviewed_is_refused(store: Store) -> None:
    reply = taken_in(store, "it")
    with pytest.raises(BadInput, match="'maybe'"):
        store.review(reply, "maybe")
    with pytest.raises(NotFound):
        store.review("nothing", "approved")
    with pytest.raises(BadInput, match="only replies"):
        store.review(store.history("it")[0].id, "approved")
    with pytest.raises(BadInput, match="'odd'"):
        store.review_queue("odd")
    store.delete("it")
    assert all(store.review_queue(kind) == [] for kind in KINDS)


def test_undoing_an_approval_lifts_no_rejection_before_it(store: Store) -> None:
    reply = taken_in(store, "it")
    store.review(reply, "rejected")
    store.correct(reply, "better")
    for _ in range(2):
        store.review(reply, "approved")
        store.review(reply, "")
        assert [judge(f) for f in store.feedback()] == ["reviewer_rejected"]
        assert queue(store, "corrected") == {"it"}  # the correction is still newer than the rejection
    store.review(reply, "")
    assert [judge(f) for f in store.feedback()] == ["correction"]


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_the_same_verdict_again_settles_what_came_since(store: Store, verdict: str) -> None:
    reply = taken_in(store, "it")
    store.review(reply, verdict)
    store.correct(reply, "better")
    assert queue(store, "corrected") == {"it"}
    store.review(reply, verdict)
    assert queue(store, "corrected") == set()


def test_a_thumb_down_after_an_approval_waits_for_a_reviewer(store: Store) -> None:
    reply = taken_in(store, "it")
    store.review(reply, "approved")
    store.rate(reply, -1, rater="ann")
    assert queue(store, "disputed") == {"it"}
    store.review(reply, "approved")
    assert queue(store, "disputed") == set()


def test_an_edited_question_is_told_of_every_reply_to_it(store: Store) -> None:
    conversation = ask(store)
    first = answer(store, conversation)
    question = store.history(conversation)[0].id
    second = store.begin_reply(question, 0, {}, [{"message": question}])
    store.end_reply(second, "Or so.", "complete", "end")
    store.signal(question, "edited")
    told = {item.message_id: item.signals for item in store.review_queue("doubtful")}
    assert told == {first: ("edited",), second: ("edited",)}


def test_an_amendment_is_correction_and_verdict_in_one_and_is_undone_in_one(store: Store) -> None:
    reply = exchange(store)
    store.amend(reply, "It is not so.")
    assert (store.message(reply).correction, verdict_of(store)) == ("It is not so.", "approved")
    assert store.review_counts()["corrected"] == 0  # settled: the verdict answers the correction
    store.amend(reply, "It is so.", "")
    assert store.message(reply).correction is None
    assert list(store.feedback()) == []


def test_an_amendment_that_fails_half_way_keeps_neither_half(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = exchange(store)
    with pytest.raises(BadInput, match="verdict 'maybe'"):
        store.amend(reply, "It is not so.", "maybe")

    def fail(*_: object) -> None:
        raise BadInput("The disk is full.")

    monkeypatch.setattr(reviews, "_judge", fail)
    with pytest.raises(BadInput, match="disk"):
        store.amend(reply, "It is not so.")
    assert store.message(reply).correction is None


def verdict_of(store: Store) -> str | None:
    (found,) = store.feedback()
    return found.verdict


def test_what_waits_is_counted_up_to_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        taken_in(store, str(n))
    assert store.review_counts()["unrated"] == 3
    monkeypatch.setattr(reviews, "MOST_COUNTED", 2)
    assert store.review_counts()["unrated"] == 2
