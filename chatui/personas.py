"""The personas that Rapport ships, beside those a person made, and how a conversation is opened with one.

Names, what they are about and their system prompts are words, one place per language; here stand their settings.
"""

from typing import Any

from chatui.words import LANGUAGES, words
from feedback.errors import BadInput, NotFound
from feedback.records import Opening
from feedback.store import Store

SHIPPED: dict[str, dict[str, Any]] = {
    "service": {"temperature": 0.2},
    "assistant": {"temperature": 0.4},
    "tutor": {"temperature": 0.3, "repetition_penalty": 1.05},
    "entertainment": {"temperature": 0.9, "top_p": 0.95},
    "health": {"temperature": 0.1},
}


def known_personas(store: Store, language: str = "en") -> list[dict[str, Any]]:
    """List every persona there is to choose from, the shipped ones first. Raises BadInput for a language."""
    if language not in LANGUAGES:
        raise BadInput(f"The language {language!r} is not spoken here; {', '.join(LANGUAGES)} are.")
    say = words(language)
    ours = [
        {
            "id": key,
            "name": say[f"persona_{key}"],
            "about": say[f"persona_{key}_about"],
            "system_prompt": say[f"persona_{key}_prompt"],
            "sampling": sampling,
            "own": False,
        }
        for key, sampling in SHIPPED.items()
    ]
    own = [
        {
            "id": line.id,
            "name": line.name,
            "about": line.system_prompt,
            "system_prompt": line.system_prompt,
            "sampling": line.sampling,
            "own": True,
        }
        for line in store.personas()
    ]
    return ours + own


def opening_with(store: Store, persona_id: str, language: str = "en") -> Opening:
    """Return what a conversation with this persona is opened with; "" is none. Raises NotFound."""
    if not persona_id:
        return Opening()
    for persona in known_personas(store, language):
        if persona["id"] == persona_id:
            return Opening(persona_id, persona["system_prompt"], dict(persona["sampling"]))
    raise NotFound(f"There is no persona {persona_id!r}; /personas lists them.")


def shown_opening(store: Store, opening: Opening) -> dict[str, Any]:
    """Return what the page says of an opening; `base` are the settings that a reset goes back to."""
    shipped = opening.persona in SHIPPED
    own = store.persona(opening.persona) if opening.persona and not shipped else None
    return {
        "persona": own.name if own else opening.persona,
        "persona_id": own.id if own else opening.persona,
        "shipped": shipped,
        "system_prompt": opening.system_prompt,
        "sampling": opening.sampling,
        "base": own.sampling if own else SHIPPED.get(opening.persona, {}),
    }
