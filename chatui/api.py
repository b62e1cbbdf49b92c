"""The page's named endpoints for `gradio_client`; ids are arguments, never page state. See docs/api.md."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from chatui.asked import Asked, told
from chatui.giving import as_file, facts_of
from chatui.handlers import in_thread, until_ready
from chatui.personas import known_personas, opening_with
from chatui.replies import Live, Replies
from chatui.review_handlers import queue_of
from chatui.tabs import LISTED
from chatui.temporary import TemporaryChats
from chatui.views import Views
from feedback.errors import BadInput
from feedback.formats import ROLES
from feedback.messages import check_text
from feedback.personas import checked_sampling
from feedback.records import Found
from feedback.store import Store

NAMES = (
    "new_conversation", "send", "stop", "rate", "correct", "history", "regenerate", "edit", "go_on", "show", "prefer",
    "conversations", "search", "rename", "delete", "undelete", "show_correction", "personas", "keep_persona",
    "drop_persona", "sampling", "temporary", "review_queue", "review", "answer", "amend", "compare", "judge", "export",
    "copied", "facts", "health", "status", "learning", "retrain", "promote", "rollback",
)  # fmt: skip

_MOST_LISTED = 1000  # conversations in one answer


class Api:
    """One method per endpoint, named like it."""

    def __init__(self, store: Store, replies: Replies, temporary: TemporaryChats, views: Views):
        """Answer from `store` and `views`; write replies with `replies`, those that are not kept with `temporary`."""
        self.store, self.replies, self._temporary, self._views = store, replies, temporary, views
        self.ask = Asked(store)

    def register(self) -> None:
        """Add the endpoints to the Blocks being built."""
        for name in NAMES:
            gr.api(getattr(self, name), api_name=name, concurrency_limit=None)

    def new_conversation(
        self, persona: str = "", sampling: dict[str, Any] | None = None, language: str = "en"
    ) -> dict[str, Any]:
        """Open an empty conversation, with a persona's id and with sampling settings if any are given."""
        opening = self.ask(opening_with)(self.store, persona, language)
        opening = replace(opening, sampling={**opening.sampling, **told(checked_sampling)(sampling)})
        return {"conversation_id": self.ask(self.store.new_conversation)(opening=opening)}

    def personas(self, language: str = "en") -> dict[str, Any]:
        """List the personas: those that Rapport ships, in a language, and own ones."""
        return {"personas": self.ask(known_personas)(self.store, language)}

    def keep_persona(self, name: str, system_prompt: str, sampling: dict[str, Any] | None = None) -> dict[str, Any]:
        """Keep a persona of one's own."""
        return {"persona_id": self.ask(self.store.keep_persona)(name, system_prompt, sampling)}

    def drop_persona(self, persona_id: str) -> dict[str, Any]:
        """Take an own persona out of the list; conversations opened with it keep it."""
        self.ask(self.store.drop_persona)(persona_id)
        return {"persona_id": persona_id, "dropped": True}

    def sampling(self, conversation_id: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Set how the coming replies of a conversation are sampled; {} are the app's settings."""
        self.ask(self.store.set_sampling)(conversation_id, settings)
        held = self.ask(self.store.opening)(conversation_id).sampling
        effective = {**self.replies.sampling.as_dict(), **held}
        return {"conversation_id": conversation_id, "sampling": effective}

    async def send(self, conversation_id: str, text: str) -> AsyncGenerator[dict[str, Any], None]:
        """Say something and stream the reply; `text` is the reply so far, each time whole.

        The reply goes on when the caller hangs up.
        """
        async for part in self._written(self.replies.send, conversation_id, text):
            yield part

    async def regenerate(self, message_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Write another reply beside one (or to a person's message), and stream it as `send` does."""
        async for part in self._written(self.replies.regenerate, message_id):
            yield part

    async def edit(self, message_id: str, text: str) -> AsyncGenerator[dict[str, Any], None]:
        """Say something else instead of a message, as a branch of its own, and stream the reply as `send` does."""
        async for part in self._written(self.replies.edit, message_id, text):
            yield part

    async def go_on(self, message_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Write another reply that begins as one that was cut short, and goes on; stream it as `send` does."""
        async for part in self._written(self.replies.go_on, message_id):
            yield part

    async def _written(self, verb: Callable[..., Live], *args: Any) -> AsyncGenerator[dict[str, Any], None]:
        await until_ready(self.replies.engine)
        live = await in_thread(self.ask(verb), *args)
        shown = None
        while True:
            live.follow()
            running = live.running
            if (live.text, live.waiting) != shown or not running:
                shown = live.text, live.waiting
                yield {
                    "user_message_id": live.user_message_id,
                    "message_id": live.message_id,
                    "text": live.text,
                    "status": live.status,
                    "waiting": live.waiting,
                    "version": live.generation.version,
                }
            if not running:
                break
            await live.news(self.replies.pause())
        if live.error:
            raise gr.Error(live.error, title="", print_exception=False)

    async def temporary(
        self, messages: list[dict[str, str]], sampling: dict[str, Any] | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Stream the reply to messages that the caller keeps; nothing of it is written down here."""
        turns = told(_turns)(messages)
        settings = self.replies.sampling.changed(told(checked_sampling)(sampling))
        await until_ready(self.replies.engine)
        live = await in_thread(told(self._temporary.answer), turns, settings)
        try:
            while True:
                live.follow()
                running = live.running
                yield {"text": live.text, "status": live.status, "version": live.generation.version}
                if not running:
                    break
                await live.news(self.replies.pause())
        finally:
            live.generation.cancel()  # nobody else can pick it up again
        if live.error:
            raise gr.Error(live.error, title="", print_exception=False)

    async def compare(self, conversation_id: str, text: str) -> AsyncGenerator[dict[str, Any], None]:
        """Say something and stream two replies to it, without their versions; `judge` names them."""
        await until_ready(self.replies.engine)
        comparison, left, right = await in_thread(self.ask(self.replies.compare), conversation_id, text)
        while True:
            running = left.running or right.running
            sides = {}
            for name, live in (("left", left), ("right", right)):
                live.follow()
                sides[name] = {
                    "message_id": live.message_id,
                    "text": live.text,
                    "status": live.status,
                    "error": live.error,
                }
            yield {"comparison_id": comparison, "user_message_id": left.user_message_id, **sides}
            if not running:
                break
            await (left if left.running else right).news(self.replies.pause())
        if left.error and right.error:  # a good one stays of use: it can be read and judged
            raise gr.Error(left.error, title="", print_exception=False)

    def judge(self, comparison_id: int, outcome: str) -> dict[str, Any]:
        """Keep which reply was better: left, right, tie or both_bad; answer with the versions of both."""
        one = self.ask(self.store.judge_comparison)(comparison_id, outcome)
        return {
            "comparison_id": one.id,
            "outcome": one.outcome,
            "left": {"message_id": one.left_id, "version": one.left_version},
            "right": {"message_id": one.right_id, "version": one.right_version},
        }

    def stop(self, conversation_id: str) -> dict[str, Any]:
        """End the reply being written in one conversation."""
        self.ask(self.store.history)(conversation_id)
        return {"conversation_id": conversation_id, "stopped": self.ask(self.replies.stop)(conversation_id)}

    def rate(
        self, message_id: str, value: int, reasons: list[str] | None = None, comment: str | None = None
    ) -> dict[str, Any]:
        """Keep a thumb: 1 up, -1 down, 0 taken back."""
        self.ask(self.store.rate)(message_id, value, reasons, comment)
        return self._stored(message_id)

    def correct(self, message_id: str, text: str) -> dict[str, Any]:
        """Keep what a reply should have said."""
        self.ask(self.store.correct)(message_id, text)
        return self._stored(message_id)

    def show_correction(self, message_id: str, shown: bool) -> dict[str, Any]:
        """Let a reply's correction stand in its place, for the reader and the model, or the reply itself again."""
        self.ask(self.store.show_correction)(message_id, shown)
        return self._stored(message_id)

    def history(self, conversation_id: str) -> dict[str, Any]:
        """Return the messages shown in a conversation, oldest first."""
        path = self.ask(self.store.history)(conversation_id)
        live = {reply.message_id: reply.text for reply in self.replies.live(conversation_id)}
        kept_back = {key for key, one in self.store.comparisons_of([m.id for m in path]).items() if one.outcome is None}
        messages = [
            {
                "id": m.id,
                "parent_id": m.parent_id,
                "role": m.role,
                "content": live.get(m.id, m.content),
                "status": m.status,
                "version": None if m.id in kept_back else m.version,
                "rating": m.rating,
                "correction": m.correction,
            }
            for m in path
        ]
        return {"messages": messages}

    def show(self, message_id: str) -> dict[str, Any]:
        """Show the branch that a message is on; answer with its history."""
        return self.history(self.ask(self.store.show)(message_id))

    def prefer(self, chosen_id: str, rejected_id: str) -> dict[str, Any]:
        """Keep that one reply was chosen over another to the same message."""
        self.ask(self.store.prefer)(chosen_id, rejected_id)
        return {"chosen_id": chosen_id, "rejected_id": rejected_id}

    def conversations(self, query: str = "", offset: int = 0, limit: int = LISTED) -> dict[str, Any]:
        """List conversations, newest first; with a query, those whose title or messages hold all its words.

        Of all that there are, the `limit` ones after the first `offset`.
        """
        told(_check_page)(offset, limit)
        found = self.ask(self.store.search)(query, limit=limit, offset=offset)
        return {"conversations": [_listed(one) for one in found]}

    def search(self, text: str) -> dict[str, Any]:
        """Find conversations by what was said in them, with the place it was found at."""
        return {"conversations": [_listed(found) for found in self.ask(self.store.search)(text) if found.snippet]}

    def rename(self, conversation_id: str, title: str) -> dict[str, Any]:
        """Give a conversation another title."""
        return {"conversation_id": conversation_id, "title": self.ask(self.store.rename)(conversation_id, title)}

    def delete(self, conversation_id: str) -> dict[str, Any]:
        """Delete a conversation; `undelete` brings it back."""
        self.ask(self.store.delete)(conversation_id)
        self.ask(self.replies.stop)(conversation_id)
        return {"conversation_id": conversation_id, "deleted": True}

    def undelete(self, conversation_id: str) -> dict[str, Any]:
        """Bring a deleted conversation back."""
        self.ask(self.store.undelete)(conversation_id)
        return {"conversation_id": conversation_id, "deleted": False}

    def review_queue(
        self, kind: str = "unrated", filters: dict[str, Any] | None = None, limit: int = 20
    ) -> dict[str, Any]:
        """List replies that wait for a reviewer, newest first, and how many there are of each kind.

        Of kind `ask` they are such as nobody was asked about yet, chosen as docs/asking.md tells.
        """
        return self.ask(queue_of)(self.store, kind, filters or {}, max(1, min(int(limit), 200)))

    def review(self, message_id: str, verdict: str) -> dict[str, Any]:
        """Keep a reviewer's verdict: approved, rejected (never trained on), or "" to take it back."""
        self.ask(self.store.review)(message_id, verdict)
        return {"message_id": message_id, "verdict": verdict}

    def answer(self, message_id: str, value: int) -> dict[str, Any]:
        """Keep a reviewer's thumb on a reply that was listed with kind `ask`: 1, -1, or 0 to take it back."""
        self.ask(self.store.answer_asked)(message_id, value)
        return {"message_id": message_id, "value": value}

    def amend(self, message_id: str, text: str, verdict: str = "approved") -> dict[str, Any]:
        """Keep what a reply should have said and a reviewer's verdict with it, both or neither."""
        self.ask(self.store.amend)(message_id, text, verdict)
        return {**self._stored(message_id), "verdict": verdict}

    def export(self, conversation_id: str, kind: str = "md") -> dict[str, Any]:
        """Give a conversation as a file's name and text: Markdown (md) or the lines that `import` reads (json)."""
        return told(as_file)(self.ask(self.store.give_out)(conversation_id), kind)

    def copied(self, message_id: str) -> dict[str, Any]:
        """Keep, as a weak signal, that a reply was copied."""
        self.ask(self.store.signal)(message_id, "copied")
        return {"message_id": message_id, "signal": "copied"}

    def facts(self, message_id: str) -> dict[str, Any]:
        """Tell how a reply came to be: version, tokens, seconds; empty for an imported one."""
        return facts_of(self.ask(self.store.reply_facts)(message_id))

    def health(self) -> dict[str, Any]:
        """Let every version that serves write one token; answer with the seconds it took."""
        seconds = told(self.replies.engine.check)()
        return {"seconds": seconds, "versions": list(self.replies.engine.state().versions)}

    def status(self) -> dict[str, Any]:
        """Tell which model replies, in which versions, or why none does."""
        return self._views.pill()

    def learning(self) -> dict[str, Any]:
        """Tell what was learned so far and what is under way: counts, runs, versions, and when the next run comes."""
        return self.ask(self._views.learned.learning)()

    def retrain(self) -> dict[str, Any]:
        """Start a run now, whatever the schedule says."""
        return {"said": self.ask(self._views.learned.learner.retrain)()}

    def promote(self, version: int) -> dict[str, Any]:
        """Serve one version alone from now on, whatever the gate said."""
        self.ask(self.store.promote)(version, reason="Promoted over the API.")
        return self._serving()

    def rollback(self) -> dict[str, Any]:
        """Serve again what served before."""
        self.ask(self.store.rollback)()
        return self._serving()

    def _serving(self) -> dict[str, Any]:
        serving = self.store.serving()
        return {"serving": [{"version": v, "share": s} for v, s in (serving.shares if serving else {}).items()]}

    def _stored(self, message_id: str) -> dict[str, Any]:
        m = self.store.message(message_id)
        return {
            "message_id": m.id,
            "rating": m.rating,
            "reasons": list(m.reasons),
            "comment": m.comment,
            "correction": m.correction,
        }


def _turns(messages: Any) -> list[tuple[str, str]]:
    """Read messages as (role, content). Raises BadInput unless they end with a user's."""
    turns = []
    for message in messages if isinstance(messages, list) else [messages]:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadInput(
                f"The message {message!r} has no known role; give one of {', '.join(ROLES)}, and its content."
            )
        check_text(message.get("content"), "message")
        turns.append((message["role"], message["content"]))
    if not turns or turns[-1][0] != "user":
        raise BadInput("The last message must be the user's; there is nothing to reply to.")
    return turns


def _check_page(offset: Any, limit: Any) -> None:
    """Raise BadInput unless both are numbers that the database can count with."""
    whole = isinstance(offset, int) and isinstance(limit, int)
    if not whole or not 0 <= offset < 2**31 or not 1 <= limit <= _MOST_LISTED:
        raise BadInput(
            f"An offset of {offset!r} with a limit of {limit!r} gives no page of the list; give an offset from 0 and "
            f"a limit from 1 to {_MOST_LISTED}."
        )


def _listed(found: Found) -> dict[str, Any]:
    return {
        "conversation_id": found.line.id,
        "title": found.line.title,
        "updated_at": found.line.updated_at.isoformat(),
        "snippet": found.snippet,
    }
