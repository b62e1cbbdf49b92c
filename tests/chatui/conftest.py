"""A browser for the page's tests; each of their modules serves its own app as `running`."""

from collections.abc import Iterator

import pytest

from tests.browser import chromium
from tests.chatui.running import Running
from tests.chatui.visit import ready


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A Chromium for all tests of a module."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser, running: Running) -> Iterator[object]:
    """A fresh tab that fails the test on any error of a script, and on any look beyond this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda r: None if r.url.startswith((running.url, "data:", "blob:")) else errors.append(r.url))
    tab.goto(running.url)
    ready(tab)
    yield tab
    context.close()
    assert errors == []
