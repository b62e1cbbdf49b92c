"""Signatures of many texts, put aside until they are compared: beside a million messages they would take the most room.

A few thousand stay in memory; more go to a temporary file, from which one part of them is read at a time.
"""

from collections.abc import Sequence
from tempfile import SpooledTemporaryFile

import numpy as np

from finetune.alike import HASHES, Signature
from finetune.checks import PARTS

_IN_MEMORY = 16 * 2**20  # bytes
_ROWS = 4096  # read at a time
_BYTES = PARTS * HASHES * np.dtype(np.uint16).itemsize


class Signatures:
    """Signatures of the parts of texts (see `Check.signatures`), by the order in which they were put aside."""

    def __init__(self) -> None:
        """Hold none."""
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the last who knows it
        self._many = 0

    def put(self, signatures: bytes) -> int:
        """Put a text's aside; return its place."""
        self._file.write(signatures)
        self._many += 1
        return self._many - 1

    def of(self, places: Sequence[int], part: int) -> Signature:
        """Return (n, HASHES): one part's signatures of the texts at some places, in their order."""
        wanted = np.asarray(places, dtype=np.int64)
        order = np.argsort(wanted, kind="stable")
        rising = wanted[order]
        found = np.empty((len(wanted), HASHES), dtype=np.uint16)
        self._file.seek(0)
        for start in range(0, self._many, _ROWS):
            block = np.frombuffer(self._file.read(_ROWS * _BYTES), dtype=np.uint16).reshape(-1, PARTS, HASHES)
            some = slice(*np.searchsorted(rising, [start, start + len(block)]))
            found[order[some]] = block[rising[some] - start, part]
        return found
