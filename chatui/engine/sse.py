"""Reading a stream of server-sent events, as chat servers send their tokens.

Only `data` is read. Lines end at newlines alone: a token may hold any of Unicode's other line separators.
"""

from collections.abc import AsyncIterator

_LONGEST_LINE = 4 * 2**20  # bytes; no chat server sends as much in one event


class NotEvents(Exception):
    """What came is no event stream; the message shows the beginning of it."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the data of each event. Raises NotEvents."""
    data: list[str] = []
    async for line in _lines(chunks):
        if not line:
            if data:
                yield "\n".join(data)
            data = []
            continue
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field not in ("", "event", "id", "retry"):
            raise NotEvents(line[:80])
    if data:
        yield "\n".join(data)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _text(line)
        if len(rest) > _LONGEST_LINE:
            raise NotEvents(_text(rest[:80]))
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")
