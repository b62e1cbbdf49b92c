"""What a server answered instead of a reply, as one sentence and as what can be done about it."""

import json
import re
from collections.abc import Collection
from typing import Any

from chatui.engine.halves import whole
from chatui.engine.protocol import EngineBusy, EngineError

_TOO_LONG = re.compile(
    r"context.?(length|size|window)|exceed_context|prompt is too long|input is too long|maximum (model|prompt) length",
    re.IGNORECASE,
)
# What was asked for may be told too, and is no size.
_CONTEXT = re.compile(r"context.?(?:length|size|window)(?:(?!request)\D){0,40}?(\d{2,9})", re.IGNORECASE)

# SGLang's words for an adapter that it does not hold; others answer with 404.
_NOT_LOADED = re.compile(r"\b(lora|adapters?)\b.{0,80}\b(not|never been) loaded\b", re.IGNORECASE)


class ServerFails(EngineError):
    """This server cannot write the reply now; another one may. `status` is its HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0):
        super().__init__(message)
        self.status = status


class ServerBusy(ServerFails, EngineBusy):
    """This server has too much to do now."""


class ServerAway(ServerFails):
    """This server cannot be reached, or the connection to it broke."""


class ServerSilent(ServerFails):
    """This server has been waited for long enough."""


class NotThere(ServerFails):
    """This server does not have what was asked for: a version that it lost, say, or a path that it does not know."""


class RequestRefused(ServerFails):
    """The server does not take the request as it is; `detail` is what it said about it."""

    def __init__(self, message: str, status: int, detail: str):
        super().__init__(message, status)
        self.detail = detail

    @property
    def too_long(self) -> bool:
        """Whether the prompt, or prompt and reply together, are longer than the server can read."""
        return bool(_TOO_LONG.search(self.detail))

    @property
    def context(self) -> int | None:
        """The number of tokens that the server can read, where it says so."""
        found = _CONTEXT.search(self.detail) if self.too_long else None
        return int(found[1]) if found else None

    def names(self, fields: Collection[str]) -> set[str]:
        """Tell which of a request's fields the server objects to."""
        quoted = {field for field in fields if re.search(rf"""['"`]{field}['"`]""", self.detail)}
        return quoted | {field for field in fields if "_" in field and re.search(rf"\b{field}\b", self.detail)}


def refusal(url: str, status: int, body: bytes, location: str, key: str) -> ServerFails:
    """Say in one sentence what an answer other than 200 means. The key never stands in it."""
    detail = said(body).replace(key, "***") if key else said(body)
    why = f": {shortened(detail)}" if detail else ""
    if 300 <= status < 400:
        to = f" to {location.partition('?')[0]!r}" if location else ""
        return ServerFails(f"The server at {url} redirects{to}, which is not followed; give its own address.", status)
    if status in (401, 403):
        do = "refuses the key in RAPPORT_ENGINE_KEY" if key else "asks for a key; set RAPPORT_ENGINE_KEY"
        return ServerFails(f"The server at {url} {do}.", status)
    if status == 404 or (status in (400, 422) and not_loaded(detail)):
        return NotThere(f"The server at {url} does not have what was asked for{why or ' (404)'}.", status)
    if status in (429, 503):
        return ServerBusy(f"The server at {url} is busy; try again in a moment.", status)
    if status in (400, 413, 422):
        return RequestRefused(f"The server at {url} refuses the request{why or f' ({status})'}.", status, detail)
    return ServerFails(f"The server at {url} failed ({status}){why}.", status)


def not_loaded(detail: str) -> bool:
    """Tell whether a server says of an adapter that it is not loaded, as one that was started anew does."""
    return bool(_NOT_LOADED.search(detail))


def said(body: bytes) -> str:
    """Read the message of an error answer, in whichever of the usual shapes; nothing of a page of HTML."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        text = " ".join(body.decode("utf-8", "replace").split())
        return "" if text.startswith("<") else text
    return message_of(value)


def message_of(value: Any) -> str:
    """Find the message in an error object; one whose shape is unknown is given as JSON."""
    if isinstance(value, dict):
        inner = next((value[name] for name in ("error", "message", "detail", "error_message") if value.get(name)), None)
        if isinstance(inner, dict) and inner.get("param"):
            return f"{message_of(inner)} ('{inner['param']}')"
        if inner is not None:
            return message_of(inner)
    # Half a character could not be kept with the reply that it says this of.
    return " ".join((whole(value) if isinstance(value, str) else json.dumps(value)).split())


def shortened(text: str) -> str:
    """Cut a stranger's text to what fits a notice, without the full stop that follows it there."""
    return (text if len(text) <= 200 else text[:199] + "…").rstrip(". ")
