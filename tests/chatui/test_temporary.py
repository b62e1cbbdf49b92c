"""Temporary chats: a reply like any other, and not a word of it in the record."""

import pytest
from gradio_client import Client

from chatui.engine.protocol import Sampling
from chatui.temporary import TemporaryChats
from feedback.errors import BadInput, Busy
from feedback.records import Opening
from feedback.settings import DataSettings
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import ready


def test_a_chat_goes_on_with_what_was_said_and_is_forgotten() -> None:
    engine = ScriptedEngine(["Well."])
    chats = TemporaryChats(engine, Sampling(), 60.0)
    chat = chats.open(Opening("Captain", "Speak like one."))
    for text in ("One", "Two"):
        live = chats.send(chat, text)
        wait_for(lambda: not live.running)  # noqa: B023
    assert engine.asked[-1] == [
        ("system", "Speak like one."), ("user", "One"), ("assistant", "Well."), ("user", "Two"),
    ]  # fmt: skip
    chats.forget(chat)
    assert chats.get(chat) is None
    with pytest.raises(BadInput, match="gone"):
        chats.send(chat, "Three")


def test_a_reply_is_stopped_and_one_at_a_time_is_written() -> None:
    engine = ScriptedEngine(["a", "b"], gated=True)
    chats = TemporaryChats(engine, Sampling(), 60.0)
    chat = chats.open(Opening())
    live = chats.send(chat, "One")
    engine.gates[0].release()
    wait_for(lambda: live.text == "a")
    with pytest.raises(Busy):
        chats.send(chat, "Two")
    chats.stop(chat)
    wait_for(lambda: not live.running)
    kept = chats.get(chat)
    assert kept is not None
    assert [(m.content, m.status) for m in kept.said] == [("One", "complete"), ("a", "stopped")]


def test_a_reply_is_written_at_the_pace_of_all_replies() -> None:
    chats = TemporaryChats(ScriptedEngine(["a"]), Sampling(), 60.0, pace=lambda: 0.125)
    assert chats.send(chats.open(Opening()), "One").generation.pace() == 0.125


def test_a_failed_reply_says_so_and_the_chat_stays() -> None:
    chats = TemporaryChats(ScriptedEngine(["a", "!"]), Sampling(), 60.0)
    chat = chats.open(Opening())
    live = chats.send(chat, "One")
    wait_for(lambda: not live.running)
    assert (live.status, live.error) == ("error", "The model broke.")


def test_the_endpoint_keeps_nothing(data: DataSettings) -> None:
    with served(data) as running:
        running.app.temporary.engine = ScriptedEngine(["Of ", "course."])
        client = Client(running.url, verbose=False)
        last = list(client.submit([{"role": "user", "content": "Hello"}], {}, api_name="/temporary"))[-1]
        assert (last["text"], last["status"], last["version"]) == ("Of course.", "complete", 0)
        for wrong, told in (([], "last message"), ([{"role": "bot", "content": "x"}], "role")):
            with pytest.raises(Exception, match=told):
                client.submit(wrong, {}, api_name="/temporary").result()
        assert running.app.store.stats()["messages"] == 0


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_temporary_chat_in_the_browser_leaves_no_trace(data: DataSettings) -> None:
    with served(data) as running, chromium() as browser:
        running.app.temporary.engine = engine = ScriptedEngine(["Between ", "us."])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US")
        page.goto(running.url)
        ready(page)
        page.click("#rp-temporary")
        page.locator("#rp-limits", has_text="not kept").wait_for()
        for text in ("A secret", "Another"):
            page.fill("#rp-ask textarea", text)
            page.keyboard.press("Enter")
            page.locator(".user-row", has_text=text).wait_for()
            page.locator(".rp-dot").wait_for(state="detached")
        page.locator(".bot-row").nth(1).wait_for()
        assert engine.asked[-1] == [("user", "A secret"), ("assistant", "Between us."), ("user", "Another")]
        assert page.locator(".bot-row .rp-b").count() == 2  # copying is all there is to do
        page.locator(".bot-row .rp-b[data-act=copy]").first.click()
        assert page.locator(".rp-entry").count() == 0
        assert "c=" not in page.url
        assert running.app.store.stats()["messages"] == 0
        page.click("#rp-new")
        page.locator("#rp-limits", has_text="not kept").wait_for(state="detached")
        page.locator(".message-row").first.wait_for(state="detached")
        assert running.app.temporary._chats == {}
        page.click("#rp-temporary")
        page.locator("#rp-limits", has_text="not kept").wait_for()
        page.close()
        wait_for(lambda: running.app.temporary._chats == {})
