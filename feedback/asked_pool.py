"""What is looked at to choose which replies to ask about: bounded samples of the unrated and of the rated ones.

So a record of a million messages is nearly as quick as a small one. Of unrated replies these are the newest
conversations' and a sample of all. Ids of replies written here are random, so those that follow any id are a sample.
Those that a file gave run on, one after another: a long stretch from any place is read, and shuffled. Of ratings, the
newest and a sample.

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
    own, found = _has_own(session), list[str]()
    wanted, ids_of = _wanted(session), Reply.message_id if own else Message.id
    start = uuid.UUID(bytes=dice.bytes(16)).hex if own else _any_id(session, dice)
    for ids in _from(session, ids_of, start):
        for keys in _parts(list(filter(which, ids))):
            found += session.scalars(wanted.where(Message.id.in_(keys)).order_by(Message.id))
        if own and len(found) >= most:
            break
    if not own:
        found = [found[place] for place in dice.permutation(len(found))]
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
    if _has_own(session):
        wanted = wanted.where(exists().where(Reply.message_id == Message.id))
    return wanted


def _has_own(session: Session) -> bool:
    return session.scalar(select(Reply.message_id).limit(1)) is not None


def _any_id(session: Session, dice: np.random.Generator) -> str:
    """Draw a message's id, each as likely as any other; "" of none."""
    many = session.scalar(select(func.count()).select_from(Message)) or 0
    place = int(dice.integers(max(many, 1)))
    return session.scalar(select(Message.id).order_by(Message.id).offset(place).limit(1)) or ""


def _from(session: Session, column: InstrumentedAttribute[str], start: str) -> Iterator[list[str]]:
    """Yield message ids in their order, a window at a time: from `start` to the last, then from the first to it."""
    left = _MOST_READ
    for first, last in ((start, None), ("", start)):
        more = True
        while more and left > 0:
            window = select(column).where(column > first).order_by(column).limit(min(_WINDOW, left))
            ids = list(session.scalars(window if last is None else window.where(column <= last)))
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
