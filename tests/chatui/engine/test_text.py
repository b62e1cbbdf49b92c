"""Text grows with its tokens, whole characters only."""

from chatui.engine.text import Growing


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
