"""Thumbs, corrections and preferences, and the feedback they add up to."""

from datetime import timedelta
from typing import Any

import pytest

from feedback.errors import BadInput, NotFound
from feedback.formats import Incoming, read_lines
from feedback.messages import MAX_TEXT
from feedback.ratings import MAX_REASON, MAX_REASONS
from feedback.schema import Correction, Preference, now
from feedback.store import Store
from tests.feedback.talk import answer, ask, begin, events, exchange


def thumb(store: Store, reply: str, **by: str) -> tuple[int, tuple[str, ...], str]:
    said = store.message(reply, **by)
    return said.rating, said.reasons, said.comment


# --- thumbs


def test_a_thumb_is_kept_changed_and_taken_back_with_a_line_in_the_log_for_each(store: Store) -> None:
    reply = exchange(store)
    seen = []
    for value in (1, -1, 0, 1):
        store.rate(reply, value)
        seen.append(store.message(reply).rating)
    assert seen == [1, -1, 0, 1]
    assert [event[0] for event in events(store)] == [1, -1, 0, 1]


def test_the_same_thumb_again_changes_nothing(store: Store) -> None:
    reply = exchange(store)
    store.rate(reply, 1, ["clear"], "good")
    before = list(store.feedback())
    store.rate(reply, 1)
    store.rate(reply, 1, ["clear"], "good")
    assert list(store.feedback()) == before
    assert events(store) == [(1, ["clear"], "good")]


def test_taking_back_a_thumb_that_never_was_leaves_no_trace(store: Store) -> None:
    store.rate(exchange(store), 0)
    assert events(store) == []


def test_reasons_and_comment_stay_while_the_thumb_does(store: Store) -> None:
    reply = exchange(store)
    store.rate(reply, -1)
    store.rate(reply, -1, reasons=["wrong"])
    store.rate(reply, -1, comment="It is not so.")
    store.rate(reply, -1)
    assert thumb(store, reply) == (-1, ("wrong",), "It is not so.")
    assert events(store) == [(-1, [], ""), (-1, ["wrong"], ""), (-1, ["wrong"], "It is not so.")]


@pytest.mark.parametrize("value", [1, 0])
def test_reasons_and_comment_go_with_the_thumb_they_explained(store: Store, value: int) -> None:
    reply = exchange(store)
    store.rate(reply, -1, ["wrong"], "It is not so.")
    store.rate(reply, value)
    assert thumb(store, reply) == (value, (), "")
    assert events(store)[0] == (-1, ["wrong"], "It is not so.")  # the log still knows


def test_reasons_and_comment_are_cleared_by_giving_none_of_them(store: Store) -> None:
    reply = exchange(store)
    store.rate(reply, -1, ["wrong"], "It is not so.")
    store.rate(reply, -1, [], "")
    assert thumb(store, reply) == (-1, (), "")


def test_each_rater_has_a_thumb_of_their_own(store: Store) -> None:
    reply = exchange(store)
    store.rate(reply, 1, rater="ada")
    store.rate(reply, -1, ["wrong"], rater="ben")
    assert thumb(store, reply, rater="ada") == (1, (), "")
    assert thumb(store, reply, rater="ben") == (-1, ("wrong",), "")
    assert thumb(store, reply) == (0, (), "")
    assert [f.ratings for f in store.feedback()] == [{"ada": 1, "ben": -1}]


@pytest.mark.parametrize("status", ["stopped", "interrupted", "running"])
def test_a_reply_that_is_not_whole_can_be_rated(store: Store, status: str) -> None:
    reply = begin(store, ask(store))
    if status != "running":
        store.end_reply(reply, "half", status)
    store.rate(reply, -1)
    assert store.message(reply).rating == -1


@pytest.mark.parametrize("value", [2, -2, 0.5, True, False, "1", None, [1], float("nan")])
def test_a_value_that_is_no_thumb_is_refused(store: Store, value: Any) -> None:
    reply = exchange(store)
    with pytest.raises(BadInput, match="is not known; give 1"):
        store.rate(reply, value)
    assert events(store) == []


@pytest.mark.parametrize(
    ("reasons", "comment", "reason"),
    [
        ("wrong", None, "list of texts"),
        (5, None, "list of texts"),
        ({"wrong": 1}, None, "list of texts"),
        ([""], None, "list of texts"),
        ([5], None, "list of texts"),
        ([None], None, "list of texts"),
        (["x" * (MAX_REASON + 1)], None, "1 to 100 characters"),
        (["x"] * (MAX_REASONS + 1), None, "21 reasons"),
        (["half \ud83d"], None, "lone surrogate"),
        (None, 5, "is not a text"),
        (None, "half \ud83d", "lone surrogate"),
        (None, "x" * (MAX_TEXT + 1), "200,001 characters"),
    ],
)
def test_reasons_and_comments_that_cannot_be_kept_are_refused(
    store: Store, reasons: Any, comment: Any, reason: str
) -> None:
    reply = exchange(store)
    store.rate(reply, 1)
    with pytest.raises(BadInput, match=reason):
        store.rate(reply, -1, reasons, comment)
    assert thumb(store, reply) == (1, (), "")


@pytest.mark.parametrize("verb", ["rate", "correct"])
def test_only_replies_take_feedback(store: Store, verb: str) -> None:
    conversation = ask(store)
    question = store.history(conversation)[0].id
    failed = answer(store, conversation, "", "error")
    argument: Any = 1 if verb == "rate" else "Better."
    with pytest.raises(BadInput, match="is a user message"):
        getattr(store, verb)(question, argument)
    with pytest.raises(BadInput, match="failed before it said anything"):
        getattr(store, verb)(failed, argument)
    with pytest.raises(NotFound, match="'nobody'"):
        getattr(store, verb)("nobody", argument)


# --- corrections


def test_a_correction_is_kept_changed_and_taken_back(store: Store) -> None:
    reply = exchange(store, text="It is so.")
    seen = []
    for text in ("It is not.", "It never was.", "It is so.", "It may be."):
        store.correct(reply, text)
        seen.append(store.message(reply).correction)
    assert seen == ["It is not.", "It never was.", None, "It may be."]
    assert store.message(reply).content == "It is so."
    with store.reading() as session:
        log = [row.text for row in session.query(Correction).order_by(Correction.id)]
    assert log == ["It is not.", "It never was.", None, "It may be."]


@pytest.mark.parametrize("text", ["It is not.", "It is so."])
def test_the_same_correction_again_adds_no_line(store: Store, text: str) -> None:
    reply = exchange(store, text="It is so.")
    store.correct(reply, text)
    first = store.message(reply).correction_id
    store.correct(reply, text)
    assert store.message(reply).correction_id == first
    with store.reading() as session:
        assert session.query(Correction).count() == (0 if text == "It is so." else 1)


@pytest.mark.parametrize("text", ["", "  \n", None, 5, "half \ud83d", "x" * (MAX_TEXT + 1)])
def test_a_correction_that_cannot_be_kept_is_refused(store: Store, text: Any) -> None:
    reply = exchange(store)
    store.correct(reply, "Better.")
    with pytest.raises(BadInput, match="The correction"):
        store.correct(reply, text)
    assert store.message(reply).correction == "Better."


def test_a_reply_that_is_still_written_is_not_corrected(store: Store) -> None:
    reply = begin(store, ask(store))
    with pytest.raises(BadInput, match="still being written"):
        store.correct(reply, "Better.")
    store.end_reply(reply, "", "stopped", "stopped")
    store.correct(reply, "Better.")
    assert store.message(reply).correction == "Better."


# --- preferences


def test_a_preference_is_kept_between_two_replies_to_the_same_message(store: Store) -> None:
    rows = '{"conversation_id":"c","messages":[{"id":"q","role":"user","content":"q"},%s]}'
    _import(store, *(rows % f'{{"id":"{name}","role":"assistant","content":"same"}}' for name in "ab"))
    store.prefer("b", "a")
    with store.reading() as session:
        assert [(p.chosen_id, p.rejected_id) for p in session.query(Preference)] == [("b", "a")]
    for chosen, rejected in (("a", "a"), ("a", exchange(store))):
        with pytest.raises(BadInput, match="two different replies to the same message"):
            store.prefer(chosen, rejected)


def _import(store: Store, *lines: str) -> None:
    parsed = [row for _, row in read_lines(line.encode() for line in lines)]
    assert store.take_in([row for row in parsed if isinstance(row, Incoming)]) == [None] * len(lines)


# --- what it adds up to


def test_feedback_holds_replies_with_a_thumb_or_a_correction_now(store: Store) -> None:
    up, down, corrected, plain, unthumbed, uncorrected = (exchange(store, text=f"reply {n}") for n in range(6))
    store.rate(up, 1)
    store.rate(down, -1, ["wrong", "long"])
    store.correct(corrected, "Better.")
    store.rate(unthumbed, 1)
    store.rate(unthumbed, 0)
    store.correct(uncorrected, "Better.")
    store.correct(uncorrected, "reply 5")
    found = {f.message_id: f for f in store.feedback()}
    assert set(found) == {up, down, corrected} and plain not in found
    assert found[down].ratings == {"local": -1} and found[down].reasons == {"local": ("wrong", "long")}
    assert (found[corrected].correction, found[corrected].ratings) == ("Better.", {})
    assert found[up].prompt == (("user", "What is it?"),)
    assert (found[up].content, found[up].status, found[up].finish, found[up].version) == (
        "reply 0",
        "complete",
        "end",
        0,
    )


def test_feedback_comes_oldest_conversation_first_and_in_the_order_of_the_talk(store: Store) -> None:
    conversations = [ask(store, f"c{n}") for n in range(3)]
    replies = [answer(store, c, "one") for c in conversations]
    ask(store, "more", conversations[0])
    late = answer(store, conversations[0], "two")
    for reply in (late, *replies[::-1]):
        store.rate(reply, 1)
    assert [f.message_id for f in store.feedback()] == [replies[0], late, replies[1], replies[2]]


def test_feedback_since_leaves_out_what_is_older(store: Store) -> None:
    old, changed, corrected = (exchange(store) for _ in range(3))
    for reply in (old, changed, corrected):
        store.rate(reply, 1)
    cut = now()
    store.rate(changed, -1)
    store.correct(corrected, "Better.")
    assert {f.message_id for f in store.feedback(cut)} == {changed, corrected}
    assert all(f.changed_at > cut for f in store.feedback(cut))
    assert list(store.feedback(now() + timedelta(seconds=1))) == []


def test_the_prompt_is_what_was_served_in_the_wording_it_was_served(store: Store) -> None:
    conversation = ask(store, "first")
    first = answer(store, conversation, "a bad reply")
    store.correct(first, "a better reply")
    ask(store, "second", conversation)
    question, corrected, second = store.history(conversation)
    prompt = [
        {"message": question.id},
        {"message": corrected.id, "correction": corrected.correction_id},
        {"message": second.id},
    ]
    reply = store.begin_reply(second.id, 0, {}, prompt)
    store.end_reply(reply, "reply", "complete", "end")
    store.rate(reply, 1)
    served = (("user", "first"), ("assistant", "a better reply"), ("user", "second"))
    for later in ("another wording", "a bad reply"):  # changed, then taken back
        store.correct(first, later)
        assert next(f for f in store.feedback() if f.message_id == reply).prompt == served


def test_the_prompt_leaves_out_what_was_cut_off_from_it(store: Store) -> None:
    conversation = ask(store, "long ago")
    answer(store, conversation)
    ask(store, "now", conversation)
    last = store.history(conversation)[-1].id
    reply = store.begin_reply(last, 0, {}, [{"message": last}])
    store.end_reply(reply, "reply", "complete", "end")
    store.rate(reply, 1)
    assert [f.prompt for f in store.feedback()] == [(("user", "now"),)]


def test_the_prompt_of_an_imported_reply_is_all_above_it(store: Store) -> None:
    _import(
        store,
        '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},'
        '{"role":"assistant","content":"a","rating":1,"correction":"b"},'
        '{"role":"user","content":"r"},{"role":"assistant","content":"c","rating":-1}]}',
    )
    first, second = store.feedback()
    assert first.prompt == (("system", "s"), ("user", "q"))
    assert second.prompt == (("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "r"))
    assert second.version is None


def test_more_feedback_than_fits_one_batch_is_all_there(store: Store) -> None:
    _import(
        store,
        *(f'{{"prompt":"q{n}","completion":"a{n}","label":{"true" if n % 3 else "false"}}}' for n in range(210)),
    )
    found = list(store.feedback())
    assert {f.content for f in found} == {f"a{n}" for n in range(210)}
    assert sum(f.ratings["local"] for f in found) == 140 - 70


def test_stats_count_what_holds_now(store: Store) -> None:
    up, down, taken_back = (exchange(store) for _ in range(3))
    store.rate(up, 1, rater="ada")
    store.rate(down, -1)
    store.rate(taken_back, 1, rater="ben")
    store.rate(taken_back, 0, rater="ben")
    store.correct(down, "Better.")
    store.correct(down, "Best.")
    store.correct(up, "Better.")
    store.correct(up, "It is so.")
    store.new_conversation()
    answer(store, ask(store), "", "error")
    assert store.stats() == {
        "conversations": 4,
        "messages": 7,
        "replies": 3,
        "thumbs_up": 1,
        "thumbs_down": 1,
        "corrections": 1,
        "raters": 2,
    }
