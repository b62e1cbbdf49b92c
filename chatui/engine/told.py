"""What one thread tells another while a reply is written, for a reader that need not be woken for each of it.

Waking a thread costs more than computing a token does on a fast machine. So it is woken where it waits for whatever
comes next, and at the end; what comes while it rests lies there until it looks.
"""

import time
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Told(Generic[Thing]):
    """Things in the order in which they were told, for one reader; anybody may tell."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._come: deque[Thing] = deque()
        self._waits = self._over = False
        self._looked = time.monotonic()
        self._bell: SimpleQueue[None] = SimpleQueue()

    def put(self, thing: Thing) -> None:
        """Tell something: an append, unless the reader waits for just that."""
        self._come.append(thing)
        if self._waits:
            self._bell.put(None)

    def end(self) -> None:
        """Say that nothing more comes; wakes the reader whatever it does."""
        self._over = True
        self._bell.put(None)

    def rest(self, seconds: float) -> None:
        """Sleep until so long after something was taken last, or until the end; with 0 not at all.

        What the reader does in between counts, so that it looks as often as it means to.
        """
        until = self._looked + seconds
        # It may be rung for what was taken already, so one ring alone is no reason to get up.
        while not self._over and (left := until - time.monotonic()) > 0:
            with suppress(Empty):
                self._bell.get(timeout=left)

    def take(self, most: int | None = None, timeout: float | None = None) -> list[Thing]:
        """Wait for something; take all that has come by now, or `most` of it. Empty when nothing is to come any more.

        Raises queue.Empty when nothing is told for `timeout` seconds.
        """
        while not self._come and not self._over:
            # Set before it is looked again: what comes in between is seen here, or rings.
            self._waits = True
            if not self._come and not self._over:
                self._bell.get(timeout=timeout)
            self._waits = False
        self._looked = time.monotonic()
        come = len(self._come)
        return [self._come.popleft() for _ in range(come if most is None else min(most, come))]
