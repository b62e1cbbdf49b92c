"""What a reviewer is asked to rate, in a browser."""

from collections.abc import Iterator

import pytest
from gradio_client import Client

from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from tests.browser import CHROMIUM
from tests.chatui.running import Running, served
from tests.chatui.scripted import wait_for
from tests.chatui.visit import ready

SUBJECTS = ("bread", "rivers", "chess", "engines", "poems", "taxes", "orchids", "glaciers")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("asking"), base_model=str(tiny))
    with served(data) as made:
        for name in SUBJECTS:
            reply = IncomingMessage("assistant", f"Much of {name} is <b>known</b>.", finish="end", id=f"reply-{name}")
            made.app.store.take_in([Incoming(name, (IncomingMessage("user", f"What of {name}?"), reply))])
        yield made


def thumbs(store: Store) -> dict[str, int]:
    found = {name: store.message(f"reply-{name}").rating for name in SUBJECTS}
    return {name: value for name, value in found.items() if value}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_reviewer_rates_what_is_asked_about(page, running: Running) -> None:
    store = running.app.store
    page.click("#rp-reviews")
    page.locator(".rp-kind", has_text="Unrated").locator("i", has_text="8").wait_for()
    page.locator(".rp-kind", has_text="To rate").click()
    why = page.locator(".rp-why-asked")
    why.wait_for()
    assert why.inner_text() in ("Unlike anything rated yet", "Drawn by chance")
    assert page.locator(".rp-filters").count() == 0
    assert "Drawn by chance and answered: 0" in page.inner_text(".rp-rate")

    def shown() -> str:
        return page.inner_text(".rp-answer").split()[2]

    def after(key: str) -> str:
        """Press a key; return the subject that was asked about, once another is."""
        before = shown()
        page.keyboard.press(key)
        page.locator(".rp-answer", has_text=before).wait_for(state="detached")
        return before

    liked, disliked, skipped = after("+"), after("-"), after("s")
    wait_for(lambda: thumbs(store) == {liked: 1, disliked: -1})
    again = shown()
    page.reload()  # what is in hand is given again, not spent
    ready(page)
    page.click("#rp-reviews")
    page.locator(".rp-kind", has_text="To rate").click()
    why.wait_for()
    assert shown() == again
    corrected = again
    page.keyboard.press("e")
    page.fill(".rp-item textarea", "Better known.")
    page.keyboard.press("Control+Enter")
    page.locator(".rp-answer", has_text=corrected).wait_for(state="detached")
    assert store.message(f"reply-{corrected}").correction == "Better known."
    page.keyboard.press("u")
    page.locator(".rp-answer", has_text=corrected).wait_for()
    wait_for(lambda: store.message(f"reply-{corrected}").correction is None)
    page.click("[data-act=good]")
    page.locator(".rp-answer", has_text=corrected).wait_for(state="detached")
    page.keyboard.press("?")
    assert [line.split("\n")[0] for line in page.locator(".rp-keys dt").all_inner_texts()] == ["+", "-", "e", "s", "u"]
    page.keyboard.press("Escape")

    rest = []
    while page.locator(".rp-nothing").count() == 0:
        rest.append(after("+"))
        page.locator(".rp-why-asked, .rp-nothing").wait_for()
    assert {liked, disliked, skipped, corrected, *rest} == set(SUBJECTS)
    assert len(rest) == 4  # nothing was asked about twice
    page.locator(".rp-nothing", has_text="There is no reply worth asking about now.").wait_for()
    assert set(thumbs(store)) == set(SUBJECTS) - {skipped}
    assert Client(running.url, verbose=False).predict("ask", {}, 20, api_name="/review_queue")["items"] == []


def test_the_endpoint_gives_each_reply_once_and_takes_its_thumb(running: Running) -> None:
    store, client = running.app.store, Client(running.url, verbose=False)
    turns = (IncomingMessage("user", "What of comets?"), IncomingMessage("assistant", "Long ways.", finish="end"))
    store.take_in([Incoming("comets", turns)])
    found = client.predict("ask", {}, 20, api_name="/review_queue")
    assert [item["content"] for item in found["items"]] == ["Long ways."]
    (item,) = found["items"]
    assert item["why"] in ("unlike", "uncertain", "random")
    assert client.predict("ask", {}, 20, api_name="/review_queue")["items"] == []
    held = client.predict("ask", {"held": [item["message_id"]]}, 20, api_name="/review_queue")["items"]
    assert [one["message_id"] for one in held] == [item["message_id"]]
    client.predict(item["message_id"], -1, api_name="/answer")
    assert store.message(item["message_id"]).rating == -1
    turns = (IncomingMessage("user", "What of moons?"), IncomingMessage("assistant", "They rise.", id="moons"))
    store.take_in([Incoming("moons", turns)])
    with pytest.raises(Exception, match="Nobody was asked about reply 'moons'"):
        client.predict("moons", 1, api_name="/answer")
