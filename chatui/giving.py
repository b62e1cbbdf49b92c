"""What is given away: a conversation or the whole record as a file, and how a reply came to be."""

from collections.abc import Iterable, Mapping
from typing import Any

from chatui.markdown import as_markdown
from feedback.errors import BadInput
from feedback.formats import Incoming, line_of
from feedback.store import Store
from feedback.transfer import OWN
from feedback.trl import TRL_FORMATS, trl_lines

KINDS = ("md", "json")
MOST_MB = 64  # of a record that is downloaded; the browser holds it in memory


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


def record_file(store: Store, form: str) -> dict[str, str]:
    """Return the whole record as a file's name and text. Raises BadInput for a form, and where it is too large."""
    if form not in (OWN, *TRL_FORMATS):
        raise BadInput(f"The form {form!r} is not known; {', '.join((OWN, *TRL_FORMATS))} are.")
    lines, size = [], 0
    for line in map(line_of, store.give_out()) if form == OWN else trl_lines(store.feedback(), form):
        lines.append(line)
        size += len(line)
        if size > MOST_MB * 2**20:
            raise BadInput(
                f"The record has more than {MOST_MB} MB, too much for a download; "
                f"`python -m feedback export FILE --format {form}` writes it on the server."
            )
    if not lines:
        raise BadInput("Nobody has said anything yet that could be exported; rate or correct a reply first.")
    return {"name": f"rapport-{form}.jsonl", "text": "".join(lines)}


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
