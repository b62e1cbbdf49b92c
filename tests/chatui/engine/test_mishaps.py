"""What goes wrong beside a reply ends nobody else's: no memory, a version that cannot be dropped, an early swap."""

import threading
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads a lot."""
    return make_tiny(tmp_path_factory.mktemp("wide"), context=4096)


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


def tokens_kept(engine: LocalEngine, tokens: int) -> int:
    """Return the bytes of so many tokens' keys and values."""
    return tokens * engine._served[0].lane.network.shape.bytes_per_token


def standing(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Begin a reply, and let no lane compute from then on; return what is left of it."""
    steps = iter(engine.begin(HELLO, GREEDY))
    next(steps)
    monkeypatch.setattr(engine._served[0].lane, "step", lambda: None)
    engine._loop.call(lambda: None)  # the step that was being computed is over
    return steps


def test_a_reply_that_can_never_fit_fails_at_once_and_costs_nobody_anything(wide: Path, monkeypatch) -> None:
    engine = engine_of({0: wide})
    engine.serve({0: 1.0})
    engine._loop.memory = tokens_kept(engine, 4000)
    alone, lane = written(engine, LONG), engine._served[0].lane
    wait_for(lambda: lane._prefixes.bytes)
    kept = lane._prefixes.bytes
    with monkeypatch.context() as patch:
        steps = standing(engine, patch)
        assert str(in_time(lambda: written(engine, [("user", "fox " * 2100)]))) == FULL
        assert lane._prefixes.bytes == kept
    assert list(steps)
    assert in_time(lambda: written(engine, LONG)) == alone
    engine.close()


def test_who_waits_for_a_running_replys_memory_drops_nothing_before_it_helps(wide: Path, monkeypatch) -> None:
    engine, long = engine_of({0: wide}), [("user", "fox " * 1000)]
    engine.serve({0: 1.0})
    alone, lane = written(engine, long), engine._served[0].lane
    engine._loop.call(lambda: all(iter(lane.spare, False)))
    written(engine, LONG)
    wait_for(lambda: lane._prefixes.bytes)
    engine._loop.memory, kept = tokens_kept(engine, 2048 + 1000), lane._prefixes.bytes
    with monkeypatch.context() as patch:
        steps = standing(engine, patch)
        waits, texts = engine.begin(long, GREEDY), []
        reader = threading.Thread(target=lambda: texts.append(text_of(waits)))
        reader.start()
        wait_for(lambda: waits.waiting == 1)
        engine._loop.call(lambda: None)
        assert (lane._prefixes.bytes, waits.waiting) == (kept, 1)
    assert list(steps)
    reader.join(20)
    assert texts == [alone]
    engine.close()


def test_memory_that_shrinks_below_what_runs_takes_all_that_is_only_kept(engine: LocalEngine, monkeypatch) -> None:
    written(engine, LONG)
    lane, loop = engine._served[0].lane, engine._loop
    wait_for(lambda: lane._prefixes.bytes)
    with monkeypatch.context() as patch:
        steps = standing(engine, patch)
        loop.memory = tokens_kept(engine, 1000)
        assert not loop.call(lambda: loop.room(0))
        assert (lane._prefixes.bytes, lane.bytes) == (0, lane.held)
    assert list(steps)


def test_a_check_is_answered_while_the_memory_is_full_of_running_replies(models: dict[int, Path]) -> None:
    engine, most = engine_of(models), Sampling(0.0, max_new_tokens=150)
    engine.serve({0: 1.0})
    seats, lane = 8, engine._served[0].lane
    engine._loop.memory = tokens_kept(engine, 256 * seats)
    step = lane.step
    lane.step = lambda: step() if any(row.urgent for row in lane.rows) else None  # else nobody would keep the seats
    begun, texts = [engine.begin(HELLO, most) for _ in range(seats + 1)], []
    readers = [threading.Thread(target=lambda g=one: texts.append(text_of(g)), daemon=True) for one in begun]
    for reader in readers:
        reader.start()
    wait_for(lambda: len(lane.rows) == seats and any(one.waiting for one in begun))
    took: list[float] = []
    checks = [threading.Thread(target=lambda: took.append(engine.check()), daemon=True) for _ in range(3)]
    for check in checks:
        check.start()
    wait_for(lambda: len(took) == len(checks))
    wait_for(lambda: lane.bytes <= engine._loop.memory)
    assert len(lane.rows) == seats and not texts
    lane.step = step
    for reader in readers:
        reader.join(30)
    assert len(texts) == seats + 1 and len(set(texts)) == 1
    engine.close()


def test_a_check_fails_where_no_reply_could_ever_be_written(engine: LocalEngine) -> None:
    engine._loop.call(lambda: all(iter(engine._served[0].lane.spare, False)))
    engine._loop.memory = tokens_kept(engine, 255)
    with pytest.raises(EngineError, match="no memory left"):
        engine.check()


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


@pytest.mark.parametrize("replies", [1, 2])
def test_a_device_that_has_failed_for_good_ends_the_engine_and_not_the_log(
    engine: LocalEngine, monkeypatch, caplog, replies: int
) -> None:
    """After some errors of a GPU every further call to it raises, `wipe` and `move` among them."""
    begun = [iter(engine.begin(HELLO, Sampling(0.0, max_new_tokens=150))) for _ in range(replies)]
    assert all(next(steps) for steps in begun)

    def dead(*_) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    for name in ("take", "put", "wipe", "move"):
        monkeypatch.setattr(Slab, name, dead)
    monkeypatch.setattr(engine._served[0].lane.network, "logits", dead)
    assert all("device-side assert" in str(in_time(lambda s=steps: list(s))) for steps in begun)
    wait_for(lambda: not engine._loop._thread.is_alive())
    assert "start the app again" in str(in_time(lambda: written(engine)))
    assert len(caplog.records) < 20


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
