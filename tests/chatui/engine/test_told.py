"""A reader is woken where it waits and at the end, not for each thing that comes while it rests."""

import threading
import time
from collections.abc import Callable
from queue import Empty

import pytest

from chatui.engine.told import Told
from tests.chatui.scripted import wait_for

LONG = 60.0


def beside(job: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Run a job in a thread; return it, and the list that its result will be in."""
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(job()), daemon=True)
    thread.start()
    return thread, done


def test_who_waits_is_given_what_comes_at_once() -> None:
    told: Told[int] = Told()
    reader, taken = beside(told.take)
    wait_for(lambda: told._waits)
    told.put(1)
    reader.join(LONG / 2)
    assert taken == [[1]]


def test_who_rests_is_woken_by_the_end_alone_and_then_has_everything() -> None:
    told: Told[int] = Told()
    told.put(0)
    assert told.take() == [0]
    reader, _ = beside(lambda: told.rest(LONG))
    for number in range(1000):
        told.put(number)
    assert told._bell.qsize() == 0 and reader.is_alive()
    told.end()
    reader.join(LONG / 2)
    assert not reader.is_alive()
    assert told.take() == list(range(1000))
    assert told.take() == []
    told.rest(LONG)  # after the end nobody sleeps


def test_a_ring_for_what_was_taken_already_wakes_nobody_early() -> None:
    began = time.monotonic()
    told: Told[int] = Told()
    told._bell.put(None)
    told.rest(0.02)
    assert time.monotonic() - began >= 0.02


def test_things_can_be_taken_one_by_one_in_their_order() -> None:
    told: Told[int] = Told()
    for number in range(3):
        told.put(number)
    told.end()
    assert [told.take(1), told.take(1), told.take()] == [[0], [1], [2]]


def test_nothing_in_time_is_an_error() -> None:
    with pytest.raises(Empty):
        Told[int]().take(timeout=0.001)


def test_nothing_is_lost_between_a_writer_and_a_reader_in_haste() -> None:
    told: Told[int] = Told()

    def write() -> None:
        for number in range(20_000):
            told.put(number)
        told.end()

    def read() -> list[int]:
        taken: list[int] = []
        while some := told.take(timeout=LONG):
            taken += some
        return taken

    reader, taken = beside(read)
    write()
    reader.join(LONG)
    assert taken == [list(range(20_000))]
