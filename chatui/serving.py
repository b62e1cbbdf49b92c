"""Keeps the engine on what the record says serves, and the record clear of replies whose writer died."""

import logging
import threading
import time
from collections.abc import Callable

from chatui.engine.protocol import Engine, EngineError
from feedback.records import Serving
from feedback.store import Store

log = logging.getLogger("rapport.serving")
_LOOK_S = 2.0
_AGAIN_S = 30.0  # what failed may have been short of memory, and is tried again


class ServingWatch:
    """Looks at the newest promotion every two seconds, and makes the engine follow it."""

    def __init__(self, store: Store, engine: Engine, share: Callable[[bool], None] = lambda _: None):
        """Follow `store` with `engine`, once started; `share` is told whether a run computes beside the engine."""
        self.store, self.engine, self.share = store, engine, share
        self.notice = ""
        self._followed: int | None = None
        self._failed: int | None = None
        self._again_at = 0.0
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        threading.Thread(target=self._run, name="serving", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()

    def look(self) -> None:
        """Look once. A version that cannot serve leaves what served, with a notice, and is tried again later.

        At a start, where nothing serves yet, what served before it is loaded meanwhile.
        """
        self.store.interrupt_dead_replies()
        self.share(self.store.run_computes())
        serving = self.store.serving()
        if serving is None or serving.promotion_id == self._followed:
            return
        if serving.promotion_id == self._failed and time.monotonic() < self._again_at:
            return
        try:
            self.engine.serve(serving.shares)
            self._followed, self.notice = serving.promotion_id, ""
        except EngineError as error:
            log.error("%s", error)
            self.notice = str(error)
            self._serve_instead(serving, error)
            self._failed, self._again_at = serving.promotion_id, time.monotonic() + _AGAIN_S

    def _serve_instead(self, serving: Serving, why: EngineError) -> None:
        """Where nothing serves, serve what served before, or else the base; say why not, if these cannot either."""
        for shares in self.store.fallbacks():
            if self.engine.state().phase == "ready":
                return
            if shares != serving.shares:
                try:
                    self.engine.serve(shares)
                except EngineError as error:
                    log.error("%s", error)
                    self.engine.announce("failed", str(why))

    def _run(self) -> None:
        while True:
            try:
                self.look()
            # A locked or vanished database must not end the watch: the next look may succeed.
            except Exception:
                log.exception("What serves could not be looked up.")
            if self._closing.wait(_LOOK_S):
                return
