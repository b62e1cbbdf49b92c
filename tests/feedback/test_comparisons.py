"""Comparisons in the record: both replies or neither, and what a judgement changes."""

import pytest

from feedback.errors import BadInput, Busy, NotFound
from feedback.judging import judge
from feedback.store import Store


@pytest.fixture
def asked(store: Store) -> tuple[str, int, str, str]:
    """A comparison being written: conversation, comparison, left and right reply."""
    store.add_base("base")
    conversation = store.new_conversation()
    one, _, left, right = store.begin_comparison(conversation, None, "Which?", (0, {}, []), (0, {"seed": 1}, []))
    return conversation, one, left, right


def ended(store: Store, asked: tuple[str, int, str, str]) -> None:
    store.end_reply(asked[2], "This.", "complete", "end")
    store.end_reply(asked[3], "That.", "complete", "end")


def test_both_replies_hang_below_one_message(store: Store, asked: tuple[str, int, str, str]) -> None:
    conversation, one, left, right = asked
    assert store.message(left).parent_id == store.message(right).parent_id
    assert store.message(left).siblings == (left, right)
    assert store.comparisons_of([left])[left].id == one
    with pytest.raises(Busy):
        store.begin_turn(conversation, right, "More", 0, {}, [])
    with pytest.raises(Busy):
        store.begin_comparison(conversation, right, "More", (0, {}, []), (0, {}, []))


def test_a_pick_goes_on_and_is_a_preference(store: Store, asked: tuple[str, int, str, str]) -> None:
    conversation, one, left, right = asked
    with pytest.raises(BadInput, match="still being written"):
        store.judge_comparison(one, "left")
    ended(store, asked)
    assert store.history(conversation)[-1].id == right
    with pytest.raises(BadInput, match="'middle'"):
        store.judge_comparison(one, "middle")
    assert store.judge_comparison(one, "left").outcome == "left"
    assert store.history(conversation)[-1].id == left
    with pytest.raises(BadInput, match="already"):
        store.judge_comparison(one, "right")
    with pytest.raises(NotFound):
        store.judge_comparison(one + 1, "tie")


def test_a_judgement_does_not_turn_a_conversation_that_has_gone_on(
    store: Store, asked: tuple[str, int, str, str]
) -> None:
    conversation, one, _, right = asked
    ended(store, asked)
    _, reply = store.begin_turn(conversation, right, "More", 0, {}, [])
    store.end_reply(reply, "Gladly.", "complete", "end")
    store.judge_comparison(one, "left")
    assert store.history(conversation)[-1].id == reply


@pytest.mark.parametrize(("outcome", "said"), [("tie", []), ("both_bad", ["discarded", "discarded"])])
def test_without_a_pick_the_conversation_stays_where_it_is(
    store: Store, asked: tuple[str, int, str, str], outcome: str, said: list[str]
) -> None:
    ended(store, asked)
    store.judge_comparison(asked[1], outcome)
    assert store.history(asked[0])[-1].id == asked[3]
    assert [judge(f) for f in store.feedback()] == said
