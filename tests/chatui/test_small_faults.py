"""Small faults that a newcomer met on the page, in a real browser: each stays mended."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from chatui.engine.protocol import EngineState
from chatui.settings import ChatSettings
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, ScriptedGeneration, wait_for
from tests.chatui.visit import IN_BROWSER, REPLY, begin, conversation, history, say

pytestmark = IN_BROWSER
AT_END = """() => {
  const w = document.querySelector(".bubble-wrap");
  return w.scrollHeight - w.scrollTop - w.clientHeight < 40;
}"""
UP = """() => new Promise((done) => {
  const w = document.querySelector('.bubble-wrap');
  w.addEventListener('scroll', () => requestAnimationFrame(done), { once: true });
  w.scrollTop = 0;
})"""
# Text that comes after the page has followed what came before, and before the browser tells of that move.
GROWN = """() => new Promise((done) => {
  const rows = document.querySelector('.message-wrap');
  const grow = () => { const d = document.createElement('div'); d.style.height = '500px'; rows.append(d); };
  new ResizeObserver((_, own) => {
    if (rows.querySelectorAll(':scope > div[style*="500px"]').length !== 1) return;
    grow(); own.disconnect(); requestAnimationFrame(() => requestAnimationFrame(done));
  }).observe(rows);
  grow();
})"""
PHONE = {"width": 390, "height": 844}


class CutOff(ScriptedEngine):
    """Writes replies that end where the longest reply ends."""

    def begin(self, *args, **kwargs) -> ScriptedGeneration:
        made = super().begin(*args, **kwargs)

        class Cut(type(made)):  # type: ignore[misc]
            def __iter__(self) -> Iterator[str]:
                yield from super().__iter__()
                self.finish = "length"

        made.__class__ = Cut
        return made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("faults"), base_model=str(tiny))
    with served(data, ChatSettings(port=0, max_new_tokens=24)) as made:
        yield made


@pytest.fixture
def engine(running: Running, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """Writes "It was said so.", or what a test puts into `pieces`."""
    made = ScriptedEngine(["It was ", "said so."])
    monkeypatch.setattr(running.app.replies, "engine", made)
    return made


@pytest.fixture
def phone(page) -> object:
    """The fresh tab, as narrow as a phone."""
    page.set_viewport_size(PHONE)
    page.reload()  # the list is folded away where a page opens on a phone
    page.locator("#rp-side:not(.open)").wait_for()
    return page


def test_what_is_asked_for_is_followed_though_the_reader_had_scrolled_up(page, running: Running, monkeypatch) -> None:
    monkeypatch.setattr(running.app.replies, "engine", CutOff(["A line of text.\n\n"] * 60))
    say(page, "a long one")
    page.wait_for_function(AT_END)
    deeds = {
        "send": lambda: begin(page, "and another"),
        "regenerate": lambda: page.keyboard.press("r"),
        "go_on": lambda: page.locator(".rp-b[data-act=go_on]").last.evaluate("button => button.click()"),
        "edit": lambda: page.locator(".rp-edit .rp-save").evaluate("button => button.click()"),
    }
    for deed, act in deeds.items():
        if deed == "edit":
            page.locator(".rp-b[data-act=edit]").last.evaluate("button => button.click()")
            page.fill(".rp-edit textarea", "asked differently")
        before = history(page, running)[-1].id
        if deed != "edit":
            page.evaluate("document.activeElement.blur()")
        page.evaluate(UP)
        act()
        wait_for(lambda: history(page, running)[-1].id != before)  # noqa: B023
        page.locator(f"{REPLY} .rp-fx[data-id='{history(page, running)[-1].id}']:not(.busy)").wait_for()
        page.wait_for_function(AT_END)


def test_a_reader_at_the_end_stays_there_however_fast_the_text_grows(page, engine: ScriptedEngine) -> None:
    engine.pieces = ["A line of text.\n\n"] * 60
    say(page, "a long one")
    page.wait_for_function(AT_END)
    page.evaluate(GROWN)
    page.wait_for_function(AT_END)


def test_two_replies_fit_a_phone_below_code_that_does_not(phone, running: Running, engine: ScriptedEngine) -> None:
    code = "x = " + " + ".join(f"argument_{n}" for n in range(60))
    engine.pieces = [f"```python\n{code}\n```\n\nhttps://e.org/" + "a" * 200]
    say(phone, "some code")
    phone.click(".rp-two")
    begin(phone, "and again")
    phone.locator(".rp-choose:not(.waits)").wait_for()
    phone.locator(f"{REPLY} pre").nth(2).wait_for()
    widths = phone.locator(".message-row").evaluate_all("rows => rows.map((row) => row.getBoundingClientRect().right)")
    assert len(widths) == 5
    assert max(widths) <= PHONE["width"]


def test_a_wide_table_breaks_no_word_and_scrolls_in_its_own_box(
    phone, running: Running, engine: ScriptedEngine
) -> None:
    heads = ["Name", "Quantity", "Description", "Manufacturer", "Destination", "Remarks"]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * 6, ["something"] * 6)]
    engine.pieces = ["\n".join(lines)]
    say(phone, "a table")
    phone.locator(f"{REPLY} td").first.wait_for()
    pieces = """cells => cells.map((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map((box) => box.top)).size;
    })"""
    assert phone.locator(f"{REPLY} :is(th, td)").evaluate_all(pieces) == [1] * 12
    table = phone.locator(f"{REPLY} table")
    assert table.evaluate("node => node.getBoundingClientRect().right") <= PHONE["width"]
    assert table.evaluate("node => { node.scrollLeft = 9999; return node.scrollLeft; }") > 0
    assert phone.locator(".bubble-wrap").evaluate("node => node.scrollWidth <= node.clientWidth")


def test_a_conversation_that_is_replied_to_can_be_renamed_and_deleted(
    page, running: Running, engine: ScriptedEngine
) -> None:
    engine.gated = True
    begin(page, "a story without end")
    entry = page.locator(".rp-entry.on")
    entry.locator(".rp-dot").wait_for()
    entry.hover()
    entry.locator(".rp-entry-more").click()
    engine.gates[0].release(2)  # the reply ends, and the list is drawn anew, while the menu is open
    entry.locator(".rp-dot").wait_for(state="detached")
    page.click(".rp-menu .rename")
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    kept = conversation(page)
    wait_for(lambda: [line.title for line in running.app.store.conversations() if line.id == kept] == ["Renamed"])

    begin(page, "and on")
    entry.locator(".rp-dot").wait_for()
    entry.hover()
    entry.locator(".rp-entry-more").click()
    page.click(".rp-menu .remove")
    page.locator(".message-row").first.wait_for(state="detached")
    wait_for(lambda: running.app.replies.live(kept) == [])
    assert kept not in [line.id for line in running.app.store.conversations()]


def test_a_persona_is_dropped_when_asked_twice_and_is_gone_at_once(page, running: Running) -> None:
    page.click(".rp-persona")
    page.click(".rp-panel .rp-small:has-text('Make your own')")
    page.fill(".rp-panel form input", "Captain")
    page.fill(".rp-panel form textarea", "Speak like one.")
    page.click(".rp-panel .rp-save")
    page.locator(".rp-persona", has_text="Captain").click()
    page.locator(".rp-pick", has_text="Captain").wait_for()
    page.evaluate("() => { const now = Date.now(); Date.now = () => now; }")  # the question does not lapse
    page.click(".rp-drop")
    page.locator(".rp-drop", has_text="Click again to confirm").wait_for()
    assert len(running.app.store.personas()) == 1
    page.click(".rp-drop")
    page.locator(".rp-persona", has_text="No persona").wait_for()
    wait_for(lambda: running.app.store.personas() == [])
    assert page.locator(".rp-pick", has_text="No persona").get_attribute("aria-pressed") == "true"
    assert page.locator(".rp-pick", has_text="Captain").count() == 0


def test_a_phone_tells_why_nothing_can_reply(phone, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    state = EngineState("failed", "The model needs 12 GB of memory; 8 are free.", ())
    monkeypatch.setattr(running.app.engine, "state", lambda: state)
    phone.click(".rp-pill[data-phase=failed]")
    phone.locator(".rp-tell", has_text="8 are free").click()
    phone.focus(".rp-pill")
    phone.keyboard.press("Enter")
    phone.locator(".rp-tell", has_text="8 are free").wait_for()
    words = phone.locator(".rp-pill > span")
    assert words.evaluate("node => node.scrollWidth <= node.parentElement.clientWidth")


def test_dates_are_told_in_the_language_of_the_page(browser, running: Running) -> None:
    turns = (IncomingMessage("user", "Then?"), IncomingMessage("assistant", "Then.", finish="end"))
    running.app.store.take_in([Incoming("long-ago", turns, created_at=datetime(2020, 5, 17, 12, tzinfo=UTC))])
    page = browser.new_page(locale="de-DE")  # a language that the page does not speak: it is in English then
    page.goto(running.url)
    page.locator(".rp-group", has_text="May 2020").wait_for()
    page.click("#rp-reviews")
    page.fill(".rp-filters input >> nth=1", "2020-12-31")
    page.locator(".rp-about", has_text="May 17, 2020").wait_for()
    page.close()


def test_of_a_long_title_a_phone_still_says_what_was_done_and_how_to_undo_it(phone, running: Running) -> None:
    turns = (IncomingMessage("user", "So?"), IncomingMessage("assistant", "So.", finish="end"))
    running.app.store.take_in([Incoming("long-title", turns, title="a title that goes on and on " * 4)])
    phone.goto(f"{running.url}?c=long-title")
    phone.locator("#rp-side:not(.open)").wait_for()
    phone.click("#rp-side .toggle-button")
    phone.click(".rp-entry.on .rp-entry-more")
    phone.click(".rp-menu .remove")
    for words in ("was deleted.", "Undo"):
        box = phone.locator(".rp-undo :is(div, button)", has_text=words).last.bounding_box()
        assert box["x"] + box["width"] <= PHONE["width"]
    assert phone.locator(".rp-undo-said div").last.evaluate("node => node.scrollWidth <= node.clientWidth")


def test_a_reply_without_a_word_and_a_time_without_a_thumb_say_so(
    page, running: Running, engine: ScriptedEngine
) -> None:
    engine.pieces = []
    say(page, "nothing, please")
    assert page.locator(f"{REPLY} .rp-note").inner_text() == "The model wrote nothing."
    engine.pieces = ["So."]
    say(page, "and now")
    assert page.locator(f"{REPLY} .rp-note").count() == 1
    page.click("#rp-learning")
    page.locator(".rp-none-yet", has_text="No thumbs").wait_for()
    for plot in ("#rp-plot-0", "#rp-curve"):  # not only not drawn yet
        page.wait_for_function("(plot) => getComputedStyle(document.querySelector(plot)).display === 'none'", arg=plot)


def test_an_answer_to_an_earlier_filter_that_comes_late_is_not_shown(browser, running: Running) -> None:
    turns = (IncomingMessage("user", "Long ago?"), IncomingMessage("assistant", "Yes.", finish="end"))
    running.app.store.take_in([Incoming("long ago", turns, created_at=datetime(2011, 5, 17, 12, tzinfo=UTC))])
    page = browser.new_page(locale="en-US")
    page.goto(running.url)
    page.click("#rp-reviews")
    page.locator(".rp-do button:enabled").first.wait_for()
    late = []

    def hold(route) -> None:
        if "2010-12-31" in (route.request.post_data or ""):
            late.append(route)
        else:
            route.continue_()

    page.route("**/*", hold)
    page.fill(".rp-filters input >> nth=1", "2010-12-31")  # nothing is that old
    with page.expect_response(lambda response: "2011-12-31" in (response.request.post_data or "")) as answered:
        page.fill(".rp-filters input >> nth=1", "2011-12-31")
    answered.value.finished()
    page.locator(".rp-do button:enabled").first.wait_for()
    with page.expect_response(lambda response: "2010-12-31" in (response.request.post_data or "")) as answered:
        late[0].continue_()
    answered.value.finished()
    # Time for the page to take the late answer in.
    page.evaluate("async () => { for (let n = 0; n < 30; n++) await new Promise(requestAnimationFrame) }")
    assert page.locator(".rp-asked").all_inner_texts() == ["Long ago?"]
    page.close()


def test_a_reviewer_sees_what_was_said_before_and_code_as_code(browser, running: Running) -> None:
    code = "Run this:\n\n```sh\necho <b>hi</b>\n```\n\n<img src=x onerror='window.ran = 1'> and **that**"
    said = [("user", "First?"), ("assistant", "First."), ("user", "Then?"), ("assistant", code)]
    turns = tuple(IncomingMessage(role, text, finish="end" if role == "assistant" else None) for role, text in said)
    running.app.store.take_in([Incoming("to-review", turns, created_at=datetime(2021, 5, 17, 12, tzinfo=UTC))])
    page = browser.new_page(locale="en-US")
    page.goto(running.url)
    page.click("#rp-reviews")
    page.fill(".rp-filters input >> nth=0", "2021-01-01")
    page.fill(".rp-filters input >> nth=1", "2021-12-31")
    page.locator(".rp-about", has_text="2021").wait_for()
    if page.locator(".rp-asked", has_text="Then?").count() == 0:
        page.click(".rp-do [data-act=skip]")
        page.locator(".rp-asked", has_text="Then?").wait_for()
    assert page.locator(".rp-item pre").inner_text() == "echo <b>hi</b>\n"
    assert page.locator(".rp-item img").count() == 0
    assert "**that**" in page.locator(".rp-item > .rp-answer").inner_text()
    page.click(".rp-before summary")
    assert page.locator(".rp-before > div").all_inner_texts() == ["First?", "First."]
    page.click(".rp-do [data-act=amend]")
    page.fill(".rp-item textarea", "Half a correction")
    page.keyboard.press("Escape")
    page.click(".rp-do [data-act=amend]")
    assert page.input_value(".rp-item textarea") == "Half a correction"
    page.close()
