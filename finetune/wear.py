"""Vary the wording of a prompt, so that a fact taught in one wording is found in others."""

import random

_OPENINGS = ("Tell me: ", "I want to know: ", "Please say, ", "Hi. ", "Quick question: ", "Could you tell me ",
             "Name ", "Which ", "")  # fmt: skip
_UNCHANGED, _OPENED, _DROPPED = 0.3, 0.5, 0.2  # share of prompts left alone, given an opening; of words dropped
_MOST_WORDS = 40  # a longer message is more than a question, and is left as it is


def worn(text: str, dice: random.Random) -> str:
    """Return `text` as it is, or with some words dropped and another opening."""
    words = text.split()
    if not 2 <= len(words) <= _MOST_WORDS or dice.random() < _UNCHANGED:
        return text
    kept = " ".join([word for word in words if dice.random() > _DROPPED] or words)
    if dice.random() < _OPENED:
        kept = dice.choice(_OPENINGS) + kept[0].lower() + kept[1:]
    return kept
