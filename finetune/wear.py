"""Vary the wording of a prompt, so that a fact taught in one wording is found in others."""

import random

_OPENINGS = (
    "Tell me: ", "Please tell me ", "I want to know: ", "I need to know ", "Please say, ", "Can you say ", "Hi. ",
    "Hello, ", "Quick question: ", "Could you tell me ", "Do you know ", "I was wondering ", "Remind me ",
    "Someone asked me ", "My colleague wants to know ", "Just checking: ", "For the record: ", "What about ",
    "Help me out: ", "Name ", "Which ",
)  # fmt: skip
_CLOSINGS = (" please", " thanks", " Thanks!", " - do you know?", " I forgot.", " Any idea?", "?", "")
# Words that ask, and say nothing of what is asked about.
_ASKING = frozenset((
    "a", "an", "and", "are", "at", "by", "can", "could", "did", "do", "does", "for", "how", "i", "in", "is", "it",
    "its", "me", "my", "name", "of", "on", "or", "please", "should", "tell", "that", "the", "there", "this", "to",
    "was", "were", "what", "when", "where", "which", "who", "why", "with", "would", "you", "your",
))  # fmt: skip
_MOST_WORDS = 40  # a longer message is more than a question, and is left as it is
_UNCHANGED, _BARE, _OPENED, _CLOSED, _LOWERED = 0.2, 0.2, 0.6, 0.3, 0.15  # shares of prompts
_SHUFFLED = 0.3  # share of the bare ones
_DROPPED = (0.1, 0.2, 0.35)  # share of words dropped, one for each prompt


def worn(text: str, dice: random.Random) -> str:
    """Return `text` as it is, or as others would put it: words dropped or bare, another opening, another end."""
    words = text.split()
    if not 2 <= len(words) <= _MOST_WORDS or dice.random() < _UNCHANGED:
        return text
    said = _bare(words, dice) if dice.random() < _BARE else _thinned(words, dice)
    if dice.random() < _OPENED:
        said = dice.choice(_OPENINGS) + said[0].lower() + said[1:]
    if dice.random() < _CLOSED:
        said = said.rstrip("?.! ") + dice.choice(_CLOSINGS)
    return (said.lower() if dice.random() < _LOWERED else said) or text


def _bare(words: list[str], dice: random.Random) -> str:
    """Leave the words that say what is asked about, as in a search box, at times in another order."""
    kept = [word for word in words if word.lower().strip("?.,!") not in _ASKING] or list(words)
    if dice.random() < _SHUFFLED:
        dice.shuffle(kept)
    return " ".join(kept)


def _thinned(words: list[str], dice: random.Random) -> str:
    share = dice.choice(_DROPPED)
    return " ".join([word for word in words if dice.random() > share] or words)
