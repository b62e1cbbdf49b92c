"""Texts that say nearly the same, found by MinHash without comparing each with each.

MinHash: Broder, "On the resemblance and containment of documents", 1997; banding: Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Signature = NDArray[np.uint16]
HASHES = 96  # minima in one signature: an estimate of 0.8 is off by 0.04 (one standard deviation)
_BAND = 4  # minima that must be equal for two texts to be compared
_CHUNK = 1 << 14  # shingles hashed at a time, so that a long text takes little memory
# A CJK character is a word of its own: nothing separates them.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿가-힯]|[^\W_぀-ヿ㐀-鿿豈-﫿가-힯]+")
_dice = np.random.default_rng(1997)
_FACTORS = _dice.integers(1, 1 << 63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _dice.integers(0, 1 << 63, HASHES, dtype=np.uint64)


def words(text: str) -> list[str]:
    """Split a text into words, without case and punctuation; one of signs alone into its signs."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(plain) or list("".join(plain.split()))


def digest(parts: Sequence[str]) -> str:
    """Return 32 hexadecimal digits that tell sequences of texts apart."""
    joined = "\x00".join(parts)
    if joined.count("\x00") >= max(len(parts), 1):  # a text holds one itself
        joined = "\x00".join(part.replace("\x00", "") for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def signature(of: Sequence[str]) -> Signature:
    """Return (HASHES,) minima over hashed words and pairs of neighbouring words.

    The share of equal minima of two signatures estimates the Jaccard similarity of their sets of shingles. Each hash
    is the upper half of `factor * shingle + offset` modulo 2^64 (Dietzfelbinger et al., "A reliable randomized
    algorithm for the closest-pair problem", 1997); of each minimum the lower 16 bits are kept (Li and König, "b-bit
    minwise hashing", 2010).
    """
    single = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in of], dtype=np.uint64)
    pairs = (single[:-1] * np.uint64(0x9E3779B97F4A7C15) + single[1:]) >> np.uint64(16)
    shingles = np.unique(np.concatenate([single, pairs]))
    lowest = np.full(HASHES, np.iinfo(np.uint32).max, dtype=np.uint32)
    for start in range(0, len(shingles), _CHUNK):
        part = shingles[start : start + _CHUNK, None]
        hashed = ((part * _FACTORS + _OFFSETS) >> np.uint64(32)).astype(np.uint32)
        lowest = np.minimum(lowest, hashed.min(axis=0))
    return lowest.astype(np.uint16)


def alike(parts: Sequence[Signature], threshold: float) -> NDArray[np.int64]:
    """Return (m, 2) index pairs i < j of texts that are alike in every part.

    Each part is (n, HASHES): the signatures of one part of every text. Among many that are all alike each is paired
    with the first and with its neighbour, not with all: enough to join them, or to keep one of them.
    """
    many, found = len(parts[0]), list[NDArray[np.int64]]()  # each pair as one number, i * many + j
    if many < 2:
        return np.empty((0, 2), dtype=np.int64)
    for start in range(0, HASHES - _BAND + 1, _BAND):
        keys = _keys([part[:, start : start + _BAND] for part in parts])
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        firsts = np.concatenate([[0], np.where(same, 0, np.arange(1, len(keys)))])
        first_of = order[np.maximum.accumulate(firsts)]
        there = np.flatnonzero(same) + 1
        joined = [(other, order[there]) for other in (first_of[there], order[there - 1])]
        found.append(np.unique(np.concatenate([np.minimum(a, b) * many + np.maximum(a, b) for a, b in joined])))
    numbers = np.unique(np.concatenate(found))
    kept = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(numbers), _CHUNK):
        some = np.stack(np.divmod(numbers[start : start + _CHUNK], many), axis=1)
        kept.append(some[_similar(parts, some, threshold)])
    return np.concatenate(kept)


def _keys(bands: Sequence[Signature]) -> NDArray[np.uint64]:
    keys = np.zeros(len(bands[0]), dtype=np.uint64)
    for band in bands:
        for column in band.T:
            keys = (keys ^ column.astype(np.uint64)) * np.uint64(0xD6E8FEB86659FD93)
            keys ^= keys >> np.uint64(32)
    return keys


def _similar(parts: Sequence[Signature], pairs: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
    close = np.ones(len(pairs), dtype=bool)
    for part in parts:
        close &= (part[pairs[:, 0]] == part[pairs[:, 1]]).mean(axis=1) >= threshold
    return close
