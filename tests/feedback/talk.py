"""Small conversations for the tests of the record."""

from typing import Any

from feedback.messages import append, find, title_of
from feedback.ratings import person
from feedback.records import Feedback
from feedback.schema import LOCAL, Conversation, Person, RatingEvent, Reply, Signal, now
from feedback.store import Store

# What the record tells of a whole reply with a thumb up.
LIKED = Feedback(
    message_id="m",
    conversation_id="c",
    prompt=(("user", "hello"),),
    content="hello world",
    status="complete",
    finish="end",
    version=0,
    ratings={"local": 1},
    reasons={},
    correction=None,
    correction_id=None,
    changed_at=now(),
)


def ask(store: Store, text: str = "What is it?", conversation: str | None = None) -> str:
    """Say something, in a new conversation unless one is given; return the conversation."""
    conversation = conversation or store.new_conversation()
    say(store, conversation, text)
    return conversation


def say(store: Store, conversation: str, text: str) -> str:
    """Write a message that no reply is begun to; return its id. The product always begins one with it."""
    with store.writing() as session:
        row = find(session, Conversation, conversation, alone=True)
        row.title = row.title or title_of(text)
        return append(session, row, "user", text).id


def begin(store: Store, conversation: str, version: int = 0) -> str:
    """Open a reply that was given the whole path as prompt; return its id."""
    store.add_base("tiny")
    prompt = [{"message": said.id} for said in store.history(conversation)]
    return store.begin_reply(prompt[-1]["message"], version, {"temperature": 0.5}, prompt)


def answer(
    store: Store, conversation: str, text: str = "It is so.", status: str = "complete", finish: str | None = "end"
) -> str:
    """Reply in full to the head of a conversation; return the reply's id."""
    reply = begin(store, conversation)
    store.end_reply(reply, text, status, finish)
    return reply


def exchange(store: Store, question: str = "What is it?", text: str = "It is so.") -> str:
    """Have a conversation of one question and one answer; return the reply's id."""
    return answer(store, ask(store, question), text)


def set_reply(store: Store, reply: str, **columns: Any) -> None:
    """Write columns of a reply's row that no verb of the store sets."""
    with store.writing() as session:
        row = session.get_one(Reply, reply)
        for name, value in columns.items():
            setattr(row, name, value)


def events(store: Store) -> list[tuple[int, list[str], str]]:
    """Read the log of rating changes, oldest first."""
    with store.reading() as session:
        rows = session.query(RatingEvent).order_by(RatingEvent.id)
        return [(row.value, list(row.reasons), row.comment) for row in rows]


def signals_of(store: Store, message: str) -> list[str]:
    """Read the weak signals on a message, oldest first."""
    with store.reading() as session:
        return [row.kind for row in session.query(Signal).filter_by(message_id=message).order_by(Signal.id)]


def set_role(store: Store, role: str, person_id: str = LOCAL) -> None:
    """Make a person a chatter, a reviewer or an admin."""
    with store.writing() as session:
        session.get_one(Person, person_id).role = role


def give_to(store: Store, conversation: str, person_id: str) -> None:
    """Let a conversation belong to somebody."""
    with store.writing() as session:
        person(session, person_id)
        session.get_one(Conversation, conversation).owner_id = person_id
