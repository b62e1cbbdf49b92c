"""Conversations: what was sent is on disk, the tree, titles, the list, and guards."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from feedback.errors import BadInput, Busy, NotFound
from feedback.formats import Incoming, IncomingMessage
from feedback.messages import MAX_TEXT
from feedback.schema import LOCAL, Person
from feedback.settings import DataSettings
from feedback.store import Store
from tests.feedback.talk import answer, ask, begin, exchange


def test_what_is_shown_as_sent_is_on_disk(data: DataSettings, store: Store) -> None:
    reply = exchange(store, "Are you there?", "I am.")
    store.rate(reply, -1, ["tone"], "curt")
    store.correct(reply, "Yes, I am here.")
    conversation = store.conversation_of(reply)
    another = Store.open(data.database)  # while the first still holds its connections
    assert another.history(conversation) == store.history(conversation)
    question, answered = another.history(conversation)
    assert (question.role, question.content) == ("user", "Are you there?")
    assert (answered.content, answered.rating, answered.correction) == ("I am.", -1, "Yes, I am here.")
    another.close()


def test_a_fresh_record_has_one_person_who_may_do_all(data: DataSettings, store: Store) -> None:
    Store.open(data.database).close()
    with store.reading() as session:
        assert [(p.id, p.role) for p in session.query(Person)] == [(LOCAL, "admin")]


def test_messages_hang_below_each_other_and_the_last_is_the_head(store: Store) -> None:
    conversation = ask(store, "one")
    answer(store, conversation, "two")
    ask(store, "three", conversation)
    said = store.history(conversation)
    assert [m.content for m in said] == ["one", "two", "three"]
    assert said[0].parent_id is None
    assert all(below.parent_id == above.id for above, below in pairwise(said))


def test_the_path_shown_leaves_out_what_hangs_beside_it(store: Store) -> None:
    question = IncomingMessage("user", "q", id="q")
    for name in ("first", "second"):
        store.take_in([Incoming("c", (question, IncomingMessage("assistant", "the same", id=name)))])
    assert [m.id for m in store.history("c")] == ["q", "second"]
    assert store.message("first").parent_id == store.message("second").parent_id == "q"
    ask(store, "further", "c")
    assert [m.content for m in store.history("c")] == ["q", "the same", "further"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("  many\n\n words\tapart ", "many words apart"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("y" * 58 + " zzz", "y" * 58 + "…"),
    ],
)
def test_a_title_is_made_of_the_first_message(store: Store, text: str, title: str) -> None:
    conversation = ask(store, text)
    ask(store, "the second changes nothing", conversation)
    assert store.conversations()[0].title == title


def test_the_list_is_newest_first_and_tells_where_a_reply_runs(store: Store) -> None:
    older, newer = ask(store, "older"), ask(store, "newer")
    store.new_conversation()  # nothing said in it: not listed
    begin(store, older)
    assert [(line.title, line.running) for line in store.conversations()] == [("older", True), ("newer", False)]
    ask(store, "again", newer)
    assert [line.id for line in store.conversations()] == [newer, older]
    assert [line.id for line in store.conversations(limit=1)] == [newer]


def test_the_list_is_its_owners_only(store: Store) -> None:
    ask(store)
    assert store.conversations(owner="somebody else") == []


def test_nothing_is_sent_into_a_conversation_while_a_reply_runs(store: Store) -> None:
    conversation, other = ask(store), ask(store)
    reply = begin(store, conversation)
    with pytest.raises(Busy, match="still being written"):
        store.begin_turn(conversation, reply, "and?", 0, {}, [])
    with pytest.raises(Busy, match="still being written"):
        begin(store, conversation)
    ask(store, "the other one is free", other)
    store.end_reply(reply, "done", "complete", "end")
    ask(store, "and?", conversation)
    assert [m.content for m in store.history(conversation)] == ["What is it?", "done", "and?"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        (None, "empty"),
        (7, "empty"),
        ("half \ud83d", "lone surrogate"),
        ("a\0b", "a NUL character"),
        ("x" * (MAX_TEXT + 1), "200,001 characters"),
    ],
)
def test_a_message_that_cannot_be_kept_is_refused(store: Store, text: str, reason: str) -> None:
    conversation = store.new_conversation()
    with pytest.raises(BadInput, match=reason):
        store.begin_turn(conversation, None, text, 0, {}, [])
    assert store.history(conversation) == []


@pytest.mark.parametrize(
    "text",
    ["x" * MAX_TEXT, "line\u2028separator\r\n", "🦊 'quoted\" <b>", "  spaces kept "],
    ids=lambda t: t[:9],
)
def test_a_message_is_kept_to_the_letter(store: Store, text: str) -> None:
    assert store.history(ask(store, text))[0].content == text


@pytest.mark.parametrize("key", ["nobody", "", "\ud800", "x\0y", 5, 10**30, True, ["a"], ("a", "b"), {"a": 1}])
@pytest.mark.parametrize("verb", ["history", "message", "conversation_of"])
def test_an_id_that_the_record_does_not_hold_is_not_found(store: Store, verb: str, key: str) -> None:
    with pytest.raises(NotFound, match="There is no"):
        getattr(store, verb)(key)


def test_an_older_file_does_not_push_a_conversation_down_the_list(store: Store) -> None:
    import_line = Incoming("c", (IncomingMessage("user", "one"),))
    store.take_in([import_line])
    ask(store, "another")
    ask(store, "now", "c")
    old = datetime(2020, 1, 1, tzinfo=UTC)
    store.take_in([Incoming("c", (*import_line.messages, IncomingMessage("assistant", "two")), created_at=old)])
    assert store.conversations()[0].id == "c"
