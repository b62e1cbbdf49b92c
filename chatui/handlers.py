"""What each event of the page does: ids and texts in, values to draw out. Builds no component.

Handlers that follow a reply only tail it: they end with it, and it goes on without them.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import gradio as gr

from chatui.asked import Asked, refusal, sentence, told
from chatui.engine.protocol import Engine
from chatui.giving import as_file, facts_of
from chatui.learning_handlers import LearningHandlers
from chatui.replies import Live, Replies
from chatui.tabs import NO_TURN, Look, Tabs, Turn
from chatui.temporary import TemporaryChats, is_temporary
from chatui.views import Views, with_text
from chatui.words import language_of, words
from chatui.writing import Writing
from feedback.errors import NotFound
from feedback.records import Opening
from feedback.store import Store

SILENCE_S = 5  # a tail says something so often: only then does Gradio end that of a tab that is gone without a word
LOADING_S = 300  # a message waits so long for a model that loads
CATCH_UP_S = 3  # a message waits so long for the conversation that it is for to be turned to
Result = TypeVar("Result")
SKIP = gr.skip()
Parts = tuple[Any, ...]  # chat rows, what stands beside them, composer, list of conversations
NOTHING: Parts = (SKIP, SKIP, SKIP, SKIP)


class Handlers:
    """The page's events, one method each."""

    def __init__(self, store: Store, replies: Replies, views: Views, temporary: TemporaryChats):
        """Act on `store`, `replies` and `temporary` chats; draw with `views`."""
        self.store, self.replies, self.views, self.temporary = store, replies, views, temporary
        self.ask, self.tabs = Asked(store), Tabs()
        self.learning = LearningHandlers(store, views.learned)

    # --- the chat

    async def load(self, request: gr.Request) -> AsyncIterator[Parts]:
        """A tab opened: show the conversation in its address, or a new one; what was done before this came stands."""
        session = request.session_hash or ""
        look = self.tabs.again(session) if self.tabs.knows(session) else await self._arrived(request)
        async for parts in self._tail(request, look):
            yield parts

    def status(self) -> tuple[Any, Any]:
        """A tab opened: which model replies, and what was learned."""
        return self.views.pill(), self.learning.now(fresh=False)

    def greet(self, request: gr.Request) -> tuple[Any, ...]:
        """A tab opened: say what stands still on the page in the reader's language, in the order of `greeted`."""
        say = words(language_of(request.headers))
        examples = [{"text": say[f"example_{n}"]} for n in range(1, 5)]
        return (
            gr.update(value=say["new_chat"]),
            gr.update(value=say["review"]),
            gr.update(value=say["learning"]),
            gr.update(value=say["temporary"]),
            gr.update(value=say["language"]),
            gr.update(placeholder=say["search"]),
            gr.update(placeholder=say["ask"]),
            gr.update(placeholder=f'<span class="rp-empty">{say["empty"]}</span>', examples=examples),
            gr.update(value=f"<p>{say['note']}</p>"),
        )

    async def open(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """A conversation was turned to: a past one, one that is opened with its first message, or a temporary chat."""
        session, data = request.session_hash or "", event._data
        chosen, turn = data["id"] or None, Turn.of(data)
        self.tabs.ask(session, turn)
        problem = await in_thread(problem_of, self.ask(self.store.opening), chosen) if chosen else ""
        if not self.tabs.is_wanted(session, turn):
            yield NOTHING
            return
        if problem:
            yield await in_thread(self._left, request, problem, turn)
            return
        if data.get("temporary"):
            chosen = self.temporary.open(self.tabs.get(session).opening)
        async for parts in self._tail(request, self.turn(request, chosen, turn=turn)):
            yield parts

    def arrive(self, request: gr.Request) -> str:
        """A tab opened: give it the name by which it will say that it is gone."""
        return request.session_hash or ""

    def leave(self, request: gr.Request) -> None:
        """A tab was closed: it follows no reply any more, and a temporary chat is forgotten with it."""
        session = request.session_hash or ""
        self.temporary.forget(self.tabs.get(session).conversation_id)
        self.tabs.again(session)

    def turn(
        self,
        request: gr.Request,
        conversation: str | None,
        opening: Opening | None = None,
        turn: Turn = NO_TURN,
    ) -> Look:
        """Turn a tab to another conversation, if that is still wanted; a temporary chat that it leaves is forgotten."""
        look, left = self.tabs.turn(request.session_hash or "", conversation, opening, turn)
        self.temporary.forget(left)
        return look

    async def send(self, text: str, compare: bool, turns: int, request: gr.Request) -> AsyncIterator[Parts]:
        """Something was said, to be replied to once or (`compare`) twice. What cannot be taken goes back.

        It is for the conversation that the page had turned to: after so many `turns`.
        """
        if not (text or "").strip():
            yield NOTHING
            return
        session = request.session_hash or ""
        caught_up = await self._caught_up(session, turns)
        look = self.tabs.get(session) if self.tabs.knows(session) else await self._arrived(request)
        conversation = look.conversation_id
        try:
            if not caught_up:
                raise gr.Error("The conversation that this is for has not come yet; send it again in a moment.")
            if self.replies.engine.state().phase == "loading":
                raise gr.Error("The model is still loading; send it again in a moment.")
            if is_temporary(conversation):
                await in_thread(told(self.temporary.send), conversation, text)
            elif conversation is None:
                conversation = await in_thread(lambda: self.ask(self.store.new_conversation)(opening=look.opening))
            if not is_temporary(conversation):
                verb: Callable[..., Any] = self.replies.compare if compare else self.replies.send
                await in_thread(self.ask(verb), conversation, text)
        except gr.Error as error:
            yield SKIP, gr.update(given_back={**refusal(sentence(error)), "text": text}), SKIP, SKIP
            return
        now = self.tabs.get(session)
        elsewhere = now.conversation_id not in (None, look.conversation_id, conversation)
        if elsewhere or self.tabs.has_turned_since(session, turns):
            yield SKIP, SKIP, SKIP, await in_thread(self.views.list, now)
            return
        same = now.conversation_id == conversation
        look = self.tabs.narrow(session) if same else self.tabs.open(session, conversation)
        async for parts in self._tail(request, look):
            yield parts

    async def regenerate(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """Another reply was asked for."""
        async for parts in self._write(request, self.replies.regenerate, event._data["id"]):
            yield parts

    async def go_on(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """A reply that was cut short is to go on."""
        async for parts in self._write(request, self.replies.go_on, event._data["id"]):
            yield parts

    async def edit(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """The person said something else instead."""
        async for parts in self._write(request, self.replies.edit, event._data["id"], event._data["text"]):
            yield parts

    async def show(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """Another branch was chosen."""
        await in_thread(self.ask(self.store.show), event._data["id"])
        async for parts in self._tail(request, self.tabs.again(request.session_hash or "")):
            yield parts

    async def attach(self, request: gr.Request) -> AsyncIterator[Parts]:
        """A reply is being written in the conversation shown: follow it."""
        async for parts in self._tail(request, self.tabs.follow(request.session_hash or "")):
            yield parts

    async def more(self, request: gr.Request) -> AsyncIterator[Parts]:
        """Earlier messages were asked for."""
        async for parts in self._tail(request, self.tabs.widen(request.session_hash or "")):
            yield parts

    async def judge(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """One of two replies was chosen, or neither."""
        await in_thread(self.ask(self.store.judge_comparison), event._data["id"], event._data["outcome"])
        async for parts in self._tail(request, self.tabs.again(request.session_hash or "")):
            yield parts

    def stop(self, request: gr.Request) -> Any:
        """End the reply of the conversation shown, and no other."""
        conversation, problem = self.tabs.get(request.session_hash or "").conversation_id, ""
        if conversation and is_temporary(conversation):
            self.temporary.stop(conversation)
        elif conversation:
            problem = problem_of(self.ask(self.replies.stop), conversation)
        return self.beside(request, problem) if problem else SKIP  # the end is drawn by whoever follows the reply

    def rate(self, request: gr.Request, event: gr.EventData) -> Any:
        """A thumb, its reasons or its comment changed; drawn as kept only once it is."""
        data = event._data
        said = data.get("reasons"), data.get("comment")

        def rate() -> None:
            with self.tabs.rating(request.session_hash or "", data["id"], data.get("number", 0)) as newest:
                if newest:
                    self.ask(self.store.rate)(data["id"], data["value"], *said)

        return self._beside_after(request, rate)

    def correct(self, request: gr.Request, event: gr.EventData) -> Any:
        """A correction was written."""
        return self._beside_after(request, self.ask(self.store.correct), event._data["id"], event._data["text"])

    async def show_correction(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """A correction is to stand in its reply's place, or no longer."""
        await in_thread(self.ask(self.store.show_correction), event._data["id"], bool(event._data["shown"]))
        async for parts in self._tail(request, self.tabs.again(request.session_hash or "")):
            yield parts

    def raw(self, asked: list[str]) -> str:
        """Give a message's text as it is stored, for copying and correcting; asked for by conversation and message."""
        chat = self.temporary.get(asked[0])
        if chat:
            return next((m.content for m in chat.said if m.id == asked[1]), "")
        return self.ask(self.store.message)(asked[1]).content

    def copied(self, event: gr.EventData) -> None:
        """A reply was copied."""
        self.ask(self.store.signal)(event._data["id"], "copied")

    def facts(self, message_id: str) -> dict[str, Any]:
        """Give what is known of how a reply came to be: version, tokens, seconds; empty for an imported one."""
        return facts_of(self.ask(self.store.reply_facts)(message_id))

    # --- the list of conversations

    def search(self, query: str, request: gr.Request) -> Any:
        """Something was typed into the search box."""
        return self.views.list(self.tabs.search(request.session_hash or "", query or ""))

    def older(self, request: gr.Request) -> Any:
        """Older conversations were asked for."""
        return self.views.list(self.tabs.lengthen(request.session_hash or ""))

    def rename(self, request: gr.Request, event: gr.EventData) -> Any:
        """A conversation got another title."""
        problem = problem_of(self.ask(self.store.rename), event._data["id"], event._data["title"])
        return {**self.views.list(self.tabs.get(request.session_hash or "")), **refusal(problem)}

    async def delete(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """A conversation was deleted; its reply ends, and a tab that shows it turns to a new one."""
        session, conversation = request.session_hash or "", event._data["id"]
        look = self.tabs.get(session)
        problem = await in_thread(problem_of, self.ask(self.store.delete), conversation)
        if problem:
            yield SKIP, SKIP, SKIP, {**await in_thread(self.views.list, look), **refusal(problem)}
            return
        await in_thread(self.ask(self.replies.stop), conversation)
        shown = look.conversation_id == conversation
        async for parts in self._tail(request, self.tabs.open(session, None) if shown else self.tabs.again(session)):
            yield parts

    async def undelete(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Parts]:
        """A deletion was taken back: the conversation is shown again."""
        problem = await in_thread(problem_of, self.ask(self.store.undelete), event._data["id"])
        if problem:
            yield await in_thread(self._left, request, problem, Turn.of(event._data))
            return
        look = self.turn(request, event._data["id"], turn=Turn.of(event._data))
        async for parts in self._tail(request, look):
            yield parts

    def export(self, asked: list[str]) -> dict[str, str]:
        """Give a conversation as a file's name and text; asked for by its id and a kind, md or json."""
        conversation_id, kind = asked
        return told(as_file)(self.ask(self.store.give_out)(conversation_id), kind)

    # --- what changed elsewhere

    def tick(self, request: gr.Request) -> Parts:
        """Look for changes that this tab has not been sent: from another tab, a run, the command line."""
        session = request.session_hash or ""
        if not self.tabs.knows(session):  # the app was started anew while the tab slept
            self.tabs.arrive(session, self._addressed(request)[0], slept=True)
        look, done, followed = self.tabs.get(session), self.tabs.done(session), self.tabs.is_followed(session)
        chat, rest = self.parts(look, tail=False), (self.views.pill(), self.learning.now(fresh=False))
        gone = chat[1]["conv"] != look.conversation_id
        if followed or self.tabs.is_followed(session):  # if no more, these are older than the end, which it sent
            chat = (SKIP, SKIP, SKIP, chat[3])  # the handler that follows the reply sends these
        if self.tabs.get(session) != look or self.tabs.done(session) != done:
            return (SKIP,) * (len(chat) + len(rest))  # the tab has moved on meanwhile, or shows a newer thumb
        if gone:  # deleted in another tab, say: what is said next begins another, as secret as this one
            fresh = self.temporary.open(look.opening) if is_temporary(look.conversation_id) else None
            chat = self.parts(self.tabs.open(session, fresh), tail=False)
        if not self.tabs.is_news(session, _mark(chat[1], chat[3], *rest)):
            return (SKIP,) * (len(chat) + len(rest))
        return (*chat, *rest)

    # --- inside

    def parts(self, look: Look, tail: bool = True, problem: str = "") -> Parts:
        """Draw what a tab looks at; `tail`: a handler follows its reply; `problem`: why something was refused."""
        rows, beside = self._chat(look, tail, problem)
        composer = gr.update(submit_btn=not beside["running"], stop_btn=beside["running"])
        return rows, beside, composer, self.views.list(look)

    async def _arrived(self, request: gr.Request) -> Look:
        """Open a tab's first view. A quick hand's message may be here before the event that a tab opened."""
        asked, problem = await in_thread(self._addressed, request)
        if problem:
            gr.Warning(problem, title="")
        return self.tabs.arrive(request.session_hash or "", asked)

    def _addressed(self, request: gr.Request) -> tuple[str | None, str]:
        """Return the conversation in a tab's address; none, and why, if it cannot be shown."""
        asked = request.query_params.get("c") or None
        problem = problem_of(self.ask(self.store.opening), asked) if asked else ""
        return None if problem else asked, problem

    def _chat(self, look: Look, tail: bool, problem: str) -> tuple[Any, dict[str, Any]]:
        try:
            rows, beside = self.views.chat(look, tail)
        except NotFound:
            rows, beside = self.views.chat(Look(), tail)
        return rows, {**beside, "place": look.place, **refusal(problem)}

    async def _caught_up(self, session: str, turns: int) -> bool:
        """Wait for what a page has turned to before it said something, not for ever; tell whether it came."""
        until = time.monotonic() + CATCH_UP_S
        while self.tabs.is_behind(session, turns) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        self.tabs.woke(session, turns)
        return not self.tabs.is_behind(session, turns)

    def _left(self, request: gr.Request, problem: str, turn: Turn) -> Parts:
        """Draw what the tab shows, as what was turned to cannot be shown."""
        rows, beside, *rest = self.parts(self.tabs.get(request.session_hash or ""), True, problem)
        return rows, self.stays(request, beside, turn), *rest

    def stays(self, request: gr.Request, beside: dict[str, Any], turn: Turn) -> dict[str, Any]:
        """Say beside what a tab shows that it stays there: what was turned to was refused."""
        self.tabs.turned(request.session_hash or "", turn)
        return {**beside, "refused_place": turn.place}

    def _live(self, look: Look) -> Sequence[Writing]:
        chat = self.temporary.get(look.conversation_id)
        if chat:
            return [chat.live] if chat.live and chat.live.running else []
        return self.replies.live(look.conversation_id) if look.conversation_id else []

    async def _write(self, request: gr.Request, verb: Callable[..., Live], *args: Any) -> AsyncIterator[Parts]:
        """Begin a reply in the conversation shown, and follow it."""
        problem = await in_thread(problem_of, self.ask(verb), *args)
        if problem:
            yield await in_thread(self.parts, self.tabs.get(request.session_hash or ""), True, problem)
            return
        async for parts in self._tail(request, self.tabs.again(request.session_hash or "")):
            yield parts

    def beside(self, request: gr.Request, problem: str = "") -> Any:
        """Draw what stands beside the messages, and leave these as they are."""
        return self._chat(self.tabs.get(request.session_hash or ""), True, problem)[1]

    def _beside_after(self, request: gr.Request, verb: Callable[..., Any], *args: Any) -> Any:
        """Do something to the conversation shown; why it was refused travels in the answer.

        The page shows no error of an event that is not queued, and must give back what somebody typed.
        """
        problem = problem_of(verb, *args)
        self.tabs.did(request.session_hash or "")
        return self.beside(request, problem)

    async def _tail(self, request: gr.Request, look: Look) -> AsyncIterator[Parts]:
        """Send the conversation, then the growing reply until it ends or the tab moves on."""
        session = request.session_hash or ""
        writing = self._live(look)
        parts = await in_thread(self.parts, look, True)
        if self.tabs.get(session).epoch != look.epoch:  # drawn after what the tab has moved on to, it would hide that
            yield NOTHING
            return
        yield parts
        if not writing:
            return
        with self.tabs.following(session):
            shown: list[str] = []
            rows, sent_at, places = parts[0], time.monotonic(), [live.waiting for live in writing]
            while any(live.running for live in writing) and self.tabs.get(session).epoch == look.epoch:
                for live in writing:
                    live.follow()
                if [live.waiting for live in writing] != places:
                    places, sent_at = [live.waiting for live in writing], time.monotonic()
                    yield SKIP, (await in_thread(self.parts, look, True))[1], SKIP, SKIP
                if [live.text for live in writing] != shown:
                    shown = [live.text for live in writing]
                    for live, text in zip(writing, shown, strict=True):
                        rows = with_text(rows, live.message_id, text)
                    sent_at = time.monotonic()
                    yield rows, SKIP, SKIP, SKIP
                elif time.monotonic() - sent_at > SILENCE_S:
                    sent_at = time.monotonic()
                    yield NOTHING
                still = next((live for live in writing if live.running), writing[0])
                await still.news(self.replies.pause())
            if self.tabs.get(session).epoch == look.epoch:
                yield await in_thread(self.parts, self.tabs.get(session), True)
        for error in {live.error for live in writing if live.error}:
            gr.Warning(error, title="")


async def in_thread(function: Callable[..., Result], *args: Any) -> Result:
    """Run what waits for the disk or the model beside the event loop."""
    return await asyncio.to_thread(function, *args)


async def until_ready(engine: Engine) -> None:
    """Wait while the model loads; whether it then serves, its state says."""
    until = time.monotonic() + LOADING_S
    while engine.state().phase == "loading" and time.monotonic() < until:
        await asyncio.sleep(0.1)


def problem_of(verb: Callable[..., Any], *args: Any) -> str:
    """Call a verb; return why it was refused, nothing if it was not."""
    try:
        verb(*args)
    except gr.Error as error:
        return sentence(error)
    return ""


def _mark(*values: Any) -> str:
    return json.dumps(values, default=repr, sort_keys=True)
