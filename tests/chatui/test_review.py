"""The review tab in a browser, and its endpoints."""

import pytest
from gradio_client import Client

from chatui.review_handlers import wanted_of
from feedback.errors import BadInput
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import served
from tests.chatui.scripted import wait_for


def fill(store: Store, *names: str) -> dict[str, str]:
    """Take in a question and a reply for each name; return the replies' ids."""
    for name in names:
        turns = (
            IncomingMessage("user", f"What is {name}?"),
            IncomingMessage("assistant", f"{name} it is.", finish="end"),
        )
        store.take_in([Incoming(name, turns)])
    return {name: store.history(name)[1].id for name in names}


def judged(store: Store) -> dict[str, str | None]:
    return {f.conversation_id: f.verdict for f in store.feedback()}


@pytest.mark.parametrize(
    "look",
    [
        *({"version": wrong} for wrong in ("new", "3000000000", "inf")),
        {"since": "yesterday"},
        {"until": "31.12.2026"},
    ],
)
def test_a_filter_that_cannot_be_read_is_named(look: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=next(iter(look.values()))):
        wanted_of(look)


def test_the_endpoints_list_and_judge(data: DataSettings) -> None:
    with served(data) as running:
        reply = fill(running.app.store, "one", "two")
        client = Client(running.url, verbose=False)
        found = client.predict("unrated", {}, 20, api_name="/review_queue")
        assert {item["message_id"] for item in found["items"]} == set(reply.values())
        assert found["counts"] == {"unrated": 2, "doubtful": 0, "disputed": 0, "corrected": 0}
        client.predict(reply["one"], "approved", api_name="/review")
        left = client.predict("unrated", {}, 20, api_name="/review_queue")
        assert [item["message_id"] for item in left["items"]] == [reply["two"]]
        for arguments, told in ((["odd", {}, 20], "odd"), (["unrated", {"version": "x"}, 20], "'x'")):
            with pytest.raises(Exception, match=told):
                client.predict(*arguments, api_name="/review_queue")
        with pytest.raises(Exception, match="maybe"):
            client.predict(reply["one"], "maybe", api_name="/review")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_reviewer_goes_through_the_queue_with_keys(data: DataSettings) -> None:
    with served(data) as running, chromium() as browser:
        store = running.app.store
        reply = fill(store, "one", "two", "three", "four")
        for name in ("one", "two", "three", "four"):  # thumbs of two, so that each verdict shows in what is trained on
            store.rate(reply[name], 1, ["clear"], rater="ann")
            store.rate(reply[name], -1, ["wrong"], "no <b>way</b>" if name == "four" else "", rater="bob")
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US")
        page.goto(running.url)
        page.click("#rp-reviews")
        page.click(".rp-kind:has-text('Disputed')")
        page.locator(".rp-kind[aria-pressed=true] i", has_text="4").wait_for()

        def at(name: str) -> None:
            page.locator(".rp-answer", has_text=f"{name} it is.").wait_for()

        at("four")
        assert "no <b>way</b>" in page.inner_text(".rp-thumb.down")
        page.keyboard.press("a")
        at("three")
        page.keyboard.press("x")
        at("two")
        assert judged(store) == {"four": "approved", "three": "rejected", "two": None, "one": None}
        page.keyboard.press("s")
        at("one")
        page.keyboard.press("e")
        page.fill(".rp-item textarea", " ")
        page.keyboard.press("Control+Enter")
        page.locator(".rp-problem", has_text="The correction is empty").wait_for()
        page.locator(".rp-problem").evaluate("node => node.classList.add('old')")
        page.keyboard.press("Control+Enter")  # and once more: the answer is the same
        page.locator(".rp-problem:not(.old)").wait_for()
        assert page.input_value(".rp-item textarea") == " "  # still open, nothing lost
        page.fill(".rp-item textarea", "One is the first.")
        page.keyboard.press("Control+Enter")
        page.locator(".rp-nothing").wait_for()  # what was skipped waits for another visit
        assert (store.message(reply["one"]).correction, judged(store)["one"]) == ("One is the first.", "approved")
        page.keyboard.press("u")
        at("one")
        assert (store.message(reply["one"]).correction, judged(store)["one"]) == (None, None)
        page.keyboard.press("u")
        at("two")
        page.keyboard.press("u")
        at("three")
        wait_for(lambda: judged(store)["three"] is None)
        page.keyboard.press("?")
        assert "Approve" in page.inner_text(".rp-keys")
        page.keyboard.press("Escape")

        at("three")
        store.review(reply["three"], "rejected", reviewer="ann")  # while this page still shows it
        store.delete("three")
        page.keyboard.press("x")
        page.locator(".rp-problem", has_text="There is no conversation 'three'.").wait_for()
        store.undelete("three")
        page.locator(".rp-kind", has_text="Unrated").click()
        page.locator(".rp-nothing").wait_for()
        page.keyboard.press("u")
        wait_for(lambda: judged(store)["four"] is None)
        page.locator(".rp-do [data-act=undo][disabled]").wait_for()
        assert judged(store)["three"] == "rejected"
        store.review(reply["three"], "")

        store.rate(reply["two"], -1, ["long"], rater="cleo")
        page.locator(".rp-kind", has_text="Unrated").click()
        page.locator(".rp-nothing").wait_for()
        page.locator(".rp-kind", has_text="Disputed").click()
        page.locator(".rp-filters select").nth(1).select_option("cleo")
        at("two")
        page.locator(".rp-kind[aria-pressed=true] i", has_text="1").wait_for()
        page.locator(".rp-filters input").first.fill("2999-01-01")
        page.locator(".rp-nothing").wait_for()
        page.click("#rp-new")
        page.locator("#rp-ask").wait_for()
        assert page.locator(".rp-review").is_hidden()
