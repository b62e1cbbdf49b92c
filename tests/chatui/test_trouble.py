"""The record is in trouble, a full disk say: whoever typed something is told why, and has it back."""

import asyncio
import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from sqlalchemy import event

from chatui.asked import Asked
from chatui.engine.protocol import Sampling
from chatui.handlers import Handlers
from chatui.replies import Replies
from feedback.store import Store
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.feedback.talk import exchange

REQUEST: Any = SimpleNamespace(session_hash="tab", query_params={}, headers={})
FULL = "This was not done, as the disk is full; free some space, then try again."
LONG = "a thought that took long " * 4000


def fill(store: Store) -> Callable[[], None]:
    """Let the database grow no more; return what gives it room again."""

    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    def room(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")

    engine = store._database.engine
    event.listen(engine, "begin", limit)

    def again() -> None:
        event.remove(engine, "begin", limit)
        event.listen(engine, "begin", room)

    return again


def pause_at_the_end(replies: Replies, pause: Callable[[float], Any]) -> Callable[[float], bool]:
    """Wait as before between heartbeats, and as a test wants it where a reply ends."""
    beats = replies._closing.wait
    return lambda seconds: beats(seconds) if threading.current_thread().name == "heartbeat" else pause(seconds)


def handlers(store: Store) -> Handlers:
    store.add_base("tiny")
    temporary: Any = SimpleNamespace(get=lambda chat: None, forget=lambda chat: None)
    views: Any = SimpleNamespace(learned=None, chat=lambda look, tail: ([], {"running": False}))
    return Handlers(store, Replies(store, ScriptedEngine(["yes"]), Sampling()), views, temporary)


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_typed_goes_back_into_the_composer(store: Store, begun: bool) -> None:
    page = handlers(store)
    page.tabs.open("tab", store.new_conversation() if begun else None)
    fill(store)

    async def sent() -> list[Any]:
        return [parts async for parts in page.send(LONG, False, 0, REQUEST)]

    parts = asyncio.run(sent())
    assert [(back["text"], back["problem"]) for back in (part[1]["given_back"] for part in parts)] == [(LONG, FULL)]
    assert store.conversations() == []
    page.replies.close()


def test_thumbs_and_corrections_say_why_they_were_not_kept(store: Store) -> None:
    page, reply = handlers(store), exchange(store)
    fill(store)
    rated: Any = SimpleNamespace(_data={"id": reply, "value": 1, "comment": LONG})
    corrected: Any = SimpleNamespace(_data={"id": reply, "text": LONG})
    assert page.rate(REQUEST, rated)["problem"] == FULL
    assert page.correct(REQUEST, corrected)["problem"] == FULL
    assert (store.message(reply).rating, store.message(reply).correction) == (0, None)
    page.replies.close()


def test_of_two_thumbs_that_pass_each_other_the_newer_counts(store: Store) -> None:
    page, reply = handlers(store), exchange(store)
    kept = lambda: store.history(next(iter(store.conversations())).id)[1].reasons  # noqa: E731

    def rate(number: int, *reasons: str) -> dict[str, Any]:
        said: Any = SimpleNamespace(_data={"id": reply, "value": -1, "reasons": reasons, "number": number})
        return page.rate(REQUEST, said)

    rate(2, "wrong")
    rate(1)
    assert kept() == ("wrong",)
    assert rate(4, "x" * 3000)["problem"]
    rate(3, "long")  # what was refused is not newer
    assert kept() == ("long",)
    page.replies.close()


def test_a_thumb_waits_for_the_one_that_is_being_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    page, reply = handlers(store), exchange(store)
    at_once, held, free = store.rate, threading.Event(), threading.Event()

    def rate(message_id: str, value: int, reasons: tuple[str, ...], comment: str | None) -> None:
        if not reasons:
            held.set()
            assert free.wait(15)
        at_once(message_id, value, reasons, comment)

    monkeypatch.setattr(store, "rate", rate)

    def thumb(number: int, *reasons: str) -> threading.Thread:
        said: Any = SimpleNamespace(_data={"id": reply, "value": -1, "reasons": reasons, "number": number})
        thread = threading.Thread(target=page.rate, args=(REQUEST, said))
        thread.start()
        return thread

    older = thumb(1)
    assert held.wait(15)
    newer = thumb(2, "wrong")
    newer.join(0.2)  # time to pass the older one, if it could
    free.set()
    older.join()
    newer.join()
    assert store.history(next(iter(store.conversations())).id)[1].reasons == ("wrong",)
    page.replies.close()


def test_trouble_is_logged_with_its_traceback(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    reply = exchange(store)
    fill(store)
    with caplog.at_level(logging.ERROR, "rapport"), pytest.raises(gr.Error, match="disk is full"):
        Asked(store)(store.correct)(reply, LONG)
    mine = [record for record in caplog.records if record.name == "rapport.asked"]
    assert [record.exc_info is not None for record in mine] == [True]
    assert "database or disk is full" in caplog.text


def test_a_reply_whose_end_cannot_be_kept_at_once_is_kept_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_base("tiny")
    replies = Replies(store, ScriptedEngine([LONG, "the end"], gated=True), Sampling())
    pauses: list[float] = []
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    room = fill(store)

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 2:
            room()
        return False

    monkeypatch.setattr(replies._closing, "wait", pause_at_the_end(replies, pause))
    replies.engine.gates[0].release(2)  # type: ignore[attr-defined]
    wait_for(lambda: not live.running)
    assert live.error is None and len(pauses) == 2
    assert (store.message(live.message_id).status, store.message(live.message_id).content) == (
        "complete",
        LONG + "the end",
    )
    replies.close()


def test_a_reply_whose_end_is_never_kept_says_so_and_stays_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_base("tiny")
    replies = Replies(store, ScriptedEngine([LONG], gated=True), Sampling())
    pauses: list[float] = []
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    fill(store)
    monkeypatch.setattr(replies._closing, "wait", pause_at_the_end(replies, lambda s: pauses.append(s) or False))
    replies.engine.gates[0].release()  # type: ignore[attr-defined]
    wait_for(lambda: not live.running)
    assert live.error == f"The end of the reply could not be kept. {FULL}"
    assert 2 <= len(pauses) <= 5
    assert store.message(live.message_id).status == "running"
    replies.close()
