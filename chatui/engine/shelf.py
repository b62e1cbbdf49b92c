"""The replies that share a slab, and who sits where."""

from dataclasses import dataclass, field

from chatui.engine.memory import Slab
from chatui.engine.rows import Row


@dataclass
class Shelf:
    """A slab and the replies in its seats, without a gap; the first `ready` of them have read their prompts.

    Those are written to in one step, so their seats are neighbours. Who has read its prompt before one that came
    earlier changes seats with it.
    """

    slab: Slab
    rows: list[Row] = field(default_factory=list)
    ready: int = 0
    beyond: bool = False  # whether it is more memory than is allowed, and goes with its reply

    def remove(self, row: Row) -> None:
        """Empty a reply's seat and close the gap."""
        gap = self.rows.index(row)
        if gap < self.ready:
            self.ready -= 1
            gap = self._fill(gap, self.ready)
        self._fill(gap, len(self.rows) - 1)
        self.rows.pop()

    def _fill(self, gap: int, source: int) -> int:
        if gap != source:
            self.slab.move(source, gap, self.rows[source].read)
            self.rows[gap] = self.rows[source]
        return source

    def settle(self) -> None:
        """Count those that have read their prompts now among the ready, and seat them there."""
        done = [seat for seat in range(self.ready, len(self.rows)) if self.rows[seat].read >= self.rows[seat].prompt]
        ready = self.ready + len(done)
        for seat in range(self.ready, ready):
            if seat not in done:
                self._swap(seat, done.pop())  # the last of them is behind, as one that is not ready is in front
        self.ready = ready

    def _swap(self, seat: int, other: int) -> None:
        rows = self.rows
        self.slab.swap(seat, other, max(rows[seat].read, rows[other].read))
        rows[seat], rows[other] = rows[other], rows[seat]
