"""Verbs that erase what was said, for good: texts go; ids, kinds, thumbs' signs and lineage stay, and all adds up."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import column, delete, func, select, table, text, update
from sqlalchemy.orm import Session

from feedback.errors import Busy, RapportError
from feedback.messages import among, find
from feedback.schema import (
    RUN_OPEN,
    Conversation,
    Correction,
    Dataset,
    Message,
    Person,
    Persona,
    Rating,
    RatingEvent,
    Reply,
    Run,
    TrainingPair,
    now,
)
from feedback.sessions import Sessions


@dataclass(frozen=True)
class Erasure:
    """What is to be erased: conversations, how many messages they have, and the runs whose dataset files hold any."""

    conversations: tuple[str, ...]
    messages: int
    runs: tuple[int, ...]


class Erasing(Sessions):
    """What is erased, and cannot be brought back."""

    def conversations_of(self, owner: str) -> list[str]:
        """List all conversations of a person, deleted and erased ones too. Raises NotFound."""
        with self.reading() as session:
            query = select(Conversation.id).where(Conversation.owner_id == find(session, Person, owner).id)
            return list(session.scalars(query.order_by(Conversation.id)))

    def deleted_before(self, instant: datetime) -> list[str]:
        """List the conversations that were deleted before an instant and are not erased yet."""
        query = select(Conversation.id).where(Conversation.deleted_at < instant, Conversation.erased_at.is_(None))
        with self.reading() as session:
            return list(session.scalars(query.order_by(Conversation.id)))

    def erasure(self, conversation_ids: Sequence[str]) -> Erasure:
        """Tell what goes with conversations. Raises NotFound, and Busy while a reply in them or a run is under way."""
        with self.reading() as session:
            ids = [find(session, Conversation, key, deleted_too=True).id for key in dict.fromkeys(conversation_ids)]
            _refuse_while_busy(session, ids)
            inside = among(session, Message.conversation_id, ids)
            held = select(Dataset.run_id).join(TrainingPair, TrainingPair.dataset_id == Dataset.id)
            held = held.join(Message, Message.id == TrainingPair.message_id).where(inside).distinct()
            count = session.scalar(select(func.count()).select_from(Message).where(inside)) or 0
            return Erasure(tuple(ids), count, tuple(session.scalars(held.order_by(Dataset.run_id))))

    def erase(self, conversation_ids: Sequence[str], personas_of: str | None = None) -> None:
        """Erase every text in conversations, and the personas of a person if one is given; rewrite SQLite's file.

        A conversation that is not deleted is so from now on; one that is erased is erased again. Raises Busy as
        `erasure` does, and RapportError where the texts are erased but the file could not be rewritten.
        """
        with self.writing() as session:
            ids = among(session, Conversation.id, conversation_ids)
            # Whoever would say something here waits, and then finds it deleted.
            query = select(Conversation).where(ids).order_by(Conversation.id).with_for_update(key_share=True)
            found = list(session.scalars(query))
            _refuse_while_busy(session, conversation_ids)
            for conversation in found:
                conversation.title = conversation.persona = conversation.system_prompt = ""
                conversation.sampling = {}
                conversation.erased_at = now()
                conversation.deleted_at = conversation.deleted_at or conversation.erased_at
            session.flush()
            _blank_messages(session, conversation_ids)
            if personas_of is not None:
                blank = {"name": "", "system_prompt": "", "sampling": {}, "deleted_at": now()}
                session.execute(update(Persona).where(Persona.owner_id == personas_of).values(blank))
        try:
            self._database.rewrite()
        except (Busy, sqlite3.Error) as error:
            again = f"`python -m feedback erase {conversation_ids[0]}`" if conversation_ids else "the same command"
            raise RapportError(
                f"The texts are erased, but the record's file still holds their bytes ({error}); {again} rewrites it."
            ) from error


def _refuse_while_busy(session: Session, conversation_ids: Sequence[str]) -> None:
    inside = among(session, Message.conversation_id, conversation_ids)
    running = session.scalar(select(Message.conversation_id).where(inside, Message.status == "running").limit(1))
    if running is not None:
        raise Busy(
            f"A reply is still being written in conversation {running!r}; stop it or wait for its end, then erase."
        )
    run = session.scalar(select(Run.id).where(Run.status.in_(RUN_OPEN)).limit(1))
    if run is not None:
        raise Busy(
            f"Run {run} is not over yet and may hold these texts; wait for its end, then erase "
            "(`python -m finetune retrain` goes on with one that was killed)."
        )


def _blank_messages(session: Session, conversation_ids: Sequence[str]) -> None:
    """Empty whatever text hangs on the messages of conversations, in the search index too."""
    inside = among(session, Message.conversation_id, conversation_ids)
    ids = select(Message.id).where(inside)
    thumbs = select(Rating.id).where(Rating.message_id.in_(ids))
    for statement in (
        update(Message).where(inside).values(content=""),
        # Nobody writes it any more, though a writer that was silent for long may come back.
        update(Reply).where(Reply.message_id.in_(ids)).values(sampling={}, error=None, writer=""),
        update(Rating).where(Rating.message_id.in_(ids)).values(reasons=[], comment="", persona=""),
        update(RatingEvent).where(RatingEvent.rating_id.in_(thumbs)).values(reasons=[], comment=""),
        update(Correction).where(Correction.message_id.in_(ids), Correction.text.is_not(None)).values(text=""),
    ):
        session.execute(statement, execution_options={"synchronize_session": False})
    if session.get_bind().dialect.name == "sqlite":
        index = table("message_search", column("message_id"))
        session.execute(delete(index).where(index.c.message_id.in_(ids)))
        # Until its parts are merged the index holds what was deleted from it: https://www.sqlite.org/fts5.html
        session.execute(text("INSERT INTO message_search (message_search) VALUES ('optimize')"))
