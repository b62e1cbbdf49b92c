"""The Learning view in a browser: what people think, runs as they go, versions and what is done with them."""

import shutil
from collections.abc import Iterator

import pytest
from filelock import FileLock

from feedback.diary import Point
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from tests.chatui.running import Running, served
from tests.chatui.scripted import wait_for
from tests.chatui.visit import IN_BROWSER
from tests.feedback.talk import exchange, set_role

pytestmark = IN_BROWSER
REFUSED = "Not enough evidence: too few."


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("learning"), base_model=str(tiny))
    with served(data) as made:
        for number in range(24):
            reply = exchange(made.app.store, "How do I cook <b>rice</b>?")
            made.app.store.rate(reply, 1 if number % 3 else -1, ["clear"] if number % 3 else ["<i>mine</i>"])
        made.app.store.correct(reply, "Boil it.")
        turns = (IncomingMessage("user", "Hi?"), IncomingMessage("assistant", "Hi.", finish="end", rating=-1))
        made.app.store.take_in([Incoming("theirs", turns)])
        shutil.copytree(data.base_dir, data.versions_dir / "001" / "model")
        with FileLock(data.lock_file):  # as a live run does
            yield made


def open_part(page, part: str) -> None:
    page.click("#rp-learning")
    page.click(f"[data-part={part}]")


def test_what_people_think_is_told_in_numbers_and_drawn_without_any_other_machine(page, running: Running) -> None:
    open_part(page, "feedback")
    page.locator(".rp-count", has_text="Thumbs up").locator("b", has_text="64 %").wait_for()
    assert page.locator(".rp-count", has_text="asked at random").inner_text().endswith("not enough yet (0 of 20)")
    for plot in range(5):
        page.locator(f"#rp-plot-{plot} .vega-embed svg .role-title-text").wait_for()
    assert page.locator("#rp-plot-1 .point_marks path").count() == 1  # the base model; of the imported reply too few
    assert "not enough yet (1 of 20)" in page.locator("#rp-plot-1 .note_marks").text_content()
    assert "<i>mine</i>" in page.locator("#rp-plot-3 .vega-embed svg").text_content()
    mark = "getComputedStyle(document.querySelector('#rp-plot-1 .point_marks path')).fill"
    light = page.evaluate(mark)
    page.click("#rp-theme")
    assert page.evaluate(mark) != light  # the plots follow the page, at once
    page.click("#rp-theme")
    page.locator(".rp-measure", has_text="how do …").wait_for()


def test_the_numbers_and_the_record_are_downloaded(page, running: Running) -> None:
    open_part(page, "feedback")
    for button, name, said in (
        ("CSV", ".csv", "version,base model,16,24,"),
        ("KTO", "rapport-kto.jsonl", '"label": false'),
    ):
        with page.expect_download() as saved:
            page.locator("#rp-survey .rp-small", has_text=button).click()
        assert saved.value.suggested_filename.endswith(name)
        assert said in saved.value.path().read_text(encoding="utf-8")


def test_a_run_is_followed_across_a_reload_and_cancelled_when_asked_twice(page, running: Running) -> None:
    store = running.app.store
    run = store.open_run({})
    store.update_run(run, status="training", step=3, total=12)
    points = [Point("loss", step, 2.0 / step) for step in (1, 2, 3)]
    store.beat_run(run, points, metrics={"loss": 1.25, "tokens_per_s": 210.4, "seconds_left": 42})
    open_part(page, "runs")
    page.locator("#rp-runs", has_text="step 3 of 12 · loss 1.25 · 210 tokens/s · 42 s left").wait_for()
    page.locator("#rp-curve .curve_loss_marks path").nth(2).wait_for()
    page.reload()
    page.locator("#rp-curve .curve_loss_marks path").nth(2).wait_for()
    store.beat_run(run, [Point("loss", 4, 0.5)], step=4)
    page.locator("#rp-curve .curve_loss_marks path").nth(3).wait_for()
    assert page.locator("#rp-runs progress").evaluate("bar => bar.value / bar.max") == pytest.approx(4 / 12)
    page.locator("#rp-runs .rp-small", has_text="Cancel").click()
    assert not store.runs()[0].cancel_asked
    page.locator("#rp-runs .rp-small.asked").click()
    wait_for(lambda: bool(store.runs()[0].cancel_asked))
    page.locator("#rp-runs .rp-small:disabled", has_text="Being cancelled").wait_for()
    store.update_run(run, status="failed", reason="It <b>broke</b>.")
    page.locator("#rp-runs .rp-diary", has_text="It <b>broke</b>.").wait_for()


def with_version(store: Store) -> None:
    if len(store.versions()) == 1:
        store.add_version(1, "model", "versions/001", store.open_run({}), "refused", REFUSED, {})


def test_a_version_is_served_pinned_and_rolled_back_each_after_a_second_click(page, running: Running) -> None:
    store = running.app.store
    with_version(store)
    open_part(page, "versions")
    page.locator(".rp-name", has_text="Version 1").click()
    for label, done in (
        ("Serve it anyway", lambda: store.serving().shares == {1: 1.0}),
        ("Pin", lambda: store.version(1).pinned),
        ("Roll back", lambda: store.serving().shares == {0: 1.0}),
    ):
        page.locator("#rp-versions .rp-small", has_text=label).first.click()
        assert not done()
        page.locator("#rp-versions .rp-small.asked").click()
        wait_for(done)
        page.locator("#rp-versions .rp-small.asked").wait_for(state="detached")
    page.locator("#rp-versions .rp-diary li", has_text="Rolled back.").wait_for()
    page.locator(".rp-version", has_text="base model").locator(".rp-earned", has_text="of 24").wait_for()


# Between a press and its release; what is pinned elsewhere would do the same with the next tick.
DRAWN_ANEW = """() => {
  document.querySelector('#rp-versions [data-id="serve 1"]').dataset.old = 'yes';
  rpLearned = { ...rpLearned, versions: rpLearned.versions.map((one) => ({ ...one, pinned: !one.pinned })) };
  document.dispatchEvent(new Event('rp-learned'));
}"""


def test_what_is_drawn_anew_swallows_no_click_and_keeps_the_keyboards_place(page, running: Running) -> None:
    store = running.app.store
    with_version(store)
    open_part(page, "versions")
    page.locator(".rp-name", has_text="Version 1").click()
    page.locator(".rp-version .rp-earned", has_text="of 24").first.wait_for()  # nothing that comes moves the button
    page.locator("#rp-versions .rp-small", has_text="Serve it anyway").hover()
    page.mouse.down()
    page.evaluate(DRAWN_ANEW)
    page.mouse.up()
    page.locator("#rp-versions .asked[data-id='serve 1']:not([data-old])").wait_for()
    assert page.evaluate("document.activeElement.dataset.id") == "serve 1"
    page.keyboard.press("Enter")
    wait_for(lambda: store.serving().shares == {1: 1.0})
    store.rollback()


def test_a_trial_begins_with_its_share_and_is_ended(page, running: Running) -> None:
    store = running.app.store
    with_version(store)
    open_part(page, "versions")
    page.locator(".rp-name", has_text="Version 1").click()
    page.select_option(".rp-share", "0.1")
    page.locator("#rp-versions .rp-small", has_text="Begin an A/B trial").click()
    page.locator("#rp-versions .rp-small.asked").click()
    page.locator(".rp-trial", has_text="10 % of new conversations").wait_for()
    assert store.serving().shares == {0: 0.9, 1: 0.1}
    page.locator(".rp-trial .rp-small", has_text="withdraw").click()
    page.locator(".rp-trial .rp-small.asked").click()
    wait_for(lambda: store.trial() is None)
    assert store.serving().shares == {0: 1.0}


def test_two_versions_are_compared_and_a_reload_finds_it(page, running: Running, monkeypatch) -> None:
    store, asked = running.app.store, []
    with_version(store)
    found = {"a": 0, "b": 1, "status": "running", "reason": "", "rows": []}

    def compare_versions(one: int, other: int, prompts: list[str]) -> str:  # the real one starts a process
        asked.append((one, other, prompts))
        return "id"

    def comparison() -> dict[str, object] | None:
        return found if asked else None

    monkeypatch.setattr(running.app.scheduler, "compare_versions", compare_versions)
    monkeypatch.setattr(running.app.scheduler, "comparison", comparison)
    open_part(page, "versions")
    page.fill(".rp-compare-versions textarea", "Hello?\nAnd <b>you</b>?")
    page.locator(".rp-compare-versions .rp-main").click()
    page.locator(".rp-compare-versions .rp-main:disabled").wait_for()
    found |= {"status": "done", "rows": [{"prompt": "Hello?", "a": {"text": "<i>One</i>"}, "b": {"text": "Other"}}]}
    page.locator(".rp-reply", has_text="<i>One</i>").wait_for()
    assert asked == [(0, 1, ["Hello?", "And <b>you</b>?"])]
    page.reload()
    page.locator(".rp-reply", has_text="Other").wait_for()


def test_each_part_is_told_who_may_see_it(page, running: Running) -> None:
    store = running.app.store
    try:
        set_role(store, "chatter")
        page.reload()
        open_part(page, "feedback")
        page.locator("#rp-survey .rp-refused", has_text="A chatter may not see what all people think").wait_for()
        page.click("[data-part=runs]")
        page.locator("#rp-runs .rp-refused", has_text="A chatter may not change what the model learns").wait_for()
        page.click("[data-part=versions]")
        page.locator("#rp-versions .rp-refused", has_text="ask an admin").wait_for()
        set_role(store, "reviewer")
        page.click("[data-part=feedback]")
        page.locator("#rp-plot-0 .vega-embed svg").wait_for()
    finally:
        set_role(store, "admin")


FITS = """() => {
  const view = document.querySelector('#rp-learn');
  return document.documentElement.scrollWidth === 390 && view.scrollWidth === view.clientWidth;
}"""


def test_a_phone_shows_every_part_without_sideways_scroll(browser, running: Running) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    tab.goto(running.url)
    tab.wait_for_selector("#rp-ask textarea")
    tab.evaluate("rpView('learn')")
    for part, there in (
        ("feedback", "#rp-plot-4 .vega-embed svg"),
        ("runs", "#rp-runs .rp-main"),
        ("versions", ".rp-version"),
    ):
        tab.click(f"[data-part={part}]")
        tab.locator(there).first.wait_for()
        tab.wait_for_function(FITS)  # a plot is fitted after it is drawn
    context.close()
