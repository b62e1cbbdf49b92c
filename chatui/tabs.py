"""What each open browser tab is looking at, kept on the server: a page holds ids, nothing else."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from feedback.records import Opening

WINDOW = 40  # messages of a long conversation that a tab shows, and how many more it asks for
LISTED = 300  # conversations that a tab lists, and how many more it asks for
_MOST_TABS = 5000  # beyond that the tab that was quiet longest is forgotten


@dataclass(frozen=True)
class Look:
    """One tab's view: its conversation (None: a new one), how many messages, and which view this is.

    A tail ends when the tab's `epoch` is no longer its own: the tab has moved on.
    """

    conversation_id: str | None = None
    window: int = WINDOW
    place: int | None = None  # in the browser's history, as the page numbers them
    opening: Opening = field(default_factory=Opening)  # what a new conversation will be opened with
    query: str = ""  # what the list of conversations is searched for
    listed: int = LISTED  # how many conversations the list shows
    epoch: int = 0


@dataclass(frozen=True)
class Turn:
    """A page's turn to another conversation: which of its turns this is, and its place in the browser's history."""

    number: int | None = None  # None: not the page's own
    place: int | None = None

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Turn":
        """Return the turn that an event tells of."""
        number, place = data.get("turn"), data.get("place")
        return cls(number if isinstance(number, int) else None, place if isinstance(place, int) else None)


NO_TURN = Turn()


class Tabs:
    """Maps a browser session to its view."""

    def __init__(self) -> None:
        self._looks: OrderedDict[str, Look] = OrderedDict()
        self._marks: dict[str, str] = {}
        self._followed: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._turning = threading.Lock()  # handlers run in the loop and in threads
        self._asked: Counter[str] = Counter()
        self._turned: Counter[str] = Counter()
        self._slept: set[str] = set()
        self._rated: dict[str, dict[str, int]] = {}  # by tab and message: the newest thumb that was kept
        self._rating: dict[str, threading.Lock] = {}

    def get(self, session: str) -> Look:
        """Return what a tab looks at."""
        return self._looks.get(session, Look())

    def knows(self, session: str) -> bool:
        """Tell whether anything was opened in this tab."""
        return session in self._looks

    def arrive(self, session: str, conversation_id: str | None, slept: bool = False) -> Look:
        """Open a tab's first view, unless something was opened in it by now; `slept`: it is older than this server."""
        if slept:
            self._slept.add(session)
        return self._looks.get(session) or self.open(session, conversation_id)

    def open(
        self, session: str, conversation_id: str | None, opening: Opening | None = None, place: int | None = None
    ) -> Look:
        """Turn a tab to another conversation, or to a new one that will be opened with `opening`; None: where it is."""
        look, start = self.get(session), opening or Opening()
        at = look.place if place is None else place
        fresh = replace(look, conversation_id=conversation_id, window=WINDOW, opening=start, place=at)
        return self._set(session, replace(fresh, epoch=look.epoch + 1))

    def prepare(self, session: str, sampling: dict[str, Any]) -> Look:
        """Change the sampling settings that the tab's new conversation will be opened with."""
        look = self.get(session)
        return self._set(session, replace(look, opening=replace(look.opening, sampling=sampling)))

    def search(self, session: str, query: str) -> Look:
        """Search the list of conversations; the view of the conversation stays the same one."""
        return self._set(session, replace(self.get(session), query=query, listed=LISTED))

    def lengthen(self, session: str) -> Look:
        """List more conversations; the view of the conversation stays the same one."""
        look = self.get(session)
        return self._set(session, replace(look, listed=look.listed + LISTED))

    def again(self, session: str) -> Look:
        """Begin a new view of the same conversation."""
        look = self.get(session)
        return self._set(session, replace(look, epoch=look.epoch + 1))

    def follow(self, session: str) -> Look:
        """Begin a new view that was asked for because of what a tick told, which need not be told again."""
        mark, look = self._marks.get(session), self.again(session)
        if mark is not None:
            self._marks[session] = mark
        return look

    def narrow(self, session: str) -> Look:
        """Begin a new view of the end of the same conversation: every row shown is sent with every update."""
        look = self.get(session)
        return self._set(session, replace(look, window=WINDOW, epoch=look.epoch + 1))

    def widen(self, session: str) -> Look:
        """Show more of a long conversation."""
        look = self.get(session)
        return self._set(session, replace(look, window=look.window + WINDOW, epoch=look.epoch + 1))

    @contextmanager
    def following(self, session: str) -> Iterator[None]:
        """While the block lasts, a handler sends this tab the growing reply."""
        self._followed[session] += 1
        try:
            yield
        finally:
            self._followed[session] -= 1
            self._followed += Counter()  # forgets those at 0

    def is_followed(self, session: str) -> bool:
        """Tell whether a handler sends this tab a growing reply now."""
        return self._followed[session] > 0

    def is_news(self, session: str, mark: str) -> bool:
        """Tell whether this differs from what the tab was last asked about, and remember it.

        All is news once after the tab was turned or something was done in it: the answer to that may have been lost.
        """
        news = self._marks.get(session) != mark
        self._marks[session] = mark
        return news

    def ask(self, session: str, turn: Turn) -> None:
        """Remember that a page has turned to another conversation, which the tab has yet to show."""
        with self._turning:
            _reach(self._asked, session, turn)

    def turn(
        self, session: str, conversation_id: str | None, opening: Opening | None, turn: Turn
    ) -> tuple[Look, str | None]:
        """Open what a page has turned to, if the tab is still to show it; return its view and what the tab has left."""
        with self._turning:
            _reach(self._asked, session, turn)
            if not self.is_wanted(session, turn):
                return self.again(session), None
            left = self.get(session).conversation_id
            look = self.open(session, conversation_id, opening, turn.place)
            _reach(self._turned, session, turn)
            return look, left

    def is_wanted(self, session: str, turn: Turn) -> bool:
        """Tell whether a tab is still to show this: nothing later was turned to, nor was it given up."""
        return turn.number is None or self._turned[session] < turn.number >= self._asked[session]

    def turned(self, session: str, turn: Turn) -> None:
        """Remember that a turn was refused: the tab stays where it is."""
        with self._turning:
            _reach(self._turned, session, turn)

    def is_behind(self, session: str, turns: int) -> bool:
        """Tell whether one of a page's first `turns` turns is still on its way."""
        return self._turned[session] < turns

    def woke(self, session: str, turns: int) -> None:
        """Take a page's first `turns` turns for dealt with where they may be older than this server."""
        if session in self._slept or not self.knows(session):
            self.turned(session, Turn(turns))

    def has_turned_since(self, session: str, turns: int) -> bool:
        """Tell whether a page has turned to another conversation after its first `turns` turns."""
        return self._asked[session] > turns

    @contextmanager
    def rating(self, session: str, message: str, number: int) -> Iterator[bool]:
        """Keep one thumb of a tab after the other; False: a newer one of the same message is kept already.

        The page numbers them: each travels by itself, and the threads that keep them are not in that order.
        """
        with self._rating.setdefault(session, threading.Lock()):
            kept = self._rated.setdefault(session, {})
            newest = number >= kept.get(message, 0)
            yield newest
            if newest:
                kept[message] = number

    def did(self, session: str) -> None:
        """Remember that something was done to the conversation this tab shows."""
        self._done[session] += 1
        self._marks.pop(session, None)

    def done(self, session: str) -> int:
        """Count what was done; what was drawn while this grew may be older than what the tab shows by now."""
        return self._done[session]

    def _set(self, session: str, look: Look) -> Look:
        self._looks[session] = look
        self._looks.move_to_end(session)
        self._marks.pop(session, None)
        while len(self._looks) > _MOST_TABS:
            forgotten = self._looks.popitem(last=False)[0]
            self._marks.pop(forgotten, None)
            self._done.pop(forgotten, None)
            self._asked.pop(forgotten, None)
            self._turned.pop(forgotten, None)
            self._slept.discard(forgotten)
            self._rated.pop(forgotten, None)
            self._rating.pop(forgotten, None)
        return look


def _reach(counted: Counter[str], session: str, turn: Turn) -> None:
    counted[session] = max(counted[session], turn.number or 0)
