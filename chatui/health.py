"""`GET /health`: whether a token can be made now, for whatever watches the app from outside."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chatui.engine.protocol import EngineError

_GOOD_FOR_S = 2.0  # asked more often, the last answer is given: health must cost no reader their tokens
_WAIT_S = 10.0  # whoever asks has an answer so long after the check began
Answer = tuple[int, dict[str, object]]


class Look:
    """One check in a thread of its own: the server's threads are for the page, which needs one for every event."""

    def __init__(self, check: Callable[[], float]):
        """Begin it."""
        self._check, self._began, self._ended = check, time.monotonic(), float("inf")
        self._found: Future[Answer] = Future()
        threading.Thread(target=self._run, name="health", daemon=True).start()

    @property
    def is_good(self) -> bool:
        """Whether it still runs or ended just now; only then is another not begun."""
        return time.monotonic() - self._ended <= _GOOD_FOR_S

    async def answer(self) -> Answer:
        """Wait for what it finds, but not for long; meanwhile no thread is held."""
        if not self._found.done():
            left = self._began + _WAIT_S - time.monotonic()
            await asyncio.wait([asyncio.wrap_future(self._found)], timeout=max(0.0, left))
        if not self._found.done():
            return 503, {"error": f"No token came within {_WAIT_S:g} s."}
        return self._found.result()

    def _run(self) -> None:
        try:
            found: Answer = 200, {"seconds": round(self._check(), 4)}
        except EngineError as error:
            found = 503, {"error": str(error)}
        # What nobody foresaw is the server's to tell, as it is for every other request; the next check is a new one.
        except Exception as error:  # noqa: BLE001
            self._ended = time.monotonic()
            self._found.set_exception(error)
            return
        self._ended = time.monotonic()
        self._found.set_result(found)


class Health:
    """Answers `/health` itself: 200 with the seconds a token took, 503 with the reason; all else goes through."""

    def __init__(self, app: ASGIApp, check: Callable[[], float]):
        """Wrap an application; `check` makes a token and raises EngineError where none comes."""
        self.app, self._check = app, check
        self._last: Look | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != "/health":
            await self.app(scope, receive, send)
            return
        if self._last is None or not self._last.is_good:  # one at a time: only the event loop comes by here
            self._last = Look(self._check)
        status, body = await self._last.answer()
        await JSONResponse(body, status)(scope, receive, send)


def middleware(check: Callable[[], float]) -> list[Middleware]:
    """Return what is handed to the server at launch."""
    return [Middleware(Health, check=check)]
