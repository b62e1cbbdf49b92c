"""A reply that is being written: its text so far, and how it ends. Where it is kept, if anywhere, others know."""

import logging
import time
from dataclasses import KW_ONLY, dataclass

from chatui.engine.protocol import EngineError, Generation
from chatui.following import Followed
from chatui.meter import Meter
from feedback.characters import keepable

log = logging.getLogger("rapport.replies")


@dataclass
class Writing(Followed):
    """A reply of this process, from its beginning until whoever keeps it has closed it."""

    message_id: str
    generation: Generation
    _: KW_ONLY
    text: str = ""
    status: str = "running"
    error: str | None = None
    first_at: float | None = None  # when its first text came

    @property
    def waiting(self) -> int:
        """Its place in the line of replies that wait, 0 when it is being written or over."""
        return self.generation.waiting

    @property
    def running(self) -> bool:
        """Whether it is still open."""
        return self.status == "running"

    def write(self, meter: Meter, unfollowed_s: float = float("inf")) -> str:
        """Write it to its end, telling those who look on; return the status that it ends in.

        At a text that comes when nobody has followed it for `unfollowed_s` it is ended.
        """
        try:
            for text in meter.follow(self.generation):
                self.text = keepable(text)
                self.first_at = self.first_at or time.monotonic()
                self.tell()
                if time.monotonic() - self.followed_at > unfollowed_s:
                    self.generation.cancel()
            return "stopped" if self.generation.finish == "stopped" else "complete"
        except EngineError as error:
            self.error = str(error)
        # The reader must learn that the reply ended, whatever the model's code raised.
        except Exception as error:
            log.exception("A reply failed.")
            self.error = f"The reply failed ({type(error).__name__}); try again."
        return "error"
