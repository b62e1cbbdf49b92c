"""Personas and sampling settings on their way to the engine, and on the page."""

from pathlib import Path

import pytest
from gradio_client import Client

from chatui.engine.protocol import Sampling
from chatui.personas import SHIPPED, known_personas, opening_with, shown_opening
from chatui.replies import Replies
from chatui.speaks import languages_spoken
from chatui.words import LANGUAGES
from feedback.errors import NotFound
from feedback.records import Opening
from feedback.settings import DataSettings
from feedback.store import Store
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import served
from tests.chatui.scripted import ScriptedEngine, wait_for


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(f"sqlite:///{tmp_path}/rapport.db")
    made.add_base("base")
    return made


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_shipped_persona_has_its_words_and_usable_settings(store: Store, language: str) -> None:
    assert {persona["id"] for persona in known_personas(store, language)} == set(SHIPPED)
    for key in SHIPPED:
        conversation = store.new_conversation(opening=opening_with(store, key, language))
        assert store.opening(conversation).system_prompt
    with pytest.raises(NotFound):
        opening_with(store, "pirate")


def test_the_engine_is_given_the_system_prompt_and_the_settings(store: Store) -> None:
    engine = ScriptedEngine(["Ahoy."])
    replies = Replies(store, engine, Sampling(max_new_tokens=64))
    conversation = store.new_conversation(opening=Opening("Captain", "Speak like one.", {"temperature": 1.5}))
    live = replies.send(conversation, "Hello")
    wait_for(lambda: not live.running)
    assert engine.asked[-1] == [("system", "Speak like one."), ("user", "Hello")]
    store.set_sampling(conversation, {"top_k": 7})
    again = replies.regenerate(live.message_id)
    wait_for(lambda: not again.running)
    assert engine.asked[-1] == [("system", "Speak like one."), ("user", "Hello")]
    first, second = (store.reply_facts(m)["sampling"] for m in (live.message_id, again.message_id))
    assert (first["temperature"], first["top_k"], first["max_new_tokens"]) == (1.5, 50, 64)
    assert (second["temperature"], second["top_k"]) == (0.2, 7)
    edited = replies.edit(live.user_message_id, "Good day")
    wait_for(lambda: not edited.running)
    assert engine.asked[-1] == [("system", "Speak like one."), ("user", "Good day")]
    replies.close()


def test_a_default_conversation_sends_no_system_prompt(store: Store) -> None:
    engine = ScriptedEngine(["Hi."])
    replies = Replies(store, engine, Sampling())
    live = replies.send(store.new_conversation(), "Hello")
    wait_for(lambda: not live.running)
    assert engine.asked == [[("user", "Hello")]]
    replies.close()


def test_personas_over_the_endpoints(data: DataSettings) -> None:
    with served(data) as running:
        running.app.replies.engine = engine = ScriptedEngine(["Ahoy."])
        client = Client(running.url, verbose=False)
        made = client.predict("Captain", "Speak like one.", {"temperature": 1.5}, api_name="/keep_persona")
        names = [p["name"] for p in client.predict(api_name="/personas")["personas"]]
        assert names == [
            "Customer service",
            "Personal assistant",
            "Tutor",
            "Entertainment",
            "Health information",
            "Captain",
        ]
        conversation = client.predict(made["persona_id"], {"top_k": 9}, api_name="/new_conversation")["conversation_id"]
        client.submit(conversation, "Hello", api_name="/send").result()
        assert engine.asked[-1][0] == ("system", "Speak like one.")
        held = running.app.store.opening(conversation).sampling
        assert held == {"temperature": 1.5, "top_k": 9}
        changed = client.predict(conversation, {"top_p": 0.5}, api_name="/sampling")["sampling"]
        assert (changed["top_p"], changed["top_k"]) == (0.5, 50)
        with pytest.raises(Exception, match="temperature 9"):
            client.predict(conversation, {"temperature": 9}, api_name="/sampling")
        client.predict(made["persona_id"], api_name="/drop_persona")
        assert len(client.predict(api_name="/personas")["personas"]) == 5


def test_a_language_that_is_cut_into_bytes_was_not_taught() -> None:
    engine = ScriptedEngine([])  # counts bytes: three for a Chinese character
    assert languages_spoken(engine) == {"en": True, "zh": False}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_persona_is_chosen_made_and_tuned_in_the_browser(data: DataSettings) -> None:
    with served(data) as running, chromium() as browser:
        running.app.replies.engine = engine = ScriptedEngine(["Sit ", "down."])
        store = running.app.store
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US")
        page.goto(running.url)

        def say(text: str) -> str:
            page.fill("#rp-ask textarea", text)
            page.keyboard.press("Enter")
            page.locator(".bot-row", has_text="Sit down.").last.wait_for()
            return page.evaluate("new URL(location).searchParams.get('c')")

        page.click(".rp-persona:has-text('No persona')")
        page.click(".rp-pick:has-text('Health information')")
        page.locator(".rp-persona", has_text="Health information").wait_for()
        assert "no diagnosis" in page.inner_text("#rp-limits")
        first = say("I have a headache")
        assert engine.asked[-1][0][0] == "system"
        assert "not a doctor" in engine.asked[-1][0][1]
        assert store.opening(first).persona == "health"
        assert page.locator(".message-row").count() == 2  # the system prompt is not drawn as something said

        page.click(".rp-persona")
        page.locator("input[data-name=top_k]").evaluate("(n) => { n.value = 7; n.dispatchEvent(new Event('change')); }")
        wait_for(lambda: store.opening(first).sampling == {"temperature": 0.1, "top_k": 7})
        page.click(".rp-panel .rp-small:has-text('Reset')")
        wait_for(lambda: store.opening(first).sampling == {"temperature": 0.1})

        page.click(".rp-panel .rp-small:has-text('Make your own')")
        page.fill(".rp-panel form input", "Captain")
        page.fill(".rp-panel form textarea", "Speak like one.")
        page.click(".rp-panel .rp-save")
        page.locator(".rp-persona", has_text="Captain").wait_for()
        second = say("Hello")
        assert engine.asked[-1][0] == ("system", "Speak like one.")
        page.reload()
        page.locator(".rp-persona", has_text="Captain").wait_for()
        assert store.persona(store.opening(second).persona).name == "Captain"

        page.click(".rp-persona")
        page.dblclick(".rp-drop")  # there is no undo, so it asks once more
        wait_for(lambda: store.personas() == [])
        page.keyboard.press("Escape")
        page.click("#rp-new")
        page.locator(".rp-persona", has_text="No persona").wait_for()
        assert page.locator("#rp-limits").inner_text() == ""

        chinese = browser.new_page(locale="zh-CN")
        chinese.goto(running.url)
        chinese.locator(".rp-persona", has_text="无角色").click()
        chinese.locator(".rp-pick", has_text="健康信息").wait_for()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_text_files_are_sent_with_a_message_and_a_language_that_was_not_taught_is_told(data: DataSettings) -> None:
    with served(data) as running, chromium() as browser:
        running.app.replies.engine = engine = ScriptedEngine(["Read ", "it."])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="zh-CN")
        page.goto(running.url)
        page.locator("#rp-speaks", has_text="中文").wait_for()

        page.set_input_files("#rp-files input[type=file]", {"name": "a.bin", "mimeType": "x/y", "buffer": b"a\x00b"})
        page.locator(".rp-file.bad", has_text="a.bin").wait_for()
        long = {"name": "long.txt", "mimeType": "text/plain", "buffer": b"x" * 100_001}
        page.set_input_files("#rp-files input[type=file]", long)
        page.locator(".rp-file.bad", has_text="long.txt").wait_for()
        dropped = """() => {
          const data = new DataTransfer();
          data.items.add(new File(['tea\\n```\\n  milk\\n'], 'list.md', { type: 'text/markdown' }));
          document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
        page.evaluate(dropped)
        page.locator(".rp-file:not(.bad)", has_text="list.md").wait_for()
        page.fill("#rp-ask textarea", "What is on it?")
        page.keyboard.press("Enter")
        page.locator(".bot-row", has_text="Read it.").wait_for()
        assert engine.asked[-1] == [("user", "What is on it?\n\nlist.md\n````\ntea\n```\n  milk\n````")]
        assert page.locator(".rp-file").count() == 0
        assert page.locator("#rp-speaks").is_hidden()
        page.locator(".bot-row .rp-b[data-act=up]").wait_for()  # its text stands there before its end is kept
        page.fill("#rp-ask textarea", "And now?")
        page.keyboard.press("Enter")
        page.locator(".bot-row").nth(1).wait_for()
        assert engine.asked[-1][-1] == ("user", "And now?")


def test_of_two_personas_of_one_name_each_conversation_keeps_its_own(store: Store) -> None:
    for top_k in (1, 2):
        key = store.keep_persona("Captain", "Speak like one.", {"top_k": top_k})
        shown = shown_opening(store, opening_with(store, key))
        assert (shown["persona"], shown["persona_id"], shown["base"]) == ("Captain", key, {"top_k": top_k})
