"""A message that comes before the event that its tab opened: nothing of it may vanish from the page."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from chatui.engine.protocol import Sampling
from chatui.handlers import NOTHING, SKIP, Handlers
from chatui.replies import Replies
from chatui.tabs import Tabs
from chatui.temporary import TemporaryChats
from chatui.views import Views
from feedback.store import Store
from tests.chatui.scripted import ScriptedEngine


def turned_to(conversation: str, turn: int, temporary: bool = False) -> SimpleNamespace:
    return SimpleNamespace(_data={"id": conversation, "turn": turn, "place": turn, "temporary": temporary})


def handlers_of(store: Store) -> Handlers:
    store.add_base("tiny")
    engine, sampling = ScriptedEngine(["Yes."]), Sampling()
    replies, temporary = Replies(store, engine, sampling), TemporaryChats(engine, sampling, 600.0)
    learner = SimpleNamespace(outlook=lambda: "")
    watch = SimpleNamespace(notice="")
    return Handlers(store, replies, Views(store, replies, engine, watch, learner, temporary), temporary)


def tab(address: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(session_hash="tab", query_params={"c": address} if address else {})


async def last(events: AsyncIterator[tuple]) -> dict:
    """Return what stands beside the messages when the handler is done."""
    drawn = [parts[1] async for parts in events]
    return [beside for beside in drawn if "msgs" in beside][-1]


def test_a_tab_that_opens_late_shows_what_was_sent_from_it(store: Store) -> None:
    handlers = handlers_of(store)

    async def visit() -> tuple[dict, dict]:
        sent = await last(handlers.send("hello", False, 0, tab()))
        return sent, await last(handlers.load(tab()))

    sent, opened = asyncio.run(visit())
    assert [m["role"] for m in opened["msgs"]] == ["user", "assistant"]
    assert opened["conv"] == sent["conv"]


def test_what_is_sent_first_goes_to_the_conversation_in_the_address(store: Store) -> None:
    handlers = handlers_of(store)
    before = store.new_conversation()

    async def visit() -> tuple[dict, dict]:
        sent = await last(handlers.send("hello", False, 0, tab(before)))
        return sent, await last(handlers.load(tab(before)))

    sent, opened = asyncio.run(visit())
    assert sent["conv"] == opened["conv"] == before
    assert len(opened["msgs"]) == 2


def test_a_view_that_the_tab_has_left_is_not_drawn_over_the_next(store: Store) -> None:
    handlers = handlers_of(store)
    first, second = store.new_conversation(), store.new_conversation()

    async def visit() -> list[tuple]:
        left = handlers.tabs.open("tab", first)
        handlers.tabs.open("tab", second)
        return [parts async for parts in handlers._tail(tab(), left)]

    assert all("conv" not in parts[1] for parts in asyncio.run(visit()))


def test_what_was_drawn_before_a_thumb_does_not_come_after_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = handlers_of(store)
    asyncio.run(last(handlers.send("hello", False, 0, tab())))
    reply = next(m for m in store.history(store.conversations()[0].id) if m.role == "assistant")
    pill = handlers.views.pill

    def rated_meanwhile() -> dict:
        handlers.rate(tab(), SimpleNamespace(_data={"id": reply.id, "value": -1}))
        return pill()

    monkeypatch.setattr(handlers.views, "pill", rated_meanwhile)
    assert all(part == SKIP for part in handlers.tick(tab()))
    monkeypatch.setattr(handlers.views, "pill", pill)
    assert [m["rating"] for m in handlers.tick(tab())[1]["msgs"]] == [0, -1]


def test_a_tab_that_slept_through_a_restart_still_shows_its_conversation(store: Store) -> None:
    handlers = handlers_of(store)
    before = asyncio.run(last(handlers.send("hello", False, 0, tab())))["conv"]
    handlers.tabs = Tabs()
    drawn = handlers.tick(tab(before))[1]
    assert (drawn["conv"], len(drawn["msgs"])) == (before, 2)
    asyncio.run(last(handlers.send("and now?", False, 0, tab(before))))
    assert len(store.history(before)) == 4


def test_a_tab_that_slept_while_its_conversation_was_deleted_begins_another(store: Store) -> None:
    handlers = handlers_of(store)
    before = store.new_conversation()
    store.delete(before)
    assert handlers.tick(tab(before))[1]["conv"] is None


def test_a_look_around_opens_nothing_over_what_was_sent_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = handlers_of(store)
    before, other = store.new_conversation(), store.new_conversation()
    opening = store.opening

    def opened_meanwhile(conversation: str):
        handlers.tabs.open("tab", other)
        return opening(conversation)

    opened_meanwhile.__name__ = "opening"
    monkeypatch.setattr(store, "opening", opened_meanwhile)
    handlers.tick(tab(before))
    assert handlers.tabs.get("tab").conversation_id == other


def test_a_tab_whose_conversation_was_deleted_elsewhere_begins_another_with_the_next_message(store: Store) -> None:
    handlers = handlers_of(store)
    shown = asyncio.run(last(handlers.send("hello", False, 0, tab())))["conv"]
    store.delete(shown)
    assert handlers.tick(tab(shown))[1]["conv"] is None
    sent = asyncio.run(last(handlers.send("hello again", False, 0, tab())))
    assert sent["conv"] not in (None, shown)
    assert [m["role"] for m in sent["msgs"]] == ["user", "assistant"]


def test_a_temporary_chat_that_is_gone_is_followed_by_a_temporary_one(store: Store) -> None:
    handlers = handlers_of(store)
    asyncio.run(last(handlers.open(tab(), turned_to("", 1, temporary=True))))
    handlers.temporary.close()
    drawn = handlers.tick(tab())[1]
    assert drawn["temporary"] and drawn["msgs"] == []
    sent = asyncio.run(last(handlers.send("between us", False, 1, tab())))
    assert sent["temporary"] and len(sent["msgs"]) == 2
    assert store.conversations() == []


@pytest.mark.parametrize("numbered", [True, False])
def test_a_message_that_was_sent_does_not_pull_back_a_tab_that_has_turned_elsewhere(
    store: Store, monkeypatch: pytest.MonkeyPatch, numbered: bool
) -> None:
    handlers = handlers_of(store)
    other = asyncio.run(last(handlers.send("hello", False, 0, tab())))["conv"]
    asyncio.run(last(handlers.open(tab(), turned_to("", 1))))
    at_once = handlers.replies.send

    def send(*args: object) -> object:
        if numbered:
            asyncio.run(last(handlers.open(tab(), turned_to("", 2))))  # New was pressed
        else:
            handlers.tabs.open("tab", other)
        return at_once(*args)

    monkeypatch.setattr(handlers.replies, "send", send)

    async def visit() -> list[tuple]:
        return [parts async for parts in handlers.send("and then?", False, 1, tab())]

    ((*chat, listed),) = asyncio.run(visit())
    assert chat == [SKIP, SKIP, SKIP]
    assert [one["title"] for one in listed["items"]] == ["and then?", "hello"]
    assert handlers.tabs.get("tab").conversation_id == (None if numbered else other)


def test_a_message_waits_for_the_conversation_that_was_turned_to_before_it(store: Store) -> None:
    handlers = handlers_of(store)
    left = asyncio.run(last(handlers.send("hello", False, 0, tab())))["conv"]

    async def visit() -> dict:
        sent = asyncio.create_task(last(handlers.send("and now?", False, 1, tab())))
        await asyncio.sleep(0)
        await last(handlers.open(tab(), turned_to("", 1)))  # it took another way
        return await sent

    shown = asyncio.run(visit())
    assert [m["role"] for m in shown["msgs"]] == ["user", "assistant"]
    assert (shown["conv"] != left, shown["place"], len(store.history(left))) == (True, 1, 2)


def test_a_message_whose_conversation_does_not_come_goes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = handlers_of(store)
    monkeypatch.setattr("chatui.handlers.CATCH_UP_S", 0)
    left = asyncio.run(last(handlers.send("hello", False, 0, tab())))["conv"]

    async def visit() -> list[tuple]:
        return [parts async for parts in handlers.send("between us", False, 1, tab())]

    ((_, back, *_),) = asyncio.run(visit())
    assert back["given_back"]["text"] == "between us"
    assert len(store.history(left)) == 2
    shown = asyncio.run(last(handlers.open(tab(), turned_to("", 1, temporary=True))))  # at last
    assert shown["temporary"]


@pytest.mark.parametrize("looked_around", [False, True])
def test_a_tab_that_slept_through_a_restart_need_not_turn_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, looked_around: bool
) -> None:
    handlers = handlers_of(store)
    monkeypatch.setattr("chatui.handlers.CATCH_UP_S", 0)
    before = store.new_conversation()
    if looked_around:
        handlers.tick(tab(before))
    assert asyncio.run(last(handlers.send("hello", False, 5, tab(before))))["conv"] == before
    assert asyncio.run(last(handlers.open(tab(before), turned_to("", 6))))["conv"] is None


def test_a_first_message_waits_too_for_what_was_turned_to(store: Store) -> None:
    handlers = handlers_of(store)

    async def visit() -> dict:
        sent = asyncio.create_task(last(handlers.send("between us", False, 1, tab())))
        await asyncio.sleep(0)
        await last(handlers.load(tab()))
        await last(handlers.open(tab(), turned_to("", 1, temporary=True)))
        return await sent

    assert asyncio.run(visit())["temporary"]
    assert store.conversations() == []


def test_a_reply_that_nobody_writes_is_followed_once(store: Store) -> None:
    handlers = handlers_of(store)
    asyncio.run(last(handlers.load(tab())))
    assert handlers.tick(tab())[1] != SKIP

    async def visit() -> list[tuple]:
        return [parts async for parts in handlers.attach(tab())]

    asyncio.run(visit())
    assert handlers.tick(tab())[1] == SKIP


def test_of_two_conversations_turned_to_the_later_is_shown_whichever_comes_first(store: Store) -> None:
    handlers = handlers_of(store)
    earlier, later = store.new_conversation(), store.new_conversation()

    async def visit() -> dict:
        await last(handlers.open(tab(), turned_to(later, 2)))
        return [parts async for parts in handlers.open(tab(), turned_to(earlier, 1))]

    assert asyncio.run(visit()) == [NOTHING]
    assert handlers.tabs.get("tab").conversation_id == later


def test_of_two_conversations_turned_to_the_later_is_shown_however_long_the_first_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = handlers_of(store)
    slow = asyncio.run(last(handlers.send("hello", False, 0, tab())))["conv"]
    at_once = store.opening

    def opening(conversation: str) -> object:
        monkeypatch.setattr(store, "opening", at_once)
        asyncio.run(last(handlers.open(tab(), turned_to("", 2))))
        return at_once(conversation)

    monkeypatch.setattr(store, "opening", opening)

    async def visit() -> list[tuple]:
        return [parts async for parts in handlers.open(tab(), turned_to(slow, 1))]

    assert asyncio.run(visit()) == [NOTHING]
    assert (handlers.tabs.get("tab").conversation_id, handlers.tabs.get("tab").place) == (None, 2)


def test_a_tab_is_told_again_where_it_was_turned_to_as_the_answer_may_have_been_lost(store: Store) -> None:
    handlers = handlers_of(store)
    first, second = store.new_conversation(), store.new_conversation()
    for number, conversation in enumerate((second, first, second), start=1):
        asyncio.run(last(handlers.open(tab(), turned_to(conversation, number))))
        if number == 1:
            assert handlers.tick(tab())[1]["conv"] == second
    assert handlers.tick(tab())[1]["conv"] == second
    assert handlers.tick(tab())[1] == SKIP


def test_a_deletion_taken_back_in_a_temporary_chat_ends_that_chat(store: Store) -> None:
    handlers = handlers_of(store)

    async def visit() -> tuple[dict, dict]:
        kept = (await last(handlers.send("hello", False, 0, tab())))["conv"]
        await last(handlers.open(tab(), turned_to("", 1, temporary=True)))
        secret = await last(handlers.send("A secret", False, 1, tab()))
        asked = SimpleNamespace(_data={"id": kept})
        still = await last(handlers.delete(tab(), asked))
        assert still["conv"] == secret["conv"]
        return secret, await last(handlers.undelete(tab(), asked))

    secret, back = asyncio.run(visit())
    assert [m["role"] for m in back["msgs"]] == ["user", "assistant"]
    assert handlers.temporary.get(secret["conv"]) is None


def test_what_was_drawn_while_a_reply_was_followed_does_not_come_after_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = handlers_of(store)
    asyncio.run(last(handlers.send("hello", False, 0, tab())))
    following, chat = handlers.tabs.following("tab"), handlers.views.chat

    def drawn(*args: object) -> object:
        parts = chat(*args)
        following.__exit__(None, None, None)  # the reply ends after this was drawn and before it is sent
        return parts

    monkeypatch.setattr(handlers.views, "chat", drawn)
    following.__enter__()
    assert handlers.tick(tab())[:3] == (SKIP, SKIP, SKIP)
    monkeypatch.undo()
    assert handlers.tick(tab())[1]["running"] is False
