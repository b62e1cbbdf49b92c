"""Make the pictures of the README: `make screenshots`, into docs/pictures/.

A data dir of its own is filled with a small made-up record, served on the tiny model of the tests, and
looked at in Chromium: light and dark, desktop and phone.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from filelock import FileLock

from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from tests.browser import CHROMIUM, chromium
from tests.chatui.running import served
from tests.tiny import make_tiny

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
    store.update_run(store.open_run({}), status="training", step=17, total=40, metrics={"loss": 0.62})


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
    page.locator(".rp-row progress").wait_for()
    shoot(page, f"learning-{shade}")
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
