"""One reply being computed: what it has read and written, and how its reader is told."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from chatui.engine.protocol import Sampling
from chatui.engine.sampling import Picker
from chatui.engine.told import Told


@dataclass(frozen=True)
class End:
    """How a reply ended: `finish` is end, length or stopped; `error` is a sentence instead."""

    finish: str | None = None
    error: str | None = None


class Row:
    """A reply from its prompt to its last token; `told` gives its tokens, then `ended` says how it ended."""

    def __init__(self, ids: Sequence[int], most: int, sampling: Sampling, urgent: bool = False):
        """Begin with the prompt `ids`; write `most` tokens at most. An `urgent` one is given a place at once."""
        self.ids, self.prompt = list(ids), len(ids)
        self.most, self.picker = most, Picker(sampling, ids)
        self.read = 0  # tokens whose keys and values are kept
        self.told: Told[int] = Told()
        self.ended: End | None = None
        self.urgent = urgent
        self.waiting = 0  # its place in the line
        self.joined = 0  # its place among the replies that its lane took on
        self._cancelled = threading.Event()

    @property
    def tokens(self) -> int:
        """Tokens that it may have in the end."""
        return self.prompt + self.most

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.ended is not None

    @property
    def cancelled(self) -> bool:
        """Whether its reader wants no more of it."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End it after the token that is being computed."""
        self._cancelled.set()

    def take(self, token: int, ends: frozenset[int]) -> None:
        """Write a token, or end with it. One that came after the cancelling is told to nobody."""
        if token in ends:
            self.end("end")
            return
        self.ids.append(token)
        self.picker.saw(token)
        if not self.cancelled:
            self.told.put(token)
        if len(self.ids) - self.prompt >= self.most:
            self.end("length")

    def end(self, finish: str) -> None:
        """Tell its reader that it is over."""
        self._tell(End(finish))

    def fail(self, error: str) -> None:
        """Tell its reader why it cannot go on."""
        self._tell(End(error=error))

    def _tell(self, end: End) -> None:
        if not self.over:
            self.ended, self.waiting = end, 0
            self.told.end()
