"""Verbs that take conversations in from a file and give them out again."""

import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import RapportError
from feedback.formats import Incoming, IncomingMessage
from feedback.messages import append, current_corrections, in_batches, title_of
from feedback.ratings import person, put_correction, put_rating, was_said
from feedback.schema import LOCAL, Conversation, Correction, Message, Rating, now
from feedback.sessions import Sessions


class Exchange(Sessions):
    """Import and export of whole conversations."""

    def take_in(self, batch: Sequence[Incoming]) -> list[str | None]:
        """Merge paths into the record: what is there already stays, new messages and changed ratings are added.

        The batch is one transaction. Returns, per path, None or why it could not be taken in.
        """
        with self.writing() as session:
            return [_try_merge(session, incoming) for incoming in batch]

    def give_out(self, conversation_id: str | None = None) -> Iterator[Incoming]:
        """Yield every path from a first message to a last one, once per person with feedback; the shown path last.

        Of one conversation, or of all.
        """
        with self.reading() as session:
            there = select(Conversation.id).where(Conversation.deleted_at.is_(None))
            if conversation_id is not None:
                there = there.where(Conversation.id == conversation_id)
            ids = list(session.scalars(there.order_by(Conversation.created_at, Conversation.id)))
            for start in range(0, len(ids), 200):
                for conversation in in_batches(session, Conversation, Conversation.id, ids[start : start + 200]):
                    yield from _paths_out(session, conversation)


def _try_merge(session: Session, incoming: Incoming) -> str | None:
    try:
        with session.begin_nested():
            _merge(session, incoming)
    except RapportError as error:
        return str(error)
    return None


def _merge(session: Session, incoming: Incoming) -> None:
    person(session, incoming.rater)
    conversation = session.get(Conversation, incoming.conversation_id)
    if conversation is not None:
        conversation.deleted_at = None  # whoever imports it again wants it back
    if conversation is None:
        conversation = Conversation(id=incoming.conversation_id, owner_id=LOCAL, source="import")
        if incoming.created_at:
            conversation.created_at = conversation.updated_at = incoming.created_at
        first = next((m.content for m in incoming.messages if m.role == "user"), incoming.messages[0].content)
        conversation.title = title_of(first) if incoming.title is None else incoming.title
        session.add(conversation)
        session.flush()
    there = list(session.scalars(select(Message).where(Message.conversation_id == conversation.id)))
    parent: Message | None = None
    for message in incoming.messages:
        own, new_id = _same(session, there, parent, message)
        if own is None:
            own = append(
                session,
                conversation,
                message.role,
                message.content,
                id=new_id or uuid.uuid4().hex,
                parent_id=parent.id if parent else None,
                status=message.status,
                finish=message.finish,
                created_at=incoming.created_at or now(),
            )
            there.append(own)
        parent = own
        if message.rating is not None:
            put_rating(
                session, parent, message.rating, message.reasons, message.comment, incoming.rater, incoming.created_at
            )
        if message.correction is not None:
            put_correction(session, parent, message.correction, incoming.rater)


def _same(
    session: Session, there: list[Message], parent: Message | None, message: IncomingMessage
) -> tuple[Message | None, str | None]:
    """Find the message that is there already; else say which id the new one may take.

    A message with an id is the one of that id: two siblings may say the same. Without an id (or with one
    that another conversation holds) it is the sibling that says the same.
    """
    if message.id is not None:
        own = next((m for m in there if m.id == message.id), None)
        if own is not None or session.get(Message, message.id) is None:
            return own, message.id
    parent_id = parent.id if parent else None
    alike = (m for m in there if (m.parent_id, m.role, m.content) == (parent_id, message.role, message.content))
    return next(alike, None), None


def _paths_out(session: Session, conversation: Conversation) -> Iterator[Incoming]:
    query = select(Message).where(Message.conversation_id == conversation.id, was_said()).order_by(Message.seq)
    said = {m.id: m for m in session.scalars(query)}
    all_parents = dict(
        session.execute(select(Message.id, Message.parent_id).where(Message.conversation_id == conversation.id))
        .tuples()
        .all()
    )
    parents = {key: _nearest(all_parents, all_parents[key], said) for key in said}
    leaves = [key for key in said if key not in set(parents.values())]
    shown = _nearest(all_parents, conversation.head_id, said)
    leaves.sort(key=lambda key: key == shown)
    corrections = current_corrections(session, list(said))
    ratings: dict[str, dict[str, Rating]] = {}
    for rating in in_batches(session, Rating, Rating.message_id, list(said)):
        if rating.value:
            ratings.setdefault(rating.rater_id, {})[rating.message_id] = rating
    authors = {c.author_id for c in corrections.values()}
    for rater in sorted({*ratings, *authors}) or [LOCAL]:
        own = {key: c for key, c in corrections.items() if c.author_id == rater}
        for leaf in leaves:
            ids = _climb(parents, leaf)
            yield Incoming(
                conversation_id=conversation.id,
                rater=rater,
                created_at=conversation.created_at,
                title=conversation.title,
                messages=tuple(_out(said[i], ratings.get(rater, {}).get(i), own.get(i)) for i in ids),
            )


def _nearest(parents: dict[str, str | None], key: str | None, kept: dict[str, Message]) -> str | None:
    while key is not None and key not in kept:
        key = parents[key]
    return key


def _climb(parents: dict[str, str | None], leaf: str) -> list[str]:
    ids: list[str] = []
    key: str | None = leaf
    while key is not None:
        ids.append(key)
        key = parents[key]
    return ids[::-1]


def _out(message: Message, rating: Rating | None, correction: Correction | None) -> IncomingMessage:
    return IncomingMessage(
        role=message.role,
        content=message.content,
        id=message.id,
        status=message.status,
        finish=message.finish,
        rating=rating.value if rating else None,
        reasons=tuple(rating.reasons) if rating else (),
        comment=rating.comment if rating else "",
        correction=correction.text if correction else None,
    )
