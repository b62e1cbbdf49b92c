"""Signatures that are put aside come back whole, wherever they lie."""

import numpy as np
import pytest

from finetune import signatures
from finetune.alike import HASHES
from finetune.checks import PARTS
from finetune.signatures import Signatures


@pytest.mark.parametrize("in_memory", [1 << 24, 1], ids=["memory", "file"])
def test_signatures_come_back_in_the_order_that_is_asked_for(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(signatures, "_ROWS", 4)
    told = np.random.default_rng(0).integers(0, 1 << 16, (10, PARTS, HASHES), dtype=np.uint16)
    kept = Signatures()
    assert [kept.put(one.tobytes()) for one in told] == list(range(10))
    for places in ([7, 0, 3, 3, 9], list(range(10)), [8], []):
        for part in range(PARTS):
            assert np.array_equal(kept.of(places, part), told[places, part].reshape(-1, HASHES))
    assert kept.put(told[0].tobytes()) == 10  # more may be put aside after some were read
    assert np.array_equal(kept.of([10, 4], 1), told[[0, 4], 1])
