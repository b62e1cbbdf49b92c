"""A reader that looks now and then reads, in the end, what one reads that is given every token."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.engine.local import LocalEngine
from chatui.engine.local_reply import LocalGeneration
from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.rows import Row
from tests.chatui.engine.models import GREEDY, HELLO, engine_of
from tests.chatui.scripted import wait_for
from tests.tiny import make_tiny

LONG = 60.0  # seconds, which no test may take
HOT = Sampling(temperature=1.5, top_p=1.0, top_k=0, max_new_tokens=60)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    folder: Path = make_tiny(tmp_path_factory.mktemp("pace"))
    made = engine_of({0: folder})
    made.serve({0: 1.0})
    yield made
    made.close()


def paced(engine: LocalEngine, sampling: Sampling = GREEDY, begun: str = "", seconds: float = LONG) -> LocalGeneration:
    generation = engine.begin(HELLO, sampling, begun=begun)
    generation.pace = lambda: seconds
    return generation


def read_late(generation: LocalGeneration) -> list[str]:
    """Read the first text, and go on only when all of the reply is written."""
    steps = iter(generation)
    first = next(steps)
    wait_for(lambda: generation._row.over)
    return [first, *steps]


def ending(generation: LocalGeneration) -> tuple[str | None, int]:
    return generation.finish, generation.completion_tokens


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("begun", ["", "the quick"])
def test_text_and_figures_are_those_of_every_token(engine: LocalEngine, seed: int, begun: str) -> None:
    """At such a temperature a tiny model writes bytes that are no whole characters, at the end too."""
    sampling = replace(HOT, seed=seed)
    each = engine.begin(HELLO, sampling, begun=begun)
    texts = list(each)
    for seconds in (LONG, 0.002):
        one = paced(engine, sampling, begun, seconds)
        seen = list(one)
        assert set(seen) <= set(texts) and seen[-1] == texts[-1]
        assert ending(one) == ending(each)
    late = paced(engine, sampling, begun)
    assert (read_late(late)[-1], ending(late)) == (texts[-1], ending(each))


def test_the_first_token_and_the_end_wake_a_reader_that_sleeps_long(engine: LocalEngine) -> None:
    began, generation = time.monotonic(), paced(engine)
    texts = list(generation)
    assert len(texts) <= 3 and generation.finish == "length"
    assert time.monotonic() - began < LONG / 2


@pytest.mark.parametrize("place", [2, 7, 12, 18])
def test_a_stop_string_in_the_middle_of_what_was_taken_ends_the_reply_there(engine: LocalEngine, place: int) -> None:
    whole = list(engine.begin(HELLO, GREEDY))[-1]
    stops = (whole[place : place + 3], whole[place - 1 : place + 5])  # the longer one begins before the shorter
    each = engine.begin(HELLO, replace(GREEDY, stop=stops))
    texts = list(each)
    late = paced(engine, replace(GREEDY, stop=stops))
    steps = iter(late)
    seen = [next(steps)]
    wait_for(lambda: late._row.over)
    seen += steps
    assert (seen[-1], ending(late)) == (texts[-1], ending(each))
    assert late.completion_tokens < len(late._row.ids) - late._row.prompt


def test_with_a_stop_string_nobody_sleeps_long(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    generation = paced(engine, replace(GREEDY, stop=("never written",)))
    monkeypatch.setattr(generation._row.told, "rest", slept.append)
    list(generation)
    assert slept and max(slept) <= 0.025


LATER = replace(HOT, max_new_tokens=100, seed=1)


def after_each(generation: LocalGeneration, does: Callable[[int], None]) -> None:
    """Have something done after each token that the engine writes, by how many there are."""
    row = generation._row
    take = row.take

    def taking(token: int, ends: frozenset[int]) -> None:
        take(token, ends)
        does(len(row.ids) - row.prompt)

    row.take = taking  # type: ignore[method-assign]


def text_after(engine: LocalEngine, tokens: int) -> str:
    """Return what has been shown of the reply after so many tokens to one who is shown each."""
    each, shown = engine.begin(HELLO, LATER), ""
    for text in each:
        if each.completion_tokens > tokens:
            break
        shown = text
    return shown


def test_what_was_written_before_the_cancelling_is_the_replys_and_nothing_after_it(engine: LocalEngine) -> None:
    generation = paced(engine, LATER)
    after_each(generation, lambda tokens: generation.cancel() if tokens == 21 else None)
    texts = list(generation)
    assert ending(generation) == ("stopped", 21)
    assert texts[-1].startswith(text_after(engine, 21))


def test_a_token_that_was_being_computed_when_it_was_cancelled_is_not_the_replys() -> None:
    row = Row([1, 2], 9, GREEDY)
    row.take(3, frozenset())
    row.cancel()
    row.take(4, frozenset())
    row.end("stopped")
    assert (row.told.take(), row.told.take()) == ([3], [])


def test_a_reply_that_fails_shows_what_was_written_first(engine: LocalEngine) -> None:
    generation, texts = paced(engine, LATER), []
    after_each(generation, lambda tokens: generation._row.fail("The kernel choked.") if tokens == 21 else None)
    with pytest.raises(EngineError, match="The kernel choked"):
        for text in generation:
            texts.append(text)
    assert texts[-1] == text_after(engine, 21)
    assert ending(generation) == (None, 21)
