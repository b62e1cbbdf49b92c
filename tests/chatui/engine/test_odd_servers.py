"""Servers that keep to the standard loosely: ends that are told oddly or not, errors in other shapes, halves."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from starlette.responses import Response, StreamingResponse

from chatui.engine.halves import Halves, whole
from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.refusals import RequestRefused, refusal
from chatui.engine.remote import RemoteEngine
from chatui.engine.remote_reply import RemoteGeneration
from chatui.engine.server import Patience
from tests.chatui.scripted import wait_for
from tests.chatui.standin import StandIn, listening

SAMPLING = Sampling(max_new_tokens=24)
DONE = "data: [DONE]\n\n"
MOON = "\\ud83c", "\\udf1b"  # one character, cut in two


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with listening(StandIn()) as listens:
        yield listens


@pytest.fixture
def engine(stand_in: StandIn) -> Iterator[RemoteEngine]:
    with ExitStack() as stack:
        engine = RemoteEngine([stand_in.url], str, patience=Patience(2, 20, 0), dice=random.Random(0))
        stack.callback(engine.close)
        engine.serve({0: 1.0})
        yield engine


def piece(content: str, finish: str | None = None) -> str:
    """Write an event; `content` stands in it as it is, escapes and all."""
    return f'data: {{"choices": [{{"delta": {{"content": "{content}"}}, "finish_reason": {json.dumps(finish)}}}]}}\n\n'


def begin(engine: RemoteEngine, stand_in: StandIn, *events: str, stop: tuple[str, ...] = ()) -> RemoteGeneration:
    """Begin a reply whose stream holds these events and then ends as one does that is whole."""
    stand_in.instead.extend([Response("".join(events), media_type="text/event-stream")] * 2)
    return engine.begin([("user", "hello")], Sampling(max_new_tokens=24, stop=stop))


# -- how it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("not_yet", ["", "null", None])
def test_a_reason_that_is_still_to_come_is_no_end(engine, stand_in, not_yet) -> None:
    generation = begin(engine, stand_in, piece("Hel", not_yet), piece("lo", not_yet))
    texts = []
    with pytest.raises(EngineError, match="ended the connection in the middle of the reply"):
        for text in generation:
            texts.append(text)
    assert (texts, generation.finish) == (["Hel", "Hello"], None)
    stand_in.instead.clear()
    ended = begin(engine, stand_in, piece("Hel", not_yet), piece("lo", not_yet), piece("", "stop"), DONE)
    assert ([*ended][-1], ended.finish) == ("Hello", "end")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "end"),
        ("eos_token", "end"),
        ("length", "length"),
        ("content_filter", "length"),
        ("abort", "length"),
        ("a new one", "length"),
    ],
)
def test_only_a_reply_that_the_model_ended_is_an_end_to_learn_from(engine, stand_in, reason: str, finish: str) -> None:
    generation = begin(engine, stand_in, piece("Hel"), piece("lo", reason), DONE)
    assert ([*generation][-1], generation.finish) == ("Hello", finish)


def test_a_reply_that_is_over_without_a_reason_may_go_on(engine, stand_in) -> None:
    generation = begin(engine, stand_in, piece("one "), piece("two EN"), DONE, stop=("END",))
    assert [*generation][-1] == "one two EN"  # what was held back for the stop text is shown
    assert generation.finish == "length"


def test_a_reply_that_is_over_without_a_reason_or_a_word_is_an_error(engine, stand_in) -> None:
    with pytest.raises(EngineError, match="ended the reply before its first word"):
        list(begin(engine, stand_in, piece(""), DONE))
    assert len(stand_in.chats()) == 2  # it was asked twice, as one that fails is


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ('data: {"object": "error", "message": "EngineCore died", "code": 500}\n\n', "failed: EngineCore died"),
        ('data: {"error": {"message": "CUDA out of memory"}}\n\n', "failed: CUDA out of memory"),
        ('event: error\ndata: {"message": "boom"}\n\n', "failed: boom"),
        ("event: error\ndata: boom\n\n", "failed: boom"),
        ("event: error\ndata: <html>\n\n", r"failed\.$"),
        ('error: {"code": 500, "message": "the slot is gone"}\n\n', "failed: the slot is gone"),
        ('data: {"error": "half a \\ud83d"}\n\n', "failed: half a \ufffd"),
    ],
)
def test_an_error_in_any_shape_is_one_though_the_stream_ends_well(engine, stand_in, event: str, sentence: str) -> None:
    generation = begin(engine, stand_in, piece("Hello"), event, DONE)
    texts = []
    with pytest.raises(EngineError, match=sentence):
        for text in generation:
            texts.append(text)
    assert (texts, generation.finish) == (["Hello"], None)


def test_what_the_standard_says_to_ignore_does_not_end_a_reply(engine, stand_in) -> None:
    odd = "data:\n\n", ": ping\n\n", "foo: bar\n", "event: message\n", "data\n\n"
    generation = begin(engine, stand_in, odd[0], piece("Hel"), *odd, piece("lo", "stop"), DONE)
    assert ([*generation], generation.finish, generation.completion_tokens) == (["Hel", "Hello"], "end", 2)


# -- a check is a token, not an answer ------------------------------------------------------------------------------


def counted(tokens: int, finish: str = "null") -> str:
    """Write an event that tells how many tokens there were, as the last one or beside the end."""
    choices = f'[{{"delta": {{}}, "finish_reason": {finish}}}]'
    return f'data: {{"choices": {choices}, "usage": {{"completion_tokens": {tokens}}}}}\n\n'


def tried(engine: RemoteEngine, stand_in: StandIn, *events: str) -> None:
    """Check a server that answers with these events."""
    stand_in.trials.append(Response("".join([*events, DONE]), media_type="text/event-stream"))
    engine.check()


@pytest.mark.parametrize(
    "events",
    [
        (),
        (piece(""),),
        (piece("", "content_filter"),),
        (piece("", "abort"), counted(0)),
        (piece("", "stop"), counted(0)),
        (counted(0), counted(0, '"length"')),
    ],
)
def test_an_answer_without_a_token_passes_neither_check_nor_promotion(engine, stand_in, events) -> None:
    with pytest.raises(EngineError, match=f"Version 0 cannot serve: The server at {stand_in.url} ended .*a token"):
        tried(engine, stand_in, *events)
    stand_in.trials.append(Response("".join([*events, DONE]), media_type="text/event-stream"))
    with pytest.raises(EngineError, match="Version 3 cannot serve: .* ended the reply without a token"):
        engine.serve({3: 1.0})
    assert engine.state().versions == (0,)


@pytest.mark.parametrize(
    "events",
    [
        (piece("Hi"),),
        (piece("", "stop"),),  # the token was the text's end
        (piece("", "length"),),  # it was half a character, or is told as a thought
        (piece("", "length"), counted(1)),
        (counted(0), counted(1)),
    ],
)
def test_a_token_that_shows_no_text_is_one(engine, stand_in, events) -> None:
    tried(engine, stand_in, *events)


# -- stopped just after its end ------------------------------------------------------------------------------------


def test_a_reply_that_had_ended_is_not_called_stopped(engine, stand_in) -> None:
    stream = iter(generation := begin(engine, stand_in, piece("Hel"), piece("lo", "stop"), DONE))
    texts = [next(stream)]
    wait_for(lambda: generation._future.done())
    generation.cancel()
    assert ([*texts, *stream], generation.finish) == (["Hel", "Hello"], "end")


def test_a_reply_that_is_stopped_while_its_figures_are_waited_for_had_ended(engine, stand_in) -> None:
    async def stream() -> AsyncIterator[str]:
        yield piece("Hello", "length")
        await asyncio.Event().wait()

    stand_in.instead.append(StreamingResponse(stream(), media_type="text/event-stream"))
    generation = engine.begin([("user", "hello")], SAMPLING)
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.extend(generation))
    reader.start()
    wait_for(lambda: generation._end)
    generation.cancel()
    reader.join(5)
    assert (texts, generation.finish) == (["Hello"], "length")


# -- characters cut in two -----------------------------------------------------------------------------------------


def test_a_character_cut_in_two_is_shown_when_it_is_whole(engine, stand_in) -> None:
    first, second = MOON
    generation = begin(engine, stand_in, piece(f"a{first}"), piece(second), piece("b"), piece("", "stop"), DONE)
    assert ([*generation], generation.completion_tokens) == (["a", "a\U0001f31b", "a\U0001f31bb"], 3)


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([piece("a" + MOON[0]), piece("b", "stop")], "a\ufffdb"),
        ([piece("a"), piece(MOON[1] + "b", "stop")], "a\ufffdb"),
        ([piece("a" + MOON[0]), piece("", "stop")], "a\ufffd"),
        # Cut short, it may be written whole when it goes on.
        ([piece("a" + MOON[0]), piece("", "length")], "a"),
    ],
)
def test_a_half_that_never_gets_its_other_can_be_kept(engine, stand_in, events: list[str], text: str) -> None:
    assert [*begin(engine, stand_in, *events, DONE)][-1] == text


def test_a_half_of_a_server_that_failed_is_not_joined_to_what_another_writes(engine, stand_in) -> None:
    broken = Response(piece(MOON[0]), media_type="text/event-stream")
    good = Response(piece(MOON[1] + "b", "stop"), media_type="text/event-stream")
    stand_in.instead.extend([broken, good])
    generation = engine.begin([("user", "hello")], SAMPLING)
    assert ([*generation], generation.completion_tokens) == (["\ufffdb"], 1)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_that_end_anywhere_give_the_text_that_they_are_together(seed: int) -> None:
    dice = random.Random(seed)
    text = "".join(dice.choice("aé水\ud83c\udf1b\udbff\udc00\U0001f31b") for _ in range(60))
    halves, joined = Halves(), ""
    rest = text
    while rest:
        size = dice.randint(0, 3)
        joined, rest = joined + halves.add(rest[:size]), rest[size:]
        joined.encode()
    assert joined + halves.rest() == whole(text)


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.", 4096),
        ("The context length is exceeded. However, you requested 87 tokens.", None),
        ("The request exceeds the available context size (1024 tokens).", 1024),
    ],
)
def test_what_was_asked_for_is_not_taken_for_what_a_server_can_read(said: str, context: int | None) -> None:
    refused = refusal("http://server", 400, json.dumps({"error": {"message": said}}).encode(), "", "")
    assert isinstance(refused, RequestRefused)
    assert refused.context == context
