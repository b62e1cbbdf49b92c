"""`GET /health`: whether a token can be made now, for whatever watches the app from outside."""

import threading
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chatui.engine.protocol import EngineError

_GOOD_FOR_S = 2.0  # asked more often, the last answer is given: health must cost no reader their tokens


class Health:
    """Answers `/health` itself: 200 with the seconds a token took, 503 with the reason; all else goes through."""

    def __init__(self, app: ASGIApp, check: Callable[[], float]):
        """Wrap an application; `check` makes a token and raises EngineError where none comes."""
        self.app, self._check = app, check
        self._lock = threading.Lock()
        self._last: tuple[float, int, dict[str, object]] = (float("-inf"), 503, {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != "/health":
            await self.app(scope, receive, send)
            return
        status, body = await run_in_threadpool(self._look)
        await JSONResponse(body, status)(scope, receive, send)

    def _look(self) -> tuple[int, dict[str, object]]:
        with self._lock:
            at, status, body = self._last
            if time.monotonic() - at > _GOOD_FOR_S:
                try:
                    status, body = 200, {"seconds": round(self._check(), 4)}
                except EngineError as error:
                    status, body = 503, {"error": str(error)}
                self._last = time.monotonic(), status, body
            return status, body


def middleware(check: Callable[[], float]) -> list[Middleware]:
    """Return what is handed to the server at launch."""
    return [Middleware(Health, check=check)]
