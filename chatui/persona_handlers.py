"""What the page's panel of personas and sampling settings does."""

from dataclasses import replace
from typing import Any

import gradio as gr

from chatui.asked import sentence, told
from chatui.handlers import SKIP, Handlers, Parts, problem_of
from chatui.personas import known_personas, opening_with
from chatui.tabs import Turn
from chatui.temporary import is_temporary
from chatui.words import language_of
from feedback.personas import BOUNDS, checked_sampling
from feedback.records import Opening


class PersonaHandlers:
    """The panel's events, one method each."""

    def __init__(self, handlers: Handlers):
        """Act on the tabs and the store of the chat's handlers."""
        self.chat, self.store, self.tabs, self.ask = handlers, handlers.store, handlers.tabs, handlers.ask

    def personas(self, language: str) -> dict[str, Any]:
        """Give what there is to choose from, and the settings with their bounds: [lowest, highest, whole numbers]."""
        return {
            "personas": self.ask(known_personas)(self.store, language),
            "defaults": {name: getattr(self.chat.replies.sampling, name) for name in BOUNDS},
            "bounds": {name: [low, high, kind is int] for name, (kind, low, high) in BOUNDS.items()},
        }

    def choose(self, request: gr.Request, event: gr.EventData) -> Parts:
        """A persona was chosen: it opens a new conversation, for what was said under another one stays as it is."""
        return self._open(request, event._data, event._data["id"], language_of(request.headers))

    def set_sampling(self, request: gr.Request, event: gr.EventData) -> Any:
        """A setting was moved, or all were reset: it holds for the replies that come in this conversation."""
        session = request.session_hash or ""
        problem = problem_of(self._set, session, event._data["sampling"])
        self.tabs.did(session)
        return self.chat.beside(request, problem)

    def keep(self, request: gr.Request, event: gr.EventData) -> Parts:
        """A persona was made; a new conversation is opened with it."""
        data = event._data
        try:
            made = self.ask(self.store.keep_persona)(data["name"], data["prompt"], data.get("sampling"))
        except gr.Error as error:
            return self._refused(request, data, error)
        return self._open(request, data, made)

    def drop(self, request: gr.Request, event: gr.EventData) -> Any:
        """An own persona was taken out of the list; a chat in which nothing was said yet goes back to none."""
        dropped, look = event._data["id"], self.tabs.get(request.session_hash or "")
        problem = problem_of(self.ask(self.store.drop_persona), dropped)
        chat = self.chat.temporary.get(look.conversation_id)
        if not problem and chat and not chat.said and chat.opening.persona == dropped:
            chat.opening = Opening()
        elif not problem and look.conversation_id is None and look.opening.persona == dropped:
            self.chat.turn(request, None)
        self.tabs.did(request.session_hash or "")
        return self.chat.beside(request, problem)

    def _set(self, session: str, sampling: dict[str, Any]) -> None:
        look = self.tabs.get(session)
        chat = self.chat.temporary.get(look.conversation_id)
        if chat:
            chat.opening = replace(chat.opening, sampling=told(checked_sampling)(sampling))
        elif look.conversation_id is None:
            self.tabs.prepare(session, told(checked_sampling)(sampling))
        else:
            self.ask(self.store.set_sampling)(look.conversation_id, sampling)

    def _open(self, request: gr.Request, data: Any, persona_id: str, language: str = "en") -> Parts:
        try:
            opening = self.ask(opening_with)(self.store, persona_id, language)
        except gr.Error as error:
            return self._refused(request, data, error)
        return self._new(request, opening, Turn.of(data))

    def _refused(self, request: gr.Request, data: Any, error: gr.Error) -> Parts:
        beside = self.chat.beside(request, sentence(error))
        return SKIP, self.chat.stays(request, beside, Turn.of(data)), SKIP, SKIP

    def _new(self, request: gr.Request, opening: Opening, turn: Turn) -> Parts:
        """Open a new conversation, a temporary one in the place of a temporary one."""
        look = self.tabs.get(request.session_hash or "")
        chat = self.chat.temporary.open(opening) if is_temporary(look.conversation_id) else None
        shown = self.chat.turn(request, chat, opening, turn)
        if shown.conversation_id != chat:
            self.chat.temporary.forget(chat)  # something else was turned to meanwhile
        return self.chat.parts(shown)
