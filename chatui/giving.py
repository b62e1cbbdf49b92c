"""What is given away about a conversation: as a file, and how a reply came to be."""

from collections.abc import Iterable, Mapping
from typing import Any

from chatui.markdown import as_markdown
from feedback.errors import BadInput
from feedback.formats import Incoming, line_of

KINDS = ("md", "json")


def as_file(paths: Iterable[Incoming], kind: str) -> dict[str, str]:
    """Return a conversation as a file's name and text; Markdown holds the path shown, JSON all. Raises BadInput."""
    if kind not in KINDS:
        raise BadInput(f"The kind {kind!r} is not known; {' and '.join(KINDS)} are.")
    found = list(paths)
    if not found:
        raise BadInput("There is nothing in this conversation to export.")
    name = "".join(c if c.isalnum() else "-" for c in (found[-1].title or "conversation")).strip("-")[:60]
    text = "".join(line_of(path) for path in found) if kind == "json" else as_markdown(found[-1])
    return {"name": f"{name or 'conversation'}.{'jsonl' if kind == 'json' else 'md'}", "text": text}


def facts_of(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader is told of how a reply came to be: version, tokens, seconds; empty for an imported one."""
    if not known:
        return {}
    seconds, first = known["duration_s"], known["first_token_s"]
    writing = seconds - first if seconds is not None and first is not None else None
    return {
        "version": known["version"],
        "prompt_tokens": known["prompt_tokens"],
        "completion_tokens": known["completion_tokens"],
        "first_token_s": first,
        "unheeded": known["sampling"].get("unheeded", []),
        "tokens_per_s": known["completion_tokens"] / writing if writing else None,
    }
