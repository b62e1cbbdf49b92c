"""Servers that are down while what serves changes: they hold up nobody, and never write with what was withdrawn."""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.remote import RemoteEngine
from chatui.engine.server import Patience
from tests.chatui.scripted import wait_for
from tests.chatui.standin import StandIn, listening

HELLO = [("user", "hello world")]
SAMPLING = Sampling(max_new_tokens=24)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have servers that lag asked again at once."""
    monkeypatch.setattr("chatui.engine.lagging._AGAIN_S", 0.02)


class Place:
    """Where a server stands that can go down and come back."""

    def __init__(self, stand_in: StandIn):
        self.stand_in, self._up = stand_in, ExitStack()
        self.url = self._up.enter_context(listening(stand_in)).url

    def goes_down(self) -> None:
        self._up.close()

    def comes_back(self, anew: bool) -> None:
        """Answer again, started anew without its adapters or with all that it held."""
        self.stand_in.asked.clear()
        if anew:
            self.stand_in.adapters.clear()
        self._up.enter_context(listening(self.stand_in, urlsplit(self.url).port or 0))

    def asked_for(self) -> list[str]:
        """Return the models that its replies and trials were asked of."""
        return [body["model"] for path, body in self.stand_in.asked if path == "/v1/chat/completions"]

    def wrote(self) -> list[str]:
        """Return the models that its replies were asked of."""
        return [body["model"] for body in self.stand_in.chats()]


@pytest.fixture
def start() -> Iterator:
    """Start an engine with so many servers, which serves version 1 with all of them."""
    with ExitStack() as stack:

        def started(count: int = 2, model: str = "", **kwargs) -> tuple[RemoteEngine, list[Place]]:
            places = [Place(StandIn(**kwargs)) for _ in range(count)]
            for place in places:
                stack.callback(place.goes_down)
            urls = [place.url for place in places]
            patience = Patience(2, 20, 0)
            engine = RemoteEngine(urls, "/versions/{}".format, model=model, patience=patience, dice=random.Random(0))
            stack.callback(engine.close)
            engine.serve({1: 1.0})
            return engine, places

        yield started


def written(engine: RemoteEngine) -> int:
    generation = engine.begin(HELLO, SAMPLING)
    assert list(generation)[-1] == "Hello you"
    return generation.version


def caught_up(engine: RemoteEngine) -> bool:
    return not engine.state().message


@pytest.fixture(params=["vllm", "sglang"])
def owner(request) -> str:
    return request.param


def test_a_rollback_reaches_every_server_that_answers(start, owner: str) -> None:
    engine, (good, dead) = start(owner=owner)
    engine.serve({2: 1.0})
    dead.goes_down()
    engine.serve({1: 1.0})
    assert engine.state().versions == (1,)
    assert {written(engine) for _ in range(4)} == {1}
    wait_for(lambda: list(good.stand_in.adapters) == ["rapport-v1"])


@pytest.mark.parametrize("anew", [True, False])
def test_a_server_that_missed_a_rollback_takes_it_before_it_is_used_again(start, owner: str, anew: bool) -> None:
    engine, (_, dead) = start(owner=owner)
    engine.serve({2: 1.0})
    wait_for(lambda: list(dead.stand_in.adapters) == ["rapport-v2"])
    dead.goes_down()
    engine.serve({1: 1.0})
    assert [written(engine) for _ in range(4)] == [1] * 4
    dead.comes_back(anew)
    wait_for(lambda: caught_up(engine))
    assert list(dead.stand_in.adapters) == ["rapport-v1"]  # what was withdrawn has gone
    assert [written(engine) for _ in range(4)] == [1] * 4
    assert len(dead.wrote()) == 2
    assert {name.rpartition(":")[2] for name in dead.asked_for()} == {"rapport-v1"}


def test_a_server_that_does_not_take_its_version_is_given_no_reply(start) -> None:
    engine, (_, dead) = start()
    engine.serve({2: 1.0})
    dead.goes_down()
    engine.serve({1: 1.0})
    dead.stand_in.broken.add("rapport-v1")
    dead.comes_back(anew=True)
    wait_for(lambda: "No adapter found for /versions/1" in engine.state().message)
    assert [written(engine) for _ in range(4)] == [1] * 4
    assert not dead.wrote()
    dead.stand_in.broken.clear()
    wait_for(lambda: caught_up(engine))


def test_what_was_withdrawn_goes_from_a_server_that_the_next_change_finds_back(
    start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.engine.lagging._AGAIN_S", 1000)
    engine, (_, dead) = start()
    engine.serve({2: 1.0})
    wait_for(lambda: list(dead.stand_in.adapters) == ["rapport-v2"])
    dead.goes_down()
    engine.serve({1: 1.0})
    dead.comes_back(anew=False)
    engine.serve({3: 1.0})
    wait_for(lambda: list(dead.stand_in.adapters) == ["rapport-v3"])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_down_behind_a_proxy_lags_under_a_given_name_too(start, status: int) -> None:
    engine, (_, dead) = start(model="base-model")
    dead.stand_in.away = status
    engine.serve({2: 1.0})
    assert f"No replies go to {dead.url}" in engine.state().message
    assert [written(engine) for _ in range(4)] == [2] * 4


def test_a_promotion_does_not_wait_for_a_server_that_is_down(start, owner: str) -> None:
    engine, (_, dead) = start(owner=owner)
    dead.goes_down()
    engine.serve({1: 0.5, 2: 0.5})
    assert {written(engine) for _ in range(20)} == {1, 2}
    dead.comes_back(anew=True)
    wait_for(lambda: caught_up(engine))
    assert set(dead.stand_in.adapters) == {"rapport-v1", "rapport-v2"}
    assert len(dead.asked_for()) == 2  # each was tried there first
    assert {written(engine) for _ in range(20)} == {1, 2}
    assert dead.wrote()


def test_a_server_that_is_down_from_promotion_to_rollback_never_hears_of_the_version(start) -> None:
    engine, (_, dead) = start()
    dead.goes_down()
    engine.serve({2: 1.0})
    engine.serve({1: 1.0})
    dead.comes_back(anew=False)
    wait_for(lambda: caught_up(engine))
    assert [written(engine) for _ in range(4)] == [1] * 4
    assert set(dead.asked_for()) == {"rapport-v1"}
    assert {name for _, name in dead.stand_in.changes() if name != "rapport-v1"} <= {"rapport-v2"}
    assert ("load", "rapport-v2") not in dead.stand_in.changes()


def test_a_server_that_comes_back_between_promotion_and_rollback_is_rolled_back_with_the_others(start) -> None:
    engine, places = start()
    places[1].goes_down()
    engine.serve({2: 1.0})
    places[1].comes_back(anew=True)
    wait_for(lambda: caught_up(engine))
    engine.serve({1: 1.0})
    assert caught_up(engine)
    assert [written(engine) for _ in range(4)] == [1] * 4
    wait_for(lambda: [list(place.stand_in.adapters) for place in places] == [["rapport-v1"]] * 2)


def test_with_every_server_down_a_promotion_changes_nothing(start) -> None:
    engine, places = start()
    for place in places:
        place.goes_down()
    with pytest.raises(EngineError, match=f"The server at {places[0].url} cannot be reached"):
        engine.serve({2: 1.0})
    assert engine.state().versions == (1,)
    for place in places:
        place.comes_back(anew=True)
    assert [written(engine) for _ in range(4)] == [1] * 4


def test_with_every_server_down_a_rollback_holds_when_they_come_back(start) -> None:
    engine, places = start()
    engine.serve({2: 1.0})
    for place in places:
        place.goes_down()
    engine.serve({1: 1.0})
    with pytest.raises(EngineError, match=f"No replies go to {places[0].url}, {places[1].url} until they have what"):
        written(engine)
    places[0].comes_back(anew=False)
    wait_for(lambda: places[0].url not in engine.state().message)
    assert [written(engine) for _ in range(3)] == [1] * 3
    places[1].comes_back(anew=True)
    wait_for(lambda: caught_up(engine))
    assert {name for place in places for name in place.asked_for()} == {"rapport-v1"}


def test_a_server_that_refuses_what_is_rolled_back_to_leaves_the_others_to_it(start) -> None:
    engine, (_, odd) = start()
    engine.serve({2: 1.0})
    wait_for(lambda: list(odd.stand_in.adapters) == ["rapport-v2"])
    odd.stand_in.broken.add("rapport-v1")
    engine.serve({1: 1.0})
    assert f"No replies go to {odd.url} until it has what serves now: Version 1 cannot" in engine.state().message
    assert [written(engine) for _ in range(4)] == [1] * 4
    odd.stand_in.broken.clear()
    wait_for(lambda: caught_up(engine))


def test_where_no_server_takes_what_is_rolled_back_to_the_reason_is_said(start) -> None:
    engine, (odd, dead) = start()
    engine.serve({2: 1.0})
    wait_for(lambda: list(odd.stand_in.adapters) == ["rapport-v2"])
    odd.stand_in.broken.add("rapport-v1")
    dead.goes_down()
    with pytest.raises(EngineError, match="No adapter found for /versions/1"):
        engine.serve({1: 1.0})
    assert engine.state().versions == (2,)


def test_a_rollback_does_not_wait_for_a_server_that_is_slow(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatui.engine.adapters._MOMENT_S", 0.02)
    engine, (_, slow) = start()
    engine.serve({2: 1.0})
    wait_for(lambda: list(slow.stand_in.adapters) == ["rapport-v2"])
    slow.stand_in.slow.add("rapport-v1")  # nobody opens its gate
    engine.serve({1: 1.0})
    assert f"The server at {slow.url} has not answered yet." in engine.state().message
    assert [written(engine) for _ in range(4)] == [1] * 4
    slow.stand_in.slow.clear()
    slow.stand_in.release(100)
    wait_for(lambda: caught_up(engine))


def test_the_next_change_does_not_wait_for_a_server_that_is_catching_up(start) -> None:
    engine, (_, slow) = start()
    slow.goes_down()
    engine.serve({2: 1.0})
    slow.stand_in.slow.add("rapport-v2")
    slow.comes_back(anew=True)
    wait_for(lambda: ("load", "rapport-v2") in slow.stand_in.changes())
    thread = threading.Thread(target=engine.serve, args=({1: 1.0},))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert [written(engine) for _ in range(4)] == [1] * 4
    slow.stand_in.release()


def test_state_and_health_name_the_server_that_lags(start) -> None:
    engine, (_, dead) = start()
    dead.goes_down()
    engine.serve({0: 1.0})
    says = f"No replies go to {dead.url} until it has what serves now: The server at {dead.url} cannot be reached: "
    assert engine.state().phase == "ready"
    assert engine.state().message.startswith(says)
    with pytest.raises(EngineError) as caught:
        engine.check()
    assert str(caught.value).startswith(says)
    dead.comes_back(anew=True)
    wait_for(lambda: caught_up(engine))
    engine.check()
