"""Reading a stream of server-sent events, as chat servers send their tokens.

As https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation says: comments and
fields that are not known mean nothing, and lines end at CR, LF or both. They end there alone: a token may hold any of
Unicode's other line separators.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

_LONGEST_LINE = 4 * 2**20  # bytes; no chat server sends as much in one event
_MARK = "\ufeff"  # the byte order mark, which may stand at the start


@dataclass(frozen=True)
class Event:
    """The data of one event, and whether its server calls it an error."""

    data: str
    is_error: bool = False


class NotEvents(Exception):
    """What came is no event stream; the message shows the beginning of it."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Yield each event that has data, be it empty. Raises NotEvents."""
    data: list[str] = []
    is_error = False
    async for line in _lines(chunks):
        if not line:
            if data:
                yield Event("\n".join(data), is_error)
            data, is_error = [], False
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        # llama.cpp writes `error: {...}` where the standard knows `event: error` and `data: {...}` alone.
        if field in ("data", "error"):
            data.append(value)
        is_error = is_error or field == "error" or (field == "event" and value == "error")
    # The standard drops an event whose blank line never came; servers leave that out after their last one.
    if data:
        yield Event("\n".join(data), is_error)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest, after_cr, mark = b"", False, _MARK
    async for chunk in chunks:
        # A CR ends its line at once, as no more may come for long; an LF that follows it belongs to it.
        new = chunk.removeprefix(b"\n") if after_cr else chunk
        after_cr = chunk.endswith(b"\r")
        *whole, rest = (rest + new.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).split(b"\n")
        for line in whole:
            yield _text(line).removeprefix(mark)
            mark = ""
        if len(rest) > _LONGEST_LINE:
            raise NotEvents(_text(rest[:80]))
    if rest:
        yield _text(rest).removeprefix(mark)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
