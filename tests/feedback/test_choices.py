"""Choices between two replies: only two to the same message can be compared, whatever a record holds already."""

import pytest

from feedback.errors import BadInput
from feedback.formats import Incoming, IncomingMessage
from feedback.schema import Preference
from feedback.store import Store


@pytest.fixture
def greetings(store: Store) -> tuple[str, str]:
    """The replies that two imported conversations begin with: neither has a parent."""
    rows = [
        Incoming(talk, (IncomingMessage("assistant", text, id=text), IncomingMessage("user", f"Hi {text}")))
        for talk, text in (("one", "Welcome!"), ("other", "Hello!"))
    ]
    assert store.take_in(rows) == [None, None]
    return "Welcome!", "Hello!"


def told_before(store: Store, chosen: str, rejected: str) -> None:
    """Keep a preference as it could be kept before conversations were compared."""
    with store.writing() as session:
        session.add(Preference(chosen_id=chosen, rejected_id=rejected, rater_id="local"))


def test_the_first_replies_of_two_conversations_are_no_siblings(store: Store, greetings: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match="two different replies to the same message"):
        store.prefer(*greetings)
    assert list(store.feedback()) == []


@pytest.mark.parametrize("deleted", ["one", "other", None])
def test_a_choice_across_conversations_teaches_nothing_and_ends_no_run(
    store: Store, greetings: tuple[str, str], deleted: str | None
) -> None:
    told_before(store, *greetings)
    store.rate("Hello!" if deleted == "one" else "Welcome!", 1)
    if deleted:
        store.delete(deleted)
    for found in (list(store.feedback()), list(store.opinions_since(None))):
        assert [(f.ratings, f.chosen_by, f.discarded_by, f.beat) for f in found] == [({"local": 1}, (), (), {})]


def test_a_choice_between_replies_to_two_messages_of_one_conversation_teaches_nothing(store: Store) -> None:
    said = [IncomingMessage("user" if n % 2 == 0 else "assistant", f"text {n}", id=f"m{n}") for n in range(4)]
    assert store.take_in([Incoming("c", tuple(said), preferences=(("m3", "m1"),))]) == [None]
    assert list(store.feedback()) == []
