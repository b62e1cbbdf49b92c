"""Which corrections a newer one has replaced: people may say of the same question what holds now, one after the other.

"Open until 18" replaces "open until 17", and "Lyon" replaces "Paris". Two poems asked for in the same words replace
nothing: only what says nearly the same otherwise, or is an answer of few words, contradicts.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from finetune.alike import digest, words

Prompt = Sequence[tuple[str, str]]

_SHARED = 0.5  # of the words and pairs of words of both, from which on one is the other with something changed
_ENDS = " .?!。？！"
_FEW = 4  # words of an answer that says one thing alone


def outdated(corrections: Sequence[tuple[Prompt, str, datetime]]) -> list[bool]:
    """Tell which of (prompt, correction, when it was written) contradict the newest one of the same prompt."""
    newest: dict[str, int] = {}
    asked = [digest([part for role, text in prompt for part in (role, _plain(text))]) for prompt, *_ in corrections]
    for place, key in enumerate(asked):
        if key not in newest or corrections[place][2] > corrections[newest[key]][2]:
            newest[key] = place
    return [
        newest[key] != place and contradict(words(corrections[newest[key]][1]), words(corrections[place][1]))
        for place, key in enumerate(asked)
    ]


def _plain(text: str) -> str:
    """Return what is asked without case, spacing and how the sentence ends; "C" and "C#" stay two things."""
    return " ".join(text.casefold().split()).rstrip(_ENDS)


def contradict(one: Sequence[str], other: Sequence[str]) -> bool:
    """Tell whether two answers to one question, as words, cannot both hold."""
    if one == other:
        return False
    if max(len(one), len(other)) <= _FEW:
        return True
    first, second = ({*said, *pairwise(said)} for said in (one, other))
    return len(first & second) >= _SHARED * len(first | second)
