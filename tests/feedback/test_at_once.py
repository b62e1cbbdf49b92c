"""What is looked at before it is changed is locked first: on PostgreSQL two that do the same at once take turns."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import event
from sqlalchemy.dialects import postgresql

from feedback.errors import BadInput, Busy, RapportError
from feedback.store import Store
from tests.feedback.talk import ask, exchange


def locking(store: Store, verb: Callable[[], object]) -> list[str]:
    """Call a verb; return the statements that it sends to PostgreSQL, as far as they read."""
    sent: list[str] = []

    def note(connection, element, *_) -> None:
        if hasattr(element, "compile") and getattr(element, "is_select", False):
            sent.append(str(element.compile(dialect=postgresql.dialect())))

    event.listen(store._database.engine, "before_execute", note)
    verb()
    event.remove(store._database.engine, "before_execute", note)
    return sent


def compared(store: Store) -> int:
    store.add_base("tiny")
    comparison, _, *two = store.begin_comparison(store.new_conversation(), None, "Hi", (0, {}, []), (0, {}, []))
    for reply in two:
        store.end_reply(reply, "Hello", "complete", "end")
    return comparison


def turn(store: Store) -> Callable[[], object]:
    store.add_base("tiny")
    conversation = store.new_conversation()
    return lambda: store.begin_turn(conversation, None, "Hi", 0, {}, [])


def reply(store: Store) -> Callable[[], object]:
    conversation = ask(store)
    store.add_base("tiny")
    return lambda: store.begin_reply(store.history(conversation)[0].id, 0, {}, [])


def comparison(store: Store) -> Callable[[], object]:
    store.add_base("tiny")
    conversation = store.new_conversation()
    return lambda: store.begin_comparison(conversation, None, "Hi", (0, {}, []), (0, {}, []))


def judgement(store: Store) -> Callable[[], object]:
    number = compared(store)
    return lambda: store.judge_comparison(number, "left")


def thumb(store: Store) -> Callable[[], object]:
    message = exchange(store)
    return lambda: store.rate(message, 1)


@pytest.mark.parametrize(
    ("act", "table", "looked_at"),
    [
        (turn, "conversations", "messages.status ="),
        (reply, "conversations", "messages.status ="),
        (comparison, "conversations", "messages.status ="),
        (judgement, "comparisons", "FROM messages"),
        (judgement, "conversations", "messages.parent_id ="),
        (thumb, "messages", "FROM ratings"),
    ],
)
def test_the_row_is_locked_before_what_is_decided_by_is_read(store: Store, act, table: str, looked_at: str) -> None:
    sent = locking(store, act(store))
    locked = [n for n, text in enumerate(sent) if f"FROM {table}" in text and "FOR NO KEY UPDATE" in text]
    read = [n for n, text in enumerate(sent) if looked_at in text and "FOR NO KEY" not in text]
    assert locked and read and locked[0] < read[-1]
    assert not [text for text in sent[: locked[0]] if looked_at in text and "status" in looked_at]


@pytest.mark.parametrize(("act", "refused"), [(turn, Busy), (reply, Busy), (comparison, Busy), (judgement, BadInput)])
def test_of_four_that_do_the_same_at_once_one_does_it(store: Store, act, refused: type[RapportError]) -> None:
    verb, ready, said = act(store), threading.Barrier(4), []

    def one() -> None:
        ready.wait()
        try:
            verb()
            said.append("done")
        except RapportError as error:
            said.append(type(error))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, said)) == sorted(map(str, ["done", refused, refused, refused]))
