"""Two replies side by side: who writes them, what is told when, and the page."""

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from chatui.engine.protocol import EngineState, Sampling
from chatui.replies import Replies
from feedback.records import Opening
from feedback.settings import DataSettings
from feedback.store import Store
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import served
from tests.chatui.scripted import ScriptedEngine, wait_for


class TwoVersions(ScriptedEngine):
    """Serves versions 0 and 1."""

    def state(self) -> EngineState:
        return EngineState("ready", "", (0, 1))

    def begin(self, messages, sampling, stay_with=None, begun=""):
        generation = super().begin(messages, sampling, stay_with, begun)
        generation.version = stay_with if stay_with is not None else 0
        return generation


@pytest.fixture
def versions(store: Store) -> Store:
    """A record with a base and a version 1."""
    store.add_base("base")
    store.add_version(1, "adapter", "versions/001", store.open_run({}), "promoted", "better", {})
    return store


def test_two_versions_write_one_each_when_two_serve(versions: Store) -> None:
    replies = Replies(versions, TwoVersions(["Yes."]), Sampling())
    conversation = versions.new_conversation(opening=Opening("Captain", "Speak like one."))
    one, left, right = replies.compare(conversation, "Ready?")
    wait_for(lambda: not left.running and not right.running)
    assert {left.generation.version, right.generation.version} == {0, 1}
    assert replies.engine.asked == [[("system", "Speak like one."), ("user", "Ready?")]] * 2  # type: ignore[attr-defined]
    judged = versions.judge_comparison(one, "right")
    assert (judged.left_version, judged.right_version) == (left.generation.version, right.generation.version)
    replies.close()


def test_one_version_writes_two_warm_samples(versions: Store) -> None:
    replies = Replies(versions, ScriptedEngine(["Yes."]), Sampling(temperature=0.0, seed=7))
    _, left, right = replies.compare(versions.new_conversation(), "Ready?")
    wait_for(lambda: not left.running and not right.running)
    for live in (left, right):
        kept = versions.reply_facts(live.message_id)["sampling"]
        assert (kept["temperature"], kept["seed"]) == (0.7, None)
    replies.close()


def test_stop_ends_both(versions: Store) -> None:
    replies = Replies(versions, ScriptedEngine(["Yes", " and"], gated=True), Sampling())
    conversation = versions.new_conversation()
    _, left, right = replies.compare(conversation, "Ready?")
    assert len(replies.live(conversation)) == 2
    assert replies.stop(conversation)
    wait_for(lambda: not left.running and not right.running)
    assert [m.status for m in (versions.message(left.message_id), versions.message(right.message_id))] == [
        "stopped"
    ] * 2
    replies.close()


def test_the_endpoints_keep_the_names_back_until_it_is_judged(data: DataSettings) -> None:
    with served(data) as running:
        running.app.replies.engine = ScriptedEngine(["Of ", "course."])
        client = Client(running.url, verbose=False)
        conversation = client.predict(api_name="/new_conversation")["conversation_id"]
        last = list(client.submit(conversation, "Ready?", api_name="/compare"))[-1]
        reply_id = last["left"]["message_id"]
        assert last["left"] == {"message_id": reply_id, "text": "Of course.", "status": "complete", "error": None}
        assert [m["version"] for m in client.predict(conversation, api_name="/history")["messages"]] == [None, None]
        with pytest.raises(Exception, match="'best'"):
            client.predict(last["comparison_id"], "best", api_name="/judge")
        told = client.predict(last["comparison_id"], "left", api_name="/judge")
        assert told["left"] == {"message_id": last["left"]["message_id"], "version": 0}
        shown = client.predict(conversation, api_name="/history")["messages"][-1]
        assert (shown["id"], shown["version"]) == (last["left"]["message_id"], 0)


class Halting(ScriptedEngine):
    """Breaks the first reply of two."""

    def begin(self, messages, sampling, stay_with=None, begun=""):
        self.pieces = ["Of ", "!"] if len(self.asked) % 2 == 0 else ["Of course."]
        return super().begin(messages, sampling, stay_with, begun)


def test_a_side_that_fails_says_why_and_leaves_the_other_to_be_judged(data: DataSettings) -> None:
    with served(data) as running:
        running.app.replies.engine = Halting([])
        client = Client(running.url, verbose=False)
        conversation = client.predict(api_name="/new_conversation")["conversation_id"]
        told = client.submit(conversation, "Ready?", api_name="/compare").result(60)
        assert (told["left"]["status"], told["left"]["error"]) == ("error", "The model broke.")
        assert (told["right"]["text"], told["right"]["error"]) == ("Of course.", None)
        assert client.predict(told["comparison_id"], "right", api_name="/judge")["outcome"] == "right"


def test_where_both_sides_fail_there_is_an_error_as_for_one_reply(data: DataSettings) -> None:
    with served(data) as running:
        running.app.replies.engine = ScriptedEngine(["!"])
        client = Client(running.url, verbose=False)
        conversation = client.predict(api_name="/new_conversation")["conversation_id"]
        with pytest.raises(AppError, match=r"^The model broke\.$"):
            client.submit(conversation, "Ready?", api_name="/compare").result(60)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_two_replies_are_compared_in_the_browser(data: DataSettings) -> None:
    with served(data) as running, chromium() as browser:
        engine = running.app.replies.engine = ScriptedEngine(["Of ", "course."], gated=True)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US")
        page.goto(running.url)
        page.click(".rp-two")
        page.fill("#rp-ask textarea", "Ready?")
        page.keyboard.press("Enter")
        page.locator(".rp-side").nth(1).wait_for()
        for gate in engine.gates:
            gate.release()
        page.locator(".rp-side", has_text="Of").nth(1).wait_for()
        assert page.locator(".rp-choose").get_attribute("class") == "rp-choose waits"
        page.reload()  # it is picked up again where it is
        page.locator(".rp-side", has_text="Of").nth(1).wait_for()
        for gate in engine.gates:
            gate.release()
            gate.release()
        page.locator(".rp-side", has_text="Of course.").nth(1).wait_for()
        page.locator(".rp-choose:not(.waits)").wait_for()
        places = "all => all.map(one => one.getBoundingClientRect().toJSON())"
        left, right = page.locator(".rp-side").evaluate_all(places)
        assert left["y"] == right["y"]
        assert left["x"] < right["x"]
        assert page.locator(".rp-badge").count() == 0
        assert "base model" not in page.inner_text("#rp-chat")

        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("1")
        page.locator(".rp-note", has_text="chosen; the other: base model").wait_for()
        assert page.locator(".rp-side").count() == 0
        assert page.locator(".rp-choose").is_hidden()
        assert page.locator(".rp-steps", has_text="1/2").is_visible()
        page.click(".rp-b[data-act=next]")
        page.locator(".rp-note", has_text="not chosen").wait_for()

        page.click(".rp-two")  # the reload had switched it off
        page.fill("#rp-ask textarea", "And now?")
        page.keyboard.press("Enter")
        wait_for(lambda: len(engine.gates) == 4)
        for gate in engine.gates[2:]:
            gate.release()
            gate.release()
        page.locator(".rp-choose:not(.waits) button", has_text="Both bad").click()
        page.locator(".rp-note", has_text="both bad; the other").wait_for()
