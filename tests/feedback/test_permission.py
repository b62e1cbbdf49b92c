"""Who may do what: the roles, and that the question is put to the record."""

import pytest

from feedback.errors import NotAllowed, NotFound
from feedback.formats import Incoming, IncomingMessage
from feedback.permission import ACTIONS, Thing, may
from feedback.schema import LOCAL, Person
from feedback.store import Store
from tests.feedback.talk import exchange, give_to, set_role

MINE, THEIRS = Thing("Message 'm'", "me"), Thing("Message 'm'", "her")
RATED = Thing("Message 'm'", "her", has_feedback=True)


def allowed(role: str, thing: Thing | None) -> set[str]:
    return {action for action in ACTIONS if may(Person(id="me", role=role), action, thing)}


@pytest.mark.parametrize(
    ("role", "thing", "actions"),
    [
        ("chatter", MINE, {"begin", "read", "write", "rate", "correct"}),
        ("chatter", THEIRS, {"begin"}),
        ("chatter", RATED, {"begin"}),
        ("chatter", None, {"begin"}),
        ("reviewer", MINE, {"begin", "read", "write", "rate", "correct", "review", "survey"}),
        ("reviewer", THEIRS, {"begin", "review", "survey"}),
        ("reviewer", RATED, {"begin", "read", "review", "survey"}),
        ("reviewer", None, {"begin", "review", "survey"}),
        ("admin", THEIRS, set(ACTIONS)),
        ("admin", None, set(ACTIONS)),
    ],
)
def test_a_role_allows_these_actions_and_no_other(role: str, thing: Thing | None, actions: set[str]) -> None:
    assert allowed(role, thing) == actions


def test_an_action_that_is_not_known_is_no_permission() -> None:
    with pytest.raises(ValueError, match="'fly'"):
        may(Person(id="me", role="admin"), "fly")


@pytest.fixture
def hers(store: Store) -> tuple[str, str]:
    """A conversation and a reply of it that belong to somebody else; the one person at the page is a chatter."""
    turns = (IncomingMessage("user", "Hi?"), IncomingMessage("assistant", "Hi.", finish="end", rating=1))
    store.take_in([Incoming("theirs", turns, rater="ann")])
    give_to(store, "theirs", "ann")
    set_role(store, "chatter")
    return "theirs", store.history("theirs")[1].id


def test_what_belongs_to_someone_else_is_refused_by_name(store: Store, hers: tuple[str, str]) -> None:
    conversation, reply = hers
    with pytest.raises(NotAllowed, match="Conversation 'theirs' belongs to someone else"):
        store.require(LOCAL, "read", "conversation", conversation)
    with pytest.raises(NotAllowed, match="only its owner or an admin may rate it"):
        store.require(LOCAL, "rate", "message", reply)
    store.require("ann", "rate", "message", reply)  # an imported rater is a person too
    own = exchange(store)
    store.require(LOCAL, "correct", "message", own)


def test_a_reviewer_reads_a_rated_reply_and_a_chatter_asks_one_for_a_review(
    store: Store, hers: tuple[str, str]
) -> None:
    _, reply = hers
    with pytest.raises(NotAllowed, match="A chatter may not review replies; ask a reviewer or an admin"):
        store.require(LOCAL, "review", "message", reply)
    set_role(store, "reviewer")
    store.require(LOCAL, "review", "message", reply)
    store.require(LOCAL, "read", "message", reply)
    store.rate(reply, 0, rater="ann")
    with pytest.raises(NotAllowed, match="may read it"):
        store.require(LOCAL, "read", "message", reply)
    with pytest.raises(NotAllowed, match="A reviewer may not change what the model learns"):
        store.require(LOCAL, "learn")


@pytest.mark.parametrize(
    ("kind", "key"), [("conversation", "c"), ("message", "m"), ("comparison", 3), ("persona", "p"), ("message", None)]
)
def test_an_unknown_thing_is_named(store: Store, kind: str, key: object) -> None:
    with pytest.raises(NotFound, match=f"no {kind} {key!r}"):
        store.require(LOCAL, "read", kind, key)


def test_a_deleted_conversation_is_still_its_owners_to_bring_back(store: Store) -> None:
    reply = exchange(store)
    conversation = store.conversation_of(reply)
    store.delete(conversation)
    set_role(store, "chatter")
    store.require(LOCAL, "write", "conversation", conversation)
