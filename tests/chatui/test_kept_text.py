"""What somebody writes on the page is not lost by a key, a click or a switch; and the keyboard stays where it works."""

from collections.abc import Iterator

import pytest

from chatui.settings import ChatSettings
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import IN_BROWSER, begin, conversation, history, ready, say

pytestmark = IN_BROWSER
AT = "() => { const at = document.activeElement; return at.dataset.act ?? at.dataset.reason ?? at.tagName; }"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("kept"), base_model=str(tiny))
    chat = ChatSettings(port=0, max_new_tokens=24, reasons_down=["wrong", "long"])
    with served(data, chat) as made:
        made.app.replies.engine = ScriptedEngine(["It was ", "said so."])
        made.app.temporary.engine = ScriptedEngine(["Between ", "us."])
        yield made


def test_the_card_of_a_thumb_takes_the_keyboard_and_gives_it_back(page, running: Running) -> None:
    say(page, "by keyboard")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("-")
    assert page.evaluate(AT) == "wrong"
    page.keyboard.press("Space")
    wait_for(lambda: history(page, running)[1].reasons == ("wrong",))
    page.keyboard.press("Tab")
    assert page.evaluate(AT) == "long"
    page.keyboard.press("Tab")
    assert page.evaluate(AT) == "TEXTAREA"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(AT) == "wrong"  # round, not out of the card while it is open
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Escape")
    assert page.locator(".rp-card").is_hidden()
    assert page.evaluate(AT) == "down"
    page.click(".rp-why")
    page.fill(".rp-card textarea", "not so")
    page.keyboard.press("Enter")
    wait_for(lambda: history(page, running)[1].comment == "not so")
    page.locator(".rp-why", has_text="not so").wait_for()  # drawn anew, under the keyboard
    assert page.evaluate(AT) == "down"


def test_a_comment_is_sent_by_a_click_elsewhere_and_kept_by_escape(page, running: Running) -> None:
    say(page, "comment on it")
    comment = page.locator(".rp-card textarea")
    page.click(".rp-b[data-act=down]")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or ""))
    comment.fill("half a thou")
    page.keyboard.press("Escape")
    page.click(".rp-why")
    assert comment.input_value() == "half a thou"
    comment.fill("half a thought")
    page.mouse.click(700, 600)
    assert page.locator(".rp-card").is_hidden()
    wait_for(lambda: history(page, running)[1].comment == "half a thought")
    assert [body for body in sent if '"half a thou"' in body] == []  # by Escape
    page.click(".rp-why")
    comment.fill("a whole one")
    page.click("#rp-new")
    page.locator(".message-row").first.wait_for(state="detached")
    page.locator(".rp-entry", has_text="comment on it").click()
    page.locator(".rp-why", has_text="a whole one").wait_for()


def test_escape_keeps_what_was_written_as_a_correction(page, running: Running) -> None:
    say(page, "correct me")
    area = page.locator(".rp-edit textarea")
    page.click(".rp-b[data-act=correct]")
    area.fill("It was not")
    page.keyboard.press("Escape")
    area.wait_for(state="detached")
    assert page.evaluate(AT) == "correct"
    page.click(".rp-b[data-act=correct]")
    area.wait_for()
    assert area.input_value() == "It was not"
    page.click(".rp-edit .rp-cancel")
    page.click(".rp-b[data-act=correct]")
    area.wait_for()
    assert area.input_value() == "It was said so."


def test_a_question_that_was_sent_anew_is_no_draft_of_the_old_one(page, running: Running) -> None:
    say(page, "the first wording")
    area = page.locator(".rp-edit textarea")
    for wording in ("the second", "the third"):
        page.hover(".user-row")
        page.click(".user-row .rp-b[data-act=edit]")
        area.fill(wording)
        page.click(".rp-edit .rp-save")
        page.locator(".user-row", has_text=wording).wait_for()
        page.locator(".bot-row .rp-b[data-act=up]").wait_for()
        while page.locator(".user-row .rp-b[data-act=previous]").is_enabled():
            before = page.locator(".user-row .rp-fx").get_attribute("data-id")
            page.hover(".user-row")
            page.click(".user-row .rp-b[data-act=previous]")
            page.wait_for_function("(id) => document.querySelector('.user-row .rp-fx').dataset.id !== id", arg=before)
        page.hover(".user-row")
        page.click(".user-row .rp-b[data-act=edit]")
        area.wait_for()
        assert area.input_value() == "the first wording"
        page.click(".rp-edit .rp-cancel")


def test_the_language_switch_keeps_what_is_written(page, running: Running) -> None:
    say(page, "before")
    page.fill("#rp-ask textarea", "Half a question")
    page.click("#rp-language")
    page.locator("#rp-new", has_text="新对话").wait_for()
    page.wait_for_function("() => document.querySelector('#rp-ask textarea').value === 'Half a question'")
    page.locator(".bot-row").wait_for()
    page.press("#rp-ask textarea", "Enter")
    wait_for(lambda: history(page, running)[-2].content == "Half a question")
    page.reload()
    page.locator(".bot-row").first.wait_for()
    assert page.input_value("#rp-ask textarea") == ""  # once


def test_the_language_switch_asks_before_it_ends_a_temporary_chat(page, running: Running) -> None:
    page.click("#rp-temporary")
    page.locator("#rp-limits", has_text="not kept").wait_for()
    page.fill("#rp-ask textarea", "A secret")
    page.click("#rp-language")
    page.locator(".rp-tell", has_text="temporary chat").wait_for()
    assert page.input_value("#rp-ask textarea") == "A secret"
    page.click("#rp-language")
    page.locator("#rp-new", has_text="新对话").wait_for()
    page.locator("body[data-temporary=no]").wait_for()
    ready(page)
    assert page.input_value("#rp-ask textarea") == ""  # it would be kept now


def test_a_tab_that_slept_through_a_restart_keeps_its_conversation(page, running: Running) -> None:
    say(page, "before the restart")
    before = conversation(page)
    handlers = next(fn.fn.__self__ for fn in running.app.page.fns.values() if getattr(fn.fn, "__name__", "") == "tick")
    handlers.tabs.__init__()
    wait_for(lambda: handlers.tabs._marks)  # the page has looked around
    begin(page, "and after it")
    wait_for(lambda: len(running.app.store.history(before)) == 4)
    assert conversation(page) == before


def test_a_reload_keeps_what_is_being_written(page, running: Running) -> None:
    """As Gradio reloads the page when the connection was lost."""
    say(page, "before")
    page.click(".rp-b[data-act=correct]")
    page.fill(".rp-edit textarea", "It was not")
    page.keyboard.press("Escape")
    page.click(".rp-b[data-act=down]")
    page.locator(".rp-why").wait_for()  # the thumb is kept
    page.fill(".rp-card textarea", "half a thought")
    page.fill("#rp-ask textarea", "Half a question")
    page.set_input_files("#rp-files input", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"of mine"})
    page.locator(".rp-file", has_text="notes.txt").wait_for()
    for _ in range(2):  # once more before anything is done with it
        page.reload()
        page.wait_for_function("() => document.querySelector('#rp-ask textarea')?.value === 'Half a question'")
    page.locator(".rp-file", has_text="notes.txt").wait_for()
    page.click(".rp-b[data-act=correct]")
    assert page.input_value(".rp-edit textarea") == "It was not"
    page.keyboard.press("Escape")
    page.click(".rp-why")
    assert page.input_value(".rp-card textarea") == "half a thought"
    page.press("#rp-ask textarea", "Enter")
    wait_for(lambda: len(history(page, running)) == 4)
    assert history(page, running)[-2].content == "Half a question\n\nnotes.txt\n```\nof mine\n```"
    page.reload()
    page.locator(".bot-row").nth(1).wait_for()
    assert page.input_value("#rp-ask textarea") == ""  # once
    assert page.locator(".rp-file").count() == 0


def test_a_reload_keeps_a_reviewers_correction(page, running: Running) -> None:
    say(page, "to be reviewed")
    page.click("#rp-reviews")
    page.click(".rp-do [data-act=amend]")
    page.fill(".rp-item textarea", "Half a correction")
    page.reload()
    ready(page)
    page.click("#rp-reviews")
    page.click(".rp-do [data-act=amend]")
    assert page.input_value(".rp-item textarea") == "Half a correction"


def test_a_reload_keeps_nothing_of_a_temporary_chat(page, running: Running) -> None:
    page.click("#rp-temporary")
    page.locator("body[data-temporary=yes]").wait_for()
    page.fill("#rp-ask textarea", "A secret")
    page.set_input_files("#rp-files input", {"name": "secret.txt", "mimeType": "text/plain", "buffer": b"of mine"})
    page.locator(".rp-file").wait_for()
    page.add_init_script("window.wasKept = sessionStorage.getItem('rp-written')")
    page.reload()
    ready(page)
    page.locator("body[data-temporary=no]").wait_for()
    kept = page.evaluate("window.wasKept")
    assert kept
    assert "ecret" not in kept
    assert page.input_value("#rp-ask textarea") == ""
    assert page.locator(".rp-file").count() == 0
