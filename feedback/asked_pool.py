"""What is looked at to choose which replies to ask about: bounded samples of the unrated and of the rated ones.

So a record of a million messages is as quick as a small one. Of unrated replies these are the newest conversations'
and a sample of all: message ids are random, so those that follow any id are one. Of ratings, the newest and a sample.
Rows are found by their keys: conditions are written so that SQLite, which has no statistics here, is not led to an
index of which half of the rows share a value.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, exists, func, not_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from feedback.guess import READ, Rated, Text
from feedback.schema import AskedReply, Conversation, Correction, Message, Rating, Reply, Review

_CONVERSATIONS = 200  # the newest
_WINDOW, _MOST_READ = 1000, 20_000  # messages read at a time for a sample, and at most
_KEYS = 500


def unrated() -> Iterator[ColumnElement[bool]]:
    """Hold for whole replies of living conversations that nobody judged in any way."""
    yield from (func.lower(Message.role) == "assistant", Message.content != "", lives())
    yield func.lower(Message.status).in_(("complete", "stopped"))
    yield not_(exists().where(Rating.message_id == Message.id, Rating.value != 0))
    yield not_(_in_force(Correction, Correction.text))
    yield not_(_in_force(Review, Review.verdict))


def lives() -> ColumnElement[bool]:
    """Hold for messages whose conversation is not deleted."""
    deleted = exists().where(Conversation.id == Message.conversation_id, Conversation.deleted_at.is_not(None))
    return not_(deleted)


def _in_force(table: type[Correction] | type[Review], says: InstrumentedAttribute[str | None]) -> ColumnElement[bool]:
    """Hold where the newest row about a message takes nothing back."""
    other = aliased(table)
    last = select(func.max(other.id)).where(other.message_id == Message.id).correlate(Message).scalar_subquery()
    return exists().where(table.message_id == Message.id, table.id == last, says.is_not(None))


def newest(session: Session, most: int) -> list[Text]:
    """Read up to `most` replies to ask about of the conversations that were last spoken in."""
    query = select(Conversation.id).order_by(Conversation.updated_at.desc(), Conversation.id).limit(_CONVERSATIONS)
    wanted = _wanted(session).where(Message.conversation_id.in_(list(session.scalars(query))))
    return _texts(session, list(session.scalars(wanted.order_by(Message.created_at.desc(), Message.id).limit(most))))


def sample(session: Session, dice: np.random.Generator, most: int, which: Callable[[str], bool]) -> list[Text]:
    """Read up to `most` of the replies to ask about whose id is one of `which`, each as likely as any other."""
    start, wanted, found = uuid.UUID(bytes=dice.bytes(16)).hex, _wanted(session), list[str]()
    for ids in _from(session, start):
        for keys in _parts(ids):
            found += filter(which, session.scalars(wanted.where(Message.id.in_(keys)).order_by(Message.id)))
        if len(found) >= most:
            break
    return _texts(session, found[:most])


def rated(session: Session, dice: np.random.Generator, most: int) -> list[Rated]:
    """Read up to 2 * `most` rated replies with their thumbs: of the newest ratings, and of ratings drawn from all."""
    last = session.scalar(select(func.max(Rating.id))) or 0
    drawn = (1 + dice.permutation(last))[:most] if last <= 10 * most else dice.integers(1, last + 1, most)
    by_time = select(Rating.message_id).where(Rating.value != 0).order_by(Rating.updated_at.desc(), Rating.id.desc())
    ids = set(session.scalars(by_time.limit(most)))
    for keys in _parts(sorted({int(key) for key in drawn})):
        ids.update(session.scalars(select(Rating.message_id).where(Rating.id.in_(keys), Rating.value != 0)))
    thumbs: dict[str, list[int]] = {}
    for part in _parts(sorted(ids)):
        given = select(Rating.message_id, Rating.value).where(Rating.message_id.in_(part), Rating.value != 0)
        for message_id, value in session.execute(given.order_by(Rating.id)).tuples():
            thumbs.setdefault(message_id, []).append(value)
    return [
        Rated(text, thumbs[text.message_id].count(1), thumbs[text.message_id].count(-1))
        for text in _texts(session, sorted(thumbs))
    ]


def _wanted(session: Session) -> Select[Any]:
    """Select the ids of replies that may be asked about: unrated, never asked about, and written here.

    Imported ones are asked about only in a record without any reply of its own: they belong to no version.
    """
    wanted = select(Message.id).where(*unrated())
    wanted = wanted.where(not_(exists().where(AskedReply.message_id == Message.id)))
    if session.scalar(select(Reply.message_id).limit(1)) is not None:
        wanted = wanted.where(exists().where(Reply.message_id == Message.id))
    return wanted


def _from(session: Session, start: str) -> Iterator[list[str]]:
    """Yield message ids in their order, a window at a time: from `start` to the last, then from the first to it."""
    left = _MOST_READ
    for first, last in ((start, None), ("", start)):
        more = True
        while more and left > 0:
            window = select(Message.id).where(Message.id > first).order_by(Message.id).limit(min(_WINDOW, left))
            ids = list(session.scalars(window if last is None else window.where(Message.id <= last)))
            more = len(ids) == min(_WINDOW, left)
            left -= len(ids)
            if ids:
                first = ids[-1]
                yield ids


def _texts(session: Session, ids: Sequence[str]) -> list[Text]:
    """Read the beginnings of replies and of what was asked, in the order of `ids`, but for deleted conversations."""
    asked = aliased(Message)
    query = (
        select(
            Message.id,
            Message.conversation_id,
            Reply.version,
            func.coalesce(func.substr(asked.content, 1, READ), ""),
            func.substr(Message.content, 1, READ),
        )
        .outerjoin(asked, asked.id == Message.parent_id)
        .outerjoin(Reply, Reply.message_id == Message.id)
        .where(lives())
    )
    found: dict[str, Text] = {}
    for keys in _parts(ids):
        for row in session.execute(query.where(Message.id.in_(keys))).tuples():
            found[row[0]] = Text(*row)
    return [found[key] for key in ids if key in found]


def _parts(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), _KEYS):
        yield keys[start : start + _KEYS]
