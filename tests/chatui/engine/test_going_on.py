"""Going on from replies that fill much of what the model reads."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chatui.engine.prompts import fit_prompt
from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.remote import RemoteEngine
from chatui.engine.server import Patience
from chatui.engine.window import share
from finetune.model import ChatTemplate, load_template
from tests.chatui.standin import StandIn, listening

HELLO = [("user", "hello world")]
CUT = r"^The reply is as long as the model can read.*; it cannot go on\.$"


@pytest.fixture
def template(tiny: Path) -> ChatTemplate:
    return load_template(tiny)


@pytest.fixture
def make() -> Iterator:
    """Make an engine that serves version 0 with a stand-in."""
    with ExitStack() as stack:

        def made(stand_in: StandIn, **kwargs) -> RemoteEngine:
            url = stack.enter_context(listening(stand_in)).url
            engine = RemoteEngine([url], str, patience=Patience(2, 20, 0), dice=random.Random(0), **kwargs)
            stack.callback(engine.close)
            engine.serve({0: 1.0})
            return engine

        yield made


def reply_of(template: ChatTemplate, tokens: int) -> str:
    """Write a reply of so many tokens."""
    return template.decode(template.encode("the quick brown fox " * tokens)[:tokens])


def test_a_reply_of_half_of_what_is_read_goes_on_until_all_is_filled(template: ChatTemplate) -> None:
    size, written = template.context // 2, []
    asked = len(template.prompt(HELLO))
    while asked + size < template.context:
        prompt = fit_prompt(template, HELLO, 512, reply_of(template, size))
        assert (prompt.begun, prompt.kept) == (size, [0])
        assert 1 <= prompt.most <= template.context - len(prompt.ids)
        written.append(prompt.most)
        size += prompt.most
    assert written[0] == template.context // 4  # half of what the beginning leaves
    assert asked + size == template.context
    with pytest.raises(EngineError, match=CUT):
        fit_prompt(template, HELLO, 512, reply_of(template, size))
    with pytest.raises(EngineError, match=CUT):
        fit_prompt(template, HELLO, 512, reply_of(template, 2 * template.context))


def test_less_is_written_before_messages_are_left_out() -> None:
    turns = [(role, "x" * 10) for _ in range(4) for role in ("user", "assistant")] + [("user", "x" * 10)]
    room = share(turns, lambda some: sum(len(text) for _, text in some), 400, 200, begun=200)
    assert room == (list(range(9)), 90, 100)


def test_without_a_beginning_a_message_that_is_too_long_is_still_refused(template: ChatTemplate) -> None:
    long = [("user", reply_of(template, template.context // 2))]
    with pytest.raises(EngineError, match="with its frame; the model reads at most 128: shorten it"):
        fit_prompt(template, long, 512)
    assert fit_prompt(template, long, 512, "the quick").most >= 1  # it was answered once, so it is answered on


def test_servers_are_asked_for_what_is_left(make, template: ChatTemplate) -> None:
    stand_in = StandIn(context=template.context)
    engine = make(stand_in, read_template=lambda: template)
    begun = reply_of(template, template.context // 2)
    assert [*engine.begin(HELLO, Sampling(max_new_tokens=512), begun=begun)][-1] == begun + "Hello you"
    assert [body["max_tokens"] for body in stand_in.chats()] == [template.context // 4]
    with pytest.raises(EngineError, match=CUT):
        engine.begin(HELLO, Sampling(), begun=reply_of(template, template.context))


@pytest.mark.parametrize("tells", [True, False])
def test_a_server_that_alone_knows_what_it_reads_is_asked_for_less(make, tells: bool) -> None:
    stand_in = StandIn(context=64, tells_context=tells)
    engine = make(stand_in)
    begun = "word " * 40
    assert [*engine.begin(HELLO, Sampling(max_new_tokens=60), begun=begun)][-1] == begun + "Hello you"
    assert 1 <= stand_in.chats()[-1]["max_tokens"] <= 64 - 40
    with pytest.raises(EngineError, match=CUT):
        list(engine.begin(HELLO, Sampling(max_new_tokens=60), begun="word " * 80))
