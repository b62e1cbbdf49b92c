"""The one thread that computes: it takes replies from the line, and steps every lane in turn.

Only this thread touches a lane or a model that serves, so no step is disturbed; others hand it replies and wishes.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from chatui.engine.lane import FULL, Lane
from chatui.engine.protocol import EngineBusy, EngineError
from chatui.engine.rows import Row

log = logging.getLogger("rapport.engine")


class Loop:
    """Computes replies until it is closed."""

    def __init__(self, max_streams: int, max_waiting: int, memory: int = 2**30):
        """At most `max_streams` replies at once, `max_waiting` in line, `memory` bytes of keys and values."""
        self._max_streams, self._most, self.memory = max_streams, max_streams + max_waiting, memory
        self._line: deque[tuple[Row, Lane]] = deque()
        self._wishes: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._lanes: list[Lane] = []
        self._retired: list[tuple[Lane, Callable[[], None]]] = []
        self._places = 0  # replies that were begun and are not over
        self._closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def reserve(self) -> None:
        """Keep a place for a reply that is about to be written. Raises EngineBusy when all are taken."""
        with self._news:
            if self._places >= self._most:
                raise EngineBusy(f"{self._places} replies are being written or waiting already; try again in a moment.")
            self._places += 1

    def release(self) -> None:
        """Give the place of a reply back."""
        with self._news:
            self._places -= 1

    def submit(self, row: Row, lane: Lane, first: bool = False) -> None:
        """Put a reply at the end of the line, or (`first`) at its beginning."""
        with self._news:
            if self._closed:
                row.end("stopped")
                return
            self._line.appendleft((row, lane)) if first else self._line.append((row, lane))
            self._number()
            self._news.notify()

    def call(self, wish: Callable[[], Any]) -> Any:
        """Have something done between two steps, and return what it returns. Raises what it raises."""
        future: Future[Any] = Future()
        with self._news:
            if self._closed:
                raise EngineError("The engine is closed; start the app again.")
            self._wishes.append((wish, future))
            self._news.notify()
        return future.result()

    def open(self, lane: Lane) -> None:
        """Step a lane from now on."""
        self.call(lambda: self._lanes.append(lane))

    def retire(self, lane: Lane, then: Callable[[], None]) -> None:
        """Step a lane until its last reply has ended, then let go of it and call `then`."""
        self.call(lambda: self._retired.append((lane, then)))

    def close(self) -> None:
        """End every reply and the thread."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()

    def room(self, size: int) -> bool:
        """Make so many bytes free of what is only kept; say whether that worked."""
        while sum(lane.bytes for lane in self._lanes) + size > self.memory:
            if not any(lane.spare() for lane in self._lanes):
                return False
        return True

    def _run(self) -> None:
        while True:
            with self._news:
                while not (self._closed or self._line or self._wishes or self._busy()):
                    self._news.wait()
                if self._closed:
                    break
                wishes = [self._wishes.popleft() for _ in range(len(self._wishes))]
            for wish, future in wishes:
                _grant(wish, future)
            self._admit()
            for lane in self._lanes:
                if lane.rows:
                    self._step(lane)
            self._let_go()
        self._end()

    def _let_go(self) -> None:
        """Forget the retired lanes whose last reply has ended."""
        for lane, then in list(self._retired):
            if not lane.rows and not self._waited(lane):
                self._retired.remove((lane, then))
                self._lanes = [other for other in self._lanes if other is not lane]
                then()

    def _busy(self) -> bool:
        return any(lane.rows for lane in self._lanes)

    def _waited(self, lane: Lane) -> bool:
        with self._news:
            return any(lane is other for _, other in self._line)

    def _step(self, lane: Lane) -> None:
        try:
            lane.step()
        # A lane sees to its replies' failures itself; whatever else happens, the others must go on.
        except Exception as error:
            log.exception("A step failed.")
            for row in lane.rows:
                row.fail(f"The reply failed ({error}); try again.")

    def _admit(self) -> None:
        """Take replies from the line while there are places and memory."""
        with self._news:
            for row, _ in self._line:
                if row.cancelled:
                    row.end("stopped")
            self._line = deque((row, lane) for row, lane in self._line if not row.over)
            while self._line and (self._running() < self._max_streams or self._line[0][0].urgent):
                row, lane = self._line[0]
                if lane not in self._lanes:
                    row.fail("The version that was to write this reply is gone; try again.")
                elif not lane.add(row):
                    if self._busy():
                        break  # who is being written to will leave memory behind
                    row.fail(FULL)
                self._line.popleft()
                row.waiting = 0
            self._number()

    def _running(self) -> int:
        return sum(len(lane.rows) for lane in self._lanes)

    def _number(self) -> None:
        for place, (row, _) in enumerate(self._line, 1):
            row.waiting = place

    def _end(self) -> None:
        with self._news:
            rows = [row for row, _ in self._line] + [row for lane in self._lanes for row in lane.rows]
            self._line.clear()
            self._lanes = []
        for row in rows:
            row.end("stopped")
        for _, future in self._wishes:
            future.cancel()


def _grant(wish: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(wish())
    # It is raised again where it was wished for.
    except BaseException as error:  # noqa: BLE001
        future.set_exception(error)
