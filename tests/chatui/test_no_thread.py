"""A machine that starts no more threads: the reply ends with a sentence, and its conversation goes on."""

import threading
from collections.abc import Callable

import pytest

from chatui.engine.protocol import Sampling
from chatui.replies import Replies
from chatui.temporary import TemporaryChats
from feedback.records import Opening
from feedback.store import Store
from tests.chatui.scripted import ScriptedEngine, wait_for


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tell of each thread of a reply to come whether it starts; those after them do."""
    starts: list[bool] = []
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith(("reply-", "temporary")) and starts and not starts.pop(0):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    return lambda *which: starts.extend(which)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(["Yes."])


def replies_of(store: Store, engine: ScriptedEngine) -> Replies:
    store.add_base("tiny")
    return Replies(store, engine, Sampling())


def test_a_reply_that_gets_no_thread_is_an_error_and_the_next_one_is_written(store: Store, engine, refuse) -> None:
    replies = replies_of(store, engine)
    conversation = store.new_conversation()
    refuse(False)
    live = replies.send(conversation, "Ready?")
    assert (live.status, live.error) == ("error", "This machine starts no more threads; try again in a moment.")
    assert live.generation._cancelled.is_set()  # type: ignore[attr-defined]
    assert (store.message(live.message_id).status, store.message(live.message_id).error) == ("error", live.error)
    assert replies.live(conversation) == []
    again = replies.regenerate(live.message_id)
    wait_for(lambda: not again.running)
    assert store.message(again.message_id).content == "Yes."
    replies.close()


def test_a_side_of_a_comparison_that_gets_no_thread_leaves_the_other(store: Store, engine, refuse) -> None:
    replies = replies_of(store, engine)
    refuse(False, True, False, False)
    for ends in (("error", "complete"), ("error", "error")):
        _, left, right = replies.compare(store.new_conversation(), "Ready?")
        wait_for(lambda: not left.running and not right.running)  # noqa: B023
        assert (left.status, right.status) == ends
        assert tuple(store.message(one.message_id).status for one in (left, right)) == ends
    replies.close()


def test_a_temporary_reply_that_gets_no_thread_is_an_error_and_the_next_one_is_written(engine, refuse) -> None:
    chats = TemporaryChats(engine, Sampling(), 60.0)
    chat = chats.open(Opening())
    refuse(False)
    live = chats.send(chat, "Ready?")
    assert (live.status, live.error) == ("error", "This machine starts no more threads; try again in a moment.")
    assert live.generation._cancelled.is_set()  # type: ignore[attr-defined]
    again = chats.send(chat, "Ready?")
    wait_for(lambda: not again.running)
    kept = chats.get(chat)
    assert kept is not None
    assert [(m.content, m.status) for m in kept.said if m.role == "assistant"] == [("", "error"), ("Yes.", "complete")]
