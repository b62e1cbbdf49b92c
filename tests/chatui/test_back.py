"""Back and Forward of the browser go through the conversations and views that were looked at."""

from collections.abc import Iterator

import pytest

from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.visit import IN_BROWSER, REPLY, conversation, say

pytestmark = IN_BROWSER
ENTRY = ".rp-entry[data-id='{}']"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    with served(DataSettings(data_dir=tmp_path_factory.mktemp("back"), base_model=str(tiny))) as made:
        yield made


def shows(page, text: str) -> None:
    page.locator(".user-row", has_text=text).wait_for()


def begun(page, text: str) -> str:
    """Say something in a new conversation; return its name."""
    page.click("#rp-new")
    page.locator(".user-row").wait_for(state="detached")
    say(page, text)
    return conversation(page)


def test_back_goes_to_the_conversation_before_and_forward_to_the_one_after(page, running: Running) -> None:
    first, second = begun(page, "First?"), begun(page, "Second?")
    page.locator(ENTRY.format(first)).click()
    shows(page, "First?")
    page.go_back()
    shows(page, "Second?")
    assert conversation(page) == second
    page.go_back()
    shows(page, "First?")  # where the second was begun is no place of its own
    page.go_forward()
    shows(page, "Second?")
    say(page, "And on?")
    assert len(running.app.store.history(second)) == 4


def test_back_leaves_a_view_for_the_chat(page) -> None:
    begun(page, "Here?")
    page.click("#rp-learning")
    page.locator("#rp-learn").wait_for()
    page.go_back()
    shows(page, "Here?")
    page.go_forward()
    page.locator("#rp-learn").wait_for()
    page.reload()
    page.locator("#rp-learn").wait_for()
    page.wait_for_function("window.rpLearned")  # the scripts hear what is done
    page.go_back()
    shows(page, "Here?")


def test_a_conversation_that_is_gone_leaves_the_one_that_is_shown(page, running: Running) -> None:
    gone, kept = begun(page, "Gone?"), begun(page, "Kept?")
    running.app.store.delete(gone)
    page.go_back()
    page.locator(".rp-tell").wait_for()
    shows(page, "Kept?")
    assert conversation(page) == kept


def test_a_temporary_chat_is_not_left_by_back_unless_asked_twice(page) -> None:
    begun(page, "Before?")
    page.click("#rp-temporary")
    page.locator("body[data-temporary=yes]").wait_for()
    page.fill("#rp-ask textarea", "Secret?")
    page.keyboard.press("Enter")
    page.locator(f"{REPLY} .rp-b[data-act=copy]").wait_for()
    page.go_back()
    page.locator(".rp-tell", has_text="Leaving ends this temporary chat").wait_for()
    page.wait_for_function("history.state.temporary")  # it has gone forward again
    shows(page, "Secret?")
    page.go_back()
    shows(page, "Before?")
    page.locator(".user-row", has_text="Secret?").wait_for(state="detached")
    assert page.locator(".rp-tell").count() == 0


def test_back_before_the_answer_came_is_not_lost(page) -> None:
    first, second = begun(page, "One?"), begun(page, "Two?")
    page.evaluate(f"document.querySelector(`{ENTRY.format(first)}`).click(); history.back()")
    page.wait_for_function(f"new URL(location).searchParams.get('c') === '{second}'")
    shows(page, "Two?")
    page.go_forward()
    shows(page, "One?")
    assert conversation(page) == first


def test_a_view_opened_before_the_first_reply_leads_back_to_it(page) -> None:
    page.click("#rp-new")
    page.locator(".user-row").wait_for(state="detached")
    page.fill("#rp-ask textarea", "Soon?")
    page.keyboard.press("Enter")
    page.evaluate("rpView('learn')")
    page.wait_for_function("new URL(location).searchParams.get('c')")
    page.go_back()
    shows(page, "Soon?")
    conversation(page)


def test_a_link_within_a_message_is_a_step_and_no_trap(page) -> None:
    before, after = begun(page, "Before the link?"), begun(page, "With a link?")
    page.evaluate("location.hash = 'part'")
    page.go_back()
    shows(page, "With a link?")
    page.go_back()
    shows(page, "Before the link?")
    assert (conversation(page), before != after) == (before, True)


def test_back_to_a_temporary_chat_opens_no_other_kind(page) -> None:
    kept = begun(page, "Kept?")
    page.click("#rp-temporary")
    page.locator("body[data-temporary=yes]").wait_for()
    page.locator(ENTRY.format(kept)).click()
    shows(page, "Kept?")
    page.go_back()
    page.locator("body[data-temporary=yes]").wait_for()
    page.locator(".user-row").wait_for(state="detached")


def test_back_goes_past_a_conversation_that_is_gone(page, running: Running) -> None:
    first, gone = begun(page, "Earliest?"), begun(page, "Gone again?")
    begun(page, "Latest?")
    running.app.store.delete(gone)
    page.go_back()
    page.locator(".rp-tell").wait_for()
    page.wait_for_function(f"new URL(location).searchParams.get('c') !== '{gone}'")
    page.go_back()
    shows(page, "Earliest?")
    assert conversation(page) == first
