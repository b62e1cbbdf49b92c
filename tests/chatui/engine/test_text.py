"""Text grows with its tokens, whole characters only, and ends before a stop string."""

import pytest

from chatui.engine.text import Growing, until_stop


def of_bytes(ids) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def test_text_grows_by_whole_characters() -> None:
    text = Growing(of_bytes, [])
    grew = [text.add(byte) for byte in "aé水".encode()]
    assert grew == [True, False, True, False, False, True]
    assert text.text == text.whole() == "aé水"


def test_half_a_character_at_the_end_is_left_out() -> None:
    text = Growing(of_bytes, list(b"ab"))
    text.add("水".encode()[0])
    assert (text.text, text.whole()) == ("ab", "ab")


def test_a_token_whose_text_depends_on_the_one_before_is_written_as_in_the_whole() -> None:
    """As a sentence-piece tokenizer does, which drops the space in front of the first word it is given."""

    def decode(ids) -> str:
        return "".join(f" w{n}" for n in ids)[1:]

    text = Growing(decode, [])
    for token in range(50):
        text.add(token)
    assert text.text == decode(list(range(50)))


@pytest.mark.parametrize(
    ("text", "stops", "since", "left", "stopped"),
    [
        ("one two", ["two"], 0, "one ", True),
        ("one tw", ["two"], 0, "one ", False),
        ("one two three", ["three", "two"], 0, "one ", True),
        ("STOP then STOP", ["STOP"], 4, "STOP then ", True),
        ("plain", [], 0, "plain", False),
        ("ends in \n", ["\n\n"], 0, "ends in ", False),
    ],
)
def test_nothing_of_a_stop_string_is_shown(text: str, stops, since: int, left: str, stopped: bool) -> None:
    assert until_stop(text, stops, since) == (left, stopped)
