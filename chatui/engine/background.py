"""An event loop in a thread of its own, for code that waits for many connections and is called from threads."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from chatui.engine.protocol import EngineError

T = TypeVar("T")


class Background:
    """Runs coroutines for threads; ending one from any thread ends it wherever it waits."""

    def __init__(self, name: str):
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin a coroutine; cancelling what is returned cancels it. Raises EngineError once closed."""
        if not self._thread.is_alive():
            work.close()
            raise EngineError("The engine has been closed.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine and return its result, or raise what it raised."""
        try:
            return self.start(work).result()
        except CancelledError as error:
            raise EngineError("The engine has been closed.") from error

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, let it clean up, do what is `last`, and end the thread."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        asyncio.run_coroutine_threadsafe(last(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
