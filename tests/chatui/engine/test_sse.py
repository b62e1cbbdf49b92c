"""Streams of events, as https://html.spec.whatwg.org/multipage/server-sent-events.html describes them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatui.engine.sse import Event, NotEvents, events


def read(*chunks: bytes) -> list[Event]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def all_of_it() -> list[Event]:
        return [event async for event in events(stream())]

    return asyncio.run(all_of_it())


STREAMS = [
    (b"data: one\n\ndata: two\n\n", ["one", "two"]),
    (b"data:one\n\ndata:  two\n\n", ["one", " two"]),  # one space belongs to the frame
    (b"data: one\ndata: two\n\n", ["one\ntwo"]),
    (b"data\n\ndata\ndata\n\n", ["", "\n"]),
    (b"data:\n\n", [""]),
    (b": a comment\n\n:\ndata: one\n\n", ["one"]),
    (b"foo: bar\nfoo\nid: 1\nretry: 5\nevent: x\ndata: one\n\n", ["one"]),
    (b"data: a: b\n\n", ["a: b"]),
    (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
    (b"data: one\r\rdata: two\r\r", ["one", "two"]),
    (b"data: one\r\ndata: two\rdata: three\n\n", ["one\ntwo\nthree"]),
    (b"\xef\xbb\xbfdata: one\n\ndata: \xef\xbb\xbftwo\n\n", ["one", "\ufefftwo"]),
    ("data: a\u2028b\x85c 水\n\n".encode(), ["a\u2028b\x85c 水"]),
    (b"data: one\n\ndata: [DONE]", ["one", "[DONE]"]),  # more than the standard gives, see there
]


@pytest.mark.parametrize(("stream", "data"), STREAMS)
def test_events_are_those_of_the_standard_wherever_the_connection_cuts_them(stream: bytes, data: list[str]) -> None:
    assert [event.data for event in read(stream)] == data
    assert [event.data for event in read(*(bytes([byte]) for byte in stream))] == data
    for place in range(len(stream)):
        assert [event.data for event in read(stream[:place], stream[place:])] == data


def test_what_ends_in_a_cr_is_told_at_once() -> None:
    async def first() -> Event:
        async def stream() -> AsyncIterator[bytes]:
            yield b"data: one\r\r"
            raise AssertionError("it waits for more")

        return await anext(events(stream()))

    assert asyncio.run(first()).data == "one"


def test_an_error_is_one_event_only() -> None:
    told = read(b'event: error\ndata: a\n\ndata: b\n\nerror: {"c": 1}\n\ndata: d\n\n')
    assert [(event.data, event.is_error) for event in told] == [
        ("a", True),
        ("b", False),
        ('{"c": 1}', True),
        ("d", False),
    ]


def test_a_line_without_an_end_is_no_event() -> None:
    with pytest.raises(NotEvents, match="data: xxx"):
        read(b"data: ", *[b"x" * 2**20] * 5)
