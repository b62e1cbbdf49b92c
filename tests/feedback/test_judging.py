"""What people's feedback makes of a reply."""

from dataclasses import replace

import pytest

from feedback.judging import Opinion, judge, opinions
from tests.feedback.talk import LIKED

DOWN, NONE = {"ratings": {"local": -1}}, {"ratings": {}}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, "thumb_up"),
        ({"status": "stopped"}, "thumb_up"),
        (DOWN, "thumb_down"),
        ({"ratings": {"a": 1, "b": -1}}, "disputed"),
        ({"ratings": {"a": 1, "b": 1, "c": -1}}, "thumb_up"),
        ({"status": "interrupted"}, "unfinished"),
        ({"status": "running", **DOWN}, "unfinished"),
        ({"content": " \n"}, "empty"),
        ({"content": "", **DOWN}, "empty"),
        ({"verdict": "rejected"}, "reviewer_rejected"),
        ({"verdict": "rejected", "correction": "Bonjour."}, "reviewer_rejected"),
        ({"verdict": "approved", **DOWN}, "approved"),
        ({"correction": "Bonjour.", **DOWN}, "correction"),
        ({"correction": "Bonjour.", **NONE}, "correction"),
        ({"correction": "Bonjour.", "chosen_by": ("a",)}, "correction"),
        ({"correction": "Bonjour.", "status": "interrupted"}, "correction"),
        ({"chosen_by": ("local",), **NONE}, "chosen"),
        ({"chosen_by": ("local",)}, "chosen"),
        ({"chosen_by": ("local",), "verdict": "approved"}, "chosen"),
        ({"discarded_by": ("local",), **NONE}, "discarded"),
        ({"discarded_by": ("local",), **DOWN}, "thumb_down"),
        ({"discarded_by": ("local",)}, "thumb_up"),  # both were good; the thumb is about this one
        ({"chosen_by": ("local",), **DOWN}, "thumb_down"),  # the better of two bad ones
        ({"chosen_by": ("a",), "discarded_by": ("b",), **NONE}, "disputed"),
        ({"chosen_by": ("a",), "discarded_by": ("a",), **NONE}, "disputed"),
        (NONE, "kept"),
    ],
)
def test_each_reply_falls_under_one_rule(change: dict, rule: str) -> None:
    assert judge(replace(LIKED, **change)) == rule


@pytest.mark.parametrize(
    ("change", "own"),
    [
        (DOWN, "corrected"),
        (NONE, "corrected"),
        ({}, "corrected_but_liked"),
        ({"chosen_by": ("a",), **NONE}, "corrected_but_liked"),
        ({"status": "interrupted", **DOWN}, "unfinished"),
        ({"content": "", **DOWN}, "empty"),
    ],
)
def test_a_corrected_reply_gives_its_correction_and_its_own_words(change: dict, own: str) -> None:
    corrected = replace(LIKED, correction="Bonjour.", **change)
    assert opinions(corrected) == [Opinion("correction", "Bonjour."), Opinion(own, corrected.content, "Bonjour.")]


def test_a_correction_of_spaces_alone_makes_no_word_bad() -> None:
    assert opinions(replace(LIKED, correction="hello\n world ", **NONE)) == [Opinion("correction", "hello\n world ")]


def test_what_a_reviewer_rejected_gives_nothing() -> None:
    (only,) = opinions(replace(LIKED, correction="Bonjour.", verdict="rejected"))
    assert (only.rule, only.usable) == ("reviewer_rejected", False)
