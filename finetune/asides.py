"""Messages that say nothing by themselves, in any tongue: "Kannst du das kürzer fassen?" follows questions on anything.

No list of words knows them all. They are told by where they stand: after first questions that have nothing in common.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from finetune.alike import digest, signature
from finetune.splits import labels, question

_UNRELATED = 3  # groups of first questions from which on what follows them says nothing by itself
_LOOKED_AT = 64  # first questions a message: enough to find three groups, where thousands say thanks
Prompt = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asides:
    """The keys (see `key_of`) of messages that say nothing by themselves, and the places of the prompts with one."""

    keys: frozenset[int]
    prompts: frozenset[int]

    def left_out_of(self, prompt: Prompt) -> list[tuple[str, str]]:
        """Return a prompt without them; what a talk asks first is always a question, and stays."""
        first, left = 0, list[tuple[str, str]]()
        for role, text in prompt:
            key = _message_key(text) if role == "user" else 0
            first = first or key
            if key == first or key not in self.keys:
                left.append((role, text))
        return left


def key_of(asked: str) -> int:
    """Shorten the digest of a question to 64 bits."""
    return int(asked[:16], 16)


def asides(prompts: Sequence[Prompt]) -> Asides:
    """Find what stands, in all prompts, after first questions of three groups that are otherwise unrelated."""
    message_key = lru_cache(maxsize=4096)(_message_key)  # the prompts of one talk share their beginning
    rows = tuple(array("Q") for _ in range(3))  # a message, what was asked first, the place of the prompt
    for place, prompt in enumerate(prompts):
        said = [text for role, text in prompt if role == "user"]
        keys = [key for text in said if (key := message_key(text))] if len(said) > 1 else []
        for key in keys[1:]:
            if key != keys[0]:
                for row, value in zip(rows, (key, keys[0], place), strict=True):
                    row.append(value)
    if not rows[0]:
        return Asides(frozenset(), frozenset())
    messages, firsts, places = (np.frombuffer(row, dtype=np.uint64) for row in rows)
    found = _after_unrelated(messages, firsts, places, prompts)
    return Asides(frozenset(found.tolist()), frozenset(places[np.isin(messages, found)].tolist()))


def _after_unrelated(
    messages: NDArray[np.uint64], firsts: NDArray[np.uint64], places: NDArray[np.uint64], prompts: Sequence[Prompt]
) -> NDArray[np.uint64]:
    """Return the messages that stand after enough groups of first questions, of which nearly equal ones are a group."""
    both, where = np.unique(np.stack([messages, firsts], axis=1), axis=0, return_index=True)
    _, starts, many = np.unique(both[:, 0], return_index=True, return_counts=True)
    nth = np.arange(len(both)) - np.repeat(starts, many)
    some = np.flatnonzero((np.repeat(many, many) >= _UNRELATED) & (nth < _LOOKED_AT))
    asked, one_each, number = np.unique(both[some, 1], return_index=True, return_inverse=True)
    if not len(asked):
        return asked
    signatures = np.stack([signature(_first_question(prompts[int(n)])) for n in places[where[some[one_each]]]])
    groups = np.stack([both[some, 0], labels(signatures)[number].astype(np.uint64)], axis=1)
    after, groups_each = np.unique(np.unique(groups, axis=0)[:, 0], return_counts=True)
    return after[groups_each >= _UNRELATED]


def _first_question(prompt: Prompt) -> list[str]:
    return next(asked for role, text in prompt if role == "user" and (asked := question([(role, text)])))


def _message_key(text: str) -> int:
    """Return the key of what a message asks, 0 if it asks nothing."""
    asked = question([("user", text)])
    return key_of(digest(asked)) if asked else 0
