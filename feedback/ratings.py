"""Verbs on what people think of replies: thumbs, corrections, preferences."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from feedback.errors import BadInput
from feedback.messages import check_text, current_corrections, find
from feedback.schema import (
    LOCAL,
    Conversation,
    Correction,
    Message,
    Person,
    Preference,
    Rating,
    RatingEvent,
    Reply,
    now,
)
from feedback.sessions import Sessions

MAX_REASONS = 20
MAX_REASON = 100


class Ratings(Sessions):
    """Thumbs, corrections and preferences."""

    def rate(
        self,
        message_id: str,
        value: int,
        reasons: Sequence[str] | None = None,
        comment: str | None = None,
        rater: str = LOCAL,
    ) -> None:
        """Keep a thumb: 1 up, -1 down, 0 taken back. Raises NotFound, BadInput.

        Reasons and comment that are not given (None) stay as they are while the thumb does, and go with it.
        """
        with self.writing() as session:
            put_rating(session, ratable(session, message_id, alone=True), value, reasons, comment, rater)

    def correct(self, message_id: str, text: str, author: str = LOCAL) -> None:
        """Keep what the reply should have said; its own text again takes a correction back.

        Raises NotFound, and BadInput for an empty text or a reply that is still being written.
        """
        check_text(text, "correction")
        with self.writing() as session:
            message = ratable(session, message_id)
            if message.status == "running":
                raise BadInput("This reply is still being written; stop it or wait for its end, then correct it.")
            put_correction(session, message, text, author)

    def show_correction(self, message_id: str, shown: bool) -> None:
        """Let a reply's correction stand in its place from now on, or the reply itself again.

        The model is then given what is shown. Raises NotFound, and BadInput without a correction.
        """
        with self.writing() as session:
            message = ratable(session, message_id)
            if shown and message.id not in current_corrections(session, [message.id]):
                raise BadInput(f"Reply {message_id!r} has no correction to show; correct it first.")
            message.correction_shown = shown

    def prefer(self, chosen_id: str, rejected_id: str, rater: str = LOCAL) -> None:
        """Keep that one reply was chosen over another to the same message. Raises NotFound, BadInput."""
        with self.writing() as session:
            chosen, rejected = ratable(session, chosen_id), ratable(session, rejected_id)
            # A conversation may begin with a reply: that has no parent, nor has the first of any other.
            one, other = ((m.conversation_id, m.parent_id) for m in (chosen, rejected))
            if chosen.id == rejected.id or one != other:
                raise BadInput("A preference needs two different replies to the same message.")
            session.add(Preference(chosen_id=chosen.id, rejected_id=rejected.id, rater_id=rater))


def put_rating(
    session: Session,
    message: Message,
    value: int,
    reasons: Sequence[str] | None,
    comment: str | None,
    rater: str,
    at: datetime | None = None,
) -> None:
    """Insert or change the rater's thumb on a reply, and log the change; the same again changes nothing.

    `at` is when a file tells that it was given; None for one that is given here and now.
    """
    _check_rating(value, reasons, comment)
    rating = session.scalar(select(Rating).where(Rating.message_id == message.id, Rating.rater_id == rater))
    stays = rating is not None and rating.value == value
    new_reasons = (list(rating.reasons) if rating and stays else []) if reasons is None else list(reasons)
    new_comment = (rating.comment if rating and stays else "") if comment is None else comment
    if rating is None:
        if value == 0:
            return
        person(session, rater)
        rating = Rating(message_id=message.id, rater_id=rater, created_at=at or now(), **_of_reply(session, message))
        session.add(rating)
    elif (rating.value, list(rating.reasons), rating.comment) == (value, new_reasons, new_comment):
        return
    rating.value, rating.reasons, rating.comment = value, new_reasons, new_comment
    rating.updated_at, rating.said_at = now(), at
    session.flush()
    event = RatingEvent(rating_id=rating.id, value=value, reasons=new_reasons, comment=new_comment)
    event.created_at = rating.updated_at
    session.add(event)


def _of_reply(session: Session, message: Message) -> dict[str, Any]:
    """Return what a thumb keeps of its reply, to be counted by."""
    reply, conversation = session.get(Reply, message.id), session.get_one(Conversation, message.conversation_id)
    version = reply.version if reply else None
    return {"conversation_id": conversation.id, "version": version, "persona": conversation.persona}


def put_correction(session: Session, message: Message, text: str, author: str, at: datetime | None = None) -> None:
    """Add a correction of a reply unless it is already the current one; `at` as in `put_rating`."""
    current = current_corrections(session, [message.id]).get(message.id)
    kept = None if text == message.content else text
    if (current.text if current else None) == kept:
        return
    person(session, author)
    session.add(Correction(message_id=message.id, author_id=author, text=kept, said_at=at))
    session.flush()


def person(session: Session, person_id: str) -> None:
    """Make sure that a person of this id exists."""
    if session.get(Person, person_id) is None:
        # On PostgreSQL somebody else may add them meanwhile.
        with suppress(IntegrityError), session.begin_nested():
            session.add(Person(id=person_id))


def was_said() -> ColumnElement[bool]:
    """Hold for whole messages, and for replies cut short that have some text, a thumb or a correction."""
    deleted = select(Conversation.id).where(Conversation.deleted_at.is_not(None))
    return and_(or_(Message.status == "complete", is_worth_keeping()), Message.conversation_id.not_in(deleted))


def is_worth_keeping() -> ColumnElement[bool]:
    """Hold for replies cut short that have some text, a thumb or a correction."""
    thumbed = select(Rating.id).where(Rating.message_id == Message.id, Rating.value != 0)
    newest = Correction.id.in_(newest_corrections())
    corrected = select(Correction.id).where(Correction.message_id == Message.id, newest, Correction.text.is_not(None))
    told = (one.correlate(Message).exists() for one in (thumbed, corrected))  # whatever else the query reads
    return and_(Message.status.in_(("stopped", "interrupted")), or_(Message.content != "", *told))


def ratable(session: Session, message_id: str, alone: bool = False) -> Message:
    """Get a reply that can be judged, `alone` as `find` does it. Raises NotFound, BadInput."""
    message = find(session, Message, message_id, alone=alone)
    find(session, Conversation, message.conversation_id)  # a deleted one takes no feedback
    if message.role != "assistant":
        raise BadInput(f"Message {message_id!r} is a {message.role} message; only replies can be rated or corrected.")
    if message.status == "error":
        raise BadInput(f"Reply {message_id!r} failed before it said anything; there is nothing to rate.")
    return message


def _check_rating(value: Any, reasons: Sequence[str] | None, comment: str | None) -> None:
    if isinstance(value, bool) or value not in (1, -1, 0):
        raise BadInput(f"The rating {value!r} is not known; give 1 (good), -1 (bad) or 0 (taken back).")
    if reasons is not None:
        texts = isinstance(reasons, list | tuple) and all(isinstance(r, str) for r in reasons)
        if not texts or not all(0 < len(r) <= MAX_REASON for r in reasons):
            raise BadInput(f"Reasons must be a list of texts of 1 to {MAX_REASON} characters each.")
        if len(reasons) > MAX_REASONS:
            raise BadInput(f"There are {len(reasons)} reasons; {MAX_REASONS} is the most that is kept.")
        for reason in reasons:
            check_text(reason, "reason")
    if comment is not None and not isinstance(comment, str):
        raise BadInput(f"The comment {comment!r} is not a text.")
    if comment:
        check_text(comment, "comment")


def newest_corrections() -> Select[int]:
    """Select the ids of the newest correction of every reply, one that takes it back too."""
    return select(func.max(Correction.id)).group_by(Correction.message_id)
