"""What the review tab does: the queue, verdicts and corrections. The page sends what it looks for with every event."""

from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import gradio as gr

from chatui.asked import Asked, refusal, sentence
from chatui.handlers import problem_of
from feedback.errors import BadInput
from feedback.messages import could_be_key
from feedback.reviews import ASK, KINDS, ReviewFilter
from feedback.store import Store

_NO_CHOICES: dict[str, list[Any]] = {"versions": [], "raters": [], "reasons": []}
_AT_ONCE = 10  # replies sent to the page; it asks again with every verdict


class ReviewHandlers:
    """The review tab's events, one method each; each answers with the queue as it is then.

    Why something was refused travels in the answer: the page shows no error of an event that is not queued.
    """

    def __init__(self, store: Store):
        """Act on `store`."""
        self.store, self.ask = store, Asked(store)

    def look(self, event: gr.EventData) -> dict[str, Any]:
        """The tab was opened, or a kind or a filter was chosen."""
        return self._queue(event._data["look"])

    def verdict(self, event: gr.EventData) -> dict[str, Any]:
        """A reply was approved or rejected, or that was taken back."""
        data = event._data
        return self._queue(data["look"], problem_of(self.ask(self.store.review), data["id"], data["verdict"]))

    def answer(self, event: gr.EventData) -> dict[str, Any]:
        """A reply that was asked about got the reviewer's thumb, or that was taken back (`value` is then 0)."""
        data = event._data
        return self._queue(data["look"], problem_of(self.ask(self.store.answer_asked), data["id"], data["value"]))

    def amend(self, event: gr.EventData) -> dict[str, Any]:
        """A reply was corrected, which settles it too; or that was taken back (`verdict` is then "")."""
        data, amend = event._data, self.ask(self.store.amend)
        return self._queue(data["look"], problem_of(amend, data["id"], data["text"], data["verdict"]))

    def _queue(self, look: dict[str, Any], problem: str = "") -> dict[str, Any]:
        kind = look.get("kind") or KINDS[0]
        try:
            found = self.ask(queue_of)(self.store, kind, look, 1 if kind == ASK else _AT_ONCE, turns=True)
            choices = _NO_CHOICES if kind == ASK else self.ask(self.store.review_choices)()
        except gr.Error as error:
            found, choices = {"items": [], "counts": dict.fromkeys(KINDS, 0)}, _NO_CHOICES
            problem = problem or sentence(error)
        return {"look": look, "problem": problem, "choices": choices, **found, **refusal(problem)}


def queue_of(store: Store, kind: str, look: dict[str, Any], limit: int, turns: bool = False) -> dict[str, Any]:
    """Return a reviewer's queue and the counts of every kind as plain values. Raises BadInput.

    What is asked about (ASK) is chosen without regard to filters and remembered as put before somebody; `held` of the
    look names what the reviewer was given already. Beside it there is no count, but the `rate` of good replies. With
    `turns` the first item, which is in hand, has what was said before its question as `before`.
    """
    wanted = wanted_of(look)
    more: dict[str, Any]
    if kind == ASK:
        items, more = store.put_asked(look.get("held") or (), limit), {"rate": asdict(store.random_rate())}
    else:
        items = store.review_queue(kind, wanted, look.get("skipped") or (), limit)
        more = {"counts": store.review_counts(wanted)}
    told = [{**asdict(item), "created_at": item.created_at.isoformat()} for item in items]
    if turns and told:
        told[0]["before"] = _before(store, told[0]["message_id"])
    return {"items": told, **more}


def _before(store: Store, message_id: str) -> list[dict[str, str]]:
    said = [m for m in store.path_to(message_id) if m.role != "system"]
    return [{"role": m.role, "text": m.shown} for m in said[:-2]]  # without the question and its reply


def wanted_of(look: dict[str, Any]) -> ReviewFilter:
    """Read filters as the page and the endpoint give them; empty ones are none. Raises BadInput."""
    version = look.get("version")
    until = _day(look.get("until"))
    return ReviewFilter(
        version=None if version in (None, "") else _whole(version),
        rater=look.get("rater") or None,
        reason=look.get("reason") or None,
        since=_day(look.get("since")),
        until=until + timedelta(days=1) if until else None,
    )


def _whole(value: Any) -> int:
    with suppress(OverflowError, TypeError, ValueError):
        if could_be_key(number := int(value)):
            return number
    raise BadInput(f"The version {value!r} is not known; give its number.")


def _day(value: Any) -> datetime | None:
    if not value:
        return None
    try:
        return datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadInput(f"The date {value!r} is not known; give it as 2026-01-31.") from error
