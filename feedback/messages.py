"""What the groups of verbs share: finding rows, checking texts, the tree of messages and how a message is seen."""

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import ARRAY, ColumnElement, Select, any_, exists, func, literal, not_, select
from sqlalchemy.orm import Session, aliased

from feedback.characters import unkept
from feedback.errors import BadInput, NotFound
from feedback.judging import GOOD
from feedback.records import Said
from feedback.schema import (
    Conversation,
    Correction,
    Dataset,
    Message,
    ModelVersion,
    Rating,
    Reply,
    Review,
    TrainingPair,
    now,
)

MAX_TEXT = 200_000  # characters in one message, comment or correction
_TITLE_LENGTH = 60
_KEYS = 2**31  # whole numbers from there on no INTEGER of PostgreSQL holds
_AT_ONCE = 2000  # keys looked up together
_FILE = re.compile(r"\n\n[^\n]+\n`{3,}\n")  # its name and the fence around it

Table = TypeVar("Table")


def find(session: Session, table: type[Table], key: Any, deleted_too: bool = False, alone: bool = False) -> Table:
    """Get a row by its key or raise NotFound naming it; nor is found what is deleted, or no key at all.

    `alone` has whoever else asks for the row so wait until this transaction ends, and reads it as it is by then: for
    what is looked at before it is changed. PostgreSQL needs it; SQLite has one writer at a time anyway.
    """
    # Rows that only name this one may come meanwhile: a thumb waits for no turn.
    lock = {"key_share": True} if alone else None
    row = session.get(table, key, with_for_update=lock) if could_be_key(key) else None
    if row is None or (isinstance(row, Conversation) and row.deleted_at is not None and not deleted_too):
        raise NotFound(f"There is no {table.__name__.lower()} {key!r}.")
    return row


def could_be_key(key: Any) -> bool:
    """Tell whether a column of keys could hold this: else there is nothing to look up, and PostgreSQL fails at it."""
    if isinstance(key, str):
        return not unkept(key)
    return isinstance(key, int) and abs(key) < _KEYS


def check_text(text: Any, what: str) -> None:
    """Refuse what is no text, empty, too long, or holds what cannot be kept."""
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"The {what} is empty; write something first.")
    if wrong := unkept(text):
        raise BadInput(f"The {what} holds {wrong}, which cannot be kept; take it out, then try again.")
    if len(text) > MAX_TEXT:
        raise BadInput(f"The {what} has {len(text):,} characters; {MAX_TEXT:,} is the most that is kept.")


def title_of(text: str) -> str:
    """Make a title out of the first words of a message, those above a file that goes with it if there are any."""
    line = " ".join((_FILE.split(text)[0].strip() or text).split())
    return line if len(line) <= _TITLE_LENGTH else line[: _TITLE_LENGTH - 1].rstrip() + "…"


def append(session: Session, conversation: Conversation, role: str, content: str, **columns: Any) -> Message:
    """Add a message below the head (or below `parent_id`) and make it the head."""
    highest = session.scalar(select(func.max(Message.seq)).where(Message.conversation_id == conversation.id))
    columns.setdefault("id", uuid.uuid4().hex)
    columns.setdefault("parent_id", conversation.head_id)
    message = Message(conversation_id=conversation.id, seq=(highest or 0) + 1, role=role, content=content, **columns)
    session.add(message)
    session.flush()
    conversation.head_id = message.id
    conversation.updated_at = max(conversation.updated_at, columns.get("created_at") or now())
    return message


def path(session: Session, conversation_id: str, leaf_id: str | None) -> list[Message]:
    """Walk from a leaf up to the first message; return oldest first."""
    query = select(Message).where(Message.conversation_id == conversation_id)
    by_id = {m.id: m for m in session.scalars(query)} if leaf_id else {}
    found: list[Message] = []
    while leaf_id is not None:
        found.append(by_id[leaf_id])
        leaf_id = by_id[leaf_id].parent_id
    return found[::-1]


def views(session: Session, messages: Sequence[Message], rater: str) -> list[Said]:
    """Join messages with the rater's thumb, the current correction and the version."""
    ids = [m.id for m in messages if m.role == "assistant"]
    ratings = {r.message_id: r for r in in_batches(session, Rating, Rating.message_id, ids) if r.rater_id == rater}
    corrections = current_corrections(session, ids)
    replies = {r.message_id: r for r in in_batches(session, Reply, Reply.message_id, ids)}
    beside, learned = siblings(session, messages), _learned_by(session, ids)
    return [
        _view(
            m,
            ratings.get(m.id),
            corrections.get(m.id),
            replies.get(m.id),
            beside[m.conversation_id, m.parent_id],
            learned,
        )
        for m in messages
    ]


def _learned_by(session: Session, message_ids: Sequence[str]) -> dict[tuple[str, int | None], int]:
    """Map (reply, correction or None) to the first version that was trained to say it."""
    query = (
        select(TrainingPair.message_id, TrainingPair.correction_id, func.min(ModelVersion.number))
        .join(Dataset, Dataset.id == TrainingPair.dataset_id)
        .join(ModelVersion, ModelVersion.run_id == Dataset.run_id)
        .where(TrainingPair.split == "train", TrainingPair.kind.in_(GOOD))
        .group_by(TrainingPair.message_id, TrainingPair.correction_id)
    )
    found: dict[tuple[str, int | None], int] = {}
    for start in range(0, len(message_ids), 500):
        part = query.where(TrainingPair.message_id.in_(message_ids[start : start + 500]))
        found |= {(message, correction): version for message, correction, version in session.execute(part)}
    return found


def siblings(session: Session, messages: Sequence[Message]) -> dict[tuple[str, str | None], tuple[str, ...]]:
    """Map (conversation, parent) of each message to all messages under that parent, oldest first."""
    parents = [m.parent_id for m in messages if m.parent_id is not None]
    children = list(in_batches(session, Message, Message.parent_id, parents))
    roots = [m.conversation_id for m in messages if m.parent_id is None]
    first = select(Message).where(Message.conversation_id.in_(roots), Message.parent_id.is_(None))
    children += list(session.scalars(first)) if roots else []
    found: dict[tuple[str, str | None], list[Message]] = {}
    for child in children:
        found.setdefault((child.conversation_id, child.parent_id), []).append(child)
    return {key: tuple(m.id for m in sorted(group, key=lambda m: m.seq)) for key, group in found.items()}


def newest_leaf(session: Session, message: Message) -> Message:
    """Walk down from a message, always to the newest, as far as it goes."""
    while True:
        query = select(Message).where(Message.parent_id == message.id).order_by(Message.seq.desc()).limit(1)
        below = session.scalar(query)
        if below is None:
            return message
        message = below


def _view(
    message: Message,
    rating: Rating | None,
    correction: Correction | None,
    reply: Reply | None,
    beside: tuple[str, ...],
    learned: dict[tuple[str, int | None], int],
) -> Said:
    taught = correction is not None or (rating is not None and rating.value > 0)
    return Said(
        id=message.id,
        parent_id=message.parent_id,
        role=message.role,
        content=message.content,
        status=message.status,
        version=reply.version if reply else None,
        rating=rating.value if rating else 0,
        reasons=tuple(rating.reasons) if rating else (),
        comment=rating.comment if rating else "",
        correction=correction.text if correction else None,
        correction_id=correction.id if correction else None,
        correction_shown=message.correction_shown and correction is not None,
        error=reply.error if reply else None,
        finish=message.finish,
        given=len(reply.prompt) if reply else None,
        learned_by=learned.get((message.id, correction.id if correction else None)) if taught else None,
        siblings=beside,
    )


def current_corrections(session: Session, message_ids: Sequence[str]) -> dict[str, Correction]:
    """Map message to its newest correction, those taken back left out."""
    rows = sorted(in_batches(session, Correction, Correction.message_id, message_ids), key=lambda c: c.id)
    newest = {c.message_id: c for c in rows}
    return {k: c for k, c in newest.items() if c.text is not None}


def current_reviews(session: Session, message_ids: Sequence[str]) -> dict[str, Review]:
    """Map message to the review in force, those taken back left out."""
    rows = sorted(in_batches(session, Review, Review.message_id, message_ids), key=lambda r: r.id)
    return {k: r for k, r in {r.message_id: r for r in rows}.items() if r.verdict is not None}


def newest_reviews() -> Select[int]:
    """Select the ids of the newest review of every reply, one that takes a verdict back too."""
    return select(func.max(Review.id)).group_by(Review.message_id)


def is_newest(table: Any) -> ColumnElement[bool]:
    """Hold for a correction or review that no later one of the same reply follows; one that takes it back is one too.

    Asked row by row: inside a condition on each of many replies, a list of all the newest would be made for each.
    """
    later = aliased(table)
    return not_(exists().where(later.message_id == table.message_id, later.id > table.id))


def in_batches(session: Session, table: type[Table], column: Any, keys: Sequence[Any]) -> Iterable[Table]:
    """Select rows whose column is one of many keys, a bounded number of keys at a time."""
    for start in range(0, len(keys), _AT_ONCE):
        yield from session.scalars(select(table).where(among(session, column, keys[start : start + _AT_ONCE])))


def rows_of(session: Session, query: Any, column: Any, keys: Sequence[Any]) -> Iterator[Any]:
    """Run a query of columns for the rows whose column is one of many keys, a bounded number of keys at a time."""
    for start in range(0, len(keys), _AT_ONCE):
        part = query.where(among(session, column, keys[start : start + _AT_ONCE]))
        session.flush()
        yield from session.connection().execute(part).all()  # past the ORM, which takes half of the time for each row


def among(session: Session, column: Any, keys: Sequence[Any]) -> ColumnElement[bool]:
    """Hold where a column is one of some keys, given as one parameter: a parameter each costs more than the search."""
    if session.get_bind().dialect.name == "sqlite":
        return cast(ColumnElement[bool], column.in_(select(_each(json.dumps(list(keys))))))
    return cast(ColumnElement[bool], column == any_(literal(list(keys), ARRAY(column.type))))


def _each(keys: str) -> Any:
    return func.json_each(keys).table_valued("value").c.value
