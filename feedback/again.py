"""What a file tells again: a dump that is taken in every night brings nothing back that was changed or taken back here.

Only what was not there before the file, nor stands already, counts: so the same file twice adds nothing, whoever said
what in it, and of thumbs and corrections that it tells one after the other the last stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feedback.schema import Correction, Message, Rating, RatingEvent, Review

Row = TypeVar("Row", RatingEvent, Correction)


@dataclass(frozen=True)
class Before:
    """The newest thumb and correction that were there before a file: their rows' ids."""

    thumb: int
    correction: int


def before(session: Session) -> Before:
    """Return what is the newest now."""
    thumb, correction = (session.scalar(select(func.max(one))) or 0 for one in (RatingEvent.id, Correction.id))
    return Before(thumb, correction)


def is_old_thumb(
    session: Session,
    message: Message,
    value: int,
    reasons: Sequence[str] | None,
    comment: str | None,
    rater: str,
    there: Before,
) -> bool:
    """Tell whether a rater's thumb was the same before; where no reasons or comment are told, the thumb alone."""
    mine = select(Rating.id).where(Rating.message_id == message.id, Rating.rater_id == rater)
    told = select(RatingEvent).where(RatingEvent.rating_id.in_(mine)).order_by(RatingEvent.id.desc())
    return any(
        event.value == value
        and (reasons is None or list(event.reasons) == list(reasons))
        and (comment is None or event.comment == comment)
        for event in _held_against(session.scalars(told).all(), there.thumb)
    )


def is_old_correction(session: Session, message: Message, text: str, author: str, there: Before) -> bool:
    """Tell whether an author has written this correction of a reply before."""
    mine = select(Correction).where(Correction.message_id == message.id, Correction.author_id == author)
    rows = session.scalars(mine.order_by(Correction.id.desc())).all()
    return any(row.text == text for row in _held_against(rows, there.correction))


def _held_against(rows: Sequence[Row], newest_before: int) -> Sequence[Row]:
    """Of rows, newest first: all of them, or what the file itself has put in their place by now."""
    return rows[:1] if rows and rows[0].id > newest_before else rows


def is_old_verdict(session: Session, message: Message, verdict: str) -> bool:
    """Tell whether a reply was reviewed so before."""
    same = select(Review.id).where(Review.message_id == message.id, Review.verdict == verdict)
    return session.scalar(same.limit(1)) is not None
