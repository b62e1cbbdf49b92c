"""The verb that counts what the record holds; on a big record too, as the page asks for it again and again.

What counts is nearly all there is. So all is counted off an index, and the few that do not count are taken away: what
is in deleted conversations, what is being written, what failed.
"""

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from feedback.ratings import is_worth_keeping, newest_corrections
from feedback.schema import Conversation, Correction, Message, Person, Rating
from feedback.sessions import Sessions

_UNSAID = ("running", "error")


class Counting(Sessions):
    """How much there is."""

    def stats(self) -> dict[str, Any]:
        """Count what the record holds; an export imported into an empty data dir gives the same counts."""
        with self.reading() as session:
            roles, values = _messages(session), _thumbs(session)
            return {
                "conversations": _conversations(session),
                "messages": roles.total(),
                "replies": roles["assistant"],
                "thumbs_up": values[1],
                "thumbs_down": values[-1],
                "corrections": _corrections(session),
                "raters": _raters(session),
            }


def _said() -> ColumnElement[bool]:
    return or_(_complete(), is_worth_keeping())


def _complete() -> ColumnElement[bool]:
    """Hold for whole messages, which nearly all are: of little use is an index that leads to these one by one."""
    return Message.status.concat("") == "complete"


def _counted(session: Session, *queries: Select[Any, int]) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for query in queries:
        counts.update(dict(session.execute(query).tuples().all()))
    return counts


def _messages(session: Session) -> Counter[str]:
    """Count messages by role."""
    by_role = select(Message.role, func.count()).group_by(Message.role)
    there = _counted(session, by_role.where(_complete()), by_role.where(is_worth_keeping()))
    return there - _counted(session, by_role.where(_deleted(), _said()))


def _thumbs(session: Session) -> Counter[int]:
    by_value = select(Rating.value, func.count()).where(Rating.value != 0).group_by(Rating.value)
    on_reply = by_value.join(Message, Message.id == Rating.message_id)
    return _counted(session, by_value) - _counted(session, *_not_counted(on_reply))


def _corrections(session: Session) -> int:
    current = select(Correction.text.is_not(None), func.count()).group_by(Correction.text.is_not(None))
    current = current.where(Correction.id.in_(newest_corrections()), Correction.text.is_not(None))
    on_reply = current.join(Message, Message.id == Correction.message_id)
    return (_counted(session, current) - _counted(session, *_not_counted(on_reply))).total()


def _not_counted(query: Select[Any, int]) -> tuple[Select[Any, int], Select[Any, int]]:
    """Narrow a query of thumbs or corrections to those of deleted conversations, and of replies that said nothing."""
    return query.where(_deleted()), query.where(Message.status.in_(_UNSAID), _not_deleted())


def _deleted() -> ColumnElement[bool]:
    return Message.conversation_id.in_(select(Conversation.id).where(Conversation.deleted_at.is_not(None)))


def _not_deleted() -> ColumnElement[bool]:
    return exists().where(Conversation.id == Message.conversation_id, Conversation.deleted_at.is_(None))


def _conversations(session: Session) -> int:
    holds = exists().where(Message.conversation_id == Conversation.id, _said())
    query = select(func.count()).select_from(Conversation).where(Conversation.deleted_at.is_(None), holds)
    return session.scalar(query) or 0


def _raters(session: Session) -> int:
    """Count the people with a thumb; a look at one of each one's thumbs is mostly enough."""
    thumbed = and_(Rating.rater_id == Person.id, Rating.value != 0, Message.id == Rating.message_id)
    query = select(func.count()).select_from(Person)
    return session.scalar(query.where(exists().where(thumbed, _said(), _not_deleted()))) or 0
