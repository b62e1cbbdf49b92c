"""What many messages begin with, word for word."""

from collections.abc import Sequence

from finetune.openings import Openings, openings

FIXED = "one two three four five six seven eight nine ten eleven twelve thirteen"
LATER = "a b c d e f g h i j k l m"
ENDS = ["red cat", "blue dog", "green bird", "white fish", "black horse"]


def found(texts: Sequence[str]) -> Openings:
    return openings([(("user", text),) for text in texts])


def test_five_different_messages_have_an_opening_four_have_none() -> None:
    texts = [f"{FIXED} {end}" for end in ENDS]
    assert found(texts).rest_of(f"{FIXED.upper()}: white horse!") == ["white", "horse"]
    assert found(texts[:4]).rest_of(texts[0]) is None
    assert found(texts[:4] * 2).rest_of(texts[0]) is None


def test_fewer_than_twelve_words_are_no_opening() -> None:
    short = " ".join(FIXED.split()[:11])
    assert found([f"{short} {end}" for end in ENDS]).rest_of(f"{short} red cat") is None


def test_it_ends_where_the_first_message_goes_on_otherwise() -> None:
    texts = [f"{FIXED} my {end}" for end in ENDS] + [f"{FIXED} his {end}" for end in ENDS]
    assert found(texts).rest_of(texts[0]) == ["my", "red", "cat"]


def test_of_two_that_begin_alike_each_is_found_whole() -> None:
    texts = [f"{FIXED} {LATER} {end}" for end in ENDS] + [f"{FIXED} {end}" for end in ENDS]
    assert [found(texts).rest_of(text) for text in texts] == [end.split() for end in ENDS] * 2


def test_only_what_a_person_says_is_cut() -> None:
    texts = [f"{FIXED} {end}" for end in ENDS]
    prompt = (("system", texts[0]), ("user", texts[0]), ("assistant", texts[0]), ("user", "so?"))
    assert found(texts).left_out_of(prompt) == (prompt[0], ("user", "red cat"), prompt[2], prompt[3])
    assert found([]).left_out_of(prompt) is prompt
