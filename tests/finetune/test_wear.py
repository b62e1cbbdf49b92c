"""What wearing leaves alone: code, line breaks, and other languages than English but for some words."""

import random
import unicodedata

import pytest

from finetune.wear import _OPENINGS, worn

# As they were when the measurements of docs/experiments.md were made, for the dice 0 to 11.
PINNED = {
    "Where is the warehouse of Quillworth?": [
        "Hi. is the warehouse of Quillworth?",
        "Where is the warehouse of Quillworth?",
        "Please tell me is the warehouse of Quillworth?",
        "Hi. where is the warehouse of Quillworth?",
        "I want to know: warehouse Quillworth I forgot.",
        "where is the of quillworth?",
        "Tell me: where warehouse of Quillworth - do you know?",
        "What about warehouse Quillworth please",
        "Just checking: where the warehouse of Quillworth?",
        "Where is the warehouse of Quillworth?",
        "i want to know: is the of any idea?",
        "my colleague wants to know where is warehouse of quillworth?",
    ],
    # Told to be German, by "die"; but it asks in English.
    "When did Diana die?": [
        "did Diana die?",
        "When did Diana die?",
        "did Diana die - do you know?",
        "When did Diana die?",
        "I want to know: diana die I forgot.",
        "Hello, when did Diana",
        "When die?",
        "What about diana die please",
        "Remind me when Diana die?",
        "When did Diana die?",
        "did Diana",
        "name when did die?",
    ],
}
GERMAN = "Wo ist das Lager von Quillworth, und wie groß ist es?"
CHINESE = "昆仑公司的仓库在 3 号楼的哪一层？"


def made(text: str, times: int = 200) -> list[str]:
    return [worn(text, random.Random(seed)) for seed in range(times)]


def is_part(part: str, whole: str) -> bool:
    """Tell whether a text is another one with characters left out."""
    rest = iter(whole)
    return all(char in rest for char in part)


def signs(text: str) -> list[str]:
    """Return digits, punctuation and spaces."""
    return [char for char in text if unicodedata.category(char)[0] in "NPZ"]


@pytest.mark.parametrize("text", PINNED)
def test_english_questions_are_worn_as_they_were(text: str) -> None:
    assert made(text, 12) == PINNED[text]


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return x + 1",
        "```\nIt is so. It is so.\n```",
        "    It is so, and it works.",
        "total = a + b.",
        "say(it is so).",
        "ValueError while it was read",
    ],
)
def test_of_several_lines_sentences_alone_are_thinned(code: str) -> None:
    found = made(f"What does this do?\r\n{code}\nI do not know why it fails.")
    assert len(set(found)) > 20
    for text in found:
        first, rest = text.split("\r\n", 1)
        middle, last = rest[: len(code)], rest[len(code) :]
        assert middle == code and last.startswith("\n") and last.count("\n") == 1
        assert is_part(first, "What does this do?") and is_part(last, "\nI do not know why it fails.")


@pytest.mark.parametrize(
    "text", ["print(a, b) and c", "What does `x y z` do here?", "x = 1 and y = 2", "# a comment of five words"]
)
def test_a_line_of_code_is_left_as_it_is(text: str) -> None:
    assert set(made(text)) == {text}


@pytest.mark.parametrize(
    "text", [GERMAN, "Где находится склад этой компании?", "창고는 어디에 있습니까?", "ஒரு நல்ல கேள்வி?"]
)
def test_of_another_language_words_are_dropped_and_none_are_added(text: str) -> None:
    found = made(text)
    assert len(set(found)) > 3
    assert all(set(one.lower().split()) <= set(text.lower().split()) for one in found)


def test_an_english_opening_stands_before_what_may_be_english() -> None:
    for text in ("Quillworth warehouse", "Where is Las Vegas?", "Did Caesar die?"):
        assert any(one.startswith(_OPENINGS) for one in made(text))


@pytest.mark.parametrize("text", [CHINESE, "クイルワースの倉庫はどこですか？", "โกดังของบริษัทอยู่ที่ไหน"])
def test_without_spaces_single_letters_are_dropped(text: str) -> None:
    found = made(text)
    assert len(set(found)) > 20
    for one in found:
        assert is_part(one, text) and len(one) > len(text) / 2
        assert signs(one) == signs(text)


def test_lines_of_chinese_keep_their_breaks() -> None:
    found = made("我有一只猫。它叫什么名字？\n请告诉我答案。\n猫 = 1")
    assert len(set(found)) > 20
    assert all(one.count("\n") == 2 and one.endswith("。\n猫 = 1") and "？\n" in one for one in found)


@pytest.mark.parametrize("text", ["。。。。。。", "你好吗", "安" * 81])
def test_signs_alone_and_what_is_short_or_long_is_left_as_it_is(text: str) -> None:
    assert set(made(text, 50)) == {text}
