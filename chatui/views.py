"""What the page is given to draw: plain values made of the record and of the replies being written."""

from collections.abc import Mapping, Sequence
from typing import Any

from chatui.engine.protocol import Engine
from chatui.learning_views import LearningViews
from chatui.needs import Learner
from chatui.personas import shown_opening
from chatui.replies import Replies, is_given
from chatui.serving import ServingWatch
from chatui.speaks import languages_spoken
from chatui.tabs import Look
from chatui.temporary import TemporaryChats, is_temporary
from chatui.writing import Writing
from feedback.errors import NotFound
from feedback.records import Compared, Found, Said
from feedback.store import Store

Message = dict[str, Any]


class Views:
    """Draws the record for the page."""

    def __init__(
        self,
        store: Store,
        replies: Replies,
        engine: Engine,
        watch: ServingWatch,
        learner: Learner,
        temporary: TemporaryChats,
    ):
        """Draw `store`, with what the others know of this moment."""
        self.store, self.replies, self.engine, self.watch = store, replies, engine, watch
        self.temporary, self.learned = temporary, LearningViews(store, learner)
        self._speaks: dict[str, bool] = {}

    def chat(self, look: Look, tail: bool) -> tuple[list[Message], dict[str, Any]]:
        """Return the Chatbot's messages and the list beside them; `tail`: a handler follows the reply."""
        if look.conversation_id is None:
            opening = shown_opening(self.store, look.opening)
            return [], {"conv": None, "running": False, "tail": tail, "more": 0, "msgs": [], **opening}
        if is_temporary(look.conversation_id):
            return self._temporary(look, tail)
        whole = self.store.history(look.conversation_id)
        path = [m for m in whole if m.role != "system"]  # told by the persona's panel instead
        writing = self.replies.live(look.conversation_id)
        compared = self.store.comparisons_of([m.id for m in path[-look.window :]])
        path, asked = self._side_by_side(path, compared)
        shown = path[-look.window :]
        left_out, waiting = _left_out(whole), {live.message_id: live.waiting for live in writing}
        value = {
            "conv": look.conversation_id,
            "running": any(m.status == "running" for m in shown),
            "tail": tail,
            "more": len(path) - len(shown),
            "msgs": [
                {
                    **_beside(m),
                    "left_out": left_out.get(m.id, 0),
                    "waiting": waiting.get(m.id, 0),
                    **_judged(m, compared, asked),
                }
                for m in shown
            ],
            "comparison": asked.id if asked else None,
            **shown_opening(self.store, self.store.opening(look.conversation_id)),
        }
        return rows(shown, writing), value

    def _side_by_side(self, path: list[Said], compared: Mapping[str, Compared]) -> tuple[list[Said], Compared | None]:
        """Put both replies of a comparison that waits for its judgement at the end of the path."""
        asked = compared.get(path[-1].id) if path else None
        if asked is None or asked.outcome is not None:
            return path, None
        both = [self.store.message(asked.left_id), self.store.message(asked.right_id)]
        return [*path[:-1], *both], asked

    def _temporary(self, look: Look, tail: bool) -> tuple[list[Message], dict[str, Any]]:
        chat = self.temporary.get(look.conversation_id)
        if chat is None:
            raise NotFound("This temporary chat is gone; open a new one.")
        waiting = chat.live.waiting if chat.live else 0
        value = {
            "conv": look.conversation_id,
            "temporary": True,
            "running": chat.live is not None and chat.live.running,
            "tail": tail,
            "more": 0,
            "msgs": [
                {**_beside(m), "left_out": 0, "waiting": waiting if m.status == "running" else 0} for m in chat.said
            ],
            **shown_opening(self.store, chat.opening),
        }
        return rows(chat.said, [chat.live] if chat.live else []), value

    def list(self, look: Look) -> dict[str, Any]:
        """Return the list of past conversations; `older`: there are more of them."""
        found = self.store.search(look.query, limit=look.listed + 1)
        items = [_entry(one) for one in found[: look.listed]]
        older = len(found) > look.listed
        return {"active": look.conversation_id, "query": look.query, "items": items, "older": older}

    def pill(self) -> dict[str, Any]:
        """Return which model replies, in which version, or why none does."""
        state = self.engine.state()
        versions = self.store.versions()
        return {
            "phase": state.phase,
            "message": state.message,
            "model": versions[0].base_model.rstrip("/").rpartition("/")[2] if versions else "",
            "versions": sorted(state.versions),
            "notice": self.watch.notice or (state.message if state.phase == "ready" else ""),
            "speaks": self._speaks_now(),
        }

    def _speaks_now(self) -> dict[str, bool]:
        self._speaks = self._speaks or languages_spoken(self.engine)  # a data dir has one base model, for good
        return self._speaks


def _entry(found: Found) -> dict[str, Any]:
    line = found.line
    return {
        "id": line.id,
        "title": line.title,
        "t": line.updated_at.timestamp(),
        "running": line.running,
        "title_marks": found.title_marks,
        "snippet": found.snippet,
        "snippet_marks": found.snippet_marks,
    }


def rows(messages: Sequence[Said], writing: Sequence[Writing]) -> list[Message]:
    """Write messages as the Chatbot takes them; the text of a running reply is the live one.

    As a list of parts the text is shown to the letter; a plain string would be dedented.
    """
    live = {reply.message_id: reply.text for reply in writing}
    out = []
    for message in messages:
        part = {"type": "text", "text": live.get(message.id, message.shown) or " "}
        out.append({"role": message.role, "content": [part], "metadata": {"id": message.id}})
    return out


def with_text(messages: Sequence[Message], message_id: str, text: str) -> list[Message]:
    """Write the same messages with another text in one of them."""
    part = {"type": "text", "text": text or " "}
    return [{**m, "content": [part]} if m["metadata"]["id"] == message_id else m for m in messages]


def _left_out(path: Sequence[Said]) -> dict[str, int]:
    """Count, per reply of ours, the messages above it that no longer fitted the model's context."""
    counts, above = {}, 0
    for message in path:
        if message.given is not None:
            counts[message.id] = max(0, above - message.given)
        above += is_given(message)
    return counts


def _beside(message: Said) -> dict[str, Any]:
    return {
        "id": message.id,
        "role": message.role,
        "rating": message.rating,
        "reasons": list(message.reasons),
        "comment": message.comment,
        "status": message.status,
        "error": message.error,
        "version": message.version,
        "correction": message.correction,
        "correction_shown": message.correction_shown,
        "learned_by": message.learned_by,
        "siblings": list(message.siblings),
        "wordless": message.role == "assistant" and message.status == "complete" and not message.shown.strip(),
        "cut": message.content != "" and (message.status in ("stopped", "interrupted") or message.finish == "length"),
    }


def _judged(message: Said, compared: Mapping[str, Compared], asked: Compared | None) -> dict[str, Any]:
    """Say how a reply fared against another; of those that wait for a judgement the names are kept back."""
    one = compared.get(message.id)
    if one is None:
        return {}
    if asked is not None and one.id == asked.id:
        return {"side": "left" if message.id == one.left_id else "right", "version": None, "siblings": []}
    if one.outcome is None:
        return {}
    left = message.id == one.left_id
    fared = one.outcome if one.outcome in ("tie", "both_bad") else "won" if (one.outcome == "left") == left else "lost"
    return {"compared": {"fared": fared, "with": one.right_version if left else one.left_version}}
