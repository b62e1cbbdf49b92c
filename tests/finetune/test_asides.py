"""Which messages say nothing by themselves."""

from finetune.asides import asides

FIRST = [
    "Who founded Quillworth?",
    "Which river runs through Rome?",
    "Write a sea poem.",
    "Why is it raining?",
]


def talk(*said: str) -> list[tuple[str, str]]:
    return [turn for text in said for turn in (("user", text), ("assistant", "So it is."))][:-1]


def test_after_three_questions_it_says_nothing_after_two_it_may() -> None:
    talks = [talk(first, "Mach es kürzer") for first in FIRST]
    assert asides(talks[:2]).prompts == frozenset()
    assert asides(talks[:3]).prompts == {0, 1, 2}


def test_questions_that_are_nearly_the_same_are_one_however_often_they_are_asked() -> None:
    signs = ["?", "?!", " ?", ".", " please?", " then?"]
    talks = [talk("Who founded the town of Quillworth in the far north" + sign, "Mach es kürzer") for sign in signs]
    assert asides(talks).prompts == frozenset()


def test_it_is_left_out_of_what_a_talk_asks_unless_it_is_asked_first() -> None:
    found = asides([*(talk(first, "Mach es kürzer") for first in FIRST), talk("Mach es kürzer", "Mach es kürzer")])
    assert found.prompts == {0, 1, 2, 3}
    asked = [text for role, text in found.left_out_of(talk("hi", FIRST[0], "Mach es kürzer", "Wow")) if role == "user"]
    assert asked == ["hi", FIRST[0], "Wow"]
    first = talk("Mach es kürzer", FIRST[0])
    assert found.left_out_of(first) == first


def test_the_same_is_found_in_any_order() -> None:
    talks = [talk(f"{first} {n} {n * 7}", "Mach es kürzer", "Danke dir") for n in range(40) for first in FIRST]
    assert asides(talks).keys == asides(talks[::-1]).keys != frozenset()
