import random
from itertools import pairwise

import numpy as np
import pytest

from finetune.alike import HASHES, alike, digest, signature, words


def drawn(count: int, seed: int) -> list[str]:
    return [str(number) for number in random.Random(seed).sample(range(10**6), count)]


@pytest.mark.parametrize("shared", [0, 50, 80, 95, 100])
def test_equal_minima_estimate_the_jaccard_similarity(shared: int) -> None:
    first, second = drawn(100, 1), drawn(100, 1)[:shared] + drawn(100 - shared, 2)
    sets = [{*said, *pairwise(said)} for said in (first, second)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert np.mean(signature(first) == signature(second)) == pytest.approx(expected, abs=0.12)


def test_case_and_punctuation_make_no_difference_and_signs_alone_are_kept() -> None:
    assert words("Who founded Quillworth?") == words("“who”  FOUNDED quillworth!") == ["who", "founded", "quillworth"]
    assert words("创始人是谁?") == list("创始人是谁")
    assert words("👍") != words("🎉")
    assert words(" ") == []


def test_near_duplicates_are_found_among_many_and_nothing_else_is() -> None:
    texts = [drawn(40, n) for n in range(300)]
    for n in range(0, 60, 2):
        texts[n + 1] = [*texts[n][:-1], "other"]
    found = alike([np.stack([signature(text) for text in texts])], 0.8)
    assert sorted(map(tuple, found.tolist())) == [(n, n + 1) for n in range(0, 60, 2)]


def test_every_part_must_be_alike() -> None:
    same, apart = signature(drawn(40, 1)), signature(drawn(40, 2))
    assert alike([np.stack([same, same]), np.stack([same, same])], 0.8).tolist() == [[0, 1]]
    assert alike([np.stack([same, same]), np.stack([same, apart])], 0.8).tolist() == []


@pytest.mark.parametrize("count", [0, 1])
def test_one_text_is_like_no_other(count: int) -> None:
    assert alike([np.zeros((count, HASHES), dtype=np.uint16)], 0.8).shape == (0, 2)


def test_many_that_are_all_alike_are_joined_by_few_links() -> None:
    found = alike([np.tile(signature(["hello", "there"]), (500, 1))], 0.8)
    assert len(found) < 1000
    assert {j for _, j in found.tolist()} == set(range(1, 500))


def test_a_digest_tells_where_one_text_ends() -> None:
    assert len({digest(["ab", "c"]), digest(["a", "bc"]), digest(["abc"])}) == 3
