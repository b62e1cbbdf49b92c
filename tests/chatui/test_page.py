"""The page's smaller promises, in a browser: keys, dates, drawing, explaining, small screens."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from feedback.formats import Incoming, IncomingMessage
from feedback.schema import now
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import IN_BROWSER, REPLY, begin, conversation, history, say

pytestmark = IN_BROWSER
RICH = (
    "A **bold** word, a price of $5 and one of $6.\n\n$$\\frac{a}{b}$$\n\n"
    "```python\nprint('" + "x" * 120 + "')\n```\n\n"
    "| " + " | ".join(f"column {n}" for n in range(9)) + " |\n|" + "---|" * 9 + "\n|" + " cell |" * 9 + "\n\n"
    "https://example.org/" + "long" * 40
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("page"), base_model=str(tiny))
    with served(data) as made:
        yield made


@pytest.fixture
def engine(running: Running, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    scripted = ScriptedEngine(["It ", "is so."])
    monkeypatch.setattr(running.app.replies, "engine", scripted)
    return scripted


def test_a_button_that_is_a_sign_alone_says_what_it_does(page, running: Running) -> None:
    for sign, said in (("◐", "Light or dark"), ("?", "Keys")):
        button = page.locator("#rp-bar").get_by_role("button", name=said)
        button.wait_for()
        assert (button.inner_text(), button.get_attribute("title")) == (sign, said)


def test_every_key_of_the_list_does_what_the_list_says(page, running: Running, engine: ScriptedEngine) -> None:
    # The page gives the composer the focus once it has drawn its conversation; in there a slash is a slash.
    page.wait_for_function("() => document.activeElement === document.querySelector('#rp-ask textarea')")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    listed = page.locator(".rp-keys dt").all_inner_texts()
    assert listed == [
        "Enter", "Shift + Enter", "Esc", "/", "Ctrl + K", "Ctrl + Shift + O", "+", "-", "e", "r", "[", "]", "1 2 3 4",
        "?",
    ]  # fmt: skip
    assert len(page.locator(".rp-keys dd").all_inner_texts()) == len(listed)
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    assert history(page, running)[0].content == "one\ntwo"
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    page.keyboard.press("[")
    page.locator(".rp-steps", has_text="1/2").wait_for()
    page.keyboard.press("]")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    page.keyboard.press("+")
    wait_for(lambda: history(page, running)[1].rating == 1)
    page.locator(".rp-card").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("-")
    wait_for(lambda: history(page, running)[1].rating == -1)
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.locator(".rp-edit textarea").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.closest('#rp-search') !== null")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+O")
    page.wait_for_function("() => !document.querySelector('.message-row')")
    assert "c=" not in page.url
    engine.gated = True
    begin(page, "stop this")
    wait_for(lambda: len(engine.gates) == 3)
    engine.gates[-1].release()
    page.locator(f"{REPLY} .message", has_text="It").wait_for()
    page.keyboard.press("Escape")
    page.locator(f"{REPLY} .rp-note", has_text="stopped").wait_for()


def test_conversations_stand_under_their_dates(page, running: Running) -> None:
    turns = (IncomingMessage("user", "Then?"), IncomingMessage("assistant", "Then.", finish="end"))
    for days in (1, 4, 20, 400):
        running.app.store.take_in([Incoming(f"days-{days}", turns, created_at=now() - timedelta(days=days))])
    page.reload()
    page.locator(".rp-entry[data-id='days-400']").wait_for()
    groups = page.locator(".rp-list > :is(.rp-group, .rp-entry[data-id^=days])").evaluate_all(
        "nodes => nodes.map((node) => node.dataset.id ?? node.textContent)"
    )
    wanted = ["Yesterday", "days-1", "Previous 7 days", "days-4", "Previous 30 days", "days-20"]
    assert groups[groups.index("Yesterday") :][:6] == wanted
    assert groups[-1] == "days-400"
    assert groups[-2] == (now() - timedelta(days=400)).strftime("%B %Y")


def test_what_was_found_is_marked_in_chinese_and_escape_clears_the_search(
    page, running: Running, engine: ScriptedEngine
) -> None:
    say(page, "明天的天气怎么样？")
    page.click("#rp-new")
    page.wait_for_function("() => !document.querySelector('.message-row')")
    say(page, "something else")
    page.fill("#rp-search :is(input, textarea)", "天气")
    page.wait_for_function("() => document.querySelectorAll('.rp-entry').length === 1")
    assert set(page.locator(".rp-entry mark").all_inner_texts()) == {"天气"}
    page.focus("#rp-search :is(input, textarea)")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelectorAll('.rp-entry').length > 1")
    assert page.input_value("#rp-search :is(input, textarea)") == ""
    assert page.locator(".rp-entry mark").count() == 0


def test_code_is_copied_and_only_formulas_are_formulas(page, running: Running, engine: ScriptedEngine) -> None:
    engine.pieces = [RICH]
    say(page, "show me everything")
    page.locator(f"{REPLY} .katex .mfrac").first.wait_for()
    assert page.locator(f"{REPLY} .katex-display").count() == 1
    assert "a price of $5 and one of $6" in page.locator(f"{REPLY} .message").inner_text()
    page.hover(f"{REPLY} pre")
    page.locator(f"{REPLY} :is(button[title*=opy], .copy_code_button)").first.click()
    wait_for(lambda: page.evaluate("navigator.clipboard.readText()").startswith("print('xxx"))
    page.click(f"{REPLY} .rp-b[data-act=copy]")
    wait_for(lambda: page.evaluate("navigator.clipboard.readText()") == RICH)


def test_how_a_reply_came_to_be_has_its_times(page, running: Running, engine: ScriptedEngine) -> None:
    say(page, "how fast was that")
    reply = history(page, running)[1].id
    known = running.app.store.reply_facts(reply)
    page.click(f"{REPLY} .rp-b[data-act=facts]")
    text = page.locator(".rp-facts").inner_text()
    assert f"{known['prompt_tokens']} read, {known['completion_tokens']} written" in text
    assert f"{known['first_token_s']:.2f} s" in text
    speed = known["completion_tokens"] / (known["duration_s"] - known["first_token_s"])
    assert f"{speed:.1f} tokens a second" in text


def test_the_page_says_what_a_thumb_does(page, running: Running, engine: ScriptedEngine) -> None:
    say(page, "what will you do with it")
    page.click(f"{REPLY} .rp-b[data-act=up]")
    page.locator(".rp-hint", has_text="the next version learns to reply like this").wait_for()
    up = page.locator(".rp-chip").all_inner_texts()
    page.click(f"{REPLY} .rp-b[data-act=down]")
    page.locator(".rp-hint", has_text="becomes less likely to reply like this").wait_for()
    assert not set(up) & set(page.locator(".rp-chip").all_inner_texts())


def test_a_reply_on_another_branch_is_rated_and_unrated_after_a_reload(
    page, running: Running, engine: ScriptedEngine
) -> None:
    say(page, "two branches")
    first = history(page, running)[1].id
    page.click(f"{REPLY} .rp-b[data-act=regenerate]")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=down]").click()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=down].on")
    second = history(page, running)[1].id
    page.keyboard.press("Escape")
    page.click(".rp-b[data-act=previous]")
    page.locator(".rp-steps", has_text="1/2").wait_for()
    page.click(f"{REPLY} .rp-b[data-act=up]")
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=up].on")
    assert [running.app.store.message(m).rating for m in (first, second)] == [1, -1]
    page.reload()
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=up].on")
    page.click(f"{REPLY} .rp-b[data-act=up]")
    wait_for(lambda: running.app.store.message(first).rating == 0)
    page.click(".rp-b[data-act=next]")
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=down].on")


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_phone_scrolls_no_page_sideways_whatever_is_said(
    browser, running: Running, engine: ScriptedEngine, locale: str
) -> None:
    engine.pieces = [RICH]
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale=locale, device_scale_factor=2
    )
    tab = context.new_page()
    tab.goto(running.url)
    tab.wait_for_function("window.rpLearned")  # the scripts hear what is done
    say(tab, "word" * 60)
    tab.locator(f"{REPLY} .katex-display").wait_for()
    tab.click(f"{REPLY} .rp-b[data-act=down]")
    tab.locator(".rp-card").wait_for()

    def widest() -> int:
        return tab.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")

    assert widest() <= 390
    tab.click(".rp-card .rp-save")
    for view, drawn in (("learn", "#rp-survey .rp-at"), ("review", ".rp-kinds"), ("chat", ".rp-why")):
        tab.evaluate(f"document.body.dataset.view = '{view}'")
        tab.locator(drawn).wait_for(state="attached")
        assert widest() <= 390, view
    tab.click(".rp-persona")
    tab.locator(".rp-pick").first.wait_for()
    assert widest() <= 390
    assert conversation(tab)
    context.close()


def test_two_replies_are_judged_with_each_key(page, running: Running, engine: ScriptedEngine) -> None:
    page.click(".rp-two")
    for key, outcome, told in (
        ("1", "left", "chosen"),
        ("2", "right", "chosen"),
        ("3", "tie", "a tie"),
        ("4", "both_bad", "both bad"),
    ):
        begin(page, f"which, {key}?")
        page.locator(".rp-choose:not(.waits)").wait_for()
        page.keyboard.press("Escape")  # out of the composer
        left = page.locator(".rp-side .rp-fx").first.get_attribute("data-id")
        page.keyboard.press(key)
        page.locator(f"{REPLY} .rp-note", has_text=told).last.wait_for()
        page.locator(".rp-choose").wait_for(state="hidden")
        assert running.app.store.comparisons_of([left])[left].outcome == outcome


HOSTILE = """Look: <a href="https://example.org" style="position:fixed;inset:0;z-index:99999">over all</a>

<div class="message-wrap"><div class="message-row bot-row">
<div class="flex-wrap"><div class="rp-fx"></div></div></div></div>

<b id="rp-limits" class="rp-tell rp-fx">one</b> <i class="rp-edit">two</i>
<form id="rp-form" class="rp-form"><input name="id"><input name="classList"><input name="removeAttribute"></form>
<div style="margin:-99vh -99vw;padding:99vh 99vw"></div>"""


def test_html_in_a_message_touches_only_its_own_box(page, running: Running, engine: ScriptedEngine) -> None:
    engine.pieces = [HOSTILE]
    say(page, HOSTILE)
    page.wait_for_function("() => document.querySelectorAll('.bot-row > .flex-wrap > .rp-fx').length === 1")
    whose = "([x, y]) => Boolean(document.elementFromPoint(x, y).closest('.message-content'))"
    for place in ("#rp-new", "#rp-ask textarea", "#rp-theme", f"{REPLY} .rp-b[data-act=up]"):
        box = page.locator(place).bounding_box()
        assert not page.evaluate(whose, [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]), place
    page.click(f"{REPLY} .rp-b[data-act=up]")
    wait_for(lambda: history(page, running)[1].rating == 1)
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.fill(".rp-edit textarea", "Nothing but text.")
    page.click(".rp-edit .rp-save")
    page.locator(".rp-said", has_text="Nothing but text.").wait_for()
    page.click("#rp-temporary")
    page.locator("#rp-limits-box", has_text="not kept").wait_for()


def test_a_long_formula_scrolls_in_its_own_box(page, running: Running, engine: ScriptedEngine) -> None:
    engine.pieces = ["$$" + " + ".join(f"x_{{{n}}}" for n in range(90)) + "$$"]
    say(page, "a formula")
    formula = page.locator(f"{REPLY} .katex-display")
    assert formula.evaluate("node => { node.scrollLeft = 9999; return node.scrollLeft; }") > 0
