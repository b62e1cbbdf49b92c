"""One version's replies, computed together: one step reads a piece of a prompt, one writes a token of every reply."""

import logging
from collections.abc import Sequence
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from chatui.engine.exam import Network
from chatui.engine.memory import Piece, Slab, seat_for, seats_of
from chatui.engine.prefixes import Prefixes
from chatui.engine.rows import Row
from chatui.engine.sampling import pick
from chatui.engine.shelf import Shelf

log = logging.getLogger("rapport.engine")
_READ_CPU, _READ_GPU = 256, 2048  # prompt tokens of one step; more would make those who are written to wait
_OLDEST = 4  # every so many steps the prompt that waits longest is read, however long it is
BROKEN = "The model gave no usable probabilities; try again, or roll this version back."
FULL = "There is no memory left for this reply; start a new conversation, or allow --engine-memory more."


class Room(Protocol):
    """Whoever shares the memory out among the lanes."""

    def __call__(self, size: int) -> bool:
        """Make so many bytes free, if need be by dropping what is only kept; say whether that worked."""


class Lane(Protocol):
    """The replies of one version."""

    @property
    def rows(self) -> list[Row]:
        """The replies being computed."""

    def add(self, row: Row, beyond: bool = False) -> bool:
        """Take a reply on; False while there is no memory for it, unless it may go `beyond` what is allowed."""

    def needs(self, row: Row) -> int:
        """Bytes that have to be free at the least to take a reply on."""

    def step(self) -> None:
        """Compute a step for every reply; those that ended are gone then."""

    def spare(self) -> bool:
        """Let go of something that is only kept; say whether there was anything."""

    @property
    def bytes(self) -> int:
        """Bytes of keys and values."""

    @property
    def held(self) -> int:
        """Those of running replies, which cannot be spared."""


def end_cancelled(rows: Sequence[Row]) -> None:
    """End the replies that nobody wants any more."""
    for row in rows:
        if row.cancelled:
            row.end("stopped")


def fail(row: Row, error: Exception) -> None:
    """Tell a reply's reader why it failed, and the log all of it."""
    log.error("A reply failed.", exc_info=error)
    row.fail(FULL if isinstance(error, torch.OutOfMemoryError) else f"The reply failed ({error}); try again.")


Batch = Sequence[tuple[Shelf, int, int]]  # shelf, first seat, seats


class BatchLane:
    """Computes all replies of one version in one batch."""

    def __init__(self, network: Network, ends: frozenset[int], room: Room):
        """`ends` are the tokens that end a reply; `room` is asked before memory is taken."""
        self.network, self.ends, self._room = network, ends, room
        self._shelves: list[Shelf] = []
        self._prefixes = Prefixes()
        self._joined, self._turns = count(), count(1)  # replies taken on, steps that read
        self._chunk = _READ_CPU if network.shape.device.type == "cpu" else _READ_GPU

    @property
    def rows(self) -> list[Row]:
        """The replies being computed."""
        return [row for shelf in self._shelves for row in shelf.rows]

    @property
    def bytes(self) -> int:
        """Bytes of keys and values, of running replies and of former ones."""
        return sum(shelf.slab.bytes for shelf in self._shelves) + self._prefixes.bytes

    @property
    def held(self) -> int:
        """Bytes of the slabs that running replies sit in."""
        return sum(shelf.slab.bytes for shelf in self._shelves if shelf.rows)

    def spare(self) -> bool:
        """Let go of an empty slab, or of what a former reply has read."""
        empty = next((shelf for shelf in self._shelves if not shelf.rows), None)
        if empty:
            self._shelves.remove(empty)
            return True
        return self._prefixes.drop_oldest()

    def add(self, row: Row, beyond: bool = False) -> bool:
        """Give a reply a seat, with what a former one has read of the same tokens already.

        Where there is none it has one of its own if it may go `beyond` the memory that is allowed.
        """
        shelf = self._shelf_for(row, beyond)
        if shelf is None:
            return False
        shared, kept = self._prefixes.find(row.ids)
        if kept is not None:
            shelf.slab.put(len(shelf.rows), kept, shared)
            row.read = shared
        row.joined = next(self._joined)
        shelf.rows.append(row)
        return True

    def needs(self, row: Row) -> int:
        """Bytes of a seat that a reply fits into."""
        return seat_for(row.tokens) * self.network.shape.bytes_per_token

    def _shelf_for(self, row: Row, beyond: bool) -> Shelf | None:
        capacity = seat_for(row.tokens)
        free = [s for s in self._shelves if s.slab.capacity == capacity and len(s.rows) < s.slab.seats]
        if free:
            return max(free, key=lambda shelf: len(shelf.rows))
        seats = seats_of(capacity, self.network.shape.device)
        while seats and not self._room(seats * self.needs(row)):
            seats //= 2  # a reply needs one; more are there for those that come beside it
        if not seats and not beyond:
            return None
        self._shelves.append(Shelf(Slab(self.network.shape, capacity, seats or 1), beyond=not seats))
        return self._shelves[-1]

    @torch.inference_mode()
    def step(self) -> None:
        """Let those who are not wanted go, read one piece of a prompt, write a token of every reply."""
        end_cancelled(self.rows)
        self._let_go()
        self._read()
        self._write()

    def _read(self) -> None:
        unread = [(shelf, seat) for shelf in self._shelves for seat in range(shelf.ready, len(shelf.rows))]
        if not unread:
            return
        shelf, seat = self._next_to_read(unread)
        first, seats = self._read_beside(shelf, seat)
        some = shelf.rows[first : first + seats]
        ends = [min(len(row.ids), row.read + self._chunk) for row in some]
        width = max(end - row.read for row, end in zip(some, ends, strict=True))
        for rows, logits in self._compute([(shelf, first, seats)], width):
            for row in rows:
                row.read = min(len(row.ids), row.read + self._chunk)
            if rows[0].read == len(rows[0].ids):  # as all of them have, where there are several
                self._picked(rows, logits)
        self._let_go()
        shelf.settle()

    def _next_to_read(self, unread: Sequence[tuple[Shelf, int]]) -> tuple[Shelf, int]:
        """Choose the prompt with the fewest steps left, a check's before all, and now and then the oldest.

        So nobody waits for a long one to be read to its end, and a long one does not wait for all short ones.
        """
        oldest_first = next(self._turns) % _OLDEST == 0

        def order(place: tuple[Shelf, int]) -> tuple[bool, int, int]:
            row = place[0].rows[place[1]]
            steps = -((row.read - len(row.ids)) // self._chunk)
            return not row.urgent, 0 if oldest_first else steps, row.joined

        return min(unread, key=order)

    def _read_beside(self, shelf: Shelf, seat: int) -> tuple[int, int]:
        """Return the first seat and how many are read in one step: one, and those beside it that are read whole."""

        def fit(first: int, end: int) -> bool:
            rows = shelf.rows[first:end]
            width = max(len(row.ids) for row in rows)
            return not any(row.read for row in rows) and width * len(rows) <= self._chunk

        first, end = seat, seat + 1
        while end < len(shelf.rows) and fit(first, end + 1):
            end += 1
        while first > shelf.ready and fit(first - 1, end):
            first -= 1
        return first, end - first

    def _write(self) -> None:
        batch = [(shelf, 0, shelf.ready) for shelf in self._shelves if shelf.ready]
        if not batch:
            return
        for rows, logits in self._compute(batch, 1):
            for row in rows:
                row.read += 1
            self._picked(rows, logits)
        self._let_go()

    def _picked(self, rows: Sequence[Row], logits: Tensor) -> None:
        for row, token in zip(rows, pick(logits, [row.picker for row in rows]), strict=True):
            row.fail(BROKEN) if token is None else row.take(token, self.ends)

    def _compute(self, batch: Batch, width: int) -> list[tuple[list[Row], Tensor]]:
        """Return replies and the logits (replies, vocabulary) after what each reads in this step.

        All are found together; where that fails each is computed alone, to find out whose fault it is.
        """
        rows = [row for shelf, first, seats in batch for row in shelf.rows[first : first + seats]]
        try:
            return [(rows, self._logits(batch, rows, width))]
        # Out of memory, or anything a stranger's model may raise: nobody but its cause may end by it.
        except Exception as error:  # noqa: BLE001
            if len(rows) == 1:
                fail(rows[0], error)
                return []
            alone = [(shelf, seat, 1) for shelf, first, seats in batch for seat in range(first, first + seats)]
            return [found for one in alone for found in self._compute([one], width)]

    def _logits(self, batch: Batch, rows: Sequence[Row], width: int) -> Tensor:
        unread = [row.ids[row.read : row.read + width] for row in rows]
        ids = torch.tensor([part + [0] * (width - len(part)) for part in unread])
        at = torch.tensor([n * width + len(part) - 1 for n, part in enumerate(unread)])
        pieces = [
            Piece(shelf.slab, first, [row.read for row in shelf.rows[first : first + seats]], width)
            for shelf, first, seats in batch
        ]
        return self.network.logits(ids, pieces, at)

    def _let_go(self) -> None:
        for shelf in list(self._shelves):
            for row in [row for row in shelf.rows if row.over]:
                try:
                    self._keep_or_wipe(shelf, row)
                finally:
                    shelf.remove(row)
            if shelf.beyond and not shelf.rows:
                self._shelves.remove(shelf)

    def _keep_or_wipe(self, shelf: Shelf, row: Row) -> None:
        """Keep what a reply has read, or leave its seat clean. Raises only where not even that can be done."""
        try:
            self._keep(shelf, row)
        # To keep it saves the next turn some time; without memory for that, the seat still has to be emptied.
        except Exception:
            log.exception("What a reply has read could not be kept.")
            shelf.slab.wipe(shelf.rows.index(row))

    def _keep(self, shelf: Shelf, row: Row) -> None:
        """Keep what a reply has read for the next turn; numbers that are not finite are wiped out."""
        seat, size = shelf.rows.index(row), row.read * self.network.shape.bytes_per_token
        held = shelf.slab.kv[:, seat, : row.read]
        if not bool(torch.isfinite(held).all()):
            shelf.slab.wipe(seat)
        elif self._room(size):
            self._prefixes.keep(row.ids[: row.read], shelf.slab.take(seat, row.read))
