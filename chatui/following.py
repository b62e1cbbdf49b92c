"""How those who look on learn that a reply has grown: at once when it begins and ends, else at a reader's pace.

The pace is that of whoever writes: it takes what the engine has written so far so often, and tells them then.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

_MOST_PER_S, _LEAST_PER_S = 12.0, 6.0  # updates of one reply; faster is not read, slower is seen to jump
_ALL_PER_S = 48.0  # updates of all replies together: each costs time that could be spent on tokens

NO_THREAD = "This machine starts no more threads; try again in a moment."  # why a reply was not begun


def pause(replies: int) -> float:
    """Return the seconds between two updates of a reply while so many are written."""
    return 1 / max(_LEAST_PER_S, min(_MOST_PER_S, _ALL_PER_S / max(1, replies)))


@dataclass
class Followed:
    """A reply that is looked on; written in a thread of its own, followed from an event loop."""

    followed_at: float = field(default_factory=time.monotonic, kw_only=True)
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(
        default_factory=list, kw_only=True, repr=False
    )

    def follow(self) -> None:
        """Say that somebody is looking on."""
        self.followed_at = time.monotonic()

    async def news(self, seconds: float) -> None:
        """Wait until `tell` is called, or for so long."""
        here: tuple[Any, asyncio.Event] = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.append(here)
        try:
            await asyncio.wait_for(here[1].wait(), seconds)
        except TimeoutError:
            pass
        finally:
            self._waiting.remove(here)

    def tell(self) -> None:
        """Wake those who wait for news; called by whoever writes."""
        for loop, event in list(self._waiting):
            with contextlib.suppress(RuntimeError):  # a loop that was closed follows nothing any more
                loop.call_soon_threadsafe(event.set)
