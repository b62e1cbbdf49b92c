"""Make the pictures of the README: `make screenshots`, into docs/pictures/.

A data dir of its own is filled with a small made-up record, served on the tiny model of the tests, and
looked at in Chromium: light and dark, desktop and phone.
"""

import os
import random
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from filelock import FileLock

from feedback.diary import Point
from feedback.formats import Incoming, IncomingMessage
from feedback.messages import append
from feedback.ratings import person, put_correction, put_rating
from feedback.schema import LOCAL, Conversation, Reply, now
from feedback.settings import DataSettings
from feedback.store import Store
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import served
from tests.tiny import make_tiny

_REASONS = {True: ["accurate", "clear", "helpful"], False: ["wrong", "long", "ignored", "unclear"]}
PICTURES = ROOT / "docs" / "pictures"
REPLY = """Temperature rescales the logits before the softmax, so it decides how much the model favours its best guess:

$$p_i = \\frac{e^{z_i/T}}{\\sum_j e^{z_j/T}}$$

```python
def sample(logits, temperature=0.7):
    probs = softmax(logits / temperature)
    return multinomial(probs, 1)
```

Below **1** the reply gets steadier, above **1** more varied."""
_DESKTOP = {"width": 1280, "height": 880}
# The parts of the Learning view, and what each is drawn by.
LEARNING = {"learning": "#rp-plot-4 .vega-embed svg", "runs": "#rp-curve .vega-embed svg", "versions": ".rp-earned"}
TITLES = (
    "Plan a weekend in Kyoto", "Why is the sky blue at noon?", "Draft a note to the landlord",
    "Sourdough timing for a cold kitchen", "SQL window functions", "Reading list: linear algebra",
)  # fmt: skip


def fill(store: Store) -> str:
    """Write a small record; return the conversation to show."""
    for number, title in enumerate(TITLES):
        turns = (IncomingMessage("user", title), IncomingMessage("assistant", "Gladly.", finish="end"))
        store.take_in([Incoming(f"past-{number}", turns)])
    shown = (
        IncomingMessage("user", "What does temperature do when sampling?"),
        IncomingMessage("assistant", REPLY, finish="end", rating=1, reasons=("clear", "accurate")),
        IncomingMessage("user", "And which value should I use for code?"),
        IncomingMessage(
            "assistant",
            "Use 1.5.",
            finish="end",
            rating=-1,
            reasons=("wrong",),
            correction="Start at 0.2, with top-p 0.95.",
        ),
    )
    store.take_in([Incoming("shown", shown)])
    compare(store)
    return "shown"


def compare(store: Store) -> None:
    """Write two replies that wait for a judgement, as the conversation `compared`."""
    turns = (IncomingMessage("user", "Hello"), IncomingMessage("assistant", "Hello! What shall we cook?", finish="end"))
    store.take_in([Incoming("compared", turns)])
    head = store.history("compared")[-1].id
    texts = (
        "Cut it into wedges and roast it hot, 220 °C for 25 minutes.",
        "Boil it first, then fry it: **crisp** outside, soft inside.",
    )
    given = [{"message": message.id} for message in store.history("compared")]
    _, _, *ids = store.begin_comparison("compared", head, "How do I cook a potato?", (0, {}, given), (0, {}, given))
    for message_id, text in zip(ids, texts, strict=True):
        store.end_reply(message_id, text, "complete", "end")


def fill_runs(store: Store, versions_dir: Path, model: Path) -> None:
    """Write runs and versions as a few weeks leave them, and one under way."""
    told = (
        ("refused", "Not enough evidence on held-out corrections: +0.06 in the likelihood of a token (90 % interval "
         "-0.03 to +0.15, 4 replies of 4 conversations; +0.21 nats a token); about 31 more conversations with a "
         "correction are needed."),
        ("promoted", "Better on held-out corrections: +0.31 in the likelihood of a token (90 % interval +0.14 to "
         "+0.48, 6 replies of 6 conversations; +1.51 nats a token). General loss +0.08, divergence 0.11; no "
         "bound broken."),
    )  # fmt: skip
    for number, (verdict, reason) in enumerate(told, 1):
        run = store.open_run({})
        (versions_dir / f"{number:03d}").mkdir(parents=True)
        (versions_dir / f"{number:03d}" / "model").symlink_to(model)
        store.update_run(run, step=40, total=40)
        store.add_version(number, "model", f"versions/{number:03d}", run, verdict, reason, {})
    run = store.open_run({})
    for status in ("building", "training"):
        store.update_run(run, status=status, step=17, total=40)
    losses = [Point("loss", step, 2.4 * 0.92**step + 0.1 * (step * 7 % 5) / step + 0.3) for step in range(1, 18)]
    store.beat_run(run, losses, metrics={"loss": losses[-1].value, "tokens_per_s": 412.0, "seconds_left": 95})


def fill_thumbs(store: Store) -> None:
    """Write half a year of thumbs, better liked from version to version, as columns: no verb writes into the past."""
    draw, openings = random.Random(3), ("How do I", "What is the", "Write a short", "Explain why", "Give me a")
    with store.writing() as session:
        person(session, "guest")  # so that they are in nobody's list at the page
        for number in range(480):
            days = draw.random() * 88
            at, version = now() - timedelta(days=days), 0 if days > 55 else 2
            key, persona = f"thumb-{number}", draw.choice(("", "", "", "tutor", "service"))
            times = {"created_at": at, "updated_at": at}
            session.add(Conversation(id=key, owner_id="guest", title="", persona=persona, deleted_at=None, **times))
            session.flush()
            asked = append(session, session.get_one(Conversation, key), "user", f"{draw.choice(openings)} thing?")
            reply = append(session, session.get_one(Conversation, key), "assistant", "It is so.", parent_id=asked.id)
            session.add(Reply(message_id=reply.id, version=version, sampling={}, prompt=[], writer=""))
            session.flush()
            up = draw.random() < 0.52 + 0.12 * version
            put_rating(session, reply, 1 if up else -1, draw.sample(_REASONS[up], draw.randint(0, 2)), "", LOCAL, at)
            if not up and draw.random() < 0.4:
                put_correction(session, reply, "Rather so.", LOCAL)


def shoot(page: Any, name: str) -> None:
    """Save what is seen once everything has settled."""
    page.wait_for_timeout(900)
    page.screenshot(path=PICTURES / f"{name}.png")
    print(PICTURES / f"{name}.png")


def desktop(page: Any, url: str, conversation: str, shade: str) -> None:
    """Chat, reasons, correction and learning on a desktop."""
    page.goto(url)
    page.wait_for_selector(".rp-entry")
    shoot(page, f"empty-{shade}")
    page.goto(f"{url}/?c={conversation}")
    page.wait_for_selector(".rp-said")
    shoot(page, f"chat-{shade}")
    page.locator(".rp-b[data-act=down]").first.click()
    page.locator(".rp-card").wait_for()
    shoot(page, f"reasons-{shade}")
    page.keyboard.press("Escape")
    page.locator(".rp-b[data-act=up]").first.click()
    for reason in ("accurate", "clear"):
        page.click(f".rp-chip[data-reason={reason}]")
    page.keyboard.press("Escape")
    page.locator(".rp-b[data-act=correct]").last.click()
    page.locator(".rp-edit").wait_for()
    shoot(page, f"correct-{shade}")
    page.keyboard.press("Escape")
    page.goto(f"{url}/?c=compared")
    page.locator(".rp-choose:not(.waits)").wait_for()
    shoot(page, f"compare-{shade}")
    page.click("#rp-learning")
    for part, drawn in LEARNING.items():
        page.click(f"[data-part={'feedback' if part == 'learning' else part}]")
        page.locator(drawn).first.wait_for()
        shoot(page, f"{part}-{shade}")
    page.click("#rp-reviews")
    page.locator(".rp-kind", has_text="Doubtful").click()
    page.locator(".rp-item").wait_for()
    page.locator(".rp-kind", has_text="Corrected").click()
    page.locator(".rp-item .rp-said").wait_for()
    shoot(page, f"review-{shade}")
    page.click("#rp-new")
    page.click("#rp-temporary")
    page.click(".rp-persona")
    page.locator(".rp-slide").first.wait_for()
    shoot(page, f"persona-{shade}")


def main() -> int:
    """Make every picture."""
    if CHROMIUM is None:
        print("There is no Chromium on this machine; install the package `chromium`.", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny(Path(folder) / "Example-1B-Chat")
        data = DataSettings(data_dir=Path(folder) / "data", base_model=str(model))
        # The lock is held as a live run holds it, so that the run in the picture counts as one.
        with served(data) as running, chromium() as browser, FileLock(data.lock_file):
            store = running.app.store
            conversation = fill(store)
            fill_runs(store, data.versions_dir, model)
            fill_thumbs(store)
            for shade in ("light", "dark"):
                page = browser.new_page(viewport=_DESKTOP, color_scheme=shade)
                desktop(page, running.url, conversation, shade)
            chinese = browser.new_page(viewport=_DESKTOP, locale="zh-CN")
            chinese.goto(f"{running.url}/?c={conversation}")
            chinese.locator("#rp-new", has_text="新对话").wait_for()
            chinese.wait_for_selector(".rp-said")
            shoot(chinese, "chat-chinese")
            phone = browser.new_context(
                viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, is_mobile=True
            ).new_page()
            phone.goto(f"{running.url}/?c={conversation}")
            phone.wait_for_selector(".rp-said")
            shoot(phone, "phone")
            phone.evaluate("rpView('learn')")
            phone.locator(LEARNING["learning"]).wait_for()
            shoot(phone, "phone-learning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
