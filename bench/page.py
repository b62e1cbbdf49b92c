"""How long the page takes: a click on a thumb until it is kept, a token until it is on the screen.

`make bench-page`, or `bench/page.py [--only thumb,token] [--streams 8] [--clicks 200] [--words 80] [--json FILE]`.
The app runs in this process, on the tiny model of the tests; Chromium is a real one. Both clocks are read in the
browser (and the engine's, which is the same machine's), so that the driver's own lag is in no figure.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gradio_client import Client

from chatui.engine.protocol import EngineState
from chatui.settings import ChatSettings
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import Running, served
from tests.tiny import make_tiny

# Clicks thumbs up and takes them back, reply after reply; a thumb is drawn as pressed only once it is kept.
CLICKS = """async (clicks) => {
  const took = [], at = (n) => document.querySelectorAll('.rp-b[data-act=up]')[n];
  const count = document.querySelectorAll('.rp-b[data-act=up]').length;
  for (let n = 0; n < clicks; n++) {
    const place = Math.floor(n / 2) % count, wanted = String(n % 2 === 0), began = performance.now();
    at(place).click();
    await new Promise((kept) => {
      const look = () => { if (at(place)?.getAttribute('aria-pressed') === wanted) { watcher.disconnect(); kept(); } };
      const watcher = new MutationObserver(look);
      watcher.observe(document.querySelector('#rp-bridge'), { childList: true, subtree: true, attributes: true });
      look();
    });
    took.push((performance.now() - began) / 1000);
    await new Promise((next) => setTimeout(next, 50));
  }
  return took;
}"""
# Notes when each numbered word is first in the page.
WATCH = """() => {
  window.seen = {};
  new MutationObserver(() => {
    const rows = document.querySelectorAll('.bot-row'), text = rows[rows.length - 1]?.textContent ?? '';
    for (const [, n] of text.matchAll(/word(\\d+)\\b/g)) window.seen[n] ??= Date.now() / 1000;
  }).observe(document.querySelector('#rp-bridge'), { childList: true, subtree: true, characterData: true });
}"""


class Paced:
    """An engine and its one reply: numbered words at a reader's pace, each with the time at which it was written."""

    version, kept, prompt_tokens, completion_tokens = 0, [0], 1, 0
    finish: str | None = None
    waiting, unheeded = 0, ()

    def __init__(self, words: int, gap_s: float = 0.1):
        self.words, self.gap_s = words, gap_s
        self.written: dict[str, float] = {}

    def state(self) -> EngineState:
        """Always ready."""
        return EngineState("ready", "", (0,))

    def begin(self, messages: Any, *_: Any, **__: Any) -> "Paced":
        """Begin the one reply."""
        self.kept = list(range(len(messages)))
        self.written.clear()
        return self

    def cancel(self) -> None:
        """Is never asked to stop."""

    def __iter__(self) -> Iterator[str]:
        """Write the words; a trailing space tells that a word is whole."""
        text = ""
        for number in range(self.words):
            time.sleep(self.gap_s)
            text += f"word{number} "
            self.written[str(number)] = time.time()
            yield text
        self.finish = "end"


def thumbs(running: Running, browser: Any, streams: int, clicks: int) -> list[float]:
    """Return seconds from click to kept, while so many replies are streamed to clients of their own."""
    turns = [
        m
        for n in range(4)
        for m in (IncomingMessage("user", f"question {n}"), IncomingMessage("assistant", "An answer."))
    ]
    running.app.store.take_in([Incoming("rated", tuple(turns))])
    ended = threading.Event()

    def chat() -> None:
        client = Client(running.url, verbose=False)
        while not ended.is_set():
            conversation = client.predict(api_name="/new_conversation")["conversation_id"]
            for _ in client.submit(conversation, "Go on and on.", api_name="/send"):
                if ended.is_set():
                    client.predict(conversation, api_name="/stop")

    chats = [threading.Thread(target=chat, daemon=True) for _ in range(streams)]
    for each in chats:
        each.start()
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{running.url}/?c=rated")
    page.locator(".rp-b[data-act=up]").nth(3).wait_for()
    took: list[float] = page.evaluate(CLICKS, clicks)
    print(f"{running.app.store.stats()['replies'] - 4} replies were streamed to their end meanwhile.")
    ended.set()
    for each in chats:
        each.join(30)
    page.close()
    return took


def tokens(running: Running, browser: Any, words: int, whole: bool) -> list[float]:
    """Return seconds from a word's writing to its being on the page, with 400 messages above it.

    `whole`: all of them are shown when the message is sent, not only the window that a tab opens with.
    """
    name = "long-whole" if whole else "long"
    lines = [
        IncomingMessage(
            "user" if n % 2 == 0 else "assistant", f"message {n}: " + "some words that were said before. " * 8
        )
        for n in range(400)
    ]
    running.app.store.take_in([Incoming(name, tuple(lines))])
    engine = Paced(words)
    running.app.replies.engine = engine
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{running.url}/?c={name}")
    page.locator(".message-row").nth(39).wait_for()
    while whole and page.locator(".message-row").count() < 400:
        shown = page.locator(".message-row").count()
        page.locator(".rp-more").click()
        page.locator(".message-row").nth(min(shown + 39, 399)).wait_for()
    page.evaluate(WATCH)
    page.fill("#rp-ask textarea", "Tell me more.")
    page.keyboard.press("Enter")
    page.wait_for_function(f"window.seen['{words - 1}']", timeout=120_000)
    seen: dict[str, float] = page.evaluate("window.seen")
    page.close()
    return [seen[number] - at for number, at in engine.written.items()]


def figures(name: str, took: list[float], targets: dict[str, float]) -> dict[str, Any]:
    """Return median, 95th percentile and worst in seconds, and whether they are under their targets."""
    ordered = sorted(took)
    found = {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "worst": ordered[-1],
    }
    return {
        "name": name,
        "n": len(took),
        **found,
        "targets": targets,
        "met": all(found[k] < v for k, v in targets.items()),
    }


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Serve the app, and measure what was asked for."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = DataSettings(data_dir=Path(folder) / "data", base_model=str(make_tiny(Path(folder) / "tiny")))
        with served(data, ChatSettings(port=0, max_new_tokens=512)) as running, chromium() as browser:
            if "thumb" in arguments.only:
                took = thumbs(running, browser, arguments.streams, arguments.clicks)
                name = f"click on a thumb to kept, {arguments.streams} replies streaming"
                rows.append(figures(name, took, {"median": 0.3, "worst": 1.5}))
            if "token" in arguments.only:
                for whole in (False, True):
                    name = f"token to screen, 400 messages, {'all' if whole else 'the newest 40'} shown before sending"
                    rows.append(figures(name, tokens(running, browser, arguments.words, whole), {"worst": 0.3}))
    return rows


def main() -> int:
    """Measure and print a table; return 1 without Chromium."""
    parser = argparse.ArgumentParser(description="How long the page takes.")
    parser.add_argument("--only", default="thumb,token", type=lambda text: text.split(","))
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--words", type=int, default=80)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if CHROMIUM is None:
        print("There is no Chromium on this machine; install the package `chromium`.", file=sys.stderr)
        return 1
    rows = measure(arguments)
    for row in rows:
        wanted = ", ".join(f"{name} under {limit} s" for name, limit in row["targets"].items())
        print(
            f"{row['name']}: median {row['median']:.3f} s, 95 % {row['p95']:.3f} s, worst {row['worst']:.3f} s "
            f"of {row['n']} ({wanted}: {'met' if row['met'] else 'missed'})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
