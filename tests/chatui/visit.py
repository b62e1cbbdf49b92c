"""What the browser tests do over and over on the page."""

import re
from typing import Any

import pytest

from feedback.records import Said
from tests.browser import CHROMIUM
from tests.chatui.running import Running

REPLY = ".bot-row"
IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; install the package `chromium`"),
]


# The scripts hear what is done, and the first conversation has come, which takes the keyboard to the composer.
READY = "() => window.rpLearned && document.activeElement === document.querySelector('#rp-ask textarea')"


def ready(page: Any) -> None:
    """Wait until a page that was just opened, in the chat and with a mouse, does what is asked of it."""
    page.wait_for_function(READY)


def composed(page: Any, text: str) -> None:
    """Wait until the composer holds a text."""
    page.wait_for_function("(text) => document.querySelector('#rp-ask textarea').value === text", arg=text)


def say(page: Any, text: str) -> None:
    """Send a message and wait until its reply is whole."""
    before = page.locator(f"{REPLY} .rp-b[data-act=up]").count()
    begin(page, text)
    page.locator(f"{REPLY} .rp-b[data-act=up]").nth(before).wait_for()


def begin(page: Any, text: str) -> None:
    """Send a message."""
    page.fill("#rp-ask textarea", text)
    page.keyboard.press("Enter")


def conversation(page: Any) -> str:
    """Return the conversation in the page's address."""
    found = re.search(r"[?&]c=([\w-]+)", page.url)
    assert found, page.url
    return found[1]


def history(page: Any, running: Running) -> list[Said]:
    """Return what the record holds of the conversation shown."""
    return running.app.store.history(conversation(page))
