"""Turns away what another site's page has a browser send: it could start a run, roll back, or read the whole record.

The rules are those of Go's `http.CrossOriginProtection` (https://pkg.go.dev/net/http#CrossOriginProtection), and for
reading too: Gradio lets every site read what is reached under any name but localhost.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOKS = ("GET", "HEAD", "OPTIONS")
# Gradio keeps whatever is sent there. The page reads files in the browser and sends them as text.
_TAKES_FILES = ("/gradio_api/upload", "/gradio_api/process_recording")


class Names:
    """The names by which the app may be asked for; a name of somebody else may lead here too (DNS rebinding)."""

    def __init__(self, bound: str, allowed: Sequence[str]):
        """Know the address that the page listens on and the names allowed; without these, all where others reach it."""
        self._known = {"localhost", bound.lower(), *allowed}
        self._any = not allowed and not _is_loopback(bound)

    def know(self, headers: Mapping[str, str]) -> bool:
        """Tell whether a request asks for a known name; a trick leads to no address, and to no https."""
        if self._any or "sec-fetch-site" in headers:  # a browser says it over https, or to this very machine
            return True
        name = _name(headers.get("host", "localhost"))
        return name in self._known or name.endswith(".localhost") or _is_address(name)


class OwnPagesOnly:
    """Answers what comes from other sites' pages with 403; all else goes through, but for files."""

    def __init__(self, app: ASGIApp, names: Names):
        """Wrap an application that is known by `names`."""
        self.app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse in one sentence, or let the application answer."""
        status, why = self._refusal(scope) if scope["type"] == "http" else (200, "")
        answer = PlainTextResponse(why, status) if why else self.app
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        headers = Headers(scope=scope)
        if not self._names.know(headers):
            name = _name(headers["host"])
            return 403, f"This was refused, as the page is not known as {name!r}; --allowed-hosts {name} allows it."
        if is_foreign(scope["method"], headers):
            return 403, (
                "This was refused, as another site's page asked for it; a proxy in front must pass on "
                "Host or X-Forwarded-Host as the browser sent it."
            )
        if scope["path"].rstrip("/").endswith(_TAKES_FILES):
            return 404, "No files are taken here."
        return 200, ""


def is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether another site's page made a browser send this, to do something or to read the answer."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None and method in _LOOKS:
        return False  # a link or a picture, whose answer the other page cannot read
    if site is not None:  # no script can set it
        return site not in ("same-origin", "none")
    return origin is not None and not _is_own(origin, headers)


def outermost(names: Names) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that wraps the whole application: Gradio's own middleware would answer preflights first."""

    @asynccontextmanager
    async def wrapped(app: Starlette) -> AsyncIterator[None]:
        assert app.middleware_stack
        app.middleware_stack = OwnPagesOnly(app.middleware_stack, names)
        yield

    return wrapped


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    scheme, _, asked_from = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    asked = (headers.get("host", ""), headers.get("x-forwarded-host", "").partition(",")[0])
    return asked_from in [host.strip().lower().removesuffix(default) for host in asked if host]


def _name(host: str) -> str:
    try:
        return (urlsplit("//" + host).hostname or "").rstrip(".")
    except ValueError:
        return host


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _is_loopback(bound: str) -> bool:
    name = bound.strip("[]")
    return name == "localhost" or (_is_address(name) and ip_address(name).is_loopback)
