"""How a reply would be thumbed, guessed from its words, and how alike replies are. Small, quick, and tested before use.

Words of question and reply are hashed into one row of features. Likes and dislikes are told apart by logistic
regression with an L2 penalty, on the rows at unit length, the reply's length and its version. A fifth of the rated
conversations is left out first: where the guess does no better on those than the plain share of thumbs up does, there
is no guess.
"""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags, hstack

READ = 2000  # characters of a question and of a reply that are looked at
_WIDTH = 1 << 15  # hashed words: few of the 10,000 that a record's rated replies use fall together
_VERSIONS = 16
_PENALTIES = (3.0, 0.5, 0.1, 0.03)  # the one that does best on the conversations left out is taken
_STEPS = 60
_LEAST = 10  # thumbs of each sort, before anything is guessed
_COMMON = 0.1  # a word that more of the replies hold tells nothing of their subject
_ALWAYS_TELLING = 20  # replies that may hold a word in a small record
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces: pairs of characters stand for words
_WORD = re.compile(rf"[{_CJK}]+|[^\W{_CJK}]+")


@dataclass(frozen=True)
class Text:
    """A reply to look at: what was asked, what it says, and which version wrote it (None: it was imported)."""

    message_id: str
    conversation_id: str
    version: int | None
    question: str
    content: str


@dataclass(frozen=True)
class Rated:
    """A rated reply, with the thumbs that it has: at least one up or down."""

    text: Text
    up: int
    down: int


class Learnt:
    """What the rated replies tell of others: `chance` of a thumb up, and what is `alike`."""

    def __init__(self, rated: Sequence[Rated]):
        """Learn from rated replies; from none too."""
        texts = [one.text for one in rated]
        holds = _holds([text.question for text in texts], [text.content for text in texts])
        self.up = np.array([one.up for one in rated], dtype=float)
        self.down = np.array([one.down for one in rated], dtype=float)
        self._telling = _telling(holds)
        self.words = self._of_subject(holds)
        self._weights = _fitted(_features(holds, texts), self.up, self.down, [text.conversation_id for text in texts])

    @property
    def guesses(self) -> bool:
        """Whether the guess did better than the plain share of thumbs up on conversations it had not seen."""
        return self._weights is not None

    def look(self, texts: Sequence[Text]) -> tuple[Any, Any]:
        """Return each text's chance of a thumb up, NaN without a guess, and its words as rows like `words`."""
        holds = _holds([text.question for text in texts], [text.content for text in texts])
        chance = np.full(len(texts), np.nan)
        if self._weights is not None and texts:
            chance = _share(_features(holds, texts) @ self._weights)
        return chance, self._of_subject(holds)

    def _of_subject(self, holds: Any) -> Any:
        """Weigh words by how rare they are among rated replies, rows at unit length: products are cosines."""
        return _unit(holds @ diags(self._telling))


def words_of(text: str) -> set[str]:
    """Return the different words of a text's beginning, in small letters."""
    found: set[str] = set()
    for run in _WORD.findall(text[:READ].lower()):
        if "\u3040" <= run[0] <= "\ud7af" and len(run) > 1:
            found.update(a + b for a, b in pairwise(run))
        else:
            found.add(run)
    return found


def _holds(questions: Sequence[str], contents: Sequence[str]) -> Any:
    """Return a sparse matrix (texts, _WIDTH) with 1 where a text holds a word; question and reply hash apart."""
    known: dict[tuple[str, str], int] = {}
    places: list[int] = []
    ends = [0]
    for question, content in zip(questions, contents, strict=True):
        row = set()
        for side, text in (("q", question), ("r", content)):
            for word in words_of(text):
                place = known.get((side, word))
                if place is None:
                    place = known[side, word] = zlib.crc32(f"{side}:{word}".encode()) % _WIDTH
                row.add(place)
        places += sorted(row)
        ends.append(len(places))
    return csr_matrix((np.ones(len(places)), places, ends), shape=(len(ends) - 1, _WIDTH))


def _telling(holds: Any) -> Any:
    """Return how much each word tells of a subject: log((N + 2) / (n + 1)), 0 for those that are everywhere.

    The inverse document frequency (Spärck Jones, "A statistical interpretation of term specificity", 1972), smoothed.
    """
    count, held = holds.shape[0], np.asarray(holds.sum(0)).ravel()
    weights = np.log((count + 2) / (held + 1))
    return np.where(held > max(_ALWAYS_TELLING, _COMMON * count), 0.0, weights)


def _unit(rows: Any) -> Any:
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    unit = csr_matrix(diags(1 / np.where(lengths > 0, lengths, 1.0)) @ rows)
    unit.eliminate_zeros()
    return unit


def _features(holds: Any, texts: Sequence[Text]) -> Any:
    """Return (texts, _WIDTH + _VERSIONS + 2): words at unit length, version, length and a 1 for the plain share."""
    versions = np.zeros((len(texts), _VERSIONS))
    for row, text in enumerate(texts):
        if text.version is not None:
            versions[row, text.version % _VERSIONS] = 0.5
    lengths = np.array([[math.log1p(len(text.content)) / 10] for text in texts]).reshape(len(texts), 1)
    return hstack([_unit(holds), csr_matrix(versions), csr_matrix(lengths), np.ones((len(texts), 1))], format="csr")


def _fitted(features: Any, up: Any, down: Any, conversations: Sequence[str]) -> Any | None:
    """Return the weights, or None where they tell nothing of conversations that were left out."""
    if min(up.sum(), down.sum()) < _LEAST:
        return None
    left_out = np.array([zlib.crc32(f"left out {name}".encode()) % 5 == 0 for name in conversations])
    seen = ~left_out
    if min(part.sum() for part in (up[seen], down[seen], up[left_out] + down[left_out])) == 0:
        return None
    several = np.flatnonzero(np.asarray((features != 0).sum(0)).ravel() > 1)  # what one reply holds tells of no other
    narrow = features[:, several]
    plain = up[seen].sum() / (up[seen].sum() + down[seen].sum())
    least, best, weights = _loss(np.full(int(left_out.sum()), plain), up[left_out], down[left_out]), None, None
    for penalty in _PENALTIES:
        weights = _fit(narrow[seen], up[seen], down[seen], penalty, weights)
        loss = _loss(_share(narrow[left_out] @ weights), up[left_out], down[left_out])
        if loss < least:
            least, best = loss, penalty
    if best is None:
        return None
    whole = np.zeros(features.shape[1])
    whole[several] = _fit(narrow, up, down, best, weights)
    return whole


def _fit(features: Any, up: Any, down: Any, penalty: float, start: Any | None) -> Any:
    """Minimise the thumbs' negative log-likelihood plus penalty / 2 * |weights|^2; the last weight is free."""
    free = np.ones(features.shape[1])
    free[-1] = 0.0
    turned = features.T.tocsr()

    def cost(weights: Any) -> tuple[float, Any]:
        logits = features @ weights
        loss = (up * np.logaddexp(0, -logits) + down * np.logaddexp(0, logits)).sum()
        slope = turned @ ((up + down) * _share(logits) - up)
        return loss + penalty / 2 * (free * weights * weights).sum(), slope + penalty * free * weights

    start = np.zeros(features.shape[1]) if start is None else start
    return minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x


def _share(logits: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def _loss(share: Any, up: Any, down: Any) -> float:
    share = np.clip(share, 1e-6, 1 - 1e-6)
    return float(-(up * np.log(share) + down * np.log(1 - share)).sum())
