"""What goes wrong beside a reply ends nobody else's: no memory, a version that cannot be dropped, an early swap."""

import threading
from pathlib import Path

import pytest
import torch

from chatui.engine import lane as lanes
from chatui.engine.lane import FULL
from chatui.engine.local import LocalEngine
from chatui.engine.memory import Slab
from chatui.engine.protocol import EngineError, Sampling
from tests.chatui.engine.models import GREEDY, HELLO, engine_of, text_of, written
from tests.chatui.scripted import wait_for
from tests.tiny import make_tiny

LONG = [("user", "the quick brown fox " * 20)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("mishaps")
    return {n: make_tiny(folder / str(n), seed=n) for n in range(2)}


@pytest.fixture
def engine(models: dict[int, Path]) -> LocalEngine:
    made = engine_of(models)
    made.serve({0: 1.0})
    yield made
    made.close()


def in_time(work):
    """Return what `work` returns, or the error it raises; fail if it does neither."""
    found = []

    def run() -> None:
        try:
            found.append(work())
        except EngineError as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert found, "it hangs"
    return found[0]


def no_memory(*_):
    raise torch.OutOfMemoryError


def test_a_seat_that_finds_no_memory_fails_its_reply_alone(engine: LocalEngine, monkeypatch) -> None:
    alone = written(engine)
    engine._loop.call(engine._served[0].lane.spare)  # else it would take a seat that is there
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "Slab", no_memory)
        assert str(in_time(lambda: written(engine, LONG))) == FULL
    assert in_time(lambda: written(engine)) == alone


def test_what_cannot_be_kept_for_the_next_turn_frees_its_seat_all_the_same(engine: LocalEngine, monkeypatch) -> None:
    alone, asked = written(engine, LONG), []
    wait_for(lambda: not engine._served[0].lane.rows)
    with monkeypatch.context() as patch:
        patch.setattr(Slab, "take", lambda *_: asked.append(1) or no_memory())
        assert in_time(lambda: written(engine, LONG)) == alone
        wait_for(lambda: not engine._served[0].lane.rows)
    assert len(asked) == 1
    assert in_time(lambda: written(engine, LONG)) == alone


def test_a_promotion_between_a_replys_beginning_and_its_first_token_leaves_it_its_version(engine: LocalEngine) -> None:
    alone = written(engine)
    generation = engine.begin(HELLO, GREEDY)
    engine.serve({1: 1.0})
    assert in_time(lambda: text_of(generation)) == alone
    wait_for(lambda: len(engine._loop._lanes) == 1)
    assert in_time(lambda: written(engine)) != alone


def test_a_reply_that_is_begun_and_never_written_holds_no_version(engine: LocalEngine) -> None:
    generation = engine.begin(HELLO, GREEDY)
    engine.serve({1: 1.0})
    assert len(engine._loop._lanes) == 2
    del generation
    wait_for(lambda: len(engine._loop._lanes) == 1)


def test_a_prompt_that_is_refused_takes_no_place(models: dict[int, Path]) -> None:
    engine = engine_of(models, max_streams=1, max_waiting=0)
    engine.serve({0: 1.0})
    for _ in range(3):
        with pytest.raises(EngineError, match="shorten"):
            engine.begin([("user", "word " * 5000)], GREEDY)
    assert in_time(lambda: written(engine))
    engine.close()


def test_a_version_that_cannot_be_dropped_ends_nobody(engine: LocalEngine) -> None:
    served = engine._served[0]
    object.__setattr__(served, "drop", lambda: {}["gone"])
    engine.serve({1: 1.0})
    wait_for(lambda: len(engine._loop._lanes) == 1)
    assert in_time(lambda: written(engine))
    engine.serve({0: 1.0})
    assert in_time(lambda: written(engine))


def test_an_engine_whose_thread_has_failed_says_so_to_everybody(engine: LocalEngine, monkeypatch) -> None:
    generation = engine.begin(HELLO, Sampling(0.0, max_new_tokens=400))
    steps = iter(generation)
    next(steps)
    monkeypatch.setattr(engine._loop, "_let_go", lambda: {}["gone"])
    assert "start the app again" in str(in_time(lambda: list(steps)))
    assert "start the app again" in str(in_time(lambda: written(engine)))
    assert "start the app again" in str(in_time(lambda: engine.serve({1: 1.0})))
    assert "start the app again" in str(in_time(engine.check))


def test_a_version_that_is_refused_takes_nothing_from_those_that_serve(models: dict[int, Path]) -> None:
    engine = engine_of({0: models[0], 1: Path("nowhere")}, memory_gb=0.4)
    engine.serve({0: 1.0})
    before = engine._loop.memory
    real = engine._try
    engine._load, load = lambda number, onto=None: load(0, onto), engine._load

    def refused(number, template, lane):
        if number == 1:
            raise EngineError("it says nothing")
        real(number, template, lane)

    engine._try = refused
    with pytest.raises(EngineError, match="Version 1 cannot serve: it says nothing"):
        engine.serve({1: 1.0})
    wait_for(lambda: engine._loop.memory == before)
    engine.close()
