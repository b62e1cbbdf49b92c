"""The page in a real browser: what a person clicks is on disk, and comes back."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chatui.settings import ChatSettings
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import IN_BROWSER, REPLY, composed, conversation, history, ready, say
from tests.feedback.talk import signals_of

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("browser"), base_model=str(tiny))
    chat = ChatSettings(port=0, max_new_tokens=40, temperature=1.0, reasons_down=["wrong", "off <topic>"])
    with served(data, chat) as made:
        yield made


def test_what_is_said_streams_and_is_there_after_a_reload(page, running: Running) -> None:
    say(page, "hello world, this is a test")
    assert history(page, running)[0].content == "hello world, this is a test"
    page.reload()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=up]")
    assert "hello world, this is a test" in page.locator(".user-row").inner_text()
    assert page.locator(".rp-entry.on").inner_text().startswith("hello world")
    assert page.locator(".rp-badge").inner_text() == "base model"


def test_a_thumb_its_reason_and_comment_are_kept_changed_and_taken_back(page, running: Running) -> None:
    say(page, "rate me")
    down, up = (page.locator(f"{REPLY} .rp-b[data-act={which}]") for which in ("down", "up"))
    down.click()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=down].on")
    assert history(page, running)[1].rating == -1
    assert page.locator(".rp-chip").all_inner_texts() == ["Factually wrong", "off <topic>"]
    page.click(".rp-chip[data-reason=wrong]")
    page.fill(".rp-card textarea", "that is not so")
    page.click(".rp-card .rp-save")
    wait_for(lambda: history(page, running)[1].comment == "that is not so")
    assert history(page, running)[1].reasons == ("wrong",)
    page.reload()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=down].on")
    why = page.locator(".rp-why")
    assert why.inner_text() == "Factually wrong · “that is not so”"
    assert why.evaluate("node => getComputedStyle(node, '::before').content") == "none"  # the review's line has a sign
    why.click()
    assert page.locator(".rp-card textarea").input_value() == "that is not so"
    assert page.locator(".rp-chip[aria-pressed=true]").all_inner_texts() == ["Factually wrong"]
    up.click()
    wait_for(lambda: history(page, running)[1].rating == 1)
    assert history(page, running)[1].reasons == ()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=up].on")
    page.keyboard.press("Escape")
    up.click()
    wait_for(lambda: history(page, running)[1].rating == 0)
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=up]:not(.on)")


def test_a_correction_is_kept_beside_the_original(page, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    # Plain words: a text box gives back no carriage return, which random weights may well write.
    monkeypatch.setattr(running.app.replies, "engine", ScriptedEngine(["It was ", "said so."]))
    say(page, "correct me")
    original = history(page, running)[1].content
    page.click(f"{REPLY} .rp-b[data-act=correct]")
    area = page.locator(".rp-edit textarea")
    area.wait_for()
    assert area.input_value() == original
    area.fill("It should\n\tsay <b>this</b> & that.")
    page.click(".rp-edit .rp-save")
    page.wait_for_selector(".rp-said")
    kept = history(page, running)[1]
    assert (kept.correction, kept.content) == ("It should\n\tsay <b>this</b> & that.", original)
    page.reload()
    page.wait_for_selector(".rp-said")
    assert "<b>this</b> & that." in page.locator(".rp-said").inner_text()


def test_an_edit_shows_what_it_changes_and_the_correction_can_stand_in_its_place(
    page, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Plain words: a text box gives back no carriage return, which random weights may well write.
    monkeypatch.setattr(running.app.replies, "engine", ScriptedEngine(["It was ", "said so."]))
    say(page, "show me what changes")
    reply = history(page, running)[1]
    page.click(f"{REPLY} .rp-b[data-act=correct]")
    area = page.locator(".rp-edit textarea")
    area.wait_for()
    assert page.locator(".rp-changes").is_hidden()
    area.fill(reply.content + " zebra")
    assert page.locator(".rp-changes ins", has_text="zebra").is_visible()
    page.click(".rp-edit .rp-save")
    page.click(".rp-said .rp-swap")
    page.locator(f"{REPLY} .message", has_text="zebra").wait_for()
    assert history(page, running)[1].shown.endswith(" zebra")
    page.reload()
    page.locator(f"{REPLY} .message", has_text="zebra").wait_for()
    page.click(".rp-said .rp-swap")
    page.locator(".rp-said span", has_text="zebra").wait_for()
    assert history(page, running)[1].shown == reply.content


def test_stop_ends_the_reply_with_its_text_so_far(page, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(["Once upon ", "a time"], gated=True)
    monkeypatch.setattr(running.app.replies, "engine", engine)
    page.fill("#rp-ask textarea", "a long story")
    page.keyboard.press("Enter")
    wait_for(lambda: bool(engine.gates))
    engine.gates[0].release()
    page.locator(f"{REPLY} .message", has_text="Once upon").wait_for()
    page.locator("#rp-ask .stop-button").click()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=up]")
    assert (history(page, running)[1].status, history(page, running)[1].content) == ("stopped", "Once upon ")
    assert page.locator("#rp-ask .submit-button").is_visible()


def test_conversations_are_listed_opened_and_begun_anew(page, running: Running) -> None:
    say(page, "the first conversation")
    first = conversation(page)
    page.click("#rp-new")
    page.wait_for_function("() => !document.querySelector('.message-row')")
    say(page, "the second conversation")
    assert conversation(page) != first
    page.locator(".rp-entry", has_text="the first conversation").first.click()
    page.wait_for_function("() => document.querySelector('.user-row')?.innerText.includes('the first')")
    assert conversation(page) == first


def test_another_reply_is_a_sibling_and_the_arrows_step_through_them(page, running: Running) -> None:
    say(page, "say it twice")
    first = history(page, running)[1]
    before = page.locator(f"{REPLY} .rp-b[data-act=regenerate]").bounding_box()
    page.click(f"{REPLY} .rp-b[data-act=regenerate]")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    assert page.locator(f"{REPLY} .rp-b[data-act=regenerate]").bounding_box()["x"] == before["x"]
    second = history(page, running)[1]
    assert second.siblings == (first.id, second.id)
    place = page.locator(f"{REPLY} .rp-b[data-act=regenerate]").bounding_box()
    page.click(".rp-b[data-act=previous]")
    page.locator(".rp-steps", has_text="1/2").wait_for()
    assert page.locator(f"{REPLY} .rp-b[data-act=regenerate]").bounding_box()["x"] == place["x"]
    assert history(page, running)[1].id == first.id
    assert page.locator(f"{REPLY} .rp-fx").get_attribute("data-id") == first.id
    page.click(".rp-b[data-act=next]")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    page.click(".rp-b[data-act=next]")  # right at the end writes another one
    page.locator(".rp-steps", has_text="3/3").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    assert signals_of(running.app.store, first.id) == ["regenerated"]


def test_editing_ones_own_message_begins_a_branch(page, running: Running) -> None:
    say(page, "the first wording")
    page.hover(".user-row")
    page.click(".user-row .rp-b[data-act=edit]")
    area = page.locator(".rp-edit textarea")
    area.wait_for()
    assert area.input_value() == "the first wording"
    area.fill("another wording")
    page.click(".rp-edit .rp-save")
    page.locator(".user-row", has_text="another wording").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    assert [m.content for m in history(page, running)][:1] == ["another wording"]
    page.click(".user-row .rp-b[data-act=previous]")
    page.locator(".user-row", has_text="the first wording").wait_for()


def test_a_reply_at_its_limit_can_go_on(page, running: Running) -> None:
    from dataclasses import replace

    sampling = running.app.replies.sampling
    running.app.replies.sampling = replace(sampling, max_new_tokens=3, temperature=0)
    try:
        say(page, "a story without end")
        cut = history(page, running)[1]
        if cut.finish != "length":
            pytest.skip("the tiny model ended by itself within three tokens")
        page.click(f"{REPLY} .rp-b[data-act=go_on]")
        page.locator(".rp-steps", has_text="2/2").wait_for()
        page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
        longer = history(page, running)[1]
        assert longer.content.startswith(cut.content)
        assert running.app.store.message(cut.id).content == cut.content
    finally:
        running.app.replies.sampling = sampling


def test_how_a_reply_came_to_be_is_shown_on_demand(page, running: Running) -> None:
    say(page, "how was this made")
    page.click(f"{REPLY} .rp-b[data-act=facts]")
    facts = page.locator(".rp-facts")
    facts.wait_for()
    assert "base model" in facts.inner_text()
    assert re.search(r"\d+ read, \d+ written", facts.inner_text())


def test_conversations_are_found_renamed_deleted_and_brought_back(page, running: Running) -> None:
    say(page, "where did the zebra go")
    say(page, "天气怎么样")
    found = conversation(page)
    page.click("#rp-new")
    page.wait_for_function("() => !document.querySelector('.message-row')")
    say(page, "nothing of that sort")
    for query in ("ZEBRA", "天气", "zebra the"):
        page.fill("#rp-search :is(input, textarea)", "there is no such word")
        page.locator(".rp-none").wait_for()
        page.fill("#rp-search :is(input, textarea)", query)
        page.wait_for_function("() => document.querySelectorAll('.rp-entry').length === 1")
        assert page.locator(".rp-entry").get_attribute("data-id") == found
        assert page.locator(".rp-entry mark").count() > 0
    page.fill("#rp-search :is(input, textarea)", "there is no such word")
    page.locator(".rp-none").wait_for()
    page.fill("#rp-search :is(input, textarea)", "zebra")
    page.locator(f".rp-entry[data-id='{found}']").wait_for()
    page.locator(".rp-entry-more").first.click()
    page.click(".rp-menu .rename")
    page.fill(".rp-entry input", "  All about   zebras ")
    page.keyboard.press("Enter")
    wait_for(lambda: "All about zebras" in [c.title for c in running.app.store.conversations()])
    page.fill("#rp-search :is(input, textarea)", "")
    entry = page.locator(f".rp-entry[data-id='{found}']")
    page.wait_for_function("() => document.querySelectorAll('.rp-entry').length > 1")
    entry.hover()
    entry.locator(".rp-entry-more").click()
    page.click(".rp-menu .remove")
    wait_for(lambda: found not in [c.id for c in running.app.store.conversations()])
    page.click(".rp-undo button")
    entry.wait_for()
    wait_for(lambda: found in [c.id for c in running.app.store.conversations()])
    page.locator(".user-row", has_text="where did the zebra go").wait_for()


@pytest.mark.parametrize(("kind", "ending", "holds"), [("md", ".md", "## You"), ("json", ".jsonl", '"role": "user"')])
def test_a_conversation_is_exported(page, running: Running, kind: str, ending: str, holds: str) -> None:
    from pathlib import Path

    say(page, "keep this for me")
    page.locator(".rp-entry.on").hover()
    page.locator(".rp-entry.on .rp-entry-more").click()
    with page.expect_download() as download:
        page.click(f".rp-menu .export_{kind}")
    assert download.value.suggested_filename == "keep-this-for-me" + ending
    text = Path(download.value.path()).read_text()
    assert holds in text
    assert "keep this for me" in text


def test_keys_do_what_their_list_says(page, running: Running) -> None:
    say(page, "use the keyboard")
    page.keyboard.press("Escape")  # out of the composer
    page.keyboard.press("+")
    wait_for(lambda: history(page, running)[1].rating == 1)
    page.keyboard.press("Escape")
    page.keyboard.press("-")
    wait_for(lambda: history(page, running)[1].rating == -1)
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    page.keyboard.press("[")
    page.locator(".rp-steps", has_text="1/2").wait_for()
    page.keyboard.press("e")
    page.locator(".rp-edit textarea").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.closest('#rp-ask') !== null")
    page.keyboard.type("?")
    assert page.input_value("#rp-ask textarea") == "?"
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.closest('#rp-search') !== null")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.locator(".rp-keys[open]").wait_for()
    page.keyboard.press("Escape")


def test_the_page_says_which_version_learned_a_correction(page, running: Running) -> None:
    from feedback.frozen import PairRow
    from feedback.schema import now

    store = running.app.store
    say(page, "learn this from me")
    reply = history(page, running)[1].id
    store.correct(reply, "What I taught.")
    run = store.open_run({})
    correction = store.message(reply).correction_id
    store.freeze_dataset(run, {}, {}, [PairRow(reply, correction, "correction", 1.0, "train")], now())
    store.add_version(7, "adapter", "versions/007", run, "refused", "", {})
    page.locator(".rp-said", has_text="learned by version 7").wait_for()
    page.get_by_role("button", name="learned by version 7").click()
    page.locator(".rp-version", has_text="Version 7").locator("[aria-expanded=true]").wait_for()
    page.click("#rp-learning")  # back to the chat
    store.correct(reply, "What I taught, but better.")
    page.locator(".rp-said", has_text="but better").wait_for()
    assert "learned by" not in page.locator(".rp-said").inner_text()


def test_a_second_tab_sees_what_the_first_does(page, running: Running) -> None:
    say(page, "seen twice")
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(f"{REPLY} .rp-b[data-act=up]")
    page.click(f"{REPLY} .rp-b[data-act=up]")
    other.wait_for_selector(f"{REPLY} .rp-b[data-act=up].on")
    say(page, "once more")
    other.locator(".user-row", has_text="once more").wait_for()


def test_every_row_has_its_own_bar(page, running: Running) -> None:
    for n in range(3):
        say(page, f"turn {n}")
    ids = page.locator(".message-row .rp-fx").evaluate_all("bars => bars.map(bar => bar.dataset.id)")
    assert ids == [m.id for m in history(page, running)]


def test_an_error_reaches_the_page_as_a_notice_and_the_text_is_not_lost(page, running: Running) -> None:
    page.fill("#rp-ask textarea", "word " * 400)
    page.keyboard.press("Enter")
    page.locator(".rp-tell", has_text="reads at most").wait_for()
    composed(page, "word " * 400)
    assert page.locator(".message-row").count() == 0


def test_a_message_makes_the_browser_ask_no_other_host(page, running: Running) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{elsewhere.server_port}"
        text = f"![a]({url}/picture.png) <img src='{url}/tag.png'> <video src='{url}/film'></video>"
        tab = page.context.new_page()
        tab.goto(running.url)
        ready(tab)
        say(tab, text)
        tab.evaluate(f"fetch('{url}/fetched').catch(() => null)")
        assert tab.locator(".user-row img").count() > 0  # it was drawn, and not fetched
        elsewhere.shutdown()
    assert asked == []


def test_text_that_looks_like_a_script_is_only_text(page, running: Running) -> None:
    say(page, "<img src=x onerror=document.body.dataset.hacked=1> ${alert(1)} {{7*7}} <script>1</script>")
    assert page.evaluate("document.body.dataset.hacked ?? null") is None
    assert "${alert(1)} {{7*7}}" in page.locator(".user-row").inner_text()
    assert "<img src=x" in page.locator(".rp-entry.on").inner_text()


def test_markdown_code_and_formulas_are_drawn_and_weak_signals_kept(
    page, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "A **bold** word.\n\n$$x^2$$\n\n```python\nprint(1)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    monkeypatch.setattr(running.app.replies, "engine", ScriptedEngine([text]))
    say(page, "show me everything")
    for drawn in ("strong", ".katex", "pre code", "table td", "button[title*=opy], .copy_code_button"):
        page.locator(f"{REPLY} {drawn}").first.wait_for()
    asked, reply = (m.id for m in history(page, running))
    page.click(f"{REPLY} .rp-b[data-act=copy]")
    wait_for(lambda: signals_of(running.app.store, reply) == ["copied"])
    page.click(f"{REPLY} .rp-b[data-act=regenerate]")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    wait_for(lambda: signals_of(running.app.store, reply) == ["copied", "regenerated"])
    page.click(".user-row .rp-b[data-act=edit]")
    page.fill(".rp-edit textarea", "show me less")
    page.click(".rp-edit .rp-save")
    page.locator(".user-row", has_text="show me less").wait_for()
    wait_for(lambda: signals_of(running.app.store, asked) == ["edited"])


def test_what_no_longer_fits_the_model_is_said(page, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(ScriptedEngine):
        def begin(self, messages, *args, **kwargs):
            generation = super().begin(messages, *args, **kwargs)
            generation.kept = generation.kept[2:]
            return generation

    monkeypatch.setattr(running.app.replies, "engine", ScriptedEngine(["Yes."]))
    say(page, "the first of all")
    monkeypatch.setattr(running.app.replies, "engine", Forgetful(["No."]))
    say(page, "the second")
    page.locator(".rp-note", has_text="2 earlier messages no longer fitted").wait_for()


def test_the_page_speaks_the_browsers_language_and_can_be_switched(browser, running: Running) -> None:
    context = browser.new_context(locale="zh-CN")
    tab = context.new_page()
    tab.goto(running.url)
    tab.locator("#rp-new", has_text="新对话").wait_for()
    tab.locator("#rp-ask textarea[placeholder='给模型发消息…']").wait_for()
    tab.locator(".rp-empty", has_text="想聊点什么？").wait_for()
    tab.click("#rp-learning")
    tab.locator(".rp-learn h1", has_text="模型学到了什么").wait_for()
    tab.click("#rp-language")
    tab.locator("#rp-new", has_text="New chat").wait_for()
    tab.reload()
    tab.locator("#rp-new", has_text="New chat").wait_for()
    tab.wait_for_function("document.documentElement.lang === 'en'")  # Gradio's own choice is undone
    context.close()


def test_a_phone_shows_the_chat_first_without_sideways_scroll(browser, running: Running) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto(running.url)
    tab.wait_for_selector("#rp-ask textarea")
    tab.wait_for_function("() => !document.querySelector('#rp-side.open')")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_the_dark_switch_is_remembered(page, running: Running) -> None:
    page.click("#rp-theme")
    dark = page.evaluate("document.body.classList.contains('dark')")
    page.reload()
    page.wait_for_selector("#rp-ask textarea")
    assert page.evaluate("document.body.classList.contains('dark')") == dark
