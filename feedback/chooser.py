"""Which unrated replies to ask about next: pure, the same for the same arguments.

A fifth of all replies, told by their ids, is set apart. Those are asked about in no order but chance's, so that the
share of thumbs up among them is that of all unrated replies, whatever was chosen of the rest. Of the rest those are
chosen of which a thumb tells most: uncertain, disputed, unlike.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feedback.guess import Learnt, Text

KINDS = ("uncertain", "disputed", "unlike")
RANDOM = "random"
_APART = 5  # one reply in so many is set apart, and one asked about in so many is one of those
_UNCERTAIN = 0.2  # a chance of a thumb up within so much of one half
_ALIKE = 0.35  # cosine of telling words from which the thumbs of one reply say something of another
_DISPUTED = 0.3  # least share of the thumbs on similar replies that speaks against the others
_UNLIKE = 0.15  # cosine to the nearest rated reply up to which it is unlike all of them
_WORDS = 3  # telling words that a reply must have to be called unlike anything


@dataclass(frozen=True)
class Ask:
    """A reply to ask about, and why: one of KINDS, or RANDOM."""

    message_id: str
    why: str


def set_apart(message_id: str) -> bool:
    """Tell whether a reply is of the fifth that is asked about by chance alone."""
    return zlib.crc32(message_id.encode()) % _APART == 0


def choose(
    learnt: Learnt, pool: Sequence[Text], apart: Sequence[Text], limit: int, seed: int | Sequence[int] = 0
) -> list[Ask]:
    """Choose up to `limit` replies to ask about, in the order in which to ask.

    Of `apart`, a random sample of those set apart, a fifth of the limit is drawn. The rest comes from `pool`, where
    the kinds take turns: one reply of a conversation, and half of the batch of one version while others qualify.
    What is of no kind is not asked about. Draws come from `seed`.
    """
    dice = np.random.default_rng(seed)
    drawn = dice.permutation(len(apart))[: math.ceil(limit / _APART)]
    asks = [Ask(apart[place].message_id, RANDOM) for place in drawn]
    spoken = {apart[place].conversation_id for place in drawn}
    guided = [text for text in pool if not set_apart(text.message_id)]
    asks += _Choosing(learnt, guided, spoken, limit).take(limit - len(asks))
    return [asks[place] for place in dice.permutation(len(asks))]


class _Choosing:
    """Takes the best of each kind in turn; what was taken changes what is still worth taking."""

    def __init__(self, learnt: Learnt, pool: Sequence[Text], spoken: set[str], limit: int):
        self._pool, self._spoken, self._most = pool, set(spoken), max(1, limit // 2)
        self._of_version: dict[int | None, int] = {}
        self._taken = np.zeros(len(pool), bool)
        chance, self._words = learnt.look(pool)
        alike = self._words @ learnt.words.T
        self._nearest = np.asarray(alike.max(1).todense()).ravel() if min(alike.shape) else np.zeros(len(pool))
        self._unsure = np.where(np.abs(chance - 0.5) <= _UNCERTAIN, 0.5 - np.abs(chance - 0.5), np.nan)
        self._dispute = _dispute(alike, learnt.up, learnt.down)
        self._told = np.diff(self._words.indptr)

    def take(self, count: int) -> list[Ask]:
        scores: dict[str, Callable[[], Any]] = {
            "uncertain": lambda: self._unsure,
            "disputed": lambda: self._dispute,
            "unlike": self._unlike,
        }
        asks: list[Ask] = []
        kinds = list(KINDS)
        while kinds and len(asks) < count:
            kind = kinds.pop(0)
            place = self._best(scores[kind]())
            if place is None:
                continue  # of this kind there is none, nor will there be
            kinds.append(kind)
            self._use(place)
            asks.append(Ask(self._pool[place].message_id, kind))
        return asks

    def _unlike(self) -> Any:
        """Score by distance from all that was rated, and from all that was taken: two alike tell no more than one."""
        return np.where((self._nearest <= _UNLIKE) & (self._told >= _WORDS), 1 - self._nearest, np.nan)

    def _best(self, scores: Any) -> int | None:
        best = None
        for place in np.argsort(-scores, kind="stable"):  # NaN is last
            text = self._pool[place]
            if np.isnan(scores[place]):
                break
            if self._taken[place] or text.conversation_id in self._spoken:
                continue
            if self._of_version.get(text.version, 0) < self._most:
                return int(place)
            best = int(place) if best is None else best  # taken where no other version has any
        return best

    def _use(self, place: int) -> None:
        text = self._pool[place]
        self._taken[place] = True
        self._spoken.add(text.conversation_id)
        self._of_version[text.version] = self._of_version.get(text.version, 0) + 1
        near = np.asarray((self._words @ self._words[place].T).todense()).ravel()
        self._nearest = np.maximum(self._nearest, near)
        # Of much the same replies one is enough in a batch, whatever it is asked for.
        self._unsure = np.where(near >= _ALIKE, np.nan, self._unsure)
        self._dispute = np.where(near >= _ALIKE, np.nan, self._dispute)


def _dispute(alike: Any, up: Any, down: Any) -> Any:
    """Score replies by the lesser side of the thumbs on similar ones, weighed by likeness; NaN where they agree."""
    near = alike.multiply(alike >= _ALIKE) if min(alike.shape) else alike
    ups, downs = np.asarray(near @ up).ravel(), np.asarray(near @ down).ravel()
    lesser, all_of_them = np.minimum(ups, downs), ups + downs
    return np.where((all_of_them > 0) & (lesser >= _DISPUTED * all_of_them) & (lesser > 0), lesser, np.nan)
