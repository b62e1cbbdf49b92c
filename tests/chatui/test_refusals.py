"""What is refused is said in one sentence on the page, and nothing that somebody typed is lost."""

from collections.abc import Callable, Iterator

import pytest

from feedback.errors import NotAllowed
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import IN_BROWSER, REPLY, composed, conversation, history, say

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("refusals"), base_model=str(tiny))
    with served(data) as made:
        made.app.replies.engine = ScriptedEngine(["It ", "is so."])
        yield made


@pytest.fixture
def refuse(running: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let these actions be refused from now on; none of them lets all be done again."""

    def now(*actions: str) -> None:
        def require(person: str, action: str, kind: str | None = None, key: object = None) -> None:
            if action in actions:
                raise NotAllowed(f"You may not {action} this.")

        monkeypatch.setattr(running.app.store, "require", require)

    return now


def told(page, text: str) -> None:
    """Wait until the sentence stands on the page, then put it away."""
    page.locator(".rp-tell", has_text=text).click()
    page.locator(".rp-tell").wait_for(state="detached")


def test_a_thumb_and_its_comment(page, running: Running, refuse) -> None:
    say(page, "rate me")
    refuse("rate")
    page.click(f"{REPLY} .rp-b[data-act=up]")
    told(page, "You may not rate this.")
    assert page.locator(f"{REPLY} .rp-b[data-act=up].on").count() == 0
    assert page.locator(".rp-card").is_hidden()
    refuse()
    page.click(f"{REPLY} .rp-b[data-act=down]")
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=down].on")
    refuse("rate")
    page.fill(".rp-card textarea", "what I think of it")
    page.click(".rp-card .rp-save")
    told(page, "You may not rate this.")
    assert page.input_value(".rp-card textarea") == "what I think of it"
    refuse()
    page.click(".rp-card .rp-save")
    wait_for(lambda: history(page, running)[1].comment == "what I think of it")


def test_a_correction_and_an_edited_question(page, running: Running, refuse) -> None:
    say(page, "correct me")
    for act, row, action, mine in (("correct", REPLY, "correct", "As it is."), ("edit", ".user-row", "write", "Else")):
        refuse(action)
        page.hover(row)
        page.click(f"{row} .rp-b[data-act={act}]")
        page.fill(".rp-edit textarea", mine)
        page.click(".rp-edit .rp-save")
        told(page, f"You may not {action} this.")
        assert page.input_value(".rp-edit textarea") == mine
        assert page.locator(".message-row").count() == 2
        refuse()
        page.click(".rp-edit .rp-cancel")
    assert [(m.correction, m.siblings) for m in history(page, running)] == [
        (None, (m.id,)) for m in history(page, running)
    ]
    page.click(f"{REPLY} .rp-b[data-act=correct]")
    page.fill(".rp-edit textarea", "  ")
    page.click(".rp-edit .rp-save")
    told(page, "The correction is empty")


def test_what_was_kept_before_is_not_opened_again(page, running: Running, refuse) -> None:
    say(page, "correct and rate me")
    page.click(f"{REPLY} .rp-b[data-act=correct]")
    page.fill(".rp-edit textarea", "As it is.")
    page.click(".rp-edit .rp-save")
    page.locator(".rp-said", has_text="As it is.").wait_for()
    refuse("write")
    page.click(f"{REPLY} .rp-b[data-act=regenerate]")
    told(page, "You may not write this.")
    page.click(f"{REPLY} .rp-b[data-act=down]")
    page.click(".rp-card .rp-chip")
    page.fill(".rp-card textarea", "not so")
    page.click(".rp-card .rp-save")
    page.locator(".rp-why", has_text="not so").wait_for()
    assert page.locator(".rp-edit").count() == 0  # opened again it would be by now
    page.locator(".rp-entry.on").focus()
    refuse("read")
    page.keyboard.press("Enter")  # this too is refused, and was asked for elsewhere on the page
    told(page, "You may not read this.")
    assert page.locator(".rp-card").is_hidden()


def test_a_message_goes_back_into_the_composer(page, running: Running, refuse) -> None:
    refuse("write")
    page.fill("#rp-ask textarea", "a thought that took long")
    page.keyboard.press("Enter")
    bottom = page.locator("#rp-bar").bounding_box()
    assert page.locator(".rp-tell").bounding_box()["y"] >= bottom["y"] + bottom["height"]  # else it covers controls
    told(page, "You may not write this.")
    composed(page, "a thought that took long")


def test_a_notice_has_a_title_in_the_readers_language_and_covers_no_control(browser, running: Running) -> None:
    page = browser.new_page(locale="zh-CN")
    page.goto(f"{running.url}/?c=gone")
    page.locator(".toast-body").wait_for()
    bottom = page.locator("#rp-bar").bounding_box()
    assert page.locator(".toast-wrap").bounding_box()["y"] >= bottom["y"] + bottom["height"]
    title = page.locator(".toast-title")
    look = "node => [getComputedStyle(node).fontSize, getComputedStyle(node, '::before').content]"
    assert title.evaluate(look) == ["0px", '"提示"']
    page.close()


def test_another_reply_and_a_title_and_a_deletion(page, running: Running, refuse) -> None:
    say(page, "the title that stays")
    refuse("write")
    page.click(f"{REPLY} .rp-b[data-act=regenerate]")
    told(page, "You may not write this.")
    entry = page.locator(".rp-entry.on")

    def menu(choice: str) -> None:
        entry.hover()
        entry.locator(".rp-entry-more").click()
        page.click(f".rp-menu .{choice}")

    menu("rename")
    entry.locator("input").fill("A better one")
    page.keyboard.press("Enter")
    told(page, "You may not write this.")
    assert entry.locator("input").input_value() == "A better one"
    page.keyboard.press("Escape")
    assert entry.locator(".rp-entry-title").inner_text() == "the title that stays"
    menu("remove")
    told(page, "You may not write this.")
    entry.wait_for()  # it is still in the list
    assert page.locator(".rp-undo").is_hidden()
    assert conversation(page) in [line.id for line in running.app.store.conversations()]


def test_looking_copying_and_exporting(page, running: Running, refuse) -> None:
    say(page, "look at me")
    other = conversation(page)
    say_again = page.locator(f".rp-entry[data-id='{other}']")
    page.click("#rp-new")
    page.wait_for_function("() => !document.querySelector('.message-row')")
    refuse("read")
    say_again.click()
    told(page, "You may not read this.")
    assert "c=" not in page.url
    say_again.hover()
    say_again.locator(".rp-entry-more").click()
    page.click(".rp-menu .export_md")
    told(page, "You may not read this.")
    page.goto(f"{running.url}/?c={other}")
    page.locator(".toast-body", has_text="You may not read this.").wait_for()
    page.wait_for_function("() => !location.search.includes('c=')")  # what came instead is drawn
    assert page.locator(".message-row").count() == 0
    refuse()
    page.goto(f"{running.url}/?c={other}")
    page.wait_for_selector(f"{REPLY} .rp-b[data-act=facts]")
    refuse("read")
    for act in ("facts", "copy", "correct"):
        page.click(f"{REPLY} .rp-b[data-act={act}]")
        told(page, "You may not read this.")


def test_a_persona_of_ones_own_and_a_setting(page, running: Running, refuse) -> None:
    say(page, "tune me")
    page.click(".rp-persona")
    refuse("write")
    slider = page.locator("input[data-name=top_k]")
    slider.evaluate("(n) => { n.value = 7; n.dispatchEvent(new Event('change')); }")
    told(page, "You may not write this.")
    assert slider.input_value() == "50"
    page.click(".rp-panel .rp-small:has-text('Make your own')")
    page.fill(".rp-panel form input", "Captain")
    page.fill(".rp-panel form textarea", "Speak like one.")
    refuse("begin")
    page.click(".rp-panel .rp-save")
    told(page, "You may not begin this.")
    assert page.input_value(".rp-panel form textarea") == "Speak like one."
    assert page.input_value(".rp-panel form input") == "Captain"
    refuse()
    page.click(".rp-panel .rp-save")
    page.locator(".rp-persona", has_text="Captain").wait_for()
    page.click(".rp-persona")
    refuse("write")
    page.dblclick(".rp-drop")  # there is no undo, so it asks once more
    told(page, "You may not write this.")
    page.locator(".rp-drop").wait_for()
    assert [line.name for line in running.app.store.personas()] == ["Captain"]


def test_learning_and_the_review(page, running: Running, refuse) -> None:
    page.click("#rp-learning")
    page.click("[data-part=runs]")
    button = page.wait_for_selector("#rp-runs .rp-main")
    refuse("learn")
    button.evaluate("(button) => button.click()")  # though a tick may have taken it away by now
    told(page, "You may not learn this.")
    assert running.app.store.runs() == []
    refuse("review")
    page.click("#rp-reviews")
    page.locator(".rp-problem", has_text="You may not review this.").wait_for()
    page.locator(".rp-nothing").wait_for()


def test_a_draft_of_a_question_outlives_what_another_tab_makes_of_it(page, running: Running, refuse) -> None:
    say(page, "first wording")
    area, pencil = page.locator(".rp-edit textarea"), ".user-row .rp-b[data-act=edit]"
    refuse("write")
    page.hover(".user-row")
    page.click(pencil)
    area.fill("refused")
    page.click(".rp-edit .rp-save")
    told(page, "You may not write this.")
    page.click(".rp-edit .rp-cancel")
    refuse()
    page.hover(".user-row")
    page.click(pencil)
    area.fill("half a thought")
    page.keyboard.press("Escape")
    other = page.context.new_page()
    other.goto(page.url)
    other.hover(".user-row")
    other.click(pencil)
    other.fill(".rp-edit textarea", "another wording")
    other.click(".rp-edit .rp-save")
    page.locator(".user-row", has_text="another wording").wait_for()
    page.locator(".bot-row .rp-b[data-act=up]").wait_for()
    page.hover(".user-row")
    page.click(".user-row .rp-b[data-act=previous]")
    page.locator(".user-row", has_text="first wording").wait_for()
    page.hover(".user-row")
    page.click(pencil)
    assert area.input_value() == "half a thought"
    other.close()
