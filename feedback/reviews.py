"""Verbs on reviewing: replies that want a second look, as queues, and what a reviewer decided on them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import BadInput
from feedback.messages import check_text, current_corrections, find, in_batches
from feedback.ratings import person, put_correction, put_rating
from feedback.records import ReviewItem, Thumb
from feedback.schema import LOCAL, Conversation, Correction, Message, Rating, Reply, Review, Signal
from feedback.sessions import Sessions
from feedback.verdicts import VERDICTS, standing

KINDS = ("unrated", "doubtful", "disputed", "corrected")
_AGAINST = {"regenerated", "stopped", "edited"}
_OVER = ("complete", "stopped", "interrupted")


class Reviews(Sessions):
    """The queue and the decisions."""

    def review(self, message_id: str, verdict: str, reviewer: str = LOCAL, correction: str | None = None) -> None:
        """Decide on a reply: `approved`, `rejected`, or "" to take the decision that stands back.

        Approving a reply without a correction keeps a thumb up of the reviewer too; with `correction`, that is kept and
        approved. Taking back undoes just that, as far as nobody changed it since. Raises NotFound, BadInput.
        """
        if verdict not in (*VERDICTS, ""):
            raise BadInput(f"The verdict {verdict!r} is not known; give 'approved', 'rejected' or '' (taken back).")
        if correction is not None:
            check_text(correction, "correction")
            if verdict != "approved":
                raise BadInput("A correction can only come with the verdict 'approved'.")
        with self.writing() as session:
            message = _reviewable(session, message_id)
            person(session, reviewer)
            if verdict:
                before = _approve(session, message, reviewer, correction) if verdict == "approved" else {}
                session.add(Review(message_id=message.id, reviewer_id=reviewer, verdict=verdict, before=before))
                return
            last = standing(session, [message.id]).get(message.id)
            if last is None:
                raise BadInput(f"Reply {message_id!r} has no verdict to take back.")
            _take_back(session, message, last)
            session.add(Review(message_id=message.id, reviewer_id=reviewer, verdict=None, before={}))

    def review_queue(
        self,
        kind: str,
        version: int | None = None,
        rater: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> tuple[list[ReviewItem], dict[str, int]]:
        """Return what waits in one queue, newest reply first, and how many wait in each.

        `since` (inclusive) and `until` (not) bound when the reply was written. Raises BadInput.
        """
        if kind not in KINDS:
            raise BadInput(f"The queue {kind!r} is not known; {', '.join(KINDS)} are.")
        with self.reading() as session:
            waiting = [
                item
                for item in _waiting(session, since, until)
                if (version is None or item.version == version)
                and (rater is None or any(t.rater == rater for t in item.thumbs) or item.corrected_by == rater)
                and (reason is None or any(reason in t.reasons for t in item.thumbs))
            ]
        counts = Counter(k for item in waiting for k in item.kinds)
        return [item for item in waiting if kind in item.kinds][:limit], {k: counts[k] for k in KINDS}

    def verdict(self, message_id: str) -> str | None:
        """Return the verdict that stands on a reply. Raises NotFound."""
        with self.reading() as session:
            found = standing(session, [find(session, Message, message_id).id])
            return found[message_id].verdict if found else None

    def review_choices(self) -> dict[str, list[Any]]:
        """Return what a queue can be filtered by: versions, raters, reasons."""
        with self.reading() as session:
            thumbs = session.execute(select(Rating.rater_id, Rating.reasons).where(Rating.value != 0)).tuples().all()
            authors = session.scalars(select(Correction.author_id).distinct())
            return {
                "versions": list(session.scalars(select(Reply.version).distinct().order_by(Reply.version))),
                "raters": sorted({*(rater for rater, _ in thumbs), *authors}),
                "reasons": sorted({reason for _, reasons in thumbs for reason in reasons}),
            }


def _reviewable(session: Session, message_id: str) -> Message:
    message = find(session, Message, message_id)
    find(session, Conversation, message.conversation_id)  # a deleted one takes no feedback
    if message.role != "assistant" or message.status not in _OVER or not message.content.strip():
        raise BadInput(f"Message {message_id!r} is no finished reply with a text; only those can be reviewed.")
    return message


def _approve(session: Session, message: Message, reviewer: str, correction: str | None) -> dict[str, Any]:
    """Keep what approving means; return how it was before, for `_take_back`."""
    current = current_corrections(session, [message.id]).get(message.id)
    if correction is not None:
        put_correction(session, message, correction, reviewer)
        return {"correction": current.text if current else message.content, "made": correction}
    if current is not None:
        return {}
    rating = session.scalar(select(Rating).where(Rating.message_id == message.id, Rating.rater_id == reviewer))
    if rating is not None and rating.value == 1:
        return {}
    before = (rating.value, list(rating.reasons), rating.comment) if rating else (0, [], "")
    put_rating(session, message, 1, None, None, reviewer)
    return {"rating": list(before)}


def _take_back(session: Session, message: Message, review: Review) -> None:
    if "rating" in review.before:
        query = select(Rating).where(Rating.message_id == message.id, Rating.rater_id == review.reviewer_id)
        rating = session.scalar(query)
        if rating is not None and rating.updated_at <= review.created_at:
            value, reasons, comment = review.before["rating"]
            put_rating(session, message, value, reasons, comment, review.reviewer_id)
    if "correction" in review.before:
        current = current_corrections(session, [message.id]).get(message.id)
        if (current.text if current else message.content) == review.before["made"]:
            put_correction(session, message, review.before["correction"], review.reviewer_id)


def _waiting(session: Session, since: datetime | None, until: datetime | None) -> list[ReviewItem]:
    """List every reply that no verdict settles, newest first, with the queues it is in."""
    query = (
        select(Message)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Message.role == "assistant", Message.status.in_(_OVER), Conversation.deleted_at.is_(None))
        .order_by(Message.created_at.desc(), Message.conversation_id, Message.seq.desc())
    )
    query = query if since is None else query.where(Message.created_at >= since)
    query = query if until is None else query.where(Message.created_at < until)
    messages = [m for m in session.scalars(query) if m.content.strip()]
    ids = [m.id for m in messages]
    parents = list({m.parent_id for m in messages if m.parent_id is not None})
    asked = {m.id: m for m in in_batches(session, Message, Message.id, parents)}
    replies = {r.message_id: r.version for r in in_batches(session, Reply, Reply.message_id, ids)}
    corrections, verdicts = current_corrections(session, ids), standing(session, ids)
    thumbs = _by_message(in_batches(session, Rating, Rating.message_id, ids))
    signals = _by_message(in_batches(session, Signal, Signal.message_id, [*ids, *parents]))
    items = []
    for message in messages:
        rated = [r for r in thumbs.get(message.id, []) if r.value]
        correction, verdict = corrections.get(message.id), verdicts.get(message.id)
        changes = [r.updated_at for r in rated] + ([correction.created_at] if correction else [])
        if verdict is not None and all(at <= verdict.created_at for at in changes):
            continue
        on_question = [s for s in signals.get(message.parent_id or "", []) if s.kind == "edited"]
        seen = tuple(s.kind for s in [*signals.get(message.id, []), *on_question])
        kinds = _kinds(message, [r.value for r in rated], correction is not None, seen)
        if not kinds:
            continue
        question = asked.get(message.parent_id or "")
        items.append(
            ReviewItem(
                message_id=message.id,
                conversation_id=message.conversation_id,
                question=question.content if question else "",
                content=message.content,
                version=replies.get(message.id),
                created_at=message.created_at,
                cut=message.finish == "length",
                thumbs=tuple(Thumb(r.rater_id, r.value, tuple(r.reasons), r.comment) for r in rated),
                correction=correction.text if correction else None,
                corrected_by=correction.author_id if correction else None,
                signals=seen,
                kinds=kinds,
                verdict=verdict.verdict if verdict else None,
            )
        )
    return items


def _kinds(message: Message, values: Sequence[int], corrected: bool, signals: Sequence[str]) -> tuple[str, ...]:
    up, down = 1 in values, -1 in values
    doubtful = (bool(_AGAINST & set(signals)) and not down) or (up and (corrected or message.finish == "length"))
    holds = {
        "unrated": not values and not corrected,
        "doubtful": doubtful,
        "disputed": up and down,
        "corrected": corrected,
    }
    return tuple(kind for kind in KINDS if holds[kind])


def _by_message(rows: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.message_id, []).append(row)
    return found
