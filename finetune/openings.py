"""Fixed openings: the instruction that a program puts before every message makes all of them alike, and says nothing.

"You are a support classifier ... Customer message: my camera is late" asks what follows the instruction.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from finetune.alike import digest, words

_FEWEST_WORDS = 12
_FEWEST_TEXTS = 5  # different ones; not a share of all, under which an opening would fall again as the record grows
_LOOKED_AT = 4096  # texts that begin alike, oldest first
Prompt = tuple[tuple[str, str], ...]
Words = tuple[str, ...]


class Openings:
    """Fixed openings, and texts without them."""

    def __init__(self, found: Sequence[Words]) -> None:
        """Know some openings, each of at least _FEWEST_WORDS."""
        self._by_start: dict[Words, list[Words]] = defaultdict(list)
        for one in sorted(found, key=len, reverse=True):
            self._by_start[one[:_FEWEST_WORDS]].append(one)

    def rest_of(self, text: str) -> list[str] | None:
        """Return the words that follow the longest opening a text has, None if it has none."""
        if not self._by_start:
            return None
        said = tuple(words(text))
        known = self._by_start.get(said[:_FEWEST_WORDS], ())
        return next((list(said[len(one) :]) for one in known if said[: len(one)] == one), None)

    def left_out_of(self, prompt: Prompt) -> Prompt:
        """Return a prompt with what a person says after the openings; the same object if there are none."""
        rests = [self.rest_of(text) if role == "user" else None for role, text in prompt]
        if all(rest is None for rest in rests):
            return prompt
        return tuple(
            (role, text if rest is None else " ".join(rest)) for (role, text), rest in zip(prompt, rests, strict=True)
        )


def openings(prompts: Sequence[Prompt]) -> Openings:
    """Find what at least five different first messages begin with, word for word, for twelve words or more."""
    starts, places = array("Q"), array("Q")
    for place, prompt in enumerate(prompts):
        said = words(_first_message(prompt))
        if len(said) > _FEWEST_WORDS:
            starts.append(int(digest(said[:_FEWEST_WORDS])[:16], 16))
            places.append(place)
    if not starts:
        return Openings([])
    order = np.argsort(np.frombuffer(starts, dtype=np.uint64), kind="stable")
    _, many = np.unique(np.frombuffer(starts, dtype=np.uint64), return_counts=True)
    groups = np.split(np.frombuffer(places, dtype=np.uint64)[order], np.cumsum(many)[:-1])
    found: list[Words] = []
    for group in groups:
        if len(group) >= _FEWEST_TEXTS:
            texts = dict.fromkeys(tuple(words(_first_message(prompts[int(place)]))) for place in group[:_LOOKED_AT])
            found += _shared(list(texts))
    return Openings(found)


def _shared(texts: Sequence[Words]) -> Iterator[Words]:
    """Yield what enough texts begin with, and what parts of them share for another twelve words."""
    if len(texts) < _FEWEST_TEXTS:
        return
    first, last = min(texts), max(texts)
    differs = (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    length = next(differs, min(len(first), len(last)))
    yield first[:length]
    further: dict[Words, list[Words]] = defaultdict(list)
    for text in texts:
        if len(text) >= length + _FEWEST_WORDS:
            further[tuple(islice(text, length, length + _FEWEST_WORDS))].append(text)
    for some in further.values():
        yield from _shared(some)


def _first_message(prompt: Prompt) -> str:
    return next((text for role, text in prompt if role == "user"), "")
