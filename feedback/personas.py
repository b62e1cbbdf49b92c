"""Verbs on personas that people make, and on what a conversation is opened with."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.characters import unkept
from feedback.errors import BadInput
from feedback.messages import check_text, find
from feedback.records import Opening, PersonaLine
from feedback.schema import LOCAL, Conversation, Persona, now
from feedback.sessions import Sessions

MAX_NAME = 60
MAX_STOPS, MAX_STOP = 16, 200  # stop strings, and characters of one
MAX_PROMPT = 8_000  # characters; more would leave a small model's context no room for a conversation
# What may be set, as (type, lowest, highest). The page's sliders and every check read it here.
BOUNDS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 2.0),
    "top_p": (float, 0.05, 1.0),
    "top_k": (int, 0, 200),
    "repetition_penalty": (float, 1.0, 2.0),
    "max_new_tokens": (int, 16, 4096),
}


class Personas(Sessions):
    """Own personas, and a conversation's persona and sampling settings."""

    def personas(self, owner: str = LOCAL) -> list[PersonaLine]:
        """List the personas that a person made, oldest first."""
        with self.reading() as session:
            query = select(Persona).where(Persona.owner_id == owner, Persona.deleted_at.is_(None))
            rows = session.scalars(query.order_by(Persona.created_at, Persona.id))
            return [PersonaLine(row.id, row.name, row.system_prompt, row.sampling) for row in rows]

    def persona(self, kept: str, owner: str = LOCAL) -> PersonaLine | None:
        """Return the own persona that a conversation was opened with, a dropped one too; None if it is none of these.

        `kept` is its id. Older and imported conversations hold its name: then it is the newest of that name.
        """
        with self.reading() as session:
            named = select(Persona).where(Persona.owner_id == owner, Persona.name == kept, Persona.deleted_at.is_(None))
            row = session.get(Persona, kept) or session.scalar(named.order_by(Persona.created_at.desc()).limit(1))
            return PersonaLine(row.id, row.name, row.system_prompt, row.sampling) if row else None

    def keep_persona(
        self, name: str, system_prompt: str, sampling: Mapping[str, Any] | None = None, owner: str = LOCAL
    ) -> str:
        """Keep a persona of one's own; return its id. Raises BadInput."""
        check_text(name, "name")
        check_text(system_prompt, "system prompt")
        name = " ".join(name.split())
        if len(name) > MAX_NAME:
            raise BadInput(f"The name has {len(name)} characters; {MAX_NAME} is the most that is kept.")
        if len(system_prompt) > MAX_PROMPT:
            raise BadInput(
                f"The system prompt has {len(system_prompt):,} characters; {MAX_PROMPT:,} is the most, "
                "so that the conversation still fits the model."
            )
        checked = checked_sampling(sampling)
        with self.writing() as session:
            row = Persona(id=uuid.uuid4().hex, owner_id=owner, name=name, system_prompt=system_prompt, sampling=checked)
            session.add(row)
            return row.id

    def drop_persona(self, persona_id: str) -> None:
        """Take an own persona out of the list; conversations opened with it keep it. Raises NotFound."""
        with self.writing() as session:
            find(session, Persona, persona_id).deleted_at = now()

    def opening(self, conversation_id: str) -> Opening:
        """Return what a conversation was opened with. Raises NotFound."""
        with self.reading() as session:
            row = find(session, Conversation, conversation_id)
            return Opening(row.persona, row.system_prompt, row.sampling)

    def set_sampling(self, conversation_id: str, sampling: Mapping[str, Any]) -> None:
        """Change the settings of a conversation's coming replies; {} are the app's own. Raises NotFound, BadInput."""
        checked = checked_sampling(sampling)
        with self.writing() as session:
            find(session, Conversation, conversation_id).sampling = checked


def checked_sampling(sampling: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return sampling settings as they are kept. Raises BadInput for one that is unknown or out of its bounds."""
    if sampling is not None and not isinstance(sampling, Mapping):
        raise BadInput(f"The sampling settings {sampling!r} are not known; give names with values, like temperature.")
    checked: dict[str, Any] = {}
    for name, value in (sampling or {}).items():
        if name in _OTHERS:
            checked[name] = _OTHERS[name](value)
            continue
        if name not in BOUNDS:
            raise BadInput(f"The sampling setting {name!r} is not known; {', '.join([*BOUNDS, *_OTHERS])} are.")
        kind, lowest, highest = BOUNDS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not lowest <= value <= highest or (kind is int and value != int(value)):
            whole = "a whole number" if kind is int else "a number"
            raise BadInput(f"{name} {value!r} cannot be used; give {whole} from {lowest:g} to {highest:g}.")
        checked[name] = kind(value)
    return checked


def persona_name(session: Session, kept: str) -> str:
    """Return the name of a persona, by which it is known outside this record."""
    row = session.get(Persona, kept) if kept else None
    return row.name if row else kept


def _seed(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31):
        return value
    raise BadInput(f"seed {value!r} cannot be used; give a whole number from 0 to {2**31 - 1}, or none.")


def _stop(value: Any) -> list[str]:
    if isinstance(value, list | tuple) and len(value) <= MAX_STOPS:
        texts = [text for text in value if isinstance(text, str) and 0 < len(text) <= MAX_STOP]
        if wrong := unkept("".join(texts)):
            raise BadInput(f"stop holds {wrong}, which cannot be kept; take it out, then try again.")
        if len(texts) == len(value):
            return texts
    raise BadInput(f"stop cannot be used; give a list of at most {MAX_STOPS} texts of 1 to {MAX_STOP} characters.")


_OTHERS: dict[str, Callable[[Any], Any]] = {"seed": _seed, "stop": _stop}
