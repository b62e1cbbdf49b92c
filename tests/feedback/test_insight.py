"""What people think, counted: every number is that of the thumbs and corrections given, no more."""

from datetime import UTC, datetime, timedelta

import pytest

from feedback.errors import BadInput
from feedback.formats import Incoming, IncomingMessage
from feedback.insight import ENOUGH, Share, opening_of
from feedback.schema import Rating, now
from feedback.store import Store
from tests.feedback.talk import answer, ask, exchange


def given_at(store: Store, message_id: str, at: datetime) -> None:
    with store.writing() as session:
        session.query(Rating).filter(Rating.message_id == message_id).update({"created_at": at})


def told(shares: tuple[Share, ...]) -> dict[str, tuple[int, int]]:
    return {share.name: (share.part, share.whole) for share in shares}


def test_thumbs_are_counted_by_day_and_week_version_persona_and_reason(store: Store) -> None:
    good, bad, changed = (exchange(store, f"What is {n}?") for n in range(3))
    store.rate(good, 1, ["clear"])
    store.rate(bad, -1, ["wrong", "long"])
    store.rate(changed, -1, ["wrong"])
    store.rate(changed, 1)
    turns = (IncomingMessage("user", "Hi?"), IncomingMessage("assistant", "Hi.", finish="end", rating=-1))
    store.take_in([Incoming("theirs", turns, created_at=datetime(2026, 3, 5, 23, tzinfo=UTC), persona="Aunt")])
    given_at(store, good, datetime(2026, 3, 2, 8, tzinfo=UTC))
    given_at(store, bad, datetime(2026, 3, 8, 23, 59, tzinfo=UTC))
    given_at(store, changed, datetime(2026, 3, 9, tzinfo=UTC))
    survey = store.survey(step="week")
    assert told((survey.total,)) == {"": (2, 4)}
    assert told(survey.over_time) == {"2026-03-02": (1, 3), "2026-03-09": (1, 1)}
    assert list(told(store.survey(step="day").over_time)) == ["2026-03-02", "2026-03-05", "2026-03-08", "2026-03-09"]
    assert told(survey.versions) == {"0": (2, 3), "imported": (0, 1)}
    assert told(survey.personas) == {"": (2, 3), "Aunt": (0, 1)}
    assert told(survey.reasons_up) == {"clear": (1, 2)}
    assert told(survey.reasons_down) == {"wrong": (1, 2), "long": (1, 2)}
    assert told(store.survey(since=datetime(2026, 3, 8, tzinfo=UTC)).versions) == {"0": (1, 2)}


def test_what_is_taken_back_or_deleted_is_not_counted(store: Store) -> None:
    back, gone, fixed = (exchange(store, f"Tell me {n}") for n in range(3))
    for reply in (back, gone, fixed):
        store.rate(reply, 1)
        store.correct(reply, "Better.")
    store.rate(back, 0)
    store.correct(back, "It is so.")  # its own words again
    store.delete(store.conversations()[1].id)
    survey = store.survey()
    assert (survey.total.whole, survey.corrected.part, survey.corrected.whole) == (1, 1, 1)
    assert survey.openings == (("tell me", 1),)


def test_corrections_are_shares_of_what_was_judged(store: Store) -> None:
    store.rate(exchange(store, "How do I cook rice?"), 1)
    store.correct(exchange(store, "How do I cook eggs?"), "Boil them.")
    both = exchange(store, "Where is it?")
    store.rate(both, -1)
    store.correct(both, "There.")
    survey = store.survey()
    assert told((survey.corrected,)) == {"": (2, 3)}
    assert told(survey.corrected_versions) == {"0": (2, 3)} and told(survey.corrected_personas) == {"": (2, 3)}
    assert dict(survey.openings) == {"how do": 1, "where is": 1} and survey.questions == 2
    later = store.survey(since=now() + timedelta(days=1))
    assert (later.corrected.whole, later.openings) == (0, ())


def test_a_correction_of_what_was_thumbed_long_ago_is_a_share_of_what_was_judged_since(store: Store) -> None:
    cut = now() - timedelta(days=91)
    for n in range(2):
        old = exchange(store, f"What was {n}?")
        store.rate(old, -1)
        given_at(store, old, cut - timedelta(days=1))
        store.correct(old, "It was so.")
    store.rate(exchange(store, "What is new?"), 1)
    survey = store.survey(since=cut)
    assert told((survey.total,)) == {"": (1, 1)} and told((survey.corrected,)) == {"": (2, 3)}
    assert told(survey.corrected_versions) == {"0": (2, 3)} and survey.corrected.interval[1] < 1


def test_only_those_asked_at_random_are_counted_apart(store: Store) -> None:
    from feedback.schema import AskedReply

    one, other = exchange(store), exchange(store)
    with store.writing() as session:
        session.add_all([AskedReply(message_id=one, why="random"), AskedReply(message_id=other, why="disputed")])
    store.rate(one, 1)
    store.rate(other, -1)
    assert told((store.survey().asked,)) == {"": (1, 1)}


def test_a_share_of_few_is_not_shown(store: Store) -> None:
    assert not Share("", 1, ENOUGH - 1).enough and Share("", 1, ENOUGH).enough
    assert Share("", 0, 0).share is None and Share("", 0, 0).interval == (0.0, 1.0)
    low, high = Share("", 16, 20).interval
    assert (round(low, 3), round(high, 3)) == (0.622, 0.907)  # Wilson's, with z = 1.645


def test_an_unknown_step_is_told(store: Store) -> None:
    with pytest.raises(BadInput, match="The step 'hour' is not known; day and week are."):
        store.survey(step="hour")


@pytest.mark.parametrize(
    ("question", "opening"),
    [("How do I cook?", "how do"), ("Hello, World!", "hello world"), ("怎么做米饭？", "怎么做米"), ("", "")],
)
def test_how_a_question_begins(question: str, opening: str) -> None:
    assert opening_of(question) == opening


def test_a_thumb_keeps_what_it_is_counted_by(store: Store) -> None:
    conversation = ask(store)
    reply = answer(store, conversation)
    store.rate(reply, 1)
    with store.reading() as session:
        kept = session.query(Rating).one()
        assert (kept.conversation_id, kept.version, kept.persona) == (conversation, 0, "")
