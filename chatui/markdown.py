"""A conversation as Markdown, to read or to hand on."""

from feedback.formats import Incoming, IncomingMessage

_NAMES = {"user": "You", "assistant": "Reply", "system": "System"}
_THUMBS = {1: "Thumb up", -1: "Thumb down"}


def as_markdown(conversation: Incoming) -> str:
    """Write one path of a conversation, with what was thought of its replies."""
    head = f"# {conversation.title or 'Conversation'}\n"
    return "\n".join([head, *(_message(message) for message in conversation.messages)])


def _message(message: IncomingMessage) -> str:
    parts = [f"## {_NAMES[message.role]}\n", message.content, ""]
    if message.rating:
        why = ", ".join(note for note in [*(message.reasons or ()), message.comment] if note)
        parts += [f"> {_THUMBS[message.rating]}{': ' + why if why else ''}", ""]
    if message.correction is not None:
        quoted = "\n".join("> " + line for line in message.correction.splitlines())
        parts += ["> Should have said:", ">", quoted, ""]
    return "\n".join(parts)
