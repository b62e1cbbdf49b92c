"""Keeps a browser from asking other hosts: a message may name a picture anywhere, and asking tells who reads."""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page's own scripts are inline and Gradio evaluates its templates; what counts is that nothing leaves.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; base-uri 'self'; "
    "frame-ancestors 'self'"  # framed by another site, its buttons could be pressed unseen
)


class StayHome:
    """Adds the policy to every answer."""

    def __init__(self, app: ASGIApp):
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with the policy's headers."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self.app(scope, receive, with_policy)


def middleware() -> list[Middleware]:
    """Return what is handed to the server at launch."""
    return [Middleware(StayHome)]
