"""What the Review tab asks for: the next reply of a queue, and a decision kept or taken back."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from feedback.errors import BadInput, RapportError
from feedback.store import Store

_ALL = 1_000_000


class ReviewHandlers:
    """Answers the tab's script; an error is a sentence in `error`, so that the tab can show it in its place."""

    def __init__(self, store: Store):
        """Act on `store`."""
        self.store = store

    def look(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Give the first reply of a queue that was not skipped, counts per queue, and what to filter by."""
        skipped = set(asked.get("skipped") or [])
        chosen = {key: asked.get(key) or None for key in ("rater", "reason", "since", "until")}
        version = int(asked["version"]) if asked.get("version") else None
        try:
            found = queue(self.store, asked["kind"], version, limit=_ALL, **chosen)
        except RapportError as error:
            return {"error": str(error)}
        left = [item for item in found["items"] if item["message_id"] not in skipped]
        left.sort(key=lambda item: item["message_id"] != asked.get("first"))  # what was just undone comes back in front
        return {"item": left[0] if left else None, "counts": found["counts"], **self.store.review_choices()}

    def decide(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Keep a verdict, or take the one that stands back."""
        try:
            self.store.review(asked["id"], asked["verdict"], correction=asked.get("correction"))
        except RapportError as error:
            return {"error": str(error)}
        return {}


def queue(
    store: Store,
    kind: str,
    version: int | None = None,
    rater: str | None = None,
    reason: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """Write a queue as plain values; `until` names the last day that counts. Raises BadInput."""
    first = _day(since, "since") if since else None
    last = _day(until, "until") + timedelta(days=1) if until else None
    items, counts = store.review_queue(kind, version, rater, reason, first, last, limit)
    return {"items": [{**asdict(i), "created_at": i.created_at.isoformat()} for i in items], "counts": counts}


def _day(text: str, what: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise BadInput(f"{what} {text!r} is not a day; write it as 2026-01-31.") from None
