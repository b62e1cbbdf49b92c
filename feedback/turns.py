"""Verbs on turns: what a person says, and the reply to it, from its opening to its end."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from feedback.characters import keepable
from feedback.errors import BadInput, Busy
from feedback.messages import append, check_text, find, title_of
from feedback.schema import LOCAL, Conversation, Message, Reply, Signal, now
from feedback.sessions import Sessions
from feedback.writers import is_dead, this_writer

SILENCE = timedelta(seconds=30)  # a writer that has not beaten for so long is taken for gone
SIGNALS = ("regenerated", "edited", "copied", "stopped")


class Turns(Sessions):
    """Messages of a person and replies to them."""

    def begin_turn(
        self,
        conversation_id: str,
        parent_id: str | None,
        text: str,
        version: int,
        sampling: dict[str, Any],
        prompt: Sequence[dict[str, Any]],
        at_head: bool = True,
    ) -> tuple[str, str]:
        """Commit what the person said below `parent_id` and open the reply to it, both or neither.

        `prompt` lists the messages given before the text; the conversation's system prompt becomes a message with the
        first that is said. `at_head`: it goes on where the conversation ends, not
        beside what was said already. Returns the ids of message and reply. Raises NotFound, BadInput, and Busy if
        a reply is being written or the conversation does not end at `parent_id` (any more).
        """
        check_text(text, "message")
        with self.writing() as session:
            conversation, said, lead = say(session, conversation_id, parent_id, text, at_head)
            given = [*lead, *prompt, {"message": said.id}]
            return said.id, open_reply(session, conversation, said.id, version, sampling, given)

    def begin_reply(
        self,
        parent_id: str,
        version: int,
        sampling: dict[str, Any],
        prompt: Sequence[dict[str, Any]],
        continues_id: str | None = None,
    ) -> str:
        """Open another reply to a message, before its first token; `continues_id` is the reply it goes on from.

        Raises NotFound, BadInput, and Busy if a reply is being written in the conversation.
        """
        with self.writing() as session:
            parent = find(session, Message, parent_id)
            conversation = find(session, Conversation, parent.conversation_id, alone=True)
            _refuse_while_running(session, conversation.id)
            if parent.role == "assistant":
                raise BadInput(f"Message {parent_id!r} is a reply; a reply can only be written to another message.")
            return open_reply(session, conversation, parent.id, version, sampling, prompt, continues_id)

    def beat(self, texts: dict[str, str]) -> None:
        """Say that the replies of these ids are alive, and keep their text so far.

        Where that fails for one of them, it is raised once the others' is on disk.
        """
        failed: list[Exception] = []
        with self.writing() as session:
            for message_id, text in texts.items():
                try:
                    with session.begin_nested():
                        _beat(session, message_id, text)
                except (SQLAlchemyError, TypeError, ValueError) as error:  # a text that this database cannot take
                    failed.append(error)
        if failed:
            raise failed[0]

    def end_reply(self, message_id: str, text: str, status: str, finish: str | None = None, **figures: Any) -> None:
        """Close a reply of this process with its text, status, finish and figures (columns of Reply).

        Characters that a record cannot keep are replaced in what a model or its server wrote.
        """
        with self.writing() as session:
            message, reply = find(session, Message, message_id), find(session, Reply, message_id)
            if reply.writer != this_writer() or message.status not in ("running", "interrupted"):
                return
            message.content, message.status, message.finish = keepable(text), status, finish
            for name, value in figures.items():
                setattr(reply, name, keepable(value) if isinstance(value, str) else value)
            # Not `find`: a reply whose conversation was deleted meanwhile must end too, or it would stay open.
            session.get_one(Conversation, message.conversation_id).updated_at = now()

    def interrupt_dead_replies(self) -> int:
        """Mark running replies whose writer is gone as interrupted, text kept; return how many."""
        with self.reading() as session:
            query = select(Reply).join(Message, Message.id == Reply.message_id).where(Message.status == "running")
            limit = now() - SILENCE
            dead = [r.message_id for r in session.scalars(query) if r.heartbeat_at < limit or is_dead(r.writer)]
        if dead:
            with self.writing() as session:
                still = update(Message).where(Message.id.in_(dead), Message.status == "running")
                session.execute(still.values(status="interrupted"))
        return len(dead)

    def reply_facts(self, message_id: str) -> dict[str, Any]:
        """Return how a reply came to be, as the columns of Reply; empty for an imported one."""
        with self.reading() as session:
            reply = session.get(Reply, message_id)
            return {c.key: getattr(reply, c.key) for c in Reply.__table__.columns} if reply else {}

    def signal(self, message_id: str, kind: str, person: str = LOCAL) -> None:
        """Keep a weak signal, apart from ratings: a reply was regenerated, copied or stopped, a question edited.

        Raises NotFound, BadInput.
        """
        if kind not in SIGNALS:
            raise BadInput(f"The signal {kind!r} is not known; {', '.join(SIGNALS)} are.")
        with self.writing() as session:
            message = find(session, Message, message_id)
            session.add(Signal(message_id=message.id, person_id=person, kind=kind))


def _beat(session: Session, message_id: str, text: str) -> None:
    running = update(Message).where(Message.id == message_id, Message.status == "running")
    session.execute(running.values(content=keepable(text)))
    session.execute(update(Reply).where(Reply.message_id == message_id).values(heartbeat_at=now()))


def say(
    session: Session, conversation_id: str, parent_id: str | None, text: str, at_head: bool
) -> tuple[Conversation, Message, list[dict[str, Any]]]:
    """Add what a person said, and before the first of it the system prompt; return conversation, message and that.

    Raises NotFound, Busy.
    """
    conversation = find(session, Conversation, conversation_id, alone=True)
    _refuse_while_running(session, conversation.id)
    if at_head and conversation.head_id != parent_id:
        raise Busy("Something else was said in this conversation just now; look at it, and send again.")
    if not conversation.title:
        conversation.title = title_of(text)
    lead: list[dict[str, Any]] = []
    if parent_id is None and conversation.system_prompt:
        system = append(session, conversation, "system", conversation.system_prompt, parent_id=None)
        parent_id, lead = system.id, [{"message": system.id}]
    return conversation, append(session, conversation, "user", text, parent_id=parent_id), lead


def open_reply(
    session: Session,
    conversation: Conversation,
    parent_id: str,
    version: int,
    sampling: dict[str, Any],
    prompt: Sequence[dict[str, Any]],
    continues_id: str | None = None,
) -> str:
    """Add a reply that is being written from now on; return its id."""
    message = append(session, conversation, "assistant", "", status="running", parent_id=parent_id)
    session.add(
        Reply(
            message_id=message.id,
            version=version,
            sampling=sampling,
            prompt=list(prompt),
            continues_id=continues_id,
            writer=this_writer(),
        )
    )
    return message.id


def _refuse_while_running(session: Session, conversation_id: str) -> None:
    running = select(Message.id).where(Message.conversation_id == conversation_id, Message.status == "running")
    if session.scalar(running.limit(1)):
        raise Busy("A reply is still being written in this conversation; stop it or wait for its end.")
