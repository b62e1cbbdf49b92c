"""Of a conversation longer than the context the same messages are left out for several turns."""

import random
from itertools import pairwise

import pytest

from chatui.engine.window import fit

TURNS = 200


def tokens_of(messages) -> int:
    return sum(len(text) for _, text in messages)


def conversation(sizes: list[int], system: int = 0) -> list[tuple[str, str]]:
    """Write a conversation of messages of these sizes, perhaps with a system message in front."""
    front = [("system", "x" * system)] if system else []
    return front + [(("user", "assistant")[n % 2], "x" * size) for n, size in enumerate(sizes)]


def cuts(messages: list[tuple[str, str]], room: int) -> list[int]:
    """Return how many messages are left out at each turn that overflows."""
    turns = [end for end, (role, _) in enumerate(messages, 1) if role == "user"]
    kept = [(end, fit(messages[:end], tokens_of, room)[0]) for end in turns if tokens_of(messages[:end]) > room]
    return [end - len(places) for end, places in kept]


def moves(left_out: list[int]) -> int:
    return sum(one != other for one, other in pairwise(left_out))


@pytest.mark.parametrize("system", [0, 50])
@pytest.mark.parametrize(("room", "stays"), [(1536, 2), (7636, 8)])
def test_a_cut_stays_for_several_turns(room: int, stays: int, system: int) -> None:
    left_out = cuts(conversation([100] * 2 * TURNS, system), room)
    assert moves(left_out) <= len(left_out) / stays + 1
    assert left_out == sorted(left_out)


def test_a_cut_of_messages_of_all_sizes_seldom_moves_and_never_back() -> None:
    dice = random.Random(0)
    left_out = cuts(conversation([dice.randint(5, 200) for _ in range(2 * TURNS)]), 7636)
    assert moves(left_out) < len(left_out) / 4
    assert left_out == sorted(left_out)


def test_three_quarters_of_the_turns_that_fit_are_kept() -> None:
    dice = random.Random(1)
    messages = conversation([dice.randint(5, 200) for _ in range(2 * TURNS + 1)], 50)
    for room in (600, 1500, 5000):
        kept, tokens = fit(messages, tokens_of, room)
        assert (kept[0], kept[1:]) == (0, list(range(kept[1], len(messages))))
        assert tokens == tokens_of(messages[place] for place in kept) <= room
        whole = sum(50 + tokens_of(messages[first:]) <= room for first in range(1, len(messages), 2))
        assert messages[kept[1]][0] == "user" and len(kept) // 2 >= 0.75 * whole


def test_what_is_counted_is_little_more_than_the_conversation() -> None:
    counted, messages = [], conversation([100] * 2001)

    def count(some) -> int:
        counted.append(len(some))
        return tokens_of(some)

    fit(messages, count, 20_000)
    assert sum(counted) < 3.5 * len(messages)
    counted.clear()
    fit(messages[:99], count, 20_000)
    assert counted == [99]


def test_the_last_message_is_kept_however_long_it_is_and_a_reply_is_never_the_first() -> None:
    def count(some) -> int:
        assert some[some[0][0] == "system"][0] == "user", "a template may refuse this"
        return tokens_of(some)

    messages = conversation([10, 10, 10, 10, 500], 5)
    assert fit(messages, count, 100) == ([0, 5], 505)
    assert fit(messages[-1:], count, 100) == ([0], 500)
    assert fit(conversation([60, 30, 30, 20, 20]), count, 100) == ([2, 3, 4], 70)
