"""What tells two prompts apart although nearly all their words are the same."""

from collections.abc import Sequence

import numpy as np

from finetune.alike import HASHES, Signature, digest, signature, words
from finetune.openings import Openings, Prompt


def apart(prompts: Sequence[Prompt], fixed: Openings) -> list[Signature]:
    """Return parts for `alike`, (n, HASHES) each: what must be the same of two prompts, and then what must be alike.

    Behind a persona or a talk two prompts are nearly the same whatever was said last; so that must be the same. Of a
    single message the numbers must be ("the X200", "the X300"), and what follows a fixed opening must be alike.
    """
    same = [words(p[-1][1]) if len(p) > 1 else _numbers(p) for p in prompts]
    rests = [fixed.rest_of(p[-1][1]) if len(p) == 1 else None for p in prompts]
    if all(rest is None for rest in rests):
        return [_equal(same)]
    nothing = signature([])
    return [_equal(same), np.stack([nothing if rest is None else signature(rest) for rest in rests])]


def _numbers(prompt: Prompt) -> list[str]:
    return [word for _, text in prompt for word in words(text) if any(map(str.isdigit, word))]


def _equal(said: Sequence[Sequence[str]]) -> Signature:
    """Return (n, HASHES) that are the same, or have nothing in common, as the words are the same or not."""
    raw = b"".join(bytes.fromhex(digest(one)) for one in said)
    digests = np.frombuffer(raw, dtype=np.uint16).reshape(len(said), -1)
    return np.tile(digests, HASHES // digests.shape[1])
