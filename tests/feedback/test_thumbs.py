"""The thumbs that versions earned, as plain numbers whatever the database counts in."""

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from feedback.schema import Rating
from feedback.thumbs import _earned


def test_a_sum_of_sums_is_a_whole_number() -> None:
    """PostgreSQL returns a Decimal for it, which no page and no file can be told."""
    rows = [(1, Decimal(3), Decimal(1), 2, Decimal("1.5"))]
    session: Any = SimpleNamespace(execute=lambda query: rows)
    earned = _earned(session, Rating.version == 1)[1]
    assert (earned.up, earned.down, earned.conversations, earned.share) == (3, 1, 2, 0.75)
    assert json.loads(json.dumps(vars(earned)))["up"] == 3
