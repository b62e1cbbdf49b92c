"""Temporary chats: kept in memory for the tab that opened them, written down nowhere, teaching nothing.

They know neither branches nor ratings; the store never hears of them.
"""

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chatui.engine.protocol import Engine, Sampling
from chatui.following import NO_THREAD, pause
from chatui.meter import Meter
from chatui.writing import Writing
from feedback.errors import BadInput, Busy
from feedback.messages import check_text
from feedback.records import Opening, Said

log = logging.getLogger("rapport.temporary")
_PREFIX = "temporary-"
_MOST = 500  # chats at once; beyond that the one that was quiet longest is forgotten


@dataclass
class Chat:
    """What was said in one temporary chat, and the reply being written in it."""

    opening: Opening
    said: list[Said] = field(default_factory=list)
    live: Writing | None = None


def is_temporary(conversation_id: str | None) -> bool:
    """Tell whether an id is a temporary chat's."""
    return conversation_id is not None and conversation_id.startswith(_PREFIX)


class TemporaryChats:
    """Every temporary chat of this process."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        unfollowed_s: float,
        meter: Meter | None = None,
        pace: Callable[[], float] = lambda: pause(1),
    ):
        """Write replies of `engine` with `sampling`; end one that nobody followed for `unfollowed_s`.

        `pace` tells the seconds between two updates of a reply now.
        """
        self._meter, self._pace = meter or Meter(), pace
        self.engine, self.sampling, self._unfollowed_s = engine, sampling, unfollowed_s
        self._chats: OrderedDict[str, Chat] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, opening: Opening) -> str:
        """Open an empty chat; return its id."""
        chat_id = _PREFIX + uuid.uuid4().hex
        with self._lock:
            self._chats[chat_id] = Chat(opening)
            while len(self._chats) > _MOST:
                self._end(self._chats.popitem(last=False)[1])
        return chat_id

    def get(self, chat_id: str | None) -> Chat | None:
        """Return a chat, None if it was forgotten."""
        return self._chats.get(chat_id or "")

    def forget(self, chat_id: str | None) -> None:
        """End a chat's reply and let go of all that was said in it."""
        with self._lock:
            chat = self._chats.pop(chat_id or "", None)
        if chat:
            self._end(chat)

    def stop(self, chat_id: str) -> None:
        """End the reply being written in a chat."""
        chat = self.get(chat_id)
        if chat:
            self._end(chat)

    def close(self) -> None:
        """Forget every chat."""
        for chat_id in list(self._chats):
            self.forget(chat_id)

    def send(self, chat_id: str, text: str) -> Writing:
        """Say something and begin the reply to it. Raises RapportError or EngineError, changing nothing."""
        check_text(text, "message")
        with self._lock:
            chat = self._chats.get(chat_id)
            if chat is None:
                raise BadInput("This temporary chat is gone; open a new one.")
            if chat.live and chat.live.running:
                raise Busy("A reply is still being written in this conversation; stop it or wait for its end.")
            self._chats.move_to_end(chat_id)
            system = [("system", chat.opening.system_prompt)] if chat.opening.system_prompt else []
            turns = [*system, *((m.role, m.content) for m in chat.said if m.content), ("user", text)]
            live = self._begin(turns, self.sampling.changed(chat.opening.sampling))
            above = chat.said[-1].id if chat.said else None
            mine = Said(uuid.uuid4().hex, above, "user", text, "complete")
            reply = Said(live.message_id, mine.id, "assistant", "", "running", version=live.generation.version)
            chat.said += [mine, reply]
            chat.live = live
        return self._start(live, chat)

    def answer(self, turns: Sequence[tuple[str, str]], sampling: Sampling) -> Writing:
        """Begin the reply to (role, content) messages that somebody else keeps. Raises EngineError."""
        return self._start(self._begin(turns, sampling), None)

    def _begin(self, turns: Sequence[tuple[str, str]], sampling: Sampling) -> Writing:
        with self._meter.beginning():
            generation = self.engine.begin(turns, sampling)
        generation.pace = self._pace
        return Writing(uuid.uuid4().hex, generation)

    def _start(self, live: Writing, chat: Chat | None) -> Writing:
        try:
            threading.Thread(target=self._write, args=(live, chat), name="temporary", daemon=True).start()
        except RuntimeError:  # with nobody to end it, its chat would be busy for ever
            log.exception("A reply could not be begun.")
            live.generation.cancel()
            live.error = NO_THREAD
            self._over(live, chat, "error")
        return live

    def _write(self, live: Writing, chat: Chat | None) -> None:
        self._over(live, chat, live.write(self._meter, self._unfollowed_s))

    @staticmethod
    def _over(live: Writing, chat: Chat | None, status: str) -> None:
        if chat:
            finish = live.generation.finish if status != "error" else None
            chat.said[-1] = replace(chat.said[-1], content=live.text, status=status, finish=finish, error=live.error)
        live.status = status
        live.tell()

    @staticmethod
    def _end(chat: Chat) -> None:
        if chat.live:
            chat.live.generation.cancel()
