"""The one thread that computes: it takes replies from the line, and steps every lane in turn.

Only this thread touches a lane or a model that serves, so no step is disturbed; others hand it replies and wishes.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from chatui.engine.lane import FULL, Lane, fail
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
        self._places: Counter[Lane] = Counter()  # replies of each lane that were begun and are not over
        self._left: deque[Lane] = deque()  # lanes of replies that are over and still counted
        self._closed, self._fault = False, ""
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def reserve(self, lane: Lane) -> None:
        """Keep a place for a reply that is about to be written; until it is given back, its lane stays.

        Raises EngineBusy when all are taken.
        """
        with self._news:
            taken = self._counted().total()
            if taken >= self._most:
                raise EngineBusy(f"{taken} replies are being written or waiting already; try again in a moment.")
            self._places[lane] += 1

    def release(self, lane: Lane) -> None:
        """Give the place of a reply back; may be called from anywhere, garbage collection in this class included."""
        self._left.append(lane)
        with self._news:
            self._news.notify()

    def _counted(self) -> Counter[Lane]:
        """Return how many places are taken in each lane that has any."""
        while self._left:
            lane = self._left.popleft()
            self._places[lane] -= 1
            if not self._places[lane]:
                del self._places[lane]
        return self._places

    def submit(self, row: Row, lane: Lane, first: bool = False) -> None:
        """Put a reply at the end of the line, or (`first`) at its beginning."""
        with self._news:
            if self._closed:
                self._over(row)
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
        """Make so many bytes free of what is only kept; say whether that worked.

        Where it cannot work nothing is spared in vain; but with 0, when `memory` has shrunk, all that can be is.
        """
        if size and sum(lane.held for lane in self._lanes) + size > self.memory:
            return False
        while sum(lane.bytes for lane in self._lanes) + size > self.memory:
            if not any(lane.spare() for lane in self._lanes):
                return False
        return True

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        # A device that has failed for good comes here; whoever waits for a token would wait for ever.
        except Exception:
            log.exception("The engine's thread has failed.")
            with self._news:
                self._closed, self._fault = True, "The engine has failed; start the app again."
        self._end()

    def _turn(self) -> bool:
        """Wait for something to do, and do it once; False when the loop is closed."""
        with self._news:
            while not (self._closed or self._line or self._wishes or self._busy() or self._leaving()):
                self._news.wait()
            if self._closed:
                return False
            wishes = [self._wishes.popleft() for _ in range(len(self._wishes))]
        for wish, future in wishes:
            _grant(wish, future)
        self._admit()
        for lane in self._lanes:
            if lane.rows:
                self._step(lane)
        self._let_go()
        return True

    def _let_go(self) -> None:
        """Forget the retired lanes whose last reply has ended."""
        for lane, then in self._leaving():
            self._retired.remove((lane, then))
            self._lanes = [other for other in self._lanes if other is not lane]
            try:
                then()
            # What a version leaves behind is not worth the replies of all others.
            except Exception:
                log.exception("A version that serves no more could not be let go of.")

    def _leaving(self) -> list[tuple[Lane, Callable[[], None]]]:
        """List the retired lanes that no reply is begun, waiting or being written in."""
        with self._news:
            wanted = {id(lane) for lane in self._counted()} | {id(lane) for _, lane in self._line}
        return [(lane, then) for lane, then in self._retired if not lane.rows and id(lane) not in wanted]

    def _busy(self) -> bool:
        return any(lane.rows for lane in self._lanes)

    def _step(self, lane: Lane) -> None:
        try:
            lane.step()
        # A lane sees to its replies' failures itself; whatever else happens, the others must go on.
        except Exception as error:
            living = [row for row in lane.rows if not row.over]
            if not living:
                raise  # with nothing to compute nothing can fail but the device, and it would at every step
            log.exception("A step failed.")
            for row in living:
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
                elif not self._taken_on(row, lane):
                    if self._busy() and lane.needs(row) <= self.memory:
                        break  # who is being written to will leave memory behind
                    row.fail(FULL)
                self._line.popleft()
                row.waiting = 0
            self._number()

    def _taken_on(self, row: Row, lane: Lane) -> bool:
        """Have a lane take a reply on; False while there is no memory for it. One that cannot be taken on fails.

        A check is answered though the memory is full of running replies: one at a time may go beyond it by its seat.
        """
        beyond = row.urgent and lane.needs(row) <= self.memory and not any(one.urgent for one in self._rows())
        try:
            return lane.add(row, beyond)
        # Memory that is there by the setting may be another's: a training run's, say.
        except Exception as error:  # noqa: BLE001
            fail(row, error)
            return True

    def _running(self) -> int:
        return len(self._rows())

    def _rows(self) -> list[Row]:
        """List the replies that are being computed."""
        return [row for lane in self._lanes for row in lane.rows]

    def _number(self) -> None:
        for place, (row, _) in enumerate(self._line, 1):
            row.waiting = place

    def _end(self) -> None:
        with self._news:
            rows = [row for row, _ in self._line] + self._rows()
            self._line.clear()
            self._lanes = []
        for row in rows:
            self._over(row)
        for _, future in self._wishes:
            future.cancel()

    def _over(self, row: Row) -> None:
        """End a reply that nobody computes any more."""
        row.fail(self._fault) if self._fault else row.end("stopped")


def _grant(wish: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(wish())
    # It is raised again where it was wished for.
    except BaseException as error:  # noqa: BLE001
        future.set_exception(error)
