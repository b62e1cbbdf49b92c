"""The verb that reads, for every reply, all that people think of it: what a run learns from."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, not_, or_, select
from sqlalchemy.orm import Session, aliased

from feedback.messages import current_corrections, current_reviews, in_batches, newest_reviews
from feedback.records import Feedback
from feedback.schema import (
    Comparison,
    Conversation,
    Correction,
    Message,
    Preference,
    Rating,
    Reply,
    Review,
    Signal,
)
from feedback.sessions import Sessions

_BATCH = 200  # replies read at a time
_TELLING = ("left", "right", "both_bad")  # outcomes of a comparison that say something of a reply


class Harvest(Sessions):
    """All that was said of replies."""

    def feedback(self, since: datetime | None = None, kept: bool = False) -> Iterable[Feedback]:
        """Yield every reply that has a thumb, a correction, a choice or a reviewer's approval now.

        Oldest conversation first. `since` leaves out replies of which all these are older. `kept` adds those without
        any that ended by themselves, were answered, and that nothing anybody did speaks against.
        """
        with self.reading() as session:
            ids = _in_order(session, _with_feedback(since))
            silent = set(_in_order(session, _kept(since))) - set(ids) if kept else set()
            if silent:
                ids = _in_order(session, or_(_with_feedback(since), _kept(since)))
            for start in range(0, len(ids), _BATCH):
                yield from _gather(session, ids[start : start + _BATCH], silent)


def spoken_against() -> ColumnElement[bool]:
    """Hold for a reply that somebody had written anew, stopped, or asked again for."""
    return or_(
        exists().where(Signal.message_id == Message.id, Signal.kind.in_(("regenerated", "stopped"))),
        exists().where(Signal.message_id == Message.parent_id, Signal.kind == "edited"),
    )


def _in_order(session: Session, wanted: ColumnElement[bool]) -> list[str]:
    query = (
        select(Message.id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(wanted, Conversation.deleted_at.is_(None))
        .order_by(Conversation.created_at, Conversation.id, Message.seq)
    )
    return list(session.scalars(query))


def _with_feedback(since: datetime | None) -> ColumnElement[bool]:
    told: list[tuple[Select[str], Any]] = [
        (select(Rating.message_id).where(Rating.value != 0), Rating.updated_at),
        (select(Correction.message_id).where(Correction.text.is_not(None)), Correction.created_at),
        (
            select(Review.message_id).where(Review.id.in_(newest_reviews()), Review.verdict == "approved"),
            Review.created_at,
        ),
        (select(Preference.chosen_id), Preference.created_at),
        (select(Preference.rejected_id), Preference.created_at),
        (select(Comparison.left_id).where(Comparison.outcome.in_(_TELLING)), Comparison.judged_at),
        (select(Comparison.right_id).where(Comparison.outcome.in_(_TELLING)), Comparison.judged_at),
    ]
    first, *more = (query if since is None else query.where(at > since) for query, at in told)
    return Message.id.in_(first.union(*more))


def _kept(since: datetime | None) -> ColumnElement[bool]:
    after = aliased(Message)
    return and_(
        Message.role == "assistant",
        Message.status == "complete",
        Message.finish == "end",
        exists().where(after.parent_id == Message.id),
        not_(spoken_against()),
        *([] if since is None else [Message.created_at > since]),
    )


@dataclass
class _Choices:
    """What people chose between one reply and its siblings."""

    by: set[str] = field(default_factory=set)
    against: set[str] = field(default_factory=set)
    won: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # sibling -> choices for, less those against
    at: list[datetime] = field(default_factory=list)


def _choices(session: Session, ids: Sequence[str]) -> dict[str, _Choices]:
    """Map replies to what was chosen between them and others; a person's newest word on two replies counts."""
    last: dict[tuple[str, frozenset[str]], tuple[str | None, datetime]] = {}
    rows = {
        row.id: row
        for column in (Preference.chosen_id, Preference.rejected_id)
        for row in in_batches(session, Preference, column, ids)
    }
    for _, row in sorted(rows.items()):
        last[row.rater_id, frozenset((row.chosen_id, row.rejected_id))] = row.chosen_id, row.created_at
    preferred = {two for _, two in last}
    judged = {
        row.id: row
        for column in (Comparison.left_id, Comparison.right_id)
        for row in in_batches(session, Comparison, column, ids)
        if row.outcome in _TELLING
    }
    for _, one in sorted(judged.items()):
        two = frozenset((one.left_id, one.right_id))
        if two not in preferred:  # a pick that was made here is a preference too
            winner = {"left": one.left_id, "right": one.right_id}.get(one.outcome or "")
            last[one.person_id, two] = winner, one.judged_at or one.created_at
    found: dict[str, _Choices] = defaultdict(_Choices)
    for (rater, two), (winner, at) in last.items():
        for message in two:
            mine = found[message]
            mine.at.append(at)
            (mine.by if message == winner else mine.against).add(rater)
            for other in two - {message} if winner else ():
                mine.won[other] += 1 if message == winner else -1
    return found


def _gather(session: Session, ids: Sequence[str], silent: set[str]) -> Iterator[Feedback]:
    messages = {m.id: m for m in in_batches(session, Message, Message.id, ids)}
    replies = {r.message_id: r for r in in_batches(session, Reply, Reply.message_id, ids)}
    choices = _choices(session, ids)
    beaten = {other for chosen in choices.values() for other in chosen.won}
    corrections, reviews = current_corrections(session, ids), current_reviews(session, list(beaten.union(ids)))
    thumbs: dict[str, list[Rating]] = {}
    for rating in in_batches(session, Rating, Rating.message_id, ids):
        if rating.value != 0:
            thumbs.setdefault(rating.message_id, []).append(rating)
    conversation_ids = list({m.conversation_id for m in messages.values()})
    conversations = {c.id: c for c in in_batches(session, Conversation, Conversation.id, conversation_ids)}
    by_id = {m.id: m for m in in_batches(session, Message, Message.conversation_id, conversation_ids)}
    wordings = _wordings(session, replies.values())
    for message_id in ids:
        message, reply, correction = messages[message_id], replies.get(message_id), corrections.get(message_id)
        ratings, review = thumbs.get(message_id, []), reviews.get(message_id)
        chosen = choices.get(message_id, _Choices())
        told = [r.updated_at for r in ratings] + chosen.at
        told += [correction.created_at] if correction else []
        told += [review.created_at] if review and review.verdict == "approved" else []
        if not told and message_id not in silent:
            continue  # the correction that brought it here was taken back
        yield Feedback(
            message_id=message.id,
            conversation_id=message.conversation_id,
            prompt=_prompt(message, reply, by_id, wordings),
            content=message.content,
            status=message.status,
            finish=message.finish,
            version=reply.version if reply else None,
            ratings={r.rater_id: r.value for r in ratings},
            reasons=tuple(sorted({reason for r in ratings for reason in r.reasons})),
            correction=correction.text if correction else None,
            correction_id=correction.id if correction else None,
            changed_at=max(told, default=message.created_at),
            verdict=review.verdict if review else None,
            chosen_by=tuple(sorted(chosen.by)),
            discarded_by=tuple(sorted(chosen.against)),
            beat={
                other: by_id[other].content
                for other, won in chosen.won.items()
                if won > 0 and _teaches(by_id[other], reviews.get(other))
            },
            corrected_by=correction.author_id if correction else None,
            source=conversations[message.conversation_id].source,
        )


def _teaches(message: Message, review: Review | None) -> bool:
    """Tell whether a reply may stand as the worse of two: it ended with some text, and no reviewer forbids it."""
    said = message.status in ("complete", "stopped") and bool(message.content.strip())
    return said and (review is None or review.verdict != "rejected")


def _wordings(session: Session, replies: Iterable[Reply]) -> dict[int, str]:
    used = [part["correction"] for reply in replies for part in reply.prompt if "correction" in part]
    return {c.id: c.text or "" for c in in_batches(session, Correction, Correction.id, used)}


def _prompt(
    message: Message, reply: Reply | None, by_id: dict[str, Message], wordings: dict[int, str]
) -> tuple[tuple[str, str], ...]:
    if reply is not None:
        return tuple(
            (by_id[part["message"]].role, wordings.get(part.get("correction", 0), by_id[part["message"]].content))
            for part in reply.prompt
        )
    above: list[tuple[str, str]] = []
    parent = message.parent_id
    while parent is not None:
        above.append((by_id[parent].role, by_id[parent].content))
        parent = by_id[parent].parent_id
    return tuple(above[::-1])
