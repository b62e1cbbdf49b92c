"""A reader that looks now and then reads, in the end, what one reads that is given every token."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.engine.local import LocalEngine, LocalGeneration
from chatui.engine.protocol import EngineError, Sampling
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
    assert 2 <= len(texts) <= 3
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


def test_what_was_written_before_the_cancelling_is_the_replys_and_nothing_after_it(engine: LocalEngine) -> None:
    each = list(engine.begin(HELLO, replace(HOT, max_new_tokens=100, seed=1)))
    generation = paced(engine, replace(HOT, max_new_tokens=100, seed=1))
    row, steps, before = generation._row, iter(generation), 0
    texts = [next(steps)]
    take = row.take

    def cancelling(token: int, ends: frozenset[int]) -> None:
        nonlocal before
        take(token, ends)
        if not row.cancelled:
            before = len(row.ids) - row.prompt
            if before > 20:
                generation.cancel()

    row.take = cancelling  # type: ignore[method-assign]
    texts += steps
    assert generation.finish == "stopped"
    assert generation.completion_tokens == before < 100
    assert texts[-1] != texts[0] and texts[-1] in each


def test_a_reply_that_fails_shows_what_was_written_first(engine: LocalEngine) -> None:
    generation = paced(engine)
    steps, texts = iter(generation), []
    texts.append(next(steps))
    take = generation._row.take

    def failing(token: int, ends: frozenset[int]) -> None:
        take(token, ends)
        if len(generation._row.ids) - generation._row.prompt > 12:
            generation._row.fail("The kernel choked.")

    generation._row.take = failing  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="The kernel choked"):
        for text in steps:
            texts.append(text)
    assert len(texts[-1]) > len(texts[0])
    assert generation.finish is None
    assert generation.completion_tokens == len(generation._row.ids) - generation._row.prompt
