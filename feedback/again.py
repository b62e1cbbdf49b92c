"""What a file tells again: a dump that is taken in every night brings nothing back that was changed or taken back here.

Only what it has not told before counts, so the same file twice adds nothing, whoever said what in it, and how often.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.schema import Correction, Message, Rating, RatingEvent, Review


def is_old_thumb(
    session: Session, message: Message, value: int, reasons: Sequence[str] | None, comment: str | None, rater: str
) -> bool:
    """Tell whether a rater's thumb was the same before; where no reasons or comment are told, the thumb alone."""
    mine = select(Rating.id).where(Rating.message_id == message.id, Rating.rater_id == rater)
    events = session.scalars(select(RatingEvent).where(RatingEvent.rating_id.in_(mine)))
    return any(
        event.value == value
        and (reasons is None or list(event.reasons) == list(reasons))
        and (comment is None or event.comment == comment)
        for event in events
    )


def is_old_correction(session: Session, message: Message, text: str, author: str) -> bool:
    """Tell whether an author has written this correction of a reply before."""
    mine = select(Correction.id).where(Correction.message_id == message.id, Correction.author_id == author)
    return session.scalar(mine.where(Correction.text == text).limit(1)) is not None


def is_old_verdict(session: Session, message: Message, verdict: str) -> bool:
    """Tell whether a reply was reviewed so before."""
    same = select(Review.id).where(Review.message_id == message.id, Review.verdict == verdict)
    return session.scalar(same.limit(1)) is not None
