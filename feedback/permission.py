"""Who may do what: one function that answers, and the verb that asks it before anything is done.

A chatter may do everything with what is their own. A reviewer may also review every reply, read those that
somebody rated or corrected, and see what was counted of all. An admin may do all, learning too.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import NotAllowed
from feedback.messages import current_corrections, find
from feedback.schema import Comparison, Conversation, Message, Person, Persona, Rating
from feedback.sessions import Sessions

OPEN = ("begin",)  # conversations and personas of one's own: there is nothing yet that could be someone else's
OWN = ("read", "write", "rate", "correct")  # on a thing, whose owner may
ACTIONS = (*OPEN, *OWN, "review", "survey", "learn")


@dataclass(frozen=True)
class Thing:
    """What somebody wants to act on: what it is called, whose it is, and whether it is a reply with feedback."""

    name: str
    owner_id: str
    has_feedback: bool = False


def may(person: Person, action: str, thing: Thing | None = None) -> bool:
    """Tell whether a person may do something with a thing; None is the app as a whole."""
    if action not in ACTIONS:
        raise ValueError(f"The action {action!r} is not known; {', '.join(ACTIONS)} are.")
    if person.role == "admin" or action in OPEN:
        return True
    if action in OWN and thing is not None and thing.owner_id == person.id:
        return True
    if person.role == "reviewer":
        return action in ("review", "survey") or (action == "read" and thing is not None and thing.has_feedback)
    return False


class Permissions(Sessions):
    """The question that comes before every act."""

    def require(self, person_id: str, action: str, kind: str | None = None, key: Any = None) -> None:
        """Raise NotAllowed unless a person may do something with the thing of a kind and a key; or NotFound."""
        with self.reading() as session:
            person = find(session, Person, person_id)
            thing = None if kind is None else _THINGS[kind](session, key)
        if may(person, action, thing):
            return
        if action in OWN and thing is not None:
            raise NotAllowed(f"{thing.name} belongs to someone else; only its owner or an admin may {action} it.")
        raise NotAllowed(f"A {person.role} may not {_SAID[action]}; ask {_WHO[action]}.")


_SAID = {
    "review": "review replies",
    "survey": "see what all people think of replies",
    "learn": "change what the model learns or which version serves",
}
_WHO = {"review": "a reviewer or an admin", "survey": "a reviewer or an admin", "learn": "an admin"}


def _conversation(session: Session, key: Any) -> Thing:
    # A deleted one too: bringing it back is asked for as well, and every other verb says that it is gone.
    return Thing(f"Conversation {key!r}", find(session, Conversation, key, deleted_too=True).owner_id)


def _message(session: Session, key: Any) -> Thing:
    message = find(session, Message, key)
    owner = session.get_one(Conversation, message.conversation_id).owner_id
    thumbs = select(Rating.id).where(Rating.message_id == message.id, Rating.value != 0).limit(1)
    told = session.scalar(thumbs) is not None or message.id in current_corrections(session, [message.id])
    return Thing(f"Message {key!r}", owner, told)


def _comparison(session: Session, key: Any) -> Thing:
    thing = _message(session, find(session, Comparison, key).left_id)
    return Thing(f"Comparison {key!r}", thing.owner_id)


def _persona(session: Session, key: Any) -> Thing:
    return Thing(f"Persona {key!r}", find(session, Persona, key).owner_id)


_THINGS = {"conversation": _conversation, "message": _message, "comparison": _comparison, "persona": _persona}
