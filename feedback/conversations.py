"""Verbs on conversations: opening, listing, finding, showing, renaming, deleting."""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, text
from sqlalchemy.orm import Session

from feedback.characters import unkept
from feedback.errors import BadInput
from feedback.messages import check_text, find, newest_leaf, path, rows_of, views
from feedback.personas import checked_sampling
from feedback.records import ConversationLine, Found, Opening, Said
from feedback.schema import LOCAL, Conversation, Message, now
from feedback.sessions import Sessions

_MAX_TITLE = 120
_NEWEST = 1000  # conversations that a search reads through before it asks for all
_BEFORE, _AFTER = 36, 72  # characters of a snippet around what was found


class Conversations(Sessions):
    """Conversations and their trees of messages."""

    def new_conversation(self, owner: str = LOCAL, opening: Opening | None = None) -> str:
        """Open an empty conversation, with a persona and settings if any are given; return its id. Raises BadInput."""
        start = opening or Opening()
        sampling = checked_sampling(start.sampling)
        with self.writing() as session:
            conversation = Conversation(id=uuid.uuid4().hex, owner_id=owner, persona=start.persona)
            conversation.system_prompt, conversation.sampling = start.system_prompt, sampling
            session.add(conversation)
            return conversation.id

    def conversations(self, owner: str = LOCAL, limit: int = 300, offset: int = 0) -> list[ConversationLine]:
        """List an owner's conversations that hold a message, newest first, after the `offset` newest."""
        with self.reading() as session:
            return [_line(row) for row in session.execute(_listed(owner).limit(limit).offset(offset))]

    def search(self, query: str, owner: str = LOCAL, limit: int = 50, offset: int = 0) -> list[Found]:
        """Find conversations whose title or messages hold every word of a query, newest first, after `offset` of them.

        Words are parts of words too, so Chinese is found without knowing where its words end.
        """
        words = query.split()
        if not words:
            return [Found(line) for line in self.conversations(owner, limit, offset)]
        if unkept(query):
            return []  # no text holds such a character, and the database would refuse it
        with self.reading() as session:
            found, holds = _among_newest(session, words, owner), _contains(words)
            if len(found) < offset + limit:
                holds = _holds(session, words)
                held = Conversation.id.in_(select(Message.conversation_id).where(holds))
                found = list(session.execute(_listed(owner).where(or_(held, _titled(words))).limit(offset + limit)))
            asked = found[offset : offset + limit]
            hits = _hits(session, holds, [row[0].id for row in asked])
            return [_found(_line(row), words, hits.get(row[0].id)) for row in asked]

    def history(self, conversation_id: str, rater: str = LOCAL) -> list[Said]:
        """Return the path from the first message to the head, oldest first. Raises NotFound."""
        with self.reading() as session:
            conversation = find(session, Conversation, conversation_id)
            return views(session, path(session, conversation.id, conversation.head_id), rater)

    def path_to(self, message_id: str, rater: str = LOCAL) -> list[Said]:
        """Return the path from the first message to this one, whatever is shown. Raises NotFound."""
        with self.reading() as session:
            message = find(session, Message, message_id)
            return views(session, path(session, message.conversation_id, message.id), rater)

    def message(self, message_id: str, rater: str = LOCAL) -> Said:
        """Return one message. Raises NotFound."""
        with self.reading() as session:
            return views(session, [find(session, Message, message_id)], rater)[0]

    def conversation_of(self, message_id: str) -> str:
        """Return the id of the conversation that a message belongs to. Raises NotFound."""
        with self.reading() as session:
            return find(session, Message, message_id).conversation_id

    def show(self, message_id: str) -> str:
        """Show the branch that a message is on, down to its newest end; return the conversation. Raises NotFound."""
        with self.writing() as session:
            message = find(session, Message, message_id)
            conversation = find(session, Conversation, message.conversation_id)
            conversation.head_id = newest_leaf(session, message).id
            return conversation.id

    def rename(self, conversation_id: str, title: str) -> str:
        """Give a conversation another title; return it as kept. Raises NotFound, BadInput."""
        check_text(title, "title")
        with self.writing() as session:
            conversation = find(session, Conversation, conversation_id)
            conversation.title = " ".join(title.split())[:_MAX_TITLE]
            return conversation.title

    def delete(self, conversation_id: str) -> None:
        """Take a conversation out of every list and every later dataset, until `undelete`. Raises NotFound."""
        with self.writing() as session:
            find(session, Conversation, conversation_id).deleted_at = now()

    def undelete(self, conversation_id: str) -> None:
        """Bring a deleted conversation back. Raises NotFound, and BadInput for one that was erased."""
        with self.writing() as session:
            conversation = find(session, Conversation, conversation_id, deleted_too=True)
            if conversation.erased_at is not None:
                raise BadInput(f"Conversation {conversation_id!r} was erased; nothing is left to bring back.")
            conversation.deleted_at = None


def _listed(owner: str) -> Any:
    running = select(Message.conversation_id).where(Message.status == "running")
    return (
        select(Conversation, Conversation.id.in_(running))
        .where(Conversation.owner_id == owner, Conversation.head_id.is_not(None), Conversation.deleted_at.is_(None))
        .order_by(Conversation.updated_at.desc(), Conversation.id)
    )


def _line(row: Any) -> ConversationLine:
    conversation, running = row
    return ConversationLine(conversation.id, conversation.title, conversation.updated_at, bool(running))


def _among_newest(session: Session, words: list[str], owner: str) -> list[Any]:
    """Find the newest conversations first: of a common word these are enough, and all that hold it would be too many.

    Nothing is found here with letters that the index compares otherwise than SQLite's own functions.
    """
    if not "".join(words).isascii():
        return []
    newest = list(session.execute(_listed(owner).limit(_NEWEST)))
    ids = [row[0].id for row in newest]
    query = select(Message.conversation_id).where(_contains(words)).distinct()
    held = {row.conversation_id for row in rows_of(session, query, Message.conversation_id, ids)}
    held |= {row.id for row in rows_of(session, select(Conversation.id).where(_titled(words)), Conversation.id, ids)}
    return [row for row in newest if row[0].id in held]


def _titled(words: list[str]) -> ColumnElement[bool]:
    return and_(*(Conversation.title.icontains(word, autoescape=True) for word in words))


def _contains(words: list[str]) -> ColumnElement[bool]:
    return and_(Message.status != "running", *(Message.content.icontains(word, autoescape=True) for word in words))


def _hits(session: Session, holds: ColumnElement[bool], conversation_ids: list[str]) -> dict[str, str]:
    """Map conversations to the newest message text for which a condition holds."""
    query = select(Message.conversation_id, Message.content).order_by(Message.created_at, Message.seq)
    return dict(rows_of(session, query.where(holds), Message.conversation_id, conversation_ids))


def _holds(session: Session, words: list[str]) -> ColumnElement[bool]:
    """Ask the index of three-letter parts where there is one and no word is shorter."""
    if session.get_bind().dialect.name == "sqlite" and min(map(len, words)) >= 3:
        wanted = " AND ".join('"' + word.replace('"', '""') + '"' for word in words)
        matching = "SELECT message_id FROM message_search WHERE message_search MATCH :wanted"
        return Message.id.in_(text(matching).bindparams(wanted=wanted))
    return _contains(words)


def _found(line: ConversationLine, words: list[str], content: str | None) -> Found:
    if content is None:
        return Found(line, title_marks=_marks(line.title, words))
    flat = " ".join(content.split())
    at = min((place for word in words if (place := flat.lower().find(word.lower())) >= 0), default=0)
    start = max(0, at - _BEFORE)
    snippet = ("…" if start else "") + flat[start : at + _AFTER] + ("…" if len(flat) > at + _AFTER else "")
    return Found(line, _marks(line.title, words), snippet, _marks(snippet, words))


def _marks(shown: str, words: list[str]) -> tuple[tuple[int, int], ...]:
    """Return where the words stand in a text, as (start, end), in order and without overlap."""
    low = shown.lower()
    marks: list[tuple[int, int]] = []
    if len(low) != len(shown):
        return ()  # a few letters change their length in lower case, and places would be off
    for word in words:
        at = low.find(word.lower())
        while at >= 0:
            if all(at >= end or at + len(word) <= start for start, end in marks):
                marks.append((at, at + len(word)))
            at = low.find(word.lower(), at + len(word))
    return tuple(sorted(marks))
