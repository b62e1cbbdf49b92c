"""Text grows with its tokens, whole characters only."""

import random

import pytest

from chatui.engine.text import Growing


def of_bytes(ids) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def test_text_grows_by_whole_characters() -> None:
    text = Growing(of_bytes, [])
    grew = [text.add([byte]) for byte in "aé水".encode()]
    assert grew == [True, False, True, False, False, True]
    assert text.text == text.whole() == "aé水"


def test_half_a_character_at_the_end_is_left_out() -> None:
    text = Growing(of_bytes, list(b"ab"))
    text.add("水".encode()[:1])
    assert (text.text, text.whole()) == ("ab", "ab")


def test_a_token_whose_text_depends_on_the_one_before_is_written_as_in_the_whole() -> None:
    """As a sentence-piece tokenizer does, which drops the space in front of the first word it is given."""

    def decode(ids) -> str:
        return "".join(f" w{n}" for n in ids)[1:]

    text = Growing(decode, [])
    for token in range(50):
        text.add([token])
    assert text.text == decode(list(range(50)))


@pytest.mark.parametrize("seed", range(20))
def test_tokens_taken_together_write_what_they_write_one_by_one(seed: int) -> None:
    """Whole and half characters and bytes that are none, taken in pieces that end anywhere."""
    dice = random.Random(seed)
    ids = [
        byte for _ in range(60) for byte in dice.choice(("a", "é", "水", "🦊")).encode()[: dice.choice((4, 4, 4, 1))]
    ]
    one, some = Growing(of_bytes, []), Growing(of_bytes, [])
    texts = [one.text for token in ids if one.add([token]) or True]
    start = 0
    while start < len(ids):
        end = min(len(ids), start + dice.randint(1, 9))
        grew, before = some.add(ids[start:end]), some.text
        assert some.text == texts[end - 1]
        assert grew == (before != (texts[start - 1] if start else ""))
        start = end
    assert some.whole() == one.whole()


def test_many_tokens_are_decoded_about_as_often_as_one() -> None:
    decoded: list[int] = []

    def decode(ids) -> str:
        decoded.append(len(ids))
        return of_bytes(ids)

    text = Growing(decode, [])
    for _ in range(10):
        text.add(b"the quick brown fox ")
    assert len(decoded) == 20
