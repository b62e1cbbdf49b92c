"""A reply belongs to the server: tabs follow it, come back to it, and stop it for all."""

from collections.abc import Iterator

import pytest

from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import IN_BROWSER, REPLY, begin, conversation, history, say
from tests.feedback.talk import signals_of

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("following"), base_model=str(tiny))
    with served(data) as made:
        yield made


@pytest.fixture
def engine(running: Running, monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """An engine that writes a piece each time it is let."""
    scripted = ScriptedEngine(["Once ", "upon ", "a ", "time."], gated=True)
    monkeypatch.setattr(running.app.replies, "engine", scripted)
    return scripted


def write(page, engine: ScriptedEngine, pieces: int, seen: str) -> None:
    """Let the newest reply grow, and see it."""
    wait_for(lambda: bool(engine.gates))
    engine.gates[-1].release(pieces)
    page.locator(f"{REPLY} .message", has_text=seen).wait_for()


def test_a_reload_picks_the_stream_up_again(page, running: Running, engine: ScriptedEngine) -> None:
    begin(page, "tell me a story")
    write(page, engine, 2, "Once upon")
    page.reload()
    page.locator(f"{REPLY} .message", has_text="Once upon").wait_for()
    assert page.locator("#rp-ask .stop-button").is_visible()
    write(page, engine, 2, "Once upon a time.")
    page.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    assert len(engine.gates) == 1  # the same reply, not another one
    assert history(page, running)[1].status == "complete"


SEEN = """() => {
  window.seen = [];
  const note = () => {
    const said = [...document.querySelectorAll('.user-row')].map((row) => row.innerText.trim()).join('|');
    if (seen.at(-1) !== said) seen.push(said);
  };
  new MutationObserver(note).observe(document.querySelector('#rp-chat'), { childList: true, subtree: true });
}"""


def test_what_was_turned_to_while_a_reply_grows_stays_shown(page, running: Running, engine: ScriptedEngine) -> None:
    engine.gated = False
    say(page, "First?")
    first = conversation(page)
    page.click("#rp-new")
    page.locator(".message-row").first.wait_for(state="detached")
    engine.gated = True
    begin(page, "Second?")
    wait_for(lambda: len(engine.gates) == 2)
    write(page, engine, 2, "Once upon")
    page.evaluate(SEEN)
    page.locator(f".rp-entry[data-id='{first}']").click()
    page.locator(".user-row", has_text="First?").wait_for()
    engine.gates[-1].release(2)
    engine.gated = False
    say(page, "And on?")  # comes after all that the handler of the other one had to send
    seen = page.evaluate("seen")
    assert "Second?" not in seen[seen.index("First?") :]


def test_a_second_tab_follows_and_stop_there_ends_it_for_all(page, running: Running, engine: ScriptedEngine) -> None:
    begin(page, "tell us a story")
    write(page, engine, 1, "Once")
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(f"{REPLY} .message", has_text="Once").wait_for()
    write(other, engine, 1, "Once upon")
    page.locator(f"{REPLY} .message", has_text="Once upon").wait_for()
    other.locator("#rp-ask .stop-button").click()
    for tab in (other, page):
        tab.locator(f"{REPLY} .rp-note", has_text="stopped").wait_for()
        tab.locator("#rp-ask .submit-button").wait_for()
        assert tab.locator(f"{REPLY} .message").inner_text().strip() == "Once upon"
    reply = history(page, running)[1]
    assert (reply.status, reply.content) == ("stopped", "Once upon ")
    assert signals_of(running.app.store, reply.id) == ["stopped"]


def test_a_stopped_reply_goes_on_from_where_it_was_cut(page, running: Running, engine: ScriptedEngine) -> None:
    begin(page, "a story, please")
    write(page, engine, 2, "Once upon")
    page.keyboard.press("Escape")
    page.locator(f"{REPLY} .rp-note", has_text="stopped").wait_for()
    cut = history(page, running)[1]
    engine.pieces = ["a time."]
    page.click(f"{REPLY} .rp-b[data-act=go_on]")
    wait_for(lambda: len(engine.gates) == 2)
    write(page, engine, 1, "Once upon a time.")
    page.locator(".rp-steps", has_text="2/2").wait_for()
    assert history(page, running)[1].content == "Once upon a time."
    assert running.app.store.message(cut.id).content == "Once upon "


def test_a_reply_that_nobody_follows_is_stopped_with_its_text(
    page, running: Running, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(page, "a story for nobody")
    write(page, engine, 2, "Once upon")
    address = conversation(page)
    other = page.context.new_page()
    other.goto(running.url)
    page.close()
    monkeypatch.setattr(running.app.replies, "_unfollowed_s", 0.5)
    wait_for(lambda: running.app.store.history(address)[1].status != "running")
    reply = running.app.store.history(address)[1]
    assert (reply.status, reply.content) == ("stopped", "Once upon ")
    other.goto(f"{running.url}/?c={address}")
    other.locator(f"{REPLY} .rp-note", has_text="stopped").wait_for()
    assert other.locator(f"{REPLY} .message").inner_text().strip() == "Once upon"
    assert signals_of(running.app.store, reply.id) == []  # nobody pressed Stop


def test_a_long_conversation_shows_its_end_and_more_when_asked(page, running: Running) -> None:
    from feedback.formats import Incoming, IncomingMessage

    turns = [
        IncomingMessage(role, f"{role} {n}", finish="end" if role == "assistant" else None)
        for n in range(30)
        for role in ("user", "assistant")
    ]
    running.app.store.take_in([Incoming("long", tuple(turns))])
    page.goto(f"{running.url}/?c=long")
    page.locator(".rp-more", has_text="Show earlier messages (20)").wait_for()
    assert page.locator(".message-row").count() == 40
    page.click(".rp-more")
    page.wait_for_function("() => document.querySelectorAll('.message-row .rp-fx').length === 60")
    assert page.locator(".rp-more").is_hidden()


def test_the_model_is_given_the_correction_that_is_shown(
    page, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ScriptedEngine(["Seven."])
    monkeypatch.setattr(running.app.replies, "engine", plain)
    say(page, "How many?")
    assert plain.asked == [[("user", "How many?")]]  # no system prompt of ours
    page.click(f"{REPLY} .rp-b[data-act=correct]")
    page.fill(".rp-edit textarea", "Eight.")
    page.click(".rp-edit .rp-save")
    page.locator(".rp-said").wait_for()
    say(page, "Sure?")
    assert ("assistant", "Seven.") in plain.asked[-1]
    page.click(".rp-said .rp-swap")
    page.locator(f"{REPLY} .message", has_text="Eight.").wait_for()
    say(page, "Really?")
    assert ("assistant", "Eight.") in plain.asked[-1]
    assert plain.asked[-1][3] == ("assistant", "Seven.")


def test_eight_tabs_of_one_browser_are_not_one_too_many(page, running: Running, engine: ScriptedEngine) -> None:
    """A browser holds six connections to a host: a tab that is only open may keep none."""
    engine.gated = False
    say(page, "open me everywhere")
    for _ in range(7):
        tab = page.context.new_page()
        tab.goto(page.url)
        tab.locator(f"{REPLY} .rp-b[data-act=up]").wait_for()
    tab.click(f"{REPLY} .rp-b[data-act=up]")
    tab.locator(f"{REPLY} .rp-b[data-act=up].on").wait_for()
